import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { createGzip, constants as zlib } from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import { calledAt, modelCall, targetAt } from '../../../../test/support/model-call.ts'
import { textOf } from '../../../../test/support/replies.ts'
import { bodyOf, type Reply, type StreamReply } from '../operations/index.ts'
import { RequestEnded, SPEND_UNKNOWN } from '../pipeline/index.ts'
import { connect, upstream } from './index.ts'

/* A stream as it is replied with: how it ends, what it says then, and what becomes of its connection. */

const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.restoreAllMocks()
  for (const close of closing.splice(0)) await close()
})

const sse = (...events: unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')
const said = (content: string) => ({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })
const STOP = { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }
const USAGE = { choices: [], usage: { prompt_tokens: 11, completion_tokens: 7 } }
const TOLD = { usage: { tokens: { input: 11, cachedInput: 0, output: 7 } }, isCertain: true }
const PLAIN = '{"choices":[{"index":0,"message":{"role":"assistant","content":"whole"},"finish_reason":"stop"}]'

interface Asked {
  readonly streamed?: boolean
  readonly signal?: AbortSignal
  readonly output?: number
  readonly idleMs?: number
}

/** A model that answers as the test says, and who asks it. */
async function newModel(answer: (response: ServerResponse, socket: Socket) => unknown) {
  const server = createServer((incoming, response) => {
    incoming.resume().on('end', () => answer(response, incoming.socket))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    server.closeAllConnections()
    server.close()
  })
  const baseUrl = `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`
  const target = targetAt({ kind: 'openai', baseUrl, model: 'd', key: 'sk' })
  const transport = connect({ token: () => Promise.reject(new Error('no token is needed')) })
  return async function ask({ streamed = true, signal, output, idleMs = 2_000 }: Asked = {}): Promise<Reply> {
    const bounds = { firstByteMs: 2_000, totalMs: 2_000, streamTotalMs: 5_000, endGraceMs: 100, idleMs }
    const body = bodyOf({ messages: [{ role: 'user', content: 'Why?' }], stream: streamed })
    const call = modelCall({ body, streamed, ...(signal === undefined ? {} : { signal }) })
    const { routed, reserved } = calledAt(call, target)
    const context = { ...baseContext(), routed, reserved: { ...reserved, output } }
    return upstream({ transport, ...bounds })(call, context)
  }
}

function streamIn(reply: Reply): StreamReply {
  if (reply.kind !== 'stream') throw new Error(`${reply.kind} in place of a stream`)
  return reply
}

const streaming =
  (...texts: readonly string[]) =>
  (response: ServerResponse) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const text of texts) response.write(text)
  }

describe('a cancelled call', () => {
  /** What comes first, packed or not; the answer then stays open. */
  const beginning = (text: string, packed: boolean) => (response: ServerResponse) => {
    const encoding: Record<string, string> = packed ? { 'content-encoding': 'gzip' } : {}
    response.writeHead(200, { 'content-type': 'application/json', ...encoding })
    if (!packed) return response.write(text)
    const gzip = createGzip({ flush: zlib.Z_SYNC_FLUSH })
    gzip.pipe(response)
    return gzip.write(text)
  }

  test.each([
    ['plain', false],
    ['plain', true],
    ['streamed', false],
    ['streamed', true],
  ] as const)('ends its connection within 10 ms, with a read pending (%s, packed: %s)', async (kind, packed) => {
    const streamed = kind === 'streamed'
    const text = streamed ? sse(said('a')) : PLAIN
    const took: number[] = []
    // The quickest of a few, since another process may have the processor meanwhile.
    for (let round = 0; round < 5; round += 1) {
      const closed = Promise.withResolvers<number>()
      const begun = Promise.withResolvers<void>()
      const ask = await newModel((response, socket) => {
        socket.on('close', () => closed.resolve(performance.now()))
        beginning(text, packed)(response)
        begun.resolve()
      })
      const client = new AbortController()
      const replying = ask({ streamed, signal: client.signal })
      await begun.promise
      let end = () => client.abort()
      let pending: Promise<unknown> = replying
      if (streamed) {
        const { events } = streamIn(await replying)
        await events.read()
        pending = events.read()
        end = () => events.cancel()
      } else {
        // The head and the first bytes have come by then, and the rest is being read.
        await new Promise((resolve) => setTimeout(resolve, 20))
      }
      const at = performance.now()
      end()
      took.push((await closed.promise) - at)
      if (streamed) expect(await pending).toBeUndefined()
      else expect(await pending).toMatchObject({ refusal: { upstream: { code: 'client_left' } }, shared: false })
    }
    expect(Math.min(...took)).toBeLessThan(10)
  })

  test('settles at once with what was told until then, and stays ended', async () => {
    const ask = await newModel(streaming(sse({ ...said('a'), usage: { prompt_tokens: 11, completion_tokens: 1 } })))
    const { events, ended } = streamIn(await ask())
    await events.read()
    const reading = events.read()
    events.cancel('enough')
    events.cancel()
    expect(await ended).toMatchObject({
      how: 'client_left',
      attempts: [
        { target: 't', spend: { usage: { tokens: { input: 11, cachedInput: 0, output: 1 } }, isCertain: false } },
      ],
    })
    expect(await reading).toBeUndefined()
    expect(await events.read()).toBeUndefined()
  })
})

