import { describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import { type Log, pipeline, type Refusal } from '../pipeline/index.ts'
import { type Codec, digestWith, parse } from './index.ts'

const MAX_BYTES = 1024 * 1024

const codec: Codec = {
  decode: (json) => ({ model: undefined, prompt: (json as { prompt: string }).prompt, body: { messages: [] } }),
  encode: (answer) => answer,
  events: () => ({ chunk: () => 'x', end: () => 'end', failed: ({ code }) => `failed: ${code}` }),
}

/** The room, before a handler that answers with the prompt that came in. */
function room({ events = codec.events, log = () => {} }: { events?: Codec['events']; log?: Log } = {}) {
  const refusals: Refusal[] = []
  const handler = pipeline()
    .use(
      parse({
        codec: { ...codec, events },
        maxBodyBytes: MAX_BYTES,
        digest: digestWith(undefined),
        heartbeatMs: 1_000,
      }),
    )
    .handle((_request, { completion: { prompt } }) => {
      if (prompt !== 'stream') return new Response(prompt, { status: 201 })
      const chunk = `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'x' } }] })}\n\n`
      return new Response(chunk, { headers: { 'content-type': 'text/event-stream' } })
    })
  const context = baseContext({
    log,
    refuse: (refusal) => {
      refusals.push(refusal)
      return new Response(null, { status: refusal.status })
    },
  })
  const send = (body: ReadableStream<Uint8Array>) => handler({ ...request, body }, context)
  return { send, refusals }
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
    const response = await room().send(body)
    expect(await response.text()).toBe(JSON.parse(text).prompt)
    expect(read).toEqual({ pieces: Math.ceil(length / bytes), cancelled: false })
  })

  test.each([
    ['more than 16,384 single bytes', 16_385, 1],
    ['1 MiB of single bytes', MAX_BYTES, 1],
    ['1 MiB by 15 bytes', MAX_BYTES, 15],
  ])('%s is given up there, with a sentence that says what to do', async (_what, length, bytes) => {
    const { body, read } = inPieces(jsonOf(length), bytes)
    const { send, refusals } = room()
    expect((await send(body)).status).toBe(400)
    expect(read).toEqual({ pieces: 16_385, cancelled: true })
    expect(refusals).toEqual([
      expect.objectContaining({ code: 'invalid_request', message: expect.stringContaining('larger') }),
    ])
  })

  test('over the bound is given up where it passes it', async () => {
    const { body, read } = inPieces(jsonOf(2 * MAX_BYTES), 65_536)
    expect((await room().send(body)).status).toBe(413)
    expect(read).toEqual({ pieces: 17, cancelled: true })
  })
})

test('B1: a programming fault in writing a stream is logged as one, and not as a stream that broke', async () => {
  const logged: Parameters<Log>[] = []
  const events: Codec['events'] = () => ({ ...codec.events(), chunk: () => (undefined as never as { x: never }).x })
  const { send } = room({ events, log: (...line) => logged.push(line) })
  const response = await send(inPieces('{"prompt":"stream"}', 100).body)
  await expect(response.text()).rejects.toThrow()
  expect(logged).toEqual([['error', 'fault', expect.objectContaining({ upstream: { code: 'request_failed' } })]])
  expect(logged[0]?.[2]).toMatchObject({
    fault: 'TypeError',
    message: 'Cannot read properties of undefined (reading x)',
  })
})
