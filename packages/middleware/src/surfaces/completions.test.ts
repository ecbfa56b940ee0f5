import { describe, expect, test } from 'vitest'
import { baseContext, replyText, request } from '../../../../test/support/base-context.ts'
import { answered, playedStream, streamed } from '../../../../test/support/replies.ts'
import { type Answer, type Call, chat, type Reply, refused, type StreamReply } from '../operations/index.ts'
import { digestWith, fromWebStream, type Log } from '../pipeline/index.ts'
import { completions, type Surface } from './index.ts'

const MAX_BYTES = 1024 * 1024

const surface: Surface = {
  name: 'test',
  operation: chat,
  route: 'test',
  decode: (body) => ({
    model: undefined,
    prompt: String(body.json.prompt),
    body,
    streamed: body.json.prompt === 'stream',
  }),
  encode: (answer) => answer.bytes,
  events: () => ({ write: () => 'x', end: () => 'end', failed: ({ code }) => `failed: ${code}` }),
  refuse: ({ status }) => ({ kind: 'response', status, headers: {}, body: null }),
}

const ANSWER = { choices: [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }] }
const CHUNK = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'x' }, finish_reason: 'stop' }] })}\n\n`

/** The handler before a call onion that is played; and what that was asked. */
function door({
  change = {},
  log = () => {},
  reply,
}: {
  change?: Partial<Surface>
  log?: Log
  reply?: (call: Call) => Reply
} = {}) {
  const calls: Call[] = []
  const handler = completions({
    surface: { ...surface, ...change },
    maxBodyBytes: MAX_BYTES,
    maxOutputTokens: 100,
    digest: digestWith(undefined),
    heartbeatMs: 1_000,
    handler(call) {
      calls.push(call)
      return reply?.(call) ?? (call.streamed ? streamed(CHUNK) : answered(ANSWER))
    },
  })
  const context = baseContext({ log })
  const send = async (body: ReadableStream<Uint8Array>) => handler({ ...request, body: fromWebStream(body) }, context)
  return { send, calls, context }
}

/** A body in pieces of so many bytes; `read` tells how many were taken, and whether the rest was given up. */
function inPieces(text: string, bytes: number) {
  const whole = Buffer.from(text)
  const read = { pieces: 0, cancelled: false }
  const body = new ReadableStream<Uint8Array>(
    {
      pull(controller) {
        const at = read.pieces * bytes
        if (at >= whole.length) return controller.close()
        read.pieces += 1
        controller.enqueue(whole.subarray(at, at + bytes))
      },
      cancel() {
        read.cancelled = true
      },
    },
    { highWaterMark: 0 },
  )
  return { body, read }
}

const jsonOf = (bytes: number) => JSON.stringify({ prompt: 'é'.repeat((bytes - 13) >> 1) + (bytes % 2 ? '' : 'x') })

describe('C4: a body in pieces', () => {
  test.each([
    ['of one byte each, up to 16,384', 16_384, 1],
    ['of 16 bytes each, up to the bound', MAX_BYTES, 16],
    ['of 8 KiB each, up to the bound', MAX_BYTES, 8_192],
    ['that are one', MAX_BYTES, MAX_BYTES],
    ['of odd sizes', 100_003, 4_099],
  ])('%s is read whole, byte for byte', async (_what, length, bytes) => {
    const text = jsonOf(length)
    expect(Buffer.byteLength(text)).toBe(length)
    const { body, read } = inPieces(text, bytes)
    const { send, calls } = door()
    await send(body)
    expect(calls.map(({ body }) => body.json.prompt)).toEqual([JSON.parse(text).prompt])
    expect(read).toEqual({ pieces: Math.ceil(length / bytes), cancelled: false })
  })

  test.each([
    ['more than 16,384 single bytes', 16_385, 1],
    ['1 MiB of single bytes', MAX_BYTES, 1],
    ['1 MiB by 15 bytes', MAX_BYTES, 15],
  ])('%s is given up there, with a sentence that says what to do', async (_what, length, bytes) => {
    const { body, read } = inPieces(jsonOf(length), bytes)
    expect(await door().send(body)).toMatchObject({
      status: 400,
      code: 'invalid_request',
      message: expect.stringContaining('larger'),
    })
    expect(read).toEqual({ pieces: 16_385, cancelled: true })
  })

  test('over the bound is given up where it passes it', async () => {
    const { body, read } = inPieces(jsonOf(2 * MAX_BYTES), 65_536)
    expect(await door().send(body)).toMatchObject({ status: 413 })
    expect(read).toEqual({ pieces: 17, cancelled: true })
  })
})

const bodyOfText = (text: string) => inPieces(text, 100).body

test('B1: a programming fault in writing a stream is logged as one, and not as a stream that broke', async () => {
  const logged: Parameters<Log>[] = []
  const events: Surface['events'] = (call) => ({
    ...surface.events(call),
    write: () => (undefined as never as { x: never }).x,
  })
  const { send } = door({ change: { events }, log: (...line) => logged.push(line) })
  await expect(replyText(await send(bodyOfText('{"prompt":"stream"}')))).rejects.toThrow()
  expect(logged).toEqual([['error', 'fault', expect.objectContaining({ upstream: { code: 'request_failed' } })]])
  expect(logged[0]?.[2]).toMatchObject({
    fault: 'TypeError',
    message: 'Cannot read properties of undefined (reading x)',
  })
})

test.each<[string, Partial<Surface>]>([
  [
    'made no writer',
    {
      events() {
        throw new RangeError('no writer')
      },
    },
  ],
  ['read nothing', {}],
])('a stream is given up where a fault has %s', async (_where, change) => {
  const { reply, send: play } = playedStream()
  // A middleware of one's own, which errs in its own part of the reading.
  const events: StreamReply['events'] = {
    read: () => Promise.reject(new RangeError('no reading')),
    cancel: (reason) => reply.events.cancel(reason),
  }
  play(CHUNK)
  const { send } = door({ change, reply: () => ({ ...reply, events }) })
  await expect(send(bodyOfText('{"prompt":"stream"}')).then(replyText)).rejects.toThrow()
  expect(await reply.ended).toMatchObject({ how: 'client_left' })
})

describe('a reply', () => {
  test('that is an answer is a 200 in the surface’s shape, with the headers of the call onion', async () => {
    const { send } = door({ reply: () => answered(ANSWER, { headers: { 'cache-status': 'x' } }) })
    const response = await send(bodyOfText('{"prompt":"a"}'))
    expect(response).toMatchObject({
      status: 200,
      headers: { 'content-type': 'application/json', 'cache-status': 'x' },
    })
    expect(JSON.parse(await replyText(response))).toEqual(ANSWER)
  })

  test('that was refused stays data, with the headers of both', async () => {
    const refusal = { kind: 'refusal', code: 'not_cached', status: 504, message: '', headers: { a: '1' } } as const
    const { send } = door({ reply: () => refused(refusal, { b: '2' }) })
    expect(await send(bodyOfText('{"prompt":"a"}'))).toEqual({ ...refusal, headers: { a: '1', b: '2' } })
  })

  test('that is a stream ends when what is within has ended', async () => {
    const { send } = door()
    const response = await send(bodyOfText('{"prompt":"stream"}'))
    expect(response).toMatchObject({ status: 200, headers: { 'content-type': 'text/event-stream; charset=utf-8' } })
    expect(await replyText(response)).toBe('xend')
  })

  test('that comes again as the same bytes is written once', async () => {
    let written = 0
    const encode = ({ bytes }: Answer) => {
      written += 1
      return bytes
    }
    const same = answered(ANSWER, { source: 'cache' })
    const { send } = door({ change: { encode }, reply: () => same })
    for (const prompt of ['a', 'b', 'c']) await send(bodyOfText(JSON.stringify({ prompt })))
    expect(written).toBe(1)
  })
})

test('a request’s call bears what the caller sent, and its prompt is told as a hash alone', async () => {
  const { send, calls, context } = door()
  await send(bodyOfText('{"prompt":"SECRET"}'))
  expect(calls).toMatchObject([{ route: 'test', streamed: false, body: { json: { prompt: 'SECRET' } } }])
  expect(context.told).toEqual({ promptHash: digestWith(undefined)('SECRET') })
})
