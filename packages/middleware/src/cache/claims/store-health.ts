import { describeFault, isOutage, type Log, type Time } from '../../pipeline/index.ts'
import { faultLog } from '../fault-log.ts'

/** So many failures one after the other are an outage, and not a slow moment. */
const OUTAGE_FAILURES = 3
/** How long an outage is waited out before the store is tried again, in milliseconds. */
const PAUSE_MS = 200

/** Whether a store is worth asking: while it is down, each question would cost a deadline, and each failure a line. */
export interface StoreHealth {
  mayAsk(): boolean
  succeeded(): void
  /** A programming fault is no word of the store's: it is logged as one, and the store is asked as before. */
  failed(cause: unknown): void
}

/** @param log told when the store begins to fail, and when it works again; not of each failure. */
export function storeHealth({ time, log }: { readonly time: Pick<Time, 'now'>; readonly log: Log }): StoreHealth {
  let failing: { readonly since: number; failures: number } | undefined
  let retryAt = Number.NEGATIVE_INFINITY
  const tellFault = faultLog('cache store', { time, log })
  return {
    mayAsk() {
      if (failing === undefined || failing.failures < OUTAGE_FAILURES) return true
      if (time.now() < retryAt) return false
      // One goes to see, and all others wait for what it finds.
      retryAt = time.now() + PAUSE_MS
      return true
    },
    succeeded() {
      if (failing === undefined) return
      const failedMs = Math.round(time.now() - failing.since)
      log('warn', 'cache store recovered', { failedMs, failures: failing.failures })
      failing = undefined
    },
    failed(cause) {
      if (!isOutage(cause)) return tellFault(cause)
      if (failing === undefined) log('warn', 'cache store failed', describeFault(cause))
      failing ??= { since: time.now(), failures: 0 }
      failing.failures += 1
      retryAt = time.now() + PAUSE_MS
    },
  }
}
