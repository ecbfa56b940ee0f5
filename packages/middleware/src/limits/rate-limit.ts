import {
  type BaseContext,
  type GatewayRequest,
  isEventStream,
  type Middleware,
  type Refusal,
  RequestEnded,
  tap,
} from '../pipeline/index.ts'
import { decide, turnAway } from './decide.ts'
import type { Claim } from './leases/decision.ts'
import type { Limiter } from './leases/limiter.ts'
import { addRateLimits } from './rate-limit-headers.ts'
import { isRefusedByLimits, SLOT_LOST } from './refusals.ts'

export interface RateLimitOptions<Needs extends object> {
  readonly limiter: Limiter
  /** What a request takes, from what the rooms before have added; a refusal where that can't be told. */
  readonly claims: (context: Readonly<Needs & BaseContext>) => readonly Claim[] | Refusal
  /** Milliseconds since 1970, to tell a month's length. */
  readonly wallClock: () => number
}

/**
 * Admits a request if all its limits have room, else refuses with 429 (`rate_limit_exceeded`, `insufficient_quota`) and
 * `Retry-After`; 503 (`store_unavailable`) when the limits can't be checked. What it holds while it is in flight it gives
 * back when the answer ends: a stream's, when that ends, breaks or is given up. Where a limit further in refuses, it takes
 * nothing at all. A slot that can't be kept ends the request with 503 (`slot_lost`), or its stream with an error.
 *
 * Every answer that passes back through here tells where the limits stand; the 500 of a fault does not.
 *
 * @example
 * pipeline().use(authenticate(…)).use(rateLimit({ limiter, claims: ({ consumer }) => claimsOf(consumer), wallClock }))
 */
export function rateLimit<Needs extends object>(options: RateLimitOptions<Needs>): Middleware<Needs> {
  const { limiter, wallClock } = options

  return async function rateLimit(request, context, next) {
    const claims = options.claims(context)
    if ('code' in claims) return context.refuse(claims)
    if (claims.length === 0) return next()

    const decision = await decide(limiter, claims, context.record, request)
    if ('code' in decision) return context.refuse(decision)
    if (!decision.admitted) return turnAway(decision, context, wallClock())

    const { lost } = decision
    const hold = lost === undefined ? { request, stop: () => {} } : whileHeld(request, lost)
    const end = () => {
      hold.stop()
      decision.settle(() => 0)
    }
    let response: Response
    try {
      response = await next(undefined, hold.request)
    } catch (fault) {
      end()
      throw fault
    }
    if (decision.checked) addRateLimits(response.headers, decision.standings, wallClock())
    if (isRefusedByLimits(context.record.refusal)) decision.cancel()
    if (response.body !== null && isEventStream(response)) return untilEnd(response, request.signal, end)
    end()
    return response
  }
}

/** The request, whose signal also aborts when its slot is lost. */
function whileHeld(request: GatewayRequest, lost: AbortSignal): { readonly request: GatewayRequest; stop(): void } {
  const ended = new AbortController()
  const end = () => ended.abort(new RequestEnded('slot_lost', SLOT_LOST))
  if (lost.aborted) end()
  lost.addEventListener('abort', end)
  return {
    request: { ...request, signal: AbortSignal.any([request.signal, ended.signal]) },
    stop: () => lost.removeEventListener('abort', end),
  }
}

/** Calls back once the stream has ended in whatever way, or the client has left it unread. */
function untilEnd({ body, status, headers }: Response, left: AbortSignal, onEnd: () => void): Response {
  if (body === null) throw new Error('A stream without a body came from inside')
  const end = () => {
    left.removeEventListener('abort', end)
    onEnd()
  }
  if (left.aborted) end()
  else left.addEventListener('abort', end)
  return new Response(tap(body, end), { status, headers })
}
