import { type CircuitBreaker, circuitBreaker, describeFault, isOutage, type Log, type Time } from '../pipeline/index.ts'

/** How long an outage is waited out before the store is tried again, in milliseconds. */
const PAUSE_MS = 200
/** The shortest time from one line on a fault to the next, in milliseconds: a defect in the code meets every request. */
const FAULT_LINE_MS = 1_000

export interface StoreHealthOptions {
  readonly time: Pick<Time, 'now'>
  /** Told when the store begins to fail, and when it works again; not of each failure. */
  readonly log: Log | undefined
  /** So many failures one after the other are an outage. */
  readonly opensAfter: number
  /** Whether to pause after a fault too, or to ask the store as before. */
  readonly restsAfterFault?: boolean
}

/** Whether a store is worth asking: while it is down, each call would cost a deadline, and each failure a line. */
export interface StoreHealth extends Pick<CircuitBreaker, 'allows' | 'succeeded'> {
  /**
   * A programming fault is no word of the store's: it is logged as what it is, once a second at most, with how many there
   * were since the line before.
   *
   * @param sentAt when the call was sent, from which a pause counts; now by default
   */
  failed(cause: unknown, sentAt?: number): void
}

/** @param part the store, as lines name it: `cache store` */
export function storeHealth(part: string, options: StoreHealthOptions): StoreHealth {
  const { time, log, opensAfter, restsAfterFault = false } = options
  const breaker = circuitBreaker({
    time,
    opensAfter,
    pauseMs: () => PAUSE_MS,
    onFailing: (cause) => log?.('warn', `${part} failed`, describeFault(cause)),
    onRecovered: ({ failedMs, failures }) =>
      log?.('warn', `${part} recovered`, { failedMs: Math.round(failedMs), failures }),
  })
  let faultToldAt = Number.NEGATIVE_INFINITY
  let faults = 0

  function tellFault(fault: unknown): void {
    faults += 1
    if (time.now() - faultToldAt < FAULT_LINE_MS) return
    log?.('error', 'fault', { in: part, times: faults, ...describeFault(fault) })
    faultToldAt = time.now()
    faults = 0
  }

  return {
    allows: breaker.allows,
    succeeded: breaker.succeeded,
    failed(cause, sentAt) {
      if (isOutage(cause)) return breaker.failed(cause, sentAt)
      tellFault(cause)
      if (restsAfterFault) breaker.rest(sentAt)
    },
  }
}
