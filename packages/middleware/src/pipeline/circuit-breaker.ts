import type { Time } from './time.ts'

export interface CircuitBreakerOptions {
  readonly time: Pick<Time, 'now'>
  /** So many failures one after the other are an outage, and not a slow moment. */
  readonly opensAfter: number
  /**
   * How long an outage is waited out before the next probe, in milliseconds. A function, for jitter.
   *
   * @param pauses how many there were of this outage before
   */
  readonly pauseMs: (pauses: number) => number
  /** How long a probe may take until another is let go, in milliseconds; as long as a pause by default. */
  readonly probeMs?: number | undefined
  /** Told of the first failure of a series. */
  readonly onFailing?: ((cause: unknown) => void) | undefined
  /** Told when a series of failures is over. */
  readonly onRecovered?: ((series: { readonly failedMs: number; readonly failures: number }) => void) | undefined
}

/**
 * Keeps callers from waiting for a store, or a model's service, that fails: while it is open, one probe a pause may ask, and all
 * others are answered without. What is a failure is for its owner to say: a defect in the code is none of the store's.
 */
export interface CircuitBreaker {
  /** Whether to ask the store now. Who is told so while it fails is the probe. */
  allows(): boolean
  /** How long `allows` will say no, in milliseconds; 0 where it would say yes now. Claims nothing. */
  waitMs(): number
  isOpen(): boolean
  /** The probe has told nothing: the next one may ask at once. */
  release(): void
  succeeded(): void
  /** @param sentAt when the call was sent, from which the pause counts; now by default */
  failed(cause: unknown, sentAt?: number): void
  /** Lets the next one ask after a pause only, and counts no failure: the call came to nothing by a defect in the code. */
  rest(sentAt?: number): void
  /** For how long the store has been failing, in milliseconds; `undefined` while it works. */
  failingFor(): number | undefined
}

export function circuitBreaker(options: CircuitBreakerOptions): CircuitBreaker {
  const { time, opensAfter, pauseMs, probeMs, onFailing, onRecovered } = options
  let failing: { readonly since: number; failures: number } | undefined
  let restsUntil = Number.NEGATIVE_INFINITY
  let pauses = 0

  const isOpen = () => failing !== undefined && failing.failures >= opensAfter
  const rest = (from = time.now()) => {
    restsUntil = from + pauseMs(pauses)
    pauses += 1
  }
  return {
    allows() {
      if (time.now() < restsUntil) return false
      if (!isOpen()) return true
      if (probeMs === undefined) rest()
      else restsUntil = time.now() + probeMs
      return true
    },
    waitMs: () => Math.max(0, restsUntil - time.now()),
    isOpen,
    release() {
      restsUntil = Number.NEGATIVE_INFINITY
    },
    succeeded() {
      restsUntil = Number.NEGATIVE_INFINITY
      pauses = 0
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
