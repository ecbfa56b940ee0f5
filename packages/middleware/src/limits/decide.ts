import {
  type BaseContext,
  type GatewayRequest,
  type Refusal,
  type RequestRecord,
  refusalOfEnded,
  unlessEnded,
} from '../pipeline/index.ts'
import type { Claim, Decision, Denial } from './leases/decision.ts'
import { LimiterUnavailable } from './leases/decision.ts'
import type { Limiter } from './leases/limiter.ts'
import { addRateLimits } from './rate-limit-headers.ts'
import { denied, NOT_CHECKED } from './refusals.ts'

/**
 * The limiter's decision; a refusal where it has none. The record says why the limits were not checked. A request that ends
 * while it waits for it (its client has left) takes nothing.
 */
export async function decide(
  limiter: Limiter,
  claims: readonly Claim[],
  record: RequestRecord,
  { signal }: Pick<GatewayRequest, 'signal'>,
): Promise<Decision | Refusal> {
  try {
    const deciding = limiter.admit(claims)
    const decision = await unlessEnded(deciding, signal)
    if (decision === 'ended') {
      deciding.then(giveBack, () => {})
      return refusalOfEnded(signal)
    }
    if (decision.admitted && !decision.checked) record.limits = 'unchecked'
    return decision
  } catch (error) {
    if (!(error instanceof LimiterUnavailable)) throw error
    // Not logged for each request: the limiter tells of its store once.
    record.limits = error.code
    return NOT_CHECKED
  }
}

function giveBack(decision: Decision): void {
  if (decision.admitted) decision.cancel()
}

/** The answer to a request that a limit has no room for. */
export function turnAway(denial: Denial, { refuse, record }: BaseContext, now: number): Response {
  record.limit = denial.limit.name
  const response = refuse(denied(denial))
  addRateLimits(response.headers, denial.standings, now)
  return response
}
