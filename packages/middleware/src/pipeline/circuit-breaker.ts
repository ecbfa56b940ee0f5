import type { Time } from './time.ts'

export interface CircuitBreakerOptions {
  readonly time: Pick<Time, 'now'>
  /** So many failures one after the other are an outage, and not a slow moment. */
  readonly opensAfter: number
  /** How long an outage is waited out before the next probe, in milliseconds. A function, for jitter. */
  readonly pauseMs: () => number
  /** Told of the first failure of a series. */
  readonly onFailing?: ((cause: unknown) => void) | undefined
  /** Told when a series of failures is over. */
  readonly onRecovered?: ((series: { readonly failedMs: number; readonly failures: number }) => void) | undefined
}

/**
 * Keeps callers from waiting for a store that fails: while it is open, one probe a pause may ask, and all others are
 * answered without. What is a failure is for its owner to say: a defect in the code is none of the store's.
 */
export interface CircuitBreaker {
  /** Whether to ask the store now. Who is told so while it fails is the probe. */
  allows(): boolean
  succeeded(): void
  /** @param sentAt when the call was sent, from which the pause counts; now by default */
  failed(cause: unknown, sentAt?: number): void
  /** Lets the next one ask after a pause only, and counts no failure: the call came to nothing by a defect in the code. */
  rest(sentAt?: number): void
  /** For how long the store has been failing, in milliseconds; `undefined` while it works. */
  failingFor(): number | undefined
}

export function circuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const { time, opensAfter, pauseMs, onFailing, onRecovered } = options
  let failing: { readonly since: number; failures: number } | undefined
  let restsUntil = Number.NEGATIVE_INFINITY

  const isOpen = () => failing !== undefined && failing.failures >= opensAfter
  const rest = (from = time.now()) => {
    restsUntil = from + pauseMs()
  }
  return {
    allows() {
      if (time.now() < restsUntil) return false
      if (isOpen()) rest()
      return true
    },
    succeeded() {
      restsUntil = Number.NEGATIVE_INFINITY
      if (failing === undefined) return
      const { since, failures } = failing
      failing = undefined
      onRecovered?.({ failedMs: time.now() - since, failures })
    },
    failed(cause, sentAt = time.now()) {
      const isFirst = failing === undefined
      failing ??= { since: sentAt, failures: 0 }
      failing.failures += 1
      if (isOpen()) rest(sentAt)
      if (isFirst) onFailing?.(cause)
    },
    rest,
    failingFor: () => (failing === undefined ? undefined : time.now() - failing.since),
  }
}
