import { type IncomingMessage, request } from 'node:http'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BARE_HOST, ROOT, type RunningHost, startHost } from '../support/host.ts'

/*
 * The HTTP adapter on the Functions library's own proxy server, reached through the local host as through the cloud's.
 */

const MIB = 1024 * 1024
let host: RunningHost
beforeAll(async () => {
  host = await startHost({ APP_ROOT: join(ROOT, 'test/fixtures/adapter-app') }, BARE_HOST)
})
afterAll(() => host?.stop())

interface Seen {
  readonly pieces: number
  readonly leftAt: number | null
  readonly cancelledAt: number | null
  readonly rss: number
}
const seen = async (): Promise<Seen> => (await fetch(`${host.url}/api/seen`)).json() as Promise<Seen>

/** A client that reads nothing by itself. */
function open(name: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    const sent = request(`${host.url}/api/${name}`, (response) => resolve(response.pause()))
    sent.on('error', reject)
    sent.end()
  })
}

/** What comes until the end, and whether that was a proper end. */
async function readToEnd(
  response: IncomingMessage,
): Promise<{ readonly bytes: number; readonly text: string; readonly broke: boolean }> {
  let bytes = 0
  let text = ''
  try {
    for await (const piece of response as AsyncIterable<Buffer>) {
      bytes += piece.byteLength
      if (text.length < 1024) text += piece.toString().slice(0, 1024)
    }
    return { bytes, text, broke: false }
  } catch {
    return { bytes, text, broke: true }
  }
}

/** The same a piece at a time with pauses. An iterator would drop what it had not yet given out when the break came. */
async function readSlowly(response: IncomingMessage): Promise<{ readonly bytes: number; readonly broke: boolean }> {
  const state = { bytes: 0, over: false, broke: false }
  response.once('end', () => Object.assign(state, { over: true }))
  response.once('error', () => Object.assign(state, { over: true, broke: true }))
  for (;;) {
    const piece: Buffer | null = response.read()
    if (piece !== null) state.bytes += piece.byteLength
    else if (state.over) return state
    if (!state.over) await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

describe('the HTTP adapter, streaming', () => {
  test.each(['throws', 'breaksAtOnce'])('answers a JSON 500 when an entry %s', async (name) => {
    const response = await fetch(`${host.url}/api/${name}`)
    expect(response.status).toBe(500)
    expect(await response.json()).toEqual({ error: 'An internal server error occurred.', code: 'internal_error' })
    expect(host.output()).not.toContain('SECRET')
  })

  test('sends what came before a break, then breaks the connection', async () => {
    const response = await open('breaksHalfWay')
    expect(response.statusCode).toBe(200)
    expect(await readToEnd(response)).toEqual({ bytes: 9, text: 'data: a\n\n', broke: true })
  })

  test('sends all of it, however much, and to a client that was paused meanwhile', async () => {
    const response = await open('breaksAfterMuch')
    await expect.poll(async () => (await seen()).pieces, { timeout: 10_000 }).toBeGreaterThan(0)
    // So slow that the break is known long before the last of it is read.
    const { bytes, broke } = await readSlowly(response)
    expect({ bytes, broke }).toEqual({ bytes: 32 * MIB, broke: true })
  })

  test.each(['pausesForEver', 'answersNever', 'answersLate', 'large'])(
    'tells an entry that %s within 250 ms that its client has left',
    { retry: 2 },
    async (name) => {
      const sent = request(`${host.url}/api/${name}`)
      sent.on('error', () => {})
      const answered = new Promise<IncomingMessage>((resolve) => sent.on('response', resolve))
      sent.end()
      if (name.startsWith('answers')) await new Promise((resolve) => setTimeout(resolve, 100))
      else (await answered).on('error', () => {}).once('data', () => {})
      const leftAt = Date.now()
      sent.destroy()
      await expect.poll(async () => (await seen()).leftAt, { interval: 20, timeout: 5_000 }).not.toBeNull()
      const noticed = await seen()
      expect((noticed.leftAt ?? 0) - leftAt).toBeLessThan(250)
      if (name !== 'answersNever') expect((noticed.cancelledAt ?? 0) - leftAt).toBeLessThan(250)
    },
  )

  test('reads no further than a slow client takes it, and in the end sends all', async () => {
    const before = (await seen()).rss
    const response = await open('large')
    // Paused: what the sockets on the way hold is read ahead, and no more.
    let last = -1
    await expect
      .poll(
        async () => {
          const { pieces } = await seen()
          const still = pieces === last
          last = pieces
          return still
        },
        { interval: 500, timeout: 20_000 },
      )
      .toBe(true)
    const paused = await seen()
    expect(paused.pieces * 64 * 1024).toBeLessThan(32 * MIB)
    expect(paused.rss - before).toBeLessThan(96 * MIB)
    const { bytes, broke } = await readToEnd(response)
    expect({ bytes, broke }).toEqual({ bytes: 256 * MIB, broke: false })
    expect((await seen()).rss - before).toBeLessThan(128 * MIB)
  })

  test('logs what comes after the function has returned without a warning', async () => {
    await (await fetch(`${host.url}/api/logsLate`)).text()
    await expect.poll(() => host.output()).toContain('a late line')
    expect(host.output()).not.toContain('Unexpected call to')
  })

  test('gives a plain answer its length, and the request its own address', async () => {
    const response = await fetch(`${host.url}/api/plain?a=1`)
    expect(Number(response.headers.get('content-length'))).toBeGreaterThan(0)
    expect(await response.json()).toEqual({ url: `${host.url}/api/plain?a=1`, from: '127.0.0.1' })
  })
})
