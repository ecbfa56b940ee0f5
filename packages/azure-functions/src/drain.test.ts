import { createRequire } from 'node:module'
import { type Entry, generate, jsonResponse, type trace as Trace } from '@tollgate/middleware'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'

// The library's classes can't be imported by name as an ES module.
const { HttpRequest, InvocationContext } = createRequire(import.meta.url)('@azure/functions')

type Adapter = typeof import('./http-adapter.ts')

/** A process of its own: a drain is its end. */
let adapter: Adapter
let trace: typeof Trace
beforeEach(async () => {
  vi.resetModules()
  adapter = await import('./http-adapter.ts')
  ;({ trace } = await import('@tollgate/middleware'))
  vi.useFakeTimers()
})
afterEach(() => vi.useRealTimers())

const lines: Record<string, unknown>[] = []
function send(entry: Entry) {
  lines.length = 0
  const invocation = new InvocationContext({ logHandler: (_: string, line: string) => lines.push(JSON.parse(line)) })
  const request = new HttpRequest({ url: 'http://127.0.0.1/api/generate', method: 'POST', body: { string: 'x' } })
  return adapter.httpHandler(entry)(request, invocation) as Promise<{ status: number; headers: Record<string, string> }>
}
/** Answers when the test says so, or when its request is ended. */
function waiting() {
  const told = Promise.withResolvers<void>()
  const entry = trace({
    refuse: generate.refuse,
    handler:
      () =>
      async ({ signal }) => {
        await Promise.race([
          told.promise,
          new Promise((_, reject) => signal.addEventListener('abort', () => reject(signal.reason))),
        ])
        return jsonResponse(200, {})
      },
  })
  return { entry, tell: () => told.resolve() }
}

describe('H2: the end of the process', () => {
  test('waits for a request that ends by itself', async () => {
    const { entry, tell } = waiting()
    const answer = send(entry)
    const drained = adapter.drainRequests({ waitMs: 4_000, endMs: 500 })
    await vi.advanceTimersByTimeAsync(3_000)
    tell()
    expect([(await answer).status, await drained]).toEqual([200, 0])
  })

  test('ends one that takes longer, with 503 and Retry-After and its line', async () => {
    const answer = send(waiting().entry)
    const drained = adapter.drainRequests({ waitMs: 4_000, endMs: 500 })
    await vi.advanceTimersByTimeAsync(4_000)
    const { status, headers } = await answer
    expect([status, headers['retry-after'], await drained]).toEqual([503, '1', 0])
    expect(lines).toEqual([expect.objectContaining({ event: 'request', refusal: 'shutting_down', status: 503 })])
  })

  test('refuses one that comes later at once, and runs nothing for it', async () => {
    const drained = adapter.drainRequests({ waitMs: 4_000, endMs: 500 })
    const handler = vi.fn()
    const { status, headers } = await send(trace({ refuse: generate.refuse, handler }))
    expect([status, headers['retry-after']]).toEqual([503, '1'])
    expect(handler).not.toHaveBeenCalled()
    expect(lines).toEqual([expect.objectContaining({ event: 'request', refusal: 'shutting_down' })])
    expect(await drained).toBe(0)
  })

  test('goes on without one that does not end, and says so', async () => {
    void send(() => new Promise(() => {}))
    const drained = adapter.drainRequests({ waitMs: 4_000, endMs: 500 })
    await vi.advanceTimersByTimeAsync(4_500)
    expect(await drained).toBe(1)
  })
})

test('H3: a request that takes longer than any may is ended before the host ends the worker', async () => {
  const answer = send(waiting().entry)
  await vi.advanceTimersByTimeAsync(adapter.MAX_REQUEST_MS)
  expect((await answer).status).toBe(408)
  expect(lines).toEqual([expect.objectContaining({ event: 'request', refusal: 'request_timeout', status: 408 })])
})
