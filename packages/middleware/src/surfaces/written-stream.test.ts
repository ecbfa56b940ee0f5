import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { BrokenStream } from './chat-events.ts'
import { type EventEncoder, encodeStream } from './encode-stream.ts'

const HEARTBEAT_MS = 15_000
const encoder: EventEncoder = {
  chunk: ({ choices }) => (choices[0]?.delta?.content ? String(choices[0].delta.content) : undefined),
  end: () => 'end',
  failed: ({ code }) => `failed: ${code}`,
}
const event = (content: string, finish_reason: string | null = null) =>
  Buffer.from(`data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason }] })}\n\n`)
const DONE = Buffer.from('data: [DONE]\n\n')

/** A model's stream that the test writes, and what becomes of it on the other side. */
function open() {
  let write!: ReadableStreamDefaultController<Uint8Array>
  const cancelled = vi.fn()
  const onBroken = vi.fn()
  const source = new ReadableStream<Uint8Array>({
    start(controller) {
      write = controller
    },
    cancel: cancelled,
  })
  const reader = encodeStream(source, { encoder, heartbeatMs: HEARTBEAT_MS, onBroken }).getReader()
  const read = async () => {
    const { done, value } = await reader.read()
    return done ? 'END' : Buffer.from(value).toString()
  }
  return { write, read, reader, cancelled, onBroken }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

describe('a streamed answer', () => {
  test('goes out event by event, and ends with the end', async () => {
    const { write, read, onBroken } = open()
    write.enqueue(event('a'))
    expect(await read()).toBe('data: a\n\n')
    write.enqueue(event(''))
    write.enqueue(event('b', 'stop'))
    expect(await read()).toBe('data: b\n\n')
    write.enqueue(DONE)
    write.close()
    expect([await read(), await read()]).toEqual(['data: end\n\n', 'END'])
    expect(onBroken).not.toHaveBeenCalled()
  })

  test('ends with [DONE], though the connection stays open, and is not waited for beyond a second', async () => {
    const { read, write, cancelled } = open()
    write.enqueue(event('a'))
    write.enqueue(DONE)
    expect([await read(), await read(), await read()]).toEqual(['data: a\n\n', 'data: end\n\n', 'END'])
    expect(cancelled).not.toHaveBeenCalled()
    await vi.advanceTimersByTimeAsync(1_000)
    expect(cancelled).toHaveBeenCalledOnce()
  })

  test('sends a comment after each 15 s of silence, and loses nothing', async () => {
    const { write, read } = open()
    write.enqueue(event('a'))
    await read()
    for (let i = 0; i < 2; i += 1) {
      const got = vi.fn()
      const reading = read().then(got)
      await vi.advanceTimersByTimeAsync(HEARTBEAT_MS - 1)
      expect(got).not.toHaveBeenCalled()
      await vi.advanceTimersByTimeAsync(1)
      await reading
      expect(got).toHaveBeenCalledWith(': keep-alive\n\n')
    }
    write.enqueue(event('b'))
    expect(await read()).toBe('data: b\n\n')
    write.enqueue(DONE)
    write.close()
    await read()
  })

  test('sends a comment too when the model only says what this route does not pass on', async () => {
    const { write, read } = open()
    const talking = setInterval(() => write.enqueue(event('')), 1_000)
    const reading = read()
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS)
    expect(await reading).toBe(': keep-alive\n\n')
    clearInterval(talking)
  })

  test('is read no faster than it is asked for', async () => {
    const pull = vi.fn((controller: ReadableStreamDefaultController<Uint8Array>) => controller.enqueue(event('a')))
    const source = new ReadableStream<Uint8Array>({ pull }, { highWaterMark: 0 })
    const reader = encodeStream(source, { encoder, heartbeatMs: HEARTBEAT_MS, onBroken: () => {} }).getReader()
    await reader.read()
    await reader.read()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(pull).toHaveBeenCalledTimes(2)
    await reader.cancel()
  })

  test.each<[string, (write: ReadableStreamDefaultController<Uint8Array>) => void, string]>([
    ['the connection breaks', (write) => write.error(new Error('SECRET')), 'request_failed'],
    ['the model gives up', (write) => write.error(new BrokenStream({ code: 'timeout' })), 'timeout'],
    ['it ends too soon', (write) => write.close(), 'stream_cut'],
    ['an error event comes', (write) => write.enqueue(Buffer.from('data: {"error":{"code":"c"}}\n\n')), 'c'],
  ])('says so, then errs, when %s', async (_what, breakIt, code) => {
    const { write, read, reader, onBroken } = open()
    write.enqueue(event('a'))
    expect(await read()).toBe('data: a\n\n')
    breakIt(write)
    expect(await read()).toBe(`data: failed: ${code}\n\n`)
    await expect(reader.read()).rejects.toBeInstanceOf(BrokenStream)
    expect(onBroken.mock.calls[0]?.[0].failure).toEqual({ code })
  })

  test('sends what came in the same piece as the break', async () => {
    const { write, read, reader, cancelled } = open()
    write.enqueue(Buffer.concat([event('a'), Buffer.from('data: {"error":{"code":"c"}}\n\n')]))
    expect(await read()).toBe('data: a\n\ndata: failed: c\n\n')
    await expect(reader.read()).rejects.toBeInstanceOf(BrokenStream)
    expect(cancelled).toHaveBeenCalledOnce()
  })

  test('cancels the model at once, even while it waits for it', async () => {
    const { read, reader, cancelled, onBroken } = open()
    const waiting = read()
    await vi.advanceTimersByTimeAsync(1)
    await reader.cancel('left')
    expect(cancelled).toHaveBeenCalledWith('left')
    expect(await waiting).toBe('END')
    expect(onBroken).not.toHaveBeenCalled()
  })
})