describe('a stream', () => {
  test('has ended, certainly, with the last of its answer, whatever its connection does then', async () => {
    const ask = await newModel(streaming(sse(said('a'), STOP, USAGE, '[DONE]')))
    const { events, ended } = streamIn(await ask())
    expect(await events.read()).toHaveLength(4)
    expect(await ended).toMatchObject({ how: 'complete', attempts: [{ model: 'default', spend: TOLD }] })
    expect(await events.read()).toBeUndefined()
  })

  test('keeps its connection for the next call', async () => {
    const ports = new Set<number | undefined>()
    const ask = await newModel((response, socket) => {
      ports.add(socket.remotePort)
      streaming(sse(said('a'), STOP, USAGE, '[DONE]'))(response)
      setTimeout(() => response.end(), 20)
    })
    for (let call = 0; call < 5; call += 1) {
      await textOf(await ask())
      await new Promise((resolve) => setTimeout(resolve, 60))
    }
    // A busy machine can be later with a connection's end than with the next call.
    expect(ports.size).toBeLessThan(5)
  })

  test('of which nothing is told has taken nobody knows what', async () => {
    const ask = await newModel(streaming(sse(said('a'), STOP, '[DONE]')))
    const { events, ended } = streamIn(await ask())
    while ((await events.read()) !== undefined);
    expect(await ended).toMatchObject({ how: 'complete', attempts: [{ spend: SPEND_UNKNOWN }] })
  })

  test('that is cut gives what came, and breaks', async () => {
    const ask = await newModel((response) => {
      streaming(sse(said('a'), said('b')))(response)
      setTimeout(() => response.destroy(), 20)
    })
    const { events, ended } = streamIn(await ask())
    expect(await events.read()).toHaveLength(2)
    await expect(events.read()).rejects.toMatchObject({ name: 'BrokenStream', failure: { code: 'stream_cut' } })
    await expect(events.read()).rejects.toMatchObject({ failure: { code: 'stream_cut' } })
    expect(await ended).toMatchObject({ how: 'broken', attempts: [{ failure: { code: 'stream_cut' } }] })
  })

  test.each<[string, unknown, string, string]>([
    ['whose client leaves', undefined, 'client_left', 'client_left'],
    [
      'that the gateway ends',
      new RequestEnded('slot_lost', { kind: 'refusal', code: 'slot_lost', status: 503, message: 'no place' }),
      'broken',
      'slot_lost',
    ],
  ])('%s has ended at once, also where nobody reads', async (_what, reason, how, code) => {
    const client = new AbortController()
    const closed = Promise.withResolvers<void>()
    const ask = await newModel((response, socket) => {
      socket.on('close', closed.resolve)
      streaming(sse(said('a')))(response)
    })
    const { events, ended } = streamIn(await ask({ signal: client.signal }))
    await events.read()
    client.abort(reason)
    expect(await ended).toMatchObject({ how, attempts: [{ failure: { code }, spend: SPEND_UNKNOWN }] })
    await expect(events.read()).rejects.toMatchObject({ failure: { code } })
    await closed.promise
  })

  test('that is silent for too long breaks, and a reader that is slow does not count as silence', async () => {
    const ask = await newModel((response) => {
      streaming(sse(said('a')))(response)
      setTimeout(() => response.write(sse(said('b'))), 50)
      setTimeout(() => response.write(sse(said('c'))), 100)
    })
    const { events, ended } = streamIn(await ask({ idleMs: 200 }))
    await events.read()
    expect(await events.read()).toHaveLength(1)
    await new Promise((resolve) => setTimeout(resolve, 500))
    expect(await events.read()).toHaveLength(1)
    const since = performance.now()
    await expect(events.read()).rejects.toMatchObject({ failure: { code: 'timeout' } })
    expect(performance.now() - since).toBeGreaterThanOrEqual(199)
    expect(await ended).toMatchObject({ how: 'broken' })
  })

  test('ends, and its call with it, before it passes what is reserved', async () => {
    const closed = Promise.withResolvers<void>()
    const ask = await newModel((response, socket) => {
      socket.on('close', closed.resolve)
      streaming(sse(said('a'), said('b')))(response)
      setTimeout(() => response.write(sse(said('c'))), 20)
    })
    const { events, ended } = streamIn(await ask({ output: 2 }))
    expect(await events.read()).toHaveLength(2)
    await expect(events.read()).rejects.toMatchObject({ failure: { code: 'reservation_exceeded' } })
    expect(await ended).toMatchObject({ how: 'broken', attempts: [{ failure: { code: 'reservation_exceeded' } }] })
    await closed.promise
  })

  test('may tell at its end more than is reserved: that has been written already', async () => {
    const ask = await newModel(streaming(sse(said('a'), STOP, USAGE, '[DONE]')))
    const reply = streamIn(await ask({ output: 2 }))
    expect(await textOf(reply)).toContain('[DONE]')
    expect(await reply.ended).toMatchObject({ how: 'complete', attempts: [{ spend: TOLD }] })
  })

  test('that came whole takes what its answer tells', async () => {
    const usage = { prompt_tokens: 11, completion_tokens: 7 }
    const ask = await newModel((response) => response.end(`${PLAIN},"usage":${JSON.stringify(usage)}}`))
    const { events, ended } = streamIn(await ask())
    while ((await events.read()) !== undefined);
    expect(await ended).toMatchObject({ how: 'complete', attempts: [{ spend: TOLD }] })
  })
})

