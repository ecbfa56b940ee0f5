import { once } from 'node:events'
import { type ClientRequest, request, type ServerResponse } from 'node:http'
import { afterEach, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { peakDuring, residentBytes } from '../support/resident-memory.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * C2: a model that sends without end, to eight requests at once. What the host holds of it stays under a bound in bytes, by
 * the memory that its process has, whatever the form in which it comes.
 */

const MIB = 1024 * 1024
/** What eight attacks may add to a host's memory. */
const MOST_BYTES = 192 * MIB
/**
 * The same where they send events that belong to an answer, which are parsed: V8 lets the garbage of that grow to some
 * 100 MiB before it looks, however long the attack lasts.
 */
const MOST_PARSED_BYTES = 288 * MIB
const ATTACKS = 8
/** Of each attack: as much as a test has time for. More makes no difference where what is held is bounded. */
const EACH_BYTES = Number(process.env.ATTACK_MIB ?? 16) * MIB

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
let key: string
let base: number
beforeEach(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/policy.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_FIRST_BYTE_MS: '20000',
      TOLLGATE_TOTAL_MS: '20000',
    },
    BARE_HOST,
  )
  key = await newKey(open, unique('attacked'), 'ample')
  for (let i = 0; i < 20; i += 1) await ask(unique('Why?'))
  base = residentBytes(Number(host.process.pid))
})
afterEach(async () => {
  for (const leave of left.splice(0)) leave()
  await host?.stop()
  await upstream?.close()
})
const left: (() => void)[] = []

const ask = (prompt: string) => generate(host, JSON.stringify({ prompt }), { 'x-api-key': key })

/** A request whose answer is taken, or not even looked at. */
function send(prompt: string, { stream, reads }: { readonly stream: boolean; readonly reads: boolean }): ClientRequest {
  const sent = request(`${host.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key } }, (response) => {
    response.on('error', () => {})
    if (reads) response.resume()
    else response.pause()
  })
  sent.on('error', () => {})
  sent.end(JSON.stringify({ prompt, stream }))
  left.push(() => sent.destroy())
  return sent
}

/** Sends a part over and over, as fast as it is taken, until so much is sent or nobody takes it any more. */
async function flood(response: ServerResponse, part: string | Buffer, bytes: number): Promise<void> {
  const piece = Buffer.from(part)
  const large = Buffer.concat(Array(Math.max(1, Math.floor((64 * 1024) / piece.length))).fill(piece))
  const closed = once(response, 'close')
  for (let sent = 0; sent < bytes && !response.destroyed; sent += large.length) {
    if (!response.write(large)) await Promise.race([once(response, 'drain'), closed])
  }
}

const chunk = (content: string) => `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content } }] })}\n\n`
const SSE = 'text/event-stream'
const JSON_TYPE = 'application/json'

interface Attack {
  readonly type: string
  readonly before?: string
  readonly part: string
  readonly bytes?: number
  readonly stream?: false
  /** Whether another follows each call, and reads nothing of it. */
  readonly lags?: true
  readonly most?: number
}

const most = MOST_PARSED_BYTES
const attacks: Readonly<Record<string, Attack>> = {
  'comments before the first chunk': { type: SSE, part: `: ${'x'.repeat(1_000)}\n\n` },
  'comments after the first chunk': { type: SSE, before: chunk('a'), part: `: ${'x'.repeat(1_000)}\n\n` },
  'short comments after the first chunk': { type: SSE, before: chunk('a'), part: ': ping\n\n', bytes: EACH_BYTES / 4 },
  'one comment without an end': { type: SSE, before: chunk('a'), part: ': keep-alive' },
  'one line without an end': { type: SSE, before: chunk('a'), part: 'data: xxxxxxx' },
  'one event of empty lines': { type: SSE, before: chunk('a'), part: 'data:\n' },
  'one event of lines among comments': { type: SSE, part: `data: ${'x'.repeat(20)}\n: ${'x'.repeat(60_000)}\n` },
  'white space': { type: JSON_TYPE, part: ' \n' },
  'a plain answer': { type: JSON_TYPE, before: '{"choices":["', part: 'xxxxxxxxxxxxx', stream: false },
  'a plain answer to who asked for a stream': { type: JSON_TYPE, before: '{"choices":', part: '[' },
  'a stream to who asked for a plain answer': { type: SSE, part: chunk('a'), stream: false, bytes: 10 * MIB, most },
  'events without a choice': { type: SSE, part: `data: {"choices":[],"x":"${'x'.repeat(1_000)}"}\n\n`, most },
  'tiny events, to one who reads and one who doesn’t': {
    type: SSE,
    part: chunk('a'),
    lags: true,
    bytes: EACH_BYTES / 16,
    most,
  },
  'large events, to one who reads and one who doesn’t': {
    type: SSE,
    part: chunk('a'.repeat(300_000)),
    lags: true,
    most,
  },
}

async function isServing(): Promise<void> {
  upstream.reply = answering()
  expect((await ask(unique('Why?'))).status).toBe(200)
}

describe('C2: eight at once of', () => {
  test.each(Object.entries(attacks))('%s', { timeout: 120_000 }, async (what, attack) => {
    const { type, before = '', part, bytes = EACH_BYTES, stream = true, lags, most = MOST_BYTES } = attack
    let over = 0
    upstream.reply = async (_call, response) => {
      response.writeHead(200, { 'content-type': type })
      response.write(before)
      await flood(response, part, bytes)
      response.end()
      over += 1
    }
    const peak = await peakDuring(Number(host.process.pid), async () => {
      for (let i = 0; i < ATTACKS; i += 1) {
        const prompt = unique('attack')
        send(prompt, { stream, reads: true })
        if (lags) send(prompt, { stream, reads: false })
      }
      await expect.poll(() => over, { timeout: 100_000 }).toBe(ATTACKS)
    })
    const added = Math.round((peak - base) / MIB)
    if (process.env.ATTACK_MIB) console.log(`${added} MiB over ${Math.round(base / MIB)} MiB by ${what}`)
    expect(peak - base).toBeLessThan(most)
    await isServing()
  })

  test('streams that nobody reads, and silent ones', { timeout: 120_000 }, async () => {
    let written = 0
    let calls = 0
    upstream.reply = async (_call, response) => {
      calls += 1
      response.writeHead(200, { 'content-type': SSE })
      response.write(chunk('a'))
      if (calls > ATTACKS / 2) return
      const part = chunk('a'.repeat(60_000))
      while (!response.destroyed) {
        written += part.length
        if (!response.write(part)) await Promise.race([once(response, 'drain'), once(response, 'close')])
      }
    }
    const peak = await peakDuring(Number(host.process.pid), async () => {
      for (let i = 0; i < ATTACKS; i += 1) send(unique('attack'), { stream: true, reads: false })
      let before = -1
      const isStill = () => {
        const still = calls === ATTACKS && written === before
        before = written
        return still
      }
      await expect.poll(isStill, { interval: 300, timeout: 60_000 }).toBe(true)
    })
    expect(peak - base).toBeLessThan(MOST_BYTES)
    await isServing()
  })
})
