import { type BaseContext, describeFault, type Middleware, type Refusal } from '../pipeline/index.ts'
import type { RequestLimit } from '../policy/index.ts'
import type { Decision, Limiter } from './limiter.ts'
import { rateLimitHeaders, retryAfterSeconds } from './rate-limit-headers.ts'
import type { Standing } from './standing.ts'
import { LimiterUnavailable } from './withdraw.ts'

/** Whose bucket a request takes from, and the limits on it. The same array object for as long as the limits stand. */
export interface Subject {
  /** Unique among all subjects, e.g. `consumer:alice`. */
  readonly id: string
  readonly limits: readonly RequestLimit[]
}

export interface RateLimitOptions<Needs extends object> {
  readonly limiter: Limiter
  /** The subject of a request, from what the rooms before have added; a refusal where it has none. */
  readonly subject: (context: Readonly<Needs & BaseContext>) => Subject | Refusal
}

/**
 * Admits a request if its subject's limits have room, else refuses with 429 (`rate_limit_exceeded`) and `Retry-After`.
 * 503 (`store_unavailable`) when the limits can't be checked: an unreachable store never admits.
 * Every answer that passes back through here tells where the limits stand; the 500 of a fault does not.
 *
 * @example
 * pipeline().use(authenticate(…)).use(rateLimit({ limiter, subject: ({ consumer }) => ({ id: consumer.id, limits }) }))
 */
export function rateLimit<Needs extends object>(options: RateLimitOptions<Needs>): Middleware<Needs> {
  return async function rateLimit(_request, context, next) {
    const subject = options.subject(context)
    if ('code' in subject) return context.refuse(subject)
    if (subject.limits.length === 0) return next()

    let decision: Decision
    try {
      decision = await options.limiter.admit(subject.id, subject.limits)
    } catch (error) {
      if (!(error instanceof LimiterUnavailable)) throw error
      context.log('error', 'limit not checked', describeFault(error))
      return context.refuse(unchecked())
    }
    const response = decision.admitted ? await next() : context.refuse(exceeded(decision.standings))
    for (const [name, value] of rateLimitHeaders(decision.standings)) response.headers.set(name, value)
    return response
  }
}

function exceeded(standings: readonly Standing[]): Refusal {
  return {
    code: 'rate_limit_exceeded',
    status: 429,
    message: 'Too many requests. Please try again later.',
    headers: { 'retry-after': String(retryAfterSeconds(standings)) },
  }
}

function unchecked(): Refusal {
  return {
    code: 'store_unavailable',
    status: 503,
    message: 'The rate limit could not be checked. Please try again.',
    headers: { 'retry-after': '1' },
  }
}
