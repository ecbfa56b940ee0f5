import { systemTime, type Time } from './time.ts'

/**
 * Waits for work no longer than a deadline, and tells the work by its signal when the time is up. The caller goes on
 * even if the work ignores the signal: a store that hangs must not hang a request.
 *
 * @param deadlineMs milliseconds
 * @throws DOMException `TimeoutError` at the deadline; whatever the work throws before.
 */
export async function withDeadline<T>(
  deadlineMs: number,
  work: (signal: AbortSignal) => Promise<T>,
  { after }: Pick<Time, 'after'> = systemTime,
): Promise<T> {
  const controller = new AbortController()
  const { promise: late, reject } = Promise.withResolvers<never>()
  const working = begin(work, controller.signal)
  // Whoever loses the race still settles; nobody listens to it any more.
  working.catch(() => {})
  const stop = after(deadlineMs, () => {
    const reason = new DOMException(`Not done within ${deadlineMs} ms`, 'TimeoutError')
    reject(reason)
    controller.abort(reason)
  })
  try {
    return await Promise.race([working, late])
  } finally {
    stop()
  }
}

/** What the work throws before its first await rejects, too. */
async function begin<T>(work: (signal: AbortSignal) => Promise<T>, signal: AbortSignal): Promise<T> {
  return work(signal)
}

/** Whether a fault is `withDeadline`'s own, or of a signal that timed out. */
export function isTimeout(error: unknown): boolean {
  return error instanceof DOMException && error.name === 'TimeoutError'
}
