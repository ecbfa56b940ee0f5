import { durationMs } from './duration.ts'
import type { RequestLimit } from './policy.ts'

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
 * Strict: a tenth of the number as capacity and the rest as refill, so no period ever shows more than the number.
 */
export function requestLimit(document: RequestLimitDocument, name: string): RequestLimit {
  const { requests, burst = 0, strict = false } = document
  const capacity = strict ? Math.max(1, Math.floor(requests / 10)) : requests + burst
  return {
    name,
    quota: requests,
    periodMs: durationMs(document.per),
    burst,
    capacity,
    refill: strict ? requests - capacity : requests,
  }
}
