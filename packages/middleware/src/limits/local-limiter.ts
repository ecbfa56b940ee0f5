import { LRUCache } from 'lru-cache'
import { available, type Bucket, type BucketSize, fullBucket, roll, take, waitFor } from './accounts/bucket.ts'

export interface LocalLimiterOptions {
  readonly each: BucketSize
  /** All keys that are charged, together. */
  readonly total: BucketSize
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** A limit of this process alone, for what must not cost a storage call. Never for what a consumer was promised. */
export interface LocalLimiter {
  /**
   * Milliseconds until there is room for one; 0 if there is. A key that has not been charged lately has room whatever
   * the others did: the total bounds those that are charged, and shuts out nobody else.
   */
  waitFor(key: string): number
  /** Takes one from the key's bucket and from the total, as far as there is any. */
  charge(key: string): void
}

const MAX_BUCKETS = 10_000

export function localLimiter({ each, total, now }: LocalLimiterOptions): LocalLimiter {
  const buckets = new LRUCache<string, Bucket>({ max: MAX_BUCKETS })
  let all = fullBucket(total, Math.floor(now()))
  const own = (key: string, at: number) => roll(buckets.get(key) ?? fullBucket(each, at), each, at)
  return {
    waitFor(key) {
      const at = Math.floor(now())
      const bucket = own(key, at)
      if (available(bucket, each) >= each.capacity) return 0
      return Math.max(waitFor(bucket, each, at), waitFor(roll(all, total, at), total, at))
    },
    charge(key) {
      const at = Math.floor(now())
      buckets.set(key, takeOne(own(key, at), each))
      all = takeOne(roll(all, total, at), total)
    },
  }
}

function takeOne(bucket: Bucket, size: BucketSize): Bucket {
  return take(bucket, size, Math.min(1, available(bucket, size)))
}
