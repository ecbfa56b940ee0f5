import type { RequestLimit } from '../policy/index.ts'
import { type Bucket, type BucketSize, fullBucket, resize, roll } from './bucket.ts'

/** One limit of a subject and what is left of it. */
export interface Balance {
  readonly limit: RequestLimit
  readonly bucket: Bucket
}

interface StoredBucket extends Bucket, BucketSize {}

/** A subject's row: all its buckets, so that one write takes from all of them or from none. */
interface Row {
  readonly v: 1
  readonly buckets: Readonly<Record<string, StoredBucket>>
}

/**
 * The balances of these limits, credited up to `now`. A limit that the row doesn't know begins full;
 * one whose size has changed keeps its level.
 *
 * @throws if the row was written by a version that this one can't read: a limit is never guessed.
 */
export function readRow(text: string | undefined, limits: readonly RequestLimit[], now: number): Balance[] {
  const row: Row = text === undefined ? { v: 1, buckets: {} } : JSON.parse(text)
  if (row.v !== 1) throw new Error('A counter row has an unknown version')
  return limits.map((limit) => ({ limit, bucket: currentBucket(row.buckets[limit.name], limit, now) }))
}

export function writeRow(balances: readonly Balance[]): string {
  const entries = balances.map(({ limit: { name, capacity, refill, periodMs }, bucket }) => {
    return [name, { ...bucket, capacity, refill, periodMs }]
  })
  return JSON.stringify({ v: 1, buckets: Object.fromEntries(entries) })
}

function currentBucket(stored: StoredBucket | undefined, limit: RequestLimit, now: number): Bucket {
  if (stored === undefined) return fullBucket(limit, now)
  const bucket = roll({ level: stored.level, at: stored.at }, stored, now)
  return sameSize(stored, limit) ? bucket : resize(bucket, stored, limit)
}

function sameSize(a: BucketSize, b: BucketSize): boolean {
  return a.capacity === b.capacity && a.refill === b.refill && a.periodMs === b.periodMs
}
