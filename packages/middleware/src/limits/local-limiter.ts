import { LRUCache } from 'lru-cache'
import { available, type Bucket, type BucketSize, fullBucket, roll, take, waitFor } from './accounts/bucket.ts'

export interface LocalLimiterOptions {
  readonly each: BucketSize
  /** All keys together. */
  readonly total: BucketSize
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** One unit, taken before it is known whether it is to be charged. Exactly one of the two is to be called, once. */
export interface LocalReservation {
  charge(): void
  giveBack(): void
}

/** That there is no room now. */
export interface NoLocalRoom {
  /** Milliseconds until there is room for one, if nothing is given back. */
  readonly retryAfterMs: number
  /**
   * Resolves when the key has room again, or all that it has reserved is settled; `undefined` where it has nothing
   * reserved, or more than 1,000 wait already.
   */
  readonly settled: Promise<void> | undefined
}

/** A limit of this process alone, for what must not cost a storage call. Never for what a consumer was promised. */
export interface LocalLimiter {
  /**
   * Takes one from the key's bucket and from the total. A key that was not charged within the time in which its bucket
   * refills, and that has nothing reserved, has room for one whatever the total says: the total bounds the keys that were
   * charged, and shuts out no other.
   */
  reserve(key: string): LocalReservation | NoLocalRoom
}

const MAX_BUCKETS = 10_000
/** For the room of one key. */
const MAX_WAITING = 1_000

interface Own {
  bucket: Bucket
  /** Taken, and neither charged nor given back. */
  reserved: number
  /** When it was last charged, in milliseconds. */
  chargedAt: number
  /** Told, the first first, when reservations are settled. */
  waiting: (() => void)[]
}

export function localLimiter({ each, total, now }: LocalLimiterOptions): LocalLimiter {
  const owns = new LRUCache<string, Own>({ max: MAX_BUCKETS })
  const refillsInMs = (each.capacity * each.periodMs) / each.refill
  let all = fullBucket(total, Math.floor(now()))

  function settle(own: Own, hasRoom: boolean): void {
    own.reserved -= 1
    const told = own.waiting.splice(0, own.reserved === 0 ? own.waiting.length : hasRoom ? 1 : 0)
    for (const tell of told) tell()
  }

  function ownOf(key: string, at: number): Own {
    const known = owns.get(key)
    if (known !== undefined) {
      known.bucket = roll(known.bucket, each, at)
      return known
    }
    const fresh = { bucket: fullBucket(each, at), reserved: 0, chargedAt: Number.NEGATIVE_INFINITY, waiting: [] }
    owns.set(key, fresh)
    return fresh
  }

  return {
    reserve(key) {
      const at = Math.floor(now())
      const own = ownOf(key, at)
      all = roll(all, total, at)
      const isFirst = own.reserved === 0 && at - own.chargedAt >= refillsInMs
      const [ownMs, totalMs] = [waitFor(own.bucket, each, at), isFirst ? 0 : waitFor(all, total, at)]
      if (ownMs > 0 || totalMs > 0) {
        const mayWait = own.reserved > 0 && own.waiting.length < MAX_WAITING
        const settled = mayWait ? new Promise<void>((resolve) => own.waiting.push(resolve)) : undefined
        return { retryAfterMs: Math.max(ownMs, totalMs), settled }
      }

      const fromTotal = Math.min(1, available(all, total))
      own.bucket = take(own.bucket, each, 1)
      all = take(all, total, fromTotal)
      own.reserved += 1
      return {
        charge() {
          own.chargedAt = Math.floor(now())
          settle(own, false)
        },
        giveBack() {
          own.bucket = putBack(own.bucket, each, 1)
          all = putBack(all, total, fromTotal)
          settle(own, true)
        },
      }
    },
  }
}

function putBack(bucket: Bucket, size: BucketSize, count: number): Bucket {
  return { ...bucket, level: Math.min(bucket.level + count * size.periodMs, size.capacity * size.periodMs) }
}
