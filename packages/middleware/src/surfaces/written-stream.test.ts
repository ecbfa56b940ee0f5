import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { playedSource } from '../../../../test/support/base-context.ts'
import { BrokenStream, eventsIn, type StreamEvent } from '../operations/index.ts'
import type { EventWriter } from './surface.ts'
import { writtenStream } from './written-stream.ts'

const HEARTBEAT_MS = 15_000
const writer: EventWriter = {
  write: ({ json }) => (json?.content ? `data: ${json.content}\n\n` : undefined),
  end: () => 'data: end\n\n',
  failed: ({ code }) => `data: failed: ${code}\n\n`,
}
const event = (content: string) => [...eventsIn(Buffer.from(`data: ${JSON.stringify({ content })}\n\n`))]

/** A model's stream that the test plays, and what becomes of it on the other side. */
function open(more: Partial<EventWriter> = {}) {
  const { source, ...write } = playedSource<readonly StreamEvent[]>()
  const [cancelled, onBroken] = [vi.fn(), vi.fn()]
  write.onCancel(cancelled)
  const stream = writtenStream(source, {
    writer: { ...writer, ...more },
    heartbeatMs: HEARTBEAT_MS,
    ended: Promise.resolve(),
    onBroken,
  })
  const read = async () => {
    const piece = await stream.read()
    return piece === undefined ? 'END' : Buffer.from(piece).toString()
  }
  return { write, read, stream, cancelled, onBroken }
}

beforeEach(() => void vi.useFakeTimers())
afterEach(() => {
  expect(vi.getTimerCount()).toBe(0)
  vi.useRealTimers()
})

describe('a streamed answer', () => {
  test('goes out event by event, and ends with the end', async () => {
    const { write, read, onBroken } = open()
    write.give(event('a'))
    expect(await read()).toBe('data: a\n\n')
    write.give(event(''))
    write.give([...event('b'), ...event('c')])
    expect(await read()).toBe('data: b\n\ndata: c\n\n')
    write.end()
    expect([await read(), await read(), await read()]).toEqual(['data: end\n\n', 'END', 'END'])
    expect(onBroken).not.toHaveBeenCalled()
  })

  test('sends a comment after each 15 s of silence, and loses nothing', async () => {
    const { write, read } = open()
    write.give(event('a'))
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
    write.give(event('b'))
    expect(await read()).toBe('data: b\n\n')
    write.end()
    await read()
  })

  test('sends a comment as its surface writes one', async () => {
    const { read, stream } = open({ heartbeat: ': keep-alive\n' })
    const reading = read()
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS)
    expect(await reading).toBe(': keep-alive\n')
    stream.cancel()
  })

  test('keeps what came between a comment and the next read', async () => {
    const { write, read } = open()
    const reading = read()
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS)
    expect(await reading).toBe(': keep-alive\n\n')
    write.give(event('a'))
    await vi.advanceTimersByTimeAsync(1)
    write.end()
    expect([await read(), await read(), await read()]).toEqual(['data: a\n\n', 'data: end\n\n', 'END'])
  })

  test('sends a comment too when the model only says what this surface does not pass on', async () => {
    const { write, read, stream } = open()
    const talking = setInterval(() => write.give(event('')), 1_000)
    const reading = read()
    await vi.advanceTimersByTimeAsync(HEARTBEAT_MS)
    expect(await reading).toBe(': keep-alive\n\n')
    clearInterval(talking)
    stream.cancel()
  })

  test('is read no faster than it is asked for', async () => {
    const { write, read, stream } = open()
    for (const text of ['a', 'b', 'c', 'd']) write.give(event(text))
    await read()
    await read()
    await vi.advanceTimersByTimeAsync(60_000)
    expect(write.reads()).toBe(2)
    stream.cancel()
  })

  test.each<[string, unknown, string]>([
    ['the connection breaks', new Error('SECRET'), 'request_failed'],
    ['the model gives up', new BrokenStream({ code: 'timeout' }), 'timeout'],
  ])('says so, then errs, when %s', async (_what, fault, code) => {
    const { write, read, stream, onBroken } = open()
    write.give(event('a'))
    expect(await read()).toBe('data: a\n\n')
    write.fail(fault)
    expect(await read()).toBe(`data: failed: ${code}\n\n`)
    await expect(stream.read()).rejects.toBeInstanceOf(BrokenStream)
    expect(onBroken.mock.calls[0]?.[0].failure).toEqual({ code })
  })

  test('cancels the model at once, even while it waits for it', async () => {
    const { read, stream, cancelled, onBroken } = open()
    const waiting = read()
    await vi.advanceTimersByTimeAsync(1)
    stream.cancel('left')
    expect(cancelled).toHaveBeenCalledWith('left')
    expect(await waiting).toBe('END')
    expect(onBroken).not.toHaveBeenCalled()
  })
})