describe('is parsed', () => {
  /** The texts that hold the mark and were parsed. */
  function parsed(mark: string): string[] {
    const texts: string[] = []
    const { parse } = JSON
    vi.spyOn(JSON, 'parse').mockImplementation((text: string, reviver) => {
      if (text.includes(mark)) texts.push(text)
      return parse(text, reviver)
    })
    return texts
  }

  test('once: a plain answer', async () => {
    const ask = await newModel((response) => response.end(`${PLAIN}}`))
    const texts = parsed('whole')
    const reply = await ask({ streamed: false })
    expect(await textOf(reply)).toBe(`${PLAIN}}`)
    if (reply.kind === 'answer') reply.answer.json()
    expect(texts).toHaveLength(1)
  })

  test('once: each event of a stream', async () => {
    const pieces = Array.from({ length: 20 }, (_, index) => said(`piece ${index}`))
    const ask = await newModel(streaming(sse(...pieces, STOP, USAGE, '[DONE]')))
    const texts = parsed('piece ')
    expect(await textOf(await ask())).toContain('piece 19')
    expect(texts).toHaveLength(20)
  })

  test('once: an answer that came whole and is streamed', async () => {
    const ask = await newModel((response) => response.end(`${PLAIN}}`))
    const texts = parsed('"message"')
    await textOf(await ask())
    expect(texts).toHaveLength(1)
  })
})
