/**
 * A token bucket in integers. One request costs `periodMs` units and each millisecond brings `refill` units,
 * so that the refill of any number of milliseconds is exact: nothing is rounded.
 */
export interface BucketSize {
  /** The most requests that the bucket holds. */
  readonly capacity: number
  /** Requests that come back in each period. */
  readonly refill: number
  readonly periodMs: number
}

export interface Bucket {
  /** Units: requests × `periodMs`. Never negative, never above capacity. */
  readonly level: number
  /** Up to when refill was credited: milliseconds of the store's time. Only moves forward. */
  readonly at: number
}

export function fullBucket(size: BucketSize, at: number): Bucket {
  return { level: size.capacity * size.periodMs, at }
}

/** Credits the refill up to `now`. A `now` in the bucket's past changes nothing. */
export function roll(bucket: Bucket, size: BucketSize, now: number): Bucket {
  if (now <= bucket.at) return bucket
  const refilled = bucket.level + (now - bucket.at) * size.refill
  return { level: Math.min(refilled, size.capacity * size.periodMs), at: now }
}

/** Whole requests that can be taken now. */
export function available(bucket: Bucket, size: BucketSize): number {
  return Math.floor(bucket.level / size.periodMs)
}

export function take(bucket: Bucket, size: BucketSize, requests: number): Bucket {
  const level = bucket.level - requests * size.periodMs
  if (level < 0) throw new RangeError('More was taken from a bucket than it holds')
  return { ...bucket, level }
}

/** Milliseconds from `now` until `requests` can be taken, if no other request takes any. */
export function waitFor(bucket: Bucket, size: BucketSize, now: number, requests = 1): number {
  const missing = requests * size.periodMs - bucket.level
  if (missing <= 0) return 0
  return Math.ceil(missing / size.refill) + Math.max(0, bucket.at - now)
}
