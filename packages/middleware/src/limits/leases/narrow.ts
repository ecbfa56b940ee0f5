import { isOutage, pause, type Time, withDeadline } from '../../pipeline/index.ts'
import type { CounterStore } from '../stores/counter-store.ts'
import type { StoreClock } from '../stores/store-clock.ts'

export interface NarrowOptions {
  readonly store: CounterStore
  readonly clock: StoreClock
  readonly time: Time
  /** Told of what is no outage of the store. */
  readonly fault: (thrown: unknown) => void
}

/** A row that nobody writes: all that is asked for is the time. */
export const NARROW_SUBJECT = 'clock'
/** So wide an interval makes callers wait that need not; so narrow a one is not worth another read. */
const WIDE_MS = 60
const NARROW_MS = 25
const MAX_READS = 10
const READ_WITHIN_MS = 1_000

/**
 * Narrows the clock's interval by bisection: a read that reaches the store in the moment in which its second may just
 * have changed tells, by its `Date`, in which half of the interval the time is. From a second to a few hundredths takes
 * six reads in as many seconds, and only where somebody had to wait because the clock didn't know better.
 */
export function narrow({ store, clock, time, fault }: NarrowOptions): { start(): void } {
  let running = false
  let tripMs = 0

  const width = () => {
    const interval = clock.interval()
    return interval === undefined ? Number.POSITIVE_INFINITY : interval.latest - interval.earliest
  }

  async function read(signal: AbortSignal): Promise<void> {
    const [sent, asked] = [time.now(), clock.wall()]
    const reply = await store.read(NARROW_SUBJECT, signal)
    tripMs = time.now() - sent
    if (reply.time !== undefined) clock.observe(reply.time, asked)
  }

  async function bisect(): Promise<void> {
    for (let reads = 0; reads < MAX_READS && width() > Math.max(NARROW_MS, 2 * tripMs); reads += 1) {
      const interval = clock.interval()
      if (interval === undefined) return
      const middle = (interval.earliest + interval.latest) / 2 + tripMs / 2
      await pause(Math.ceil(middle / 1_000) * 1_000 - middle, time)
      await withDeadline(READ_WITHIN_MS, read, time)
    }
  }

  return {
    start() {
      if (running || width() <= WIDE_MS) return
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
