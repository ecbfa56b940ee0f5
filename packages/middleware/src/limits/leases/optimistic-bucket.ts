import type { RateLimit } from '../../policy/index.ts'
import { type Bucket, roll, waitFor } from '../accounts/bucket.ts'

/**
 * The most requests that a bucket can have room for, as far as this instance knows: what it saw in the row and holds
 * itself, and all refill since then by our monotonic clock.
 *
 * The row says less. It leaves out refill that the store's clock does not yet make certain, and refill that units which are
 * spent leave no room for until they are written off. The row alone decides what is handed out. This bucket tells what a
 * request lacks for which the row has no room: units, then it is refused; or certainty alone, then it waits.
 */
export interface OptimisticBucket {
  /** To be called when units are spent, and with fewer than none when they came back unused. */
  use(units: number, now: number): void
  /**
   * To be called when a request for units begins to wait for its decision, and with fewer than none when it has one. If all
   * were certain it would have been served at once, so what it waits for leaves room for refill.
   */
  await(units: number, now: number): void
  /** To be called when the row is seen. */
  saw(seen: SeenBucket, now: number): void
  /** Milliseconds until it has what all requests wait for; 0 for now. */
  waitMs(now: number): number
}

export interface SeenBucket {
  /** Units that the row has left, and those that this instance holds. */
  readonly units: number
  /** Units that the row counts for other instances. */
  readonly others: number
  /** Whether no other instance has written the row since it was seen last: then what was known before still holds. */
  readonly isOwn: boolean
}

/** @param now our monotonic clock, milliseconds */
export function optimisticBucket({ capacity, refill, periodMs }: RateLimit, now: number): OptimisticBucket {
  let bucket: Bucket = { level: 0, at: Math.floor(now) }
  let awaited = 0
  let others = 0
  const size = () => ({ capacity: Math.max(0, capacity - others) + awaited, refill, periodMs })
  const rolled = (to: number) => roll(bucket, size(), Math.floor(to))
  return {
    use(units, to) {
      const { level, at } = rolled(to)
      bucket = { level: Math.max(0, level - units * periodMs), at }
    },
    await(units, to) {
      bucket = rolled(to)
      awaited += units
    },
    saw(seen, to) {
      const { level, at } = rolled(to)
      others = seen.others
      const known = seen.units * periodMs
      bucket = { level: seen.isOwn ? Math.max(level, known) : known, at }
    },
    waitMs: (to) => waitFor(rolled(to), size(), Math.floor(to), awaited),
  }
}
