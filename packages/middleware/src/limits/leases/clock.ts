import { CLOCK_LAG_MS } from '../policy/index.ts'
import type { StoreTime } from './store.ts'

/** How far a monotonic clock may drift from true time: 200 parts per million. */
const DRIFT = 2e-4
/** What is left of the lag that limits allow for, after the second that a `Date` header rounds away. */
const SLOWEST_REPLY_MS = CLOCK_LAG_MS - 1_000

/**
 * The store's time, never early: the latest instant that is certain to have passed.
 * Buckets refill by it, so an instance whose own clock is fast can't admit too much. It lags true time by at most
 * `CLOCK_LAG_MS`, and as the lag shrinks it catches up: an interval W may see the refill of W plus that lag.
 */
export interface StoreClock {
  /** Takes a reading. One whose reply took too long tells too little, and is left out. */
  observe(time: StoreTime): void
  /** Milliseconds since 1970; `undefined` before the first reading. */
  earliest(): number | undefined
}

/** @param now milliseconds on a monotonic clock */
export function storeClock(now: () => number): StoreClock {
  let best: StoreTime | undefined
  const aged = (time: StoreTime) => time.date + Math.max(0, now() - time.received) * (1 - DRIFT)
  return {
    observe(time) {
      if (time.received - time.sent > SLOWEST_REPLY_MS) return
      if (best === undefined || aged(time) > aged(best)) best = time
    },
    earliest: () => (best === undefined ? undefined : Math.floor(aged(best))),
  }
}
