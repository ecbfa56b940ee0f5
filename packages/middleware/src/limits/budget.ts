import { attemptsBefore, billedExtras, type Call, costOf, type Reply, refused } from '../operations/index.ts'
import {
  type BaseContext,
  describeFault,
  isRefusal,
  type Middleware,
  NOTHING_SPENT,
  type Refusal,
  refusalOfEnded,
  SPEND_UNKNOWN,
  type Story,
  tokensRead,
  tokensWritten,
  unlessEnded,
} from '../pipeline/index.ts'
import { largestClaim } from '../policy/index.ts'
import type { Admission, Decision, Denial } from './leases/decision.ts'
import { addRateLimits } from './rate-limit-headers.ts'
import { decide, type LimitOptions, turnAway } from './request-limits.ts'
import {
  claimsOf,
  fitted,
  logUnpriced,
  type Metered,
  type Remaining,
  type Reservation,
  reservationFor,
  tightened,
  unitsOf,
} from './reservation.ts'
import { type Charge, chargeOf, factsOf, type Spent, uncountedCharge, unitsCharged } from './settlement.ts'
import { type Held, type Limited, subjectsOf, usageLimits } from './subjects.ts'

export interface BudgetOptions extends LimitOptions {
  /** Told the most that an admitted call may take, where a limit counts it: what was reserved. */
  readonly onReserved?: (reserved: Reservation) => void
}

/** What the calls within may take. */
export interface Reserved {
  /** Calls to a target, one after the other. */
  readonly attempts: number
  /** The most output tokens, of all choices together; `undefined` where nothing limits it. */
  readonly output: number | undefined
  /** Reserves for one more call that may cost as much; `false` where a limit has no more. Left out where nothing is counted. */
  readonly cover?: () => Promise<boolean>
}

/** That no other answer serves: the cache, or who leaves it out, adds it. */
interface Asked {
  readonly asked: true
}

/**
 * Reserves the most that a call to a model can take of the limits on tokens and money, all or none, and settles at the end
 * what it took: what the model tells, nothing where it certainly generated nothing, and all of it where nobody knows,
 * which the log line calls `uncertain`. Where a budget has less left, the answer's bound is lowered to that, and the reply is
 * this request's alone.
 *
 * Refuses with 429 (`rate_limit_exceeded`, `insufficient_quota`), 400 (`request_too_expensive`, `input_unbounded`), 403
 * (`model_not_priced`, `plan_unavailable`) and 503 (`store_unavailable`). Asks no limiter where no such limit holds.
 *
 * The middleware within must say in the reply's `attempts` what was taken, and end a stream that would pass what is reserved.
 */
export function budget({
  limiter,
  wallClock,
  onReserved,
}: BudgetOptions): Middleware<
  Limited & Metered & Asked,
  { readonly reserved: Reserved } & Pick<Metered, 'routed'>,
  Call,
  Reply
> {
  return async function budget(call, context, next) {
    const { routed, tell, step, log } = context
    const subjects = subjectsOf(context.policy, context.consumer)
    const turned = (refusal: Refusal, { standings }: Partial<Decision> = {}, wanted?: Reservation) => {
      step('budget', refusal.code, standings && { standings, ...(wanted && { reserved: reservedFacts(wanted) }) })
      return refused(refusal, standings && addRateLimits({}, standings, wallClock()))
    }
    if (isRefusal(subjects)) return turned(subjects)
    const limits = usageLimits(subjects, routed.model.name)
    if (limits.length === 0) {
      step('budget', 'none')
      return uncounted(await next({ reserved: UNLIMITED, routed }), call, context)
    }

    const byBytes = reservationFor(limits, call, routed)
    if (isRefusal(byBytes)) return turned(byBytes)
    const tighter = tightened(byBytes, limits, call, routed)
    const asked = tighter instanceof Promise ? await unlessEnded(tighter, call.signal) : tighter
    if (asked === 'ended') return turned(refusalOfEnded(call.signal))
    const { decision, reserved } = await reserve(limits, asked, call, tell)
    if (isRefusal(decision)) return turned(decision)
    if (!decision.admitted) return turned(turnAway(decision, tell), decision, reserved)
    onReserved?.(reserved)

    /** One for each call that may have taken something, and for the next one. */
    const decisions: Admission[] = [decision]
    /** In a row of its own, as the first: all limits that count, or none. */
    const cover = async (): Promise<boolean> => {
      const more = await decide(limiter, claimsOf(limits, reserved), call.signal, tell)
      if (isRefusal(more) || !more.admitted) return false
      decisions.push(more)
      return true
    }
    const settle = (attempts: readonly Spent[]) => {
      try {
        for (const { spend } of attempts) if (spend.usage) logUnpriced(spend.usage.tokens, routed, log)
        const charges = attempts.map((attempt) => chargeOf(attempt, reserved, log))
        const units = decisions.map((_decision, index) => {
          const covered = coveredBy(index, decisions.length, attempts, charges)
          return new Map(limits.map(({ limit }) => [limit, unitsCharged(limit, covered)]))
        })
        for (const [index, { settle }] of decisions.entries()) settle((limit) => units[index]?.get(limit) ?? 0)
        const facts = factsOf(charges, attempts)
        tell(facts)
        step('settle', facts.uncertain ? 'uncertain' : 'certain')
      } catch (fault) {
        // What can't be reckoned has taken all that was reserved; the answer is there all the same.
        log('error', 'fault', describeFault(fault))
        for (const { settle } of decisions) settle((limit) => unitsOf(limit, reserved.usage, reserved.price))
        tell({ uncertain: true })
      }
    }
    const isClamped = reserved.output.each < asked.output.each
    if (isClamped) tell({ clamped: true })
    step('budget', isClamped ? 'clamped' : decision.checked ? 'reserved' : 'unchecked', {
      reserved: reservedFacts(reserved),
      standings: decision.standings,
    })
    const body = isClamped ? call.operation.withOutput(routed.body, reserved.output.each) : routed.body
    let reply: Reply
    try {
      reply = await next({
        reserved: { attempts: 1, output: tokensWritten(reserved.usage.tokens), cover },
        routed: { ...routed, body },
      })
    } catch (fault) {
      settle(attemptsBefore(fault) ?? decisions.map(() => NOBODY_KNOWS))
      throw fault
    }
    return {
      ...whenTaken(reply, settle),
      ...(decision.checked ? { headers: addRateLimits(reply.headers, decision.standings, wallClock()) } : {}),
      ...(isClamped && reply.kind !== 'refused' ? { storable: false } : {}),
    }
  }

  async function reserve(
    limits: readonly Held[],
    asked: Reservation,
    { signal }: Call,
    tell: BaseContext['tell'],
  ): Promise<{ readonly decision: Decision | Refusal; readonly reserved: Reservation }> {
    // A budget can't have more left than it is large.
    const reserved = fitted(asked, remainingIn(limits, largestClaim)) ?? asked
    const decision = await decide(limiter, claimsOf(limits, reserved), signal, tell)
    const less = isRefusal(decision) || decision.admitted ? undefined : whatIsLeft(reserved, decision)
    if (less === undefined) return { decision, reserved }
    return { decision: await decide(limiter, claimsOf(limits, less), signal, tell), reserved: less }
  }
}

