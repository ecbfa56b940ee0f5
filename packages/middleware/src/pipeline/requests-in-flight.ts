import { RequestEnded } from './ended.ts'
import type { Refusal } from './refusal.ts'

/** The answer to a request that meets the end of this process. Another instance can take it. */
export const SHUTTING_DOWN: Refusal = {
  kind: 'refusal',
  code: 'shutting_down',
  status: 503,
  message: 'This instance is shutting down. Please try again.',
  headers: { 'retry-after': '1' },
}

export interface DrainOptions {
  /** How long requests in flight may take to end by themselves, in milliseconds. */
  readonly waitMs: number
  /** How long those that were ended may take to be answered and logged, in milliseconds. */
  readonly endMs: number
}

/** The requests that a process is answering, so that its end can wait for them, and end those that take longer. */
export interface RequestsInFlight {
  /**
   * Counts a request from now on. Its controller is the one whose signal the request carries: it is aborted with
   * `RequestEnded` (`shutting_down`) when the process ends, and at once for a request that comes after that.
   *
   * @returns to be called once, when the request is answered and its line is written
   */
  enter(request: AbortController): () => void
  /**
   * Refuses new requests, waits for those in flight, and ends those that are left.
   *
   * @returns how many are in flight still
   */
  drain(options: DrainOptions): Promise<number>
}

export function requestsInFlight(): RequestsInFlight {
  /**
   * In places that are used again. A set makes a table anew every few requests, and each table that the collector has yet to
   * find keeps all requests in it, with whatever their signals hold: a fifth of a stream's cost.
   */
  const places: (AbortController | undefined)[] = []
  const free: number[] = []
  const count = () => places.length - free.length
  let waiting: (() => void) | undefined
  let draining = false

  const end = (request: AbortController) => request.abort(new RequestEnded('shutting_down', SHUTTING_DOWN))

  /** Resolves when none is in flight, or the time is up. */
  async function empty(ms: number): Promise<void> {
    if (count() === 0) return
    const { promise, resolve } = Promise.withResolvers<void>()
    const timer = setTimeout(resolve, ms)
    waiting = resolve
    await promise
    clearTimeout(timer)
  }

  return {
    enter(request) {
      const place = free.pop() ?? places.length
      places[place] = request
      if (draining) end(request)
      return () => {
        places[place] = undefined
        free.push(place)
        if (count() === 0) waiting?.()
      }
    },
    async drain({ waitMs, endMs }) {
      draining = true
      await empty(waitMs)
      for (const request of places) if (request !== undefined) end(request)
      await empty(endMs)
      return count()
    },
  }
}
