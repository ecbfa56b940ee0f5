import { isOutage, pause, type Time, withDeadline } from '../../pipeline/index.ts'
import type { CounterStore, StoreTime } from './counter-store.ts'

/** How far a monotonic clock may drift from true time: 200 parts per million. */
const DRIFT = 2e-4

/**
 * The store's time as an interval that holds it for certain. We never trust the local clock: buckets refill by the
 * interval's beginning and a lease is spent only before its end, so that no instance's wrong clock can admit too much.
 */
export interface StoreClock {
  /** The wall clock without the steps by which it was set back, in milliseconds: it runs on while the machine sleeps. */
  wall(): number
  /**
   * Takes a reading. Readings are intersected: the interval soon is far narrower than a `Date` header's second.
   *
   * @param askedAt what `wall` said before the request was sent: it alone shows that the machine slept until the reply
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

/**
 * Whether the interval is narrow enough to decide by. A wider one means that the machine slept: the clock must be read again
 * before a request is refused.
 */
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

  // The beginning ages slowly and the end fast, so that drift only widens the interval. The wall clock counts for the end
  // alone: it shows the time that a suspended machine slept through.
  const earliestFrom = (edge: Edge) => edge.at + Math.max(0, now() - edge.now) * (1 - DRIFT)
  const latestFrom = (edge: Edge) => edge.at + Math.max(0, now() - edge.now, wall() - edge.wall) * (1 + DRIFT)

  return {
    wall,

    observe({ date, resolutionMs, sent, received }, askedAt) {
      const newLow = { at: date, now: received, wall: askedAt }
      const newHigh = { at: date + resolutionMs, now: sent, wall: askedAt }
      if (low === undefined || earliestFrom(newLow) > earliestFrom(low)) low = newLow
      if (high === undefined || latestFrom(newHigh) < latestFrom(high)) high = newHigh
      // Two readings exclude each other: the store's clock, or ours, was set. The newest one counts.
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

export interface CalibrateClockOptions {
  readonly store: CounterStore
  readonly clock: StoreClock
  readonly time: Time
  /** Told of an error that is no outage of the store. */
  readonly fault: (thrown: unknown) => void
}

/** A subject without a row: its reads are made for the time in the reply. */
export const CLOCK_SUBJECT = 'clock'
/** A wider interval makes callers wait without need; a narrower one is not worth another read. Milliseconds. */
const CALIBRATE_ABOVE_MS = 60
const CALIBRATED_MS = 25
const MAX_READS = 10
const READ_WITHIN_MS = 1_000

/**
 * Narrows the clock's interval by bisection. A read that reaches the store when the interval's middle may just have become a
 * full second tells by its `Date` in which half of the interval the time is. From a second to a few hundredths takes six
 * reads in as many seconds; it is started only where a request had to wait because the interval was wide.
 */
export function calibrateClock({ store, clock, time, fault }: CalibrateClockOptions): { start(): void } {
  let running = false
  let tripMs = 0

  const width = () => {
    const interval = clock.interval()
    return interval === undefined ? Number.POSITIVE_INFINITY : interval.latest - interval.earliest
  }

  async function read(signal: AbortSignal): Promise<void> {
    const [sent, asked] = [time.now(), clock.wall()]
    const reply = await store.read(CLOCK_SUBJECT, signal)
    tripMs = time.now() - sent
    if (reply.time !== undefined) clock.observe(reply.time, asked)
  }

  async function bisect(): Promise<void> {
    for (let reads = 0; reads < MAX_READS && width() > Math.max(CALIBRATED_MS, 2 * tripMs); reads += 1) {
      const interval = clock.interval()
      if (interval === undefined) return
      const middle = (interval.earliest + interval.latest) / 2 + tripMs / 2
      await pause(Math.ceil(middle / 1_000) * 1_000 - middle, time)
      await withDeadline(READ_WITHIN_MS, read, time)
    }
  }

  return {
    start() {
      if (running || width() <= CALIBRATE_ABOVE_MS) return
      running = true
      void bisect()
        .catch((error) => {
          if (!isOutage(error)) fault(error)
        })
        .finally(() => {
          running = false
        })
    },
  }
}
