import { LRUCache } from 'lru-cache'
import { available, type Bucket, type BucketSize, fullBucket, giveBack, roll, take, waitFor } from './bucket.ts'

export interface LocalLimiterOptions {
  readonly each: BucketSize
  /** All keys together. */
  readonly total: BucketSize
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** A limit of this process alone, for what must not cost a storage call. Never for what a consumer was promised. */
export interface LocalLimiter {
  /** Takes one from the key's bucket and the total; the milliseconds to wait, having taken nothing, if either is empty. */
  take(key: string): number
  giveBack(key: string): void
}

const MAX_BUCKETS = 10_000

export function localLimiter({ each, total, now }: LocalLimiterOptions): LocalLimiter {
  const buckets = new LRUCache<string, Bucket>({ max: MAX_BUCKETS })
  let all = fullBucket(total, Math.floor(now()))
  return {
    take(key) {
      const at = Math.floor(now())
      const own = roll(buckets.get(key) ?? fullBucket(each, at), each, at)
      all = roll(all, total, at)
      if (available(own, each) === 0 || available(all, total) === 0) {
        return Math.max(waitFor(own, each, at), waitFor(all, total, at))
      }
      buckets.set(key, take(own, each, 1))
      all = take(all, total, 1)
      return 0
    },
    giveBack(key) {
      const own = buckets.get(key)
      if (own !== undefined) buckets.set(key, giveBack(own, each, 1))
      all = giveBack(all, total, 1)
    },
  }
}
