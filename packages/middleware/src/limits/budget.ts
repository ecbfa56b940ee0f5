import { noteUsage, withOutputBound } from '../completion/index.ts'
import {
  type BaseContext,
  type GatewayRequest,
  isEventStream,
  type Middleware,
  type Refusal,
  tap,
} from '../pipeline/index.ts'
import { largestClaim } from '../policy/index.ts'
import { type Held, usageLimits } from './claims.ts'
import { decide, turnAway } from './decide.ts'
import type { Decision, Denial, Subject } from './leases/decision.ts'
import type { Limiter } from './leases/limiter.ts'
import { meteredStream } from './metered-stream.ts'
import { addRateLimits } from './rate-limit-headers.ts'
import { claimsOf, fitted, type Metered, type Reservation, type Room, reservationFor } from './reservation.ts'
import { type Settlement, settlement } from './settlement.ts'

export interface BudgetOptions<Needs extends object> {
  readonly limiter: Limiter
  /** Whose limits hold, from what the rooms before have added; a refusal where that can't be told. */
  readonly subjects: (context: Readonly<Needs & BaseContext>) => readonly Subject[] | Refusal
  /** Milliseconds since 1970, to tell a month's length. */
  readonly wallClock: () => number
}

/**
 * Reserves the most that a completion can take of the limits on tokens and money, all or none, and settles at the end
 * what it took: what the model tells, nothing where it certainly generated nothing, and all of it where nobody knows,
 * which the record calls `uncertain`. Where a budget has less left, the answer's bound is lowered to that.
 *
 * Refuses with 429 (`rate_limit_exceeded`, `insufficient_quota`), 400 (`request_too_expensive`, `input_unbounded`), 403
 * (`model_not_priced`) and 503 (`store_unavailable`). Costs nothing where no such limit holds.
 *
 * The room within must note the usage of a plain answer on the record, and of a failed call whether it is `unspent`.
 */
export function budget<Needs extends object>(
  options: BudgetOptions<Needs>,
): Middleware<Needs & Metered, Pick<Metered, 'routed'>> {
  const { limiter, wallClock } = options

  return async function budget(request, context, next) {
    const { routed, record } = context
    const subjects = options.subjects(context)
    if ('code' in subjects) return context.refuse(subjects)
    const limits = usageLimits(subjects, routed.model)
    if (limits.length === 0) return uncounted(await next({ routed }), context)

    const asked = reservationFor(limits, context)
    if ('code' in asked) return context.refuse(asked)
    const { decision, reserved } = await reserve(limits, asked, context, request)
    if ('code' in decision) return context.refuse(decision)
    if (!decision.admitted) return turnAway(decision, context, wallClock())

    const settled = settlement(decision, reserved, context)
    const isClamped = reserved.output.each < asked.output.each
    if (isClamped) record.clamped = true
    const body = isClamped ? withOutputBound(routed.body, reserved.output.each) : routed.body
    let response: Response
    try {
      response = await next({ routed: { ...routed, body } })
    } catch (fault) {
      if (record.upstream?.unspent) settled.unspent()
      else settled.uncertain(record.usage)
      throw fault
    }
    if (decision.checked) addRateLimits(response.headers, decision.standings, wallClock())
    if (response.status === 200 && response.body !== null && isEventStream(response)) {
      const { status, headers } = response
      return new Response(metered(response.body, reserved, settled, request.signal), { status, headers })
    }
    // A model that answered with no completion may have told its usage all the same.
    if (record.usage !== undefined && !record.uncertain) settled.used(record.usage)
    else if (record.upstream?.unspent) settled.unspent()
    else settled.uncertain(record.usage)
    return response
  }

  async function reserve(
    limits: readonly Held[],
    asked: Reservation,
    { record }: BaseContext,
    request: GatewayRequest,
  ): Promise<{ readonly decision: Decision | Refusal; readonly reserved: Reservation }> {
    // A budget can't have more left than it is large.
    const reserved = fitted(asked, roomsIn(limits, largestClaim)) ?? asked
    const decision = await decide(limiter, claimsOf(limits, reserved), record, request)
    const less = 'code' in decision || decision.admitted ? undefined : whatIsLeft(reserved, decision)
    if (less === undefined) return { decision, reserved }
    return { decision: await decide(limiter, claimsOf(limits, less), record, request), reserved: less }
  }
}

/**
 * Where no limit counts what a call takes, the log tells it all the same: of one that ended before the model had told, the
 * most that it can have taken, as `uncertain`.
 */
function uncounted(response: Response, context: BaseContext & Metered): Response {
  const { record } = context
  const noteMost = () => {
    if (record.usage !== undefined || record.upstream?.unspent) return
    const most = reservationFor([], context)
    if ('code' in most) return
    record.uncertain = true
    noteUsage(record, most.usage)
  }
  const { status, headers, body } = response
  if (body === null || !isEventStream(response)) {
    if (status !== 200 && record.upstream !== undefined) noteMost()
    return response
  }
  return new Response(
    tap(body, (end) => end !== 'complete' && noteMost()),
    { status, headers },
  )
}

/** What budgets have to give; rates refill, so nothing is cut to fit them. */
function roomsIn(limits: readonly Held[], left: (limit: Held['limit']) => number): Room[] {
  return limits.filter(({ limit }) => limit.kind === 'budget').map(({ limit }) => ({ limit, left: left(limit) }))
}

/** The reservation cut to what the denial says that budgets have left; `undefined` where that is no use. */
function whatIsLeft(reserved: Reservation, { limit, retryAfterMs, standings }: Denial): Reservation | undefined {
  if (limit.kind !== 'budget' || !Number.isFinite(retryAfterMs)) return undefined
  const rooms = standings
    .filter((standing) => standing.limit.kind === 'budget')
    .map((standing) => ({ limit: standing.limit, left: standing.remaining }))
    // Of a row that was not looked at yet nothing is known, and another try will tell.
    .filter((room) => room.limit === limit || fitted(reserved, [room]) !== undefined)
  const less = fitted(reserved, rooms)
  return less === reserved ? undefined : less
}

function metered(
  source: ReadableStream<Uint8Array>,
  { usage }: Reservation,
  settled: Settlement,
  signal: AbortSignal,
): ReadableStream<Uint8Array> {
  return meteredStream(source, {
    maxOutput: usage.output,
    signal,
    onEnd: (told) => (told?.isCertain ? settled.used(told.usage) : settled.uncertain(told?.usage)),
  })
}
