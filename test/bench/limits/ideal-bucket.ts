import type { RateLimit } from '@tollgate/middleware'
import type { Decision } from './decision-log.ts'
import { isRequest } from './trial.ts'

/** A bucket that is told of everything at once. Times in milliseconds, on one clock. */
export interface IdealBucket {
  /** For how long there has been a unit to take; below 0: how long until there is one. */
  dueSince(at: number): number
  take(at: number): void
}

/** @param at when it begins, and is full */
export function idealBucket({ capacity, refill, periodMs }: RateLimit, at: number): IdealBucket {
  const gapMs = periodMs / refill
  /** When the next unit came, or will come; as if the bucket had no brim. */
  let next = at - (capacity - 1) * gapMs
  return {
    dueSince: (at) => at - next,
    take(at) {
      next = Math.max(next, at - (capacity - 1) * gapMs) + gapMs
    },
  }
}

/**
 * For how long, in milliseconds and at the worst, requests were refused while an ideal bucket would have had a unit for
 * them: how much later than promised a unit comes. Only where one process drives alone is that the limiter's own doing.
 * 0 where none was.
 */
export function longestWithheld(decisions: readonly Decision[], limit: RateLimit): number {
  // By the call, before which nothing was decided: so that a refusal is never blamed for what came after it.
  const requests = decisions.filter(isRequest).toSorted((a, b) => a.called - b.called)
  const bucket = idealBucket(limit, requests[0]?.called ?? 0)
  let longest = 0
  for (const { entry, called } of requests) {
    if (entry === 'admitted') bucket.take(called)
    else if (entry === 'refused') longest = Math.max(longest, bucket.dueSince(called))
  }
  return longest
}
