import type { BaseContext, Refusal, RequestRecord } from '../pipeline/index.ts'
import type { Decision, Denial } from './leases/decision.ts'
import type { Limiter } from './leases/limiter.ts'
import type { Claim } from './leases/subject.ts'
import { LimiterUnavailable } from './leases/unavailable.ts'
import { addRateLimits } from './rate-limit-headers.ts'
import { denied, NOT_CHECKED } from './refusals.ts'

/** The limiter's decision; a refusal where it has none. The record says why the limits were not checked. */
export async function decide(
  limiter: Limiter,
  claims: readonly Claim[],
  record: RequestRecord,
): Promise<Decision | Refusal> {
  try {
    const decision = await limiter.admit(claims)
    if (decision.admitted && !decision.checked) record.limits = 'unchecked'
    return decision
  } catch (error) {
    if (!(error instanceof LimiterUnavailable)) throw error
    // Not logged for each request: the limiter tells of its store once.
    record.limits = error.code
    return NOT_CHECKED
  }
}

/** The answer to a request that a limit has no room for. */
export function turnAway(denial: Denial, { refuse, record }: BaseContext, now: number): Response {
  record.limit = denial.limit.name
  const response = refuse(denied(denial))
  addRateLimits(response.headers, denial.standings, now)
  return response
}
