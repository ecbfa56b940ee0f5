import type { StoreTime } from './store.ts'

/** How far a monotonic clock may drift from true time: 200 parts per million. */
const DRIFT = 2e-4

/**
 * The store's time, never early: the latest instant that is certain to have passed.
 * Buckets refill by it, so an instance whose own clock is fast can't admit too much. It lags true time by up to the
 * second that a `Date` header rounds away, plus the reply's way back.
 */
export interface StoreClock {
  observe(time: StoreTime): void
  /** Milliseconds since 1970. @throws if nothing was observed yet. */
  earliest(): number
}

/** @param now milliseconds on a monotonic clock */
export function storeClock(now: () => number): StoreClock {
  let anchor: { readonly date: number; readonly received: number } | undefined
  const aged = (time: StoreTime) => time.date + Math.max(0, now() - time.received) * (1 - DRIFT)
  return {
    observe(time) {
      if (anchor === undefined || aged(time) > aged(anchor)) anchor = time
    },
    earliest() {
      if (anchor === undefined) throw new Error('The store has not told the time yet')
      return Math.floor(aged(anchor))
    },
  }
}
