import type { RequestLimit } from '../policy/index.ts'
import { available, type Bucket, type BucketSize, fullBucket, resize, roll } from './bucket.ts'

/** One limit of a subject and what is left of it. */
export interface Balance {
  readonly limit: RequestLimit
  readonly bucket: Bucket
}

interface StoredBucket extends Bucket, BucketSize {}

/** A subject's row: all its buckets, so that one write takes from all of them or from none. */
export interface Row {
  readonly v: 1
  /** By the limit's period, which a plan has once: whatever else a policy changes, the level stays. */
  readonly buckets: Readonly<Record<string, StoredBucket>>
}

/** @throws if the row was written by a version that this one can't read: a limit is never guessed. */
export function parseRow(text: string | undefined): Row {
  const row: Row = text === undefined ? { v: 1, buckets: {} } : JSON.parse(text)
  if (row.v !== 1) throw new Error('A counter row has an unknown version')
  return row
}

/**
 * The balances of these limits, credited up to `now`. A limit that the row doesn't know begins full;
 * one whose size has changed keeps its level.
 */
export function balancesOf(row: Row, limits: readonly RequestLimit[], now: number): Balance[] {
  return limits.map((limit) => ({ limit, bucket: currentBucket(row.buckets[limit.periodMs], limit, now) }))
}

/**
 * The row with these balances. Buckets that these limits don't know are kept until they are full again, which is what
 * a missing one counts as: an instance with an older or newer policy must not reset what another one counts.
 */
export function writeRow(row: Row, balances: readonly Balance[], now: number): string {
  const kept = Object.entries(row.buckets).filter(
    ([, stored]) => available(roll(stored, stored, now), stored) < stored.capacity,
  )
  const counted = balances.map(({ limit: { capacity, refill, periodMs }, bucket: { level, at } }) => {
    return [String(periodMs), { level, at, capacity, refill, periodMs }] as const
  })
  return JSON.stringify({ v: 1, buckets: { ...Object.fromEntries(kept), ...Object.fromEntries(counted) } })
}

function currentBucket(stored: StoredBucket | undefined, limit: RequestLimit, now: number): Bucket {
  if (stored === undefined) return fullBucket(limit, now)
  const bucket = roll({ level: stored.level, at: stored.at }, stored, now)
  const sameSize = stored.capacity === limit.capacity && stored.refill === limit.refill
  return sameSize ? bucket : resize(bucket, stored, limit)
}
