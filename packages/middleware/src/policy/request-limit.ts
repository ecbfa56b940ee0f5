import { durationMs } from './duration.ts'
import type { RequestLimit } from './policy.ts'

/**
 * How far the store's clock, as an instance sees it, may lag and then catch up: the second that a `Date` header rounds
 * away, and a second for the reply's way back.
 */
export const CLOCK_LAG_MS = 2_000

interface RequestLimitDocument {
  readonly requests: number
  readonly per: string
  readonly burst?: number | undefined
  readonly strict?: boolean | undefined
}

/**
 * The bucket that keeps a request limit's promise.
 *
 * Plain: capacity = requests + burst, refilled at the full rate, so a first period may show up to twice the number.
 * Strict: a tenth of the number as capacity, and as refill what may come back in the period and the clock's lag
 * without the two together passing the number.
 */
export function requestLimit(document: RequestLimitDocument, name: string): RequestLimit {
  const { requests, burst = 0, strict = false } = document
  const periodMs = durationMs(document.per)
  const capacity = strict ? Math.max(1, Math.floor(requests / 10)) : requests + burst
  return {
    name,
    quota: requests,
    periodMs,
    burst,
    capacity,
    refill: strict ? Math.floor(((requests - capacity) * periodMs) / (periodMs + CLOCK_LAG_MS)) : requests,
  }
}
