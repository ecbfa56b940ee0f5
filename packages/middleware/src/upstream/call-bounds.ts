/** How long one call may take, and its end, by one timer. */
export interface CallBounds {
  /** Aborts when the call is over before its answer is: too late, its request's signal has aborted, or it was ended. */
  readonly signal: AbortSignal
  /**
   * What is waited for from now on must come within this, in milliseconds; else `onLate` is called, or the call is ended with
   * a `TimeoutError`. In the place of what was set before.
   */
  within(ms: number, onLate?: () => void): void
  /** It has come: only the whole is bounded now. */
  came(): void
  /** Ends the call. Does nothing once it is over. */
  abort(reason: unknown): void
  /** The call is over: nothing ends it any more. */
  done(): void
}

const LONGEST_TIMER_MS = 2 ** 31 - 1

/**
 * The timer looks at the clock when it fires, and is set anew for what is due then: each piece of a stream costs a look at the
 * clock, and no timer of its own.
 *
 * @param totalMs the longest that the call may take, in milliseconds from the first `within` on
 * @param left aborts when nobody waits for the answer any more
 */
export function callBounds(totalMs: number, left: AbortSignal): CallBounds {
  const over = new AbortController()
  let totalAt = Number.POSITIVE_INFINITY
  let dueAt = Number.POSITIVE_INFINITY
  let dueMs = 0
  let late: (() => void) | undefined
  let armedAt = Number.POSITIVE_INFINITY
  let timer: NodeJS.Timeout | undefined
  let isOver = false

  function done(): void {
    isOver = true
    clearTimeout(timer)
    left.removeEventListener('abort', onLeft)
  }
  function abort(reason: unknown): void {
    if (isOver) return
    done()
    over.abort(reason)
  }
  function onLeft(): void {
    abort(left.reason)
  }
  function fire(): void {
    const now = performance.now()
    if (now >= totalAt) abort(tooLate(totalMs))
    else if (now >= dueAt) {
      dueAt = Number.POSITIVE_INFINITY
      if (late === undefined) abort(tooLate(dueMs))
      else late()
    }
    if (!isOver) arm(now)
  }
  function arm(now: number): void {
    clearTimeout(timer)
    armedAt = Math.min(dueAt, totalAt)
    timer = setTimeout(fire, Math.min(Math.ceil(armedAt - now), LONGEST_TIMER_MS))
  }

  if (left.aborted) abort(left.reason)
  else left.addEventListener('abort', onLeft)
  return {
    signal: over.signal,
    within(ms, onLate) {
      if (isOver) return
      const now = performance.now()
      if (totalAt === Number.POSITIVE_INFINITY) totalAt = now + totalMs
      dueAt = now + ms
      dueMs = ms
      late = onLate
      if (Math.min(dueAt, totalAt) < armedAt) arm(now)
    },
    came() {
      dueAt = Number.POSITIVE_INFINITY
      late = undefined
    },
    abort,
    done,
  }
}

function tooLate(ms: number): DOMException {
  return new DOMException(`Not done within ${ms} ms`, 'TimeoutError')
}
