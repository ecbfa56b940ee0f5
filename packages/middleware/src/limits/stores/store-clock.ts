import type { Time } from '../../pipeline/index.ts'
import type { StoreTime } from './counter-store.ts'

/** How far a monotonic clock may drift from true time: 200 parts per million. */
const DRIFT = 2e-4

/**
 * The store's time as an interval that holds it for certain. A bucket refills by its beginning and a lease is spent only
 * before its end, so that no instance's own clock, however wrong, can admit too much.
 */
export interface StoreClock {
  /** The wall clock, but for what it was set back: only forwards does it tell of a sleep. Milliseconds. */
  wall(): number
  /**
   * Takes a reading. Readings are intersected: the interval soon is far narrower than a `Date` header's second.
   *
   * @param askedAt what `wall` said before the question was sent: only it knows of a sleep until the answer
   */
  observe(time: StoreTime, askedAt: number): void
  /** `undefined` before the first reading. */
  interval(): StoreInterval | undefined
}

/** Milliseconds since 1970; whole numbers, rounded outwards. */
export interface StoreInterval {
  /** Has passed for certain. */
  readonly earliest: number
  /** Has not passed yet, or only just. */
  readonly latest: number
}

const WIDE_MS = 2_500

/** Whether the clock may be gone by: one that knows no better was asleep, and must be set before anybody is refused. */
export function isSet(interval: StoreInterval | undefined): boolean {
  return interval !== undefined && interval.latest - interval.earliest <= WIDE_MS
}

interface Edge {
  readonly at: number
  readonly now: number
  readonly wall: number
}

export function storeClock({ now, wallClock }: Pick<Time, 'now' | 'wallClock'>): StoreClock {
  let last = { now: now(), wall: wallClock() }
  let setBack = 0

  function wall(): number {
    const next = { now: now(), wall: wallClock() }
    setBack += Math.max(0, next.now - last.now - (next.wall - last.wall))
    last = next
    return next.wall + setBack
  }

  let low: Edge | undefined
  let high: Edge | undefined

  // Slow for the beginning and fast for the end, so that drift only widens the interval. The wall clock counts for the
  // end alone: it knows of the time that a suspended machine slept through.
  const earliestFrom = (edge: Edge) => edge.at + Math.max(0, now() - edge.now) * (1 - DRIFT)
  const latestFrom = (edge: Edge) => edge.at + Math.max(0, now() - edge.now, wall() - edge.wall) * (1 + DRIFT)

  return {
    wall,

    observe({ date, resolutionMs, sent, received }, askedAt) {
      const newLow = { at: date, now: received, wall: askedAt }
      const newHigh = { at: date + resolutionMs, now: sent, wall: askedAt }
      if (low === undefined || earliestFrom(newLow) > earliestFrom(low)) low = newLow
      if (high === undefined || latestFrom(newHigh) < latestFrom(high)) high = newHigh
      // Readings that exclude each other: the store's clock, or ours, was set. The newest one counts.
      if (earliestFrom(low) > latestFrom(high)) {
        low = newLow
        high = newHigh
      }
    },
    interval() {
      if (low === undefined || high === undefined) return undefined
      return { earliest: Math.floor(earliestFrom(low)), latest: Math.ceil(latestFrom(high)) }
    },
  }
}