/**
 * Of what calls count as, that of the calls for which one of several reservations was made: a call that certainly took nothing
 * leaves its reservation to the next one.
 */
function coveredBy(
  reservation: number,
  reservations: number,
  attempts: readonly Spent[],
  charges: readonly Charge[],
): readonly Charge[] {
  if (reservations === 1) return charges
  let taken = 0
  return charges.filter((_charge, index) => {
    if (attempts[index]?.spend === NOTHING_SPENT) return false
    // What was called without a reservation of its own, against its contract, counts too.
    const own = Math.min(taken, reservations - 1)
    taken += 1
    return own === reservation
  })
}

function reservedFacts({ usage, price }: Reservation): Story['reserved'] & object {
  const { tokens } = usage
  const reserved = { input: tokensRead(tokens), output: tokensWritten(tokens) }
  return price === undefined ? reserved : { ...reserved, costNanoUsd: costOf(usage, price) }
}

/** For a gateway that limits neither tokens nor money. The log line tells what a call took all the same. */
export function noBudget(): Middleware<Metered & Asked, { readonly reserved: Reserved }, Call, Reply> {
  return async function noBudget(call, context, next) {
    return uncounted(await next({ reserved: UNLIMITED }), call, context)
  }
}

const UNLIMITED: Reserved = { attempts: 1, output: undefined }
const NOBODY_KNOWS: Spent = { price: undefined, spend: SPEND_UNKNOWN }

/**
 * Where no limit counts what a call takes, the log line tells it all the same: of one that ended before the model had told,
 * the most that it can have taken, as `uncertain`.
 */
function uncounted(reply: Reply, call: Call, { routed, tell, step, log }: BaseContext & Metered): Reply {
  const most = () => {
    const reservation = reservationFor([], call, routed)
    return isRefusal(reservation) ? undefined : reservation
  }
  const surcharges = () => billedExtras(call.operation, routed.body, routed.rules)
  return whenTaken(reply, (attempts, isWhole) => {
    const context = { listed: routed.price, most, surcharges, isWhole }
    try {
      const charges = attempts.map((attempt) => uncountedCharge(attempt, context))
      tell(factsOf(charges, attempts))
      step('settle', 'not counted')
    } catch (fault) {
      log('error', 'fault', describeFault(fault))
      tell({ uncertain: true })
    }
  })
}

/**
 * The same reply, of which is told what its calls took: of a stream when it has ended, in whatever way, and before its `ended`
 * resolves.
 */
function whenTaken(reply: Reply, take: (attempts: readonly Spent[], isWhole: boolean) => void): Reply {
  if (reply.kind !== 'stream') {
    take(reply.attempts, reply.kind === 'answer')
    return reply
  }
  const ended = reply.ended.then((end) => {
    take(end.attempts, end.how === 'complete')
    return end
  })
  return { ...reply, ended }
}

/** What budgets have to give; rates refill, so nothing is cut to fit them. */
function remainingIn(limits: readonly Held[], left: (limit: Held['limit']) => number): Remaining[] {
  return limits.filter(({ limit }) => limit.kind === 'budget').map(({ limit }) => ({ limit, left: left(limit) }))
}

/** The reservation cut to what the denial says that budgets have left; `undefined` where that is no use. */
function whatIsLeft(reserved: Reservation, { limit, retryAfterMs, standings }: Denial): Reservation | undefined {
  if (limit.kind !== 'budget' || !Number.isFinite(retryAfterMs)) return undefined
  const remaining = standings
    .filter((standing) => standing.limit.kind === 'budget')
    .map((standing) => ({ limit: standing.limit, left: standing.remaining }))
    // Of a row that was not looked at yet nothing is known, and another try will tell.
    .filter((each) => each.limit === limit || fitted(reserved, [each]) !== undefined)
  const less = fitted(reserved, remaining)
  return less === reserved ? undefined : less
}
