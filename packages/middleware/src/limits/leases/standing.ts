import type { RequestLimit } from '../policy/index.ts'
import { available, waitFor } from './bucket.ts'
import type { Balance } from './row.ts'

/** Where one limit stands after a decision. */
export interface Standing {
  readonly limit: RequestLimit
  /** Whole requests left. */
  readonly remaining: number
  /** Milliseconds until one more comes back; 0 when the bucket is full. */
  readonly nextMs: number
}

/** @param at the store's time, milliseconds */
export function standingOf({ limit, bucket }: Balance, at: number): Standing {
  const remaining = available(bucket, limit)
  const full = remaining >= limit.capacity
  return { limit, remaining, nextMs: full ? 0 : waitFor(bucket, limit, at, remaining + 1) }
}

/** Milliseconds until every limit has room for one request; 0 if all have. */
export function waitForRoom(standings: readonly Standing[]): number {
  return Math.max(0, ...standings.filter(({ remaining }) => remaining === 0).map(({ nextMs }) => nextMs))
}
