import { type Call, type Reply, refused } from '../operations/index.ts'
import {
  type BaseContext,
  type GatewayRequest,
  type HttpReply,
  type Input,
  isRefusal,
  isStream,
  type Middleware,
  type Refusal,
  type ReplyHeaders,
  RequestEnded,
  refusalOfEnded,
  unlessEnded,
} from '../pipeline/index.ts'
import type { Claim, Decision, Denial } from './leases/decision.ts'
import { LimiterUnavailable } from './leases/decision.ts'
import type { Limiter } from './leases/limiter.ts'
import { addRateLimits } from './rate-limit-headers.ts'
import { denied, isRefusedByLimits, NOT_CHECKED, SLOT_LOST } from './refusals.ts'
import { type Limited, requestClaims, subjectsOf } from './subjects.ts'

/** As much of the limiter as a request needs. */
export type Admits = Pick<Limiter, 'admit' | 'admitAtOnce'>

export interface LimitOptions {
  readonly limiter: Admits
  /** Milliseconds since 1970, to tell a month's length. */
  readonly wallClock: () => number
}

export interface Admitted {
  readonly admitted: true
}

export interface ModelAdmitted {
  readonly modelAdmitted: true
}

interface WithModel {
  readonly routed: { readonly model: { readonly name: string } }
}

/**
 * Admits a request if all limits on its consumer's requests have room, else refuses with 429 (`rate_limit_exceeded`,
 * `insufficient_quota`) and `Retry-After`; 503 (`store_unavailable`) when the limits can't be checked, and 403
 * (`plan_unavailable`) where the policy doesn't have the consumer's plan. What it holds while it is in flight it gives back
 * when the answer ends: a stream's, when that ends, breaks or is given up. Where a limit further in refuses, it takes
 * nothing at all. A slot that can't be kept ends the request with 503 (`slot_lost`), or its stream with an error.
 *
 * Every answer that passes back through here tells where the limits stand; the 500 of a fault does not.
 *
 * @example
 * pipeline().use(pinPolicy(…)).use(authenticate(…)).use(requestLimits({ limiter, wallClock }))
 */
export function requestLimits(options: LimitOptions): Middleware<Limited, Admitted, GatewayRequest, HttpReply> {
  return function requestLimits(request, context, next) {
    const subjects = subjectsOf(context.policy, context.consumer)
    const claims = isRefusal(subjects) ? subjects : requestClaims(subjects)
    return within(claims, request, context, options, HTTP, (input) => next(ADMITTED, input))
  }
}

/** The same where a request is known as a call alone: for who judges it beside its way. */
export function callLimits(options: LimitOptions): Middleware<Limited, Admitted, Call, Reply> {
  return function callLimits(call, context, next) {
    const subjects = subjectsOf(context.policy, context.consumer)
    const claims = isRefusal(subjects) ? subjects : requestClaims(subjects)
    return within(claims, call, context, options, CALLS, (input) => next(ADMITTED, input))
  }
}

/** The same for the limits on requests to the model that was resolved. */
export function modelLimits(options: LimitOptions): Middleware<Limited & WithModel, ModelAdmitted, Call, Reply> {
  return function modelLimits(call, context, next) {
    const subjects = subjectsOf(context.policy, context.consumer)
    const claims = isRefusal(subjects) ? subjects : requestClaims(subjects, context.routed.model.name)
    return within(claims, call, context, options, CALLS, (input) => next(MODEL_ADMITTED, input))
  }
}

/** For a gateway that limits no requests. */
export function noLimits(): Middleware<{}, Admitted, GatewayRequest, HttpReply> {
  return function noLimits(_request, _context, next) {
    return next(ADMITTED)
  }
}

/** For a gateway that limits no requests to a model. */
export function noModelLimits(): Middleware<{}, ModelAdmitted, Call, Reply> {
  return function noModelLimits(_call, _context, next) {
    return next(MODEL_ADMITTED)
  }
}

const ADMITTED: Admitted = { admitted: true }
const MODEL_ADMITTED: ModelAdmitted = { modelAdmitted: true }

/** What limits must know of the replies of an onion. */
interface Onion<Out> {
  refused(refusal: Refusal, headers: ReplyHeaders): Out
  refusalIn(reply: Out): Refusal | undefined
  /** The same reply, telling where limits stand. */
  withHeaders(reply: Out, headers: (inner: ReplyHeaders) => ReplyHeaders): Out
  /** The same reply, if it is a stream, whose `ended` resolves after this was called; else `undefined`. */
  untilEnd(reply: Out, end: () => void): Out | undefined
}

const HTTP: Onion<HttpReply> = {
  refused: (refusal, headers) => ({ ...refusal, headers: { ...refusal.headers, ...headers } }),
  refusalIn: (reply) => (isRefusal(reply) ? reply : undefined),
  withHeaders: (reply, headers) => ({ ...reply, headers: headers(reply.headers ?? {}) }),
  untilEnd(reply, end) {
    if (isRefusal(reply) || !isStream(reply.body)) return undefined
    const { body } = reply
    const ended = afterwards(body.ended, end)
    return { ...reply, body: { read: () => body.read(), cancel: (reason) => body.cancel(reason), ended } }
  },
}

const CALLS: Onion<Reply> = {
  refused,
  refusalIn: (reply) => (reply.kind === 'refused' ? reply.refusal : undefined),
  withHeaders: (reply, headers) => ({ ...reply, headers: headers(reply.headers) }),
  untilEnd: (reply, end) => (reply.kind === 'stream' ? { ...reply, ended: afterwards(reply.ended, end) } : undefined),
}

async function afterwards<End>(ended: Promise<End>, end: () => void): Promise<End> {
  try {
    return await ended
  } finally {
    end()
  }
}

/** Answers a request within its limits: takes what it claims, and gives back what it holds when its answer ends. */
async function within<In extends Input, Out>(
  claims: readonly Claim[] | Refusal,
  input: In,
  context: BaseContext,
  { limiter, wallClock }: LimitOptions,
  onion: Onion<Out>,
  next: (input: In) => Promise<Out>,
): Promise<Out> {
  const { tell, step } = context
  if (isRefusal(claims)) {
    step('limits', claims.code)
    return onion.refused(claims, {})
  }
  if (claims.length === 0) return next(input)
  const decision = await decide(limiter, claims, input.signal, tell)
  if (isRefusal(decision)) {
    step('limits', decision.code)
    return onion.refused(decision, {})
  }
  const { standings } = decision
  if (!decision.admitted) {
    const refusal = turnAway(decision, tell)
    step('limits', refusal.code, { standings })
    return onion.refused(refusal, addRateLimits({}, standings, wallClock()))
  }
  step('limits', decision.checked ? 'admitted' : 'unchecked', { standings })

  const slot = decision.lost === undefined ? undefined : holdSlot(input.signal, decision.lost)
  const end = () => {
    slot?.stop()
    decision.settle(() => 0)
  }
  let reply: Out
  try {
    reply = await next(slot === undefined ? input : { ...input, signal: slot.signal })
  } catch (fault) {
    end()
    throw fault
  }
  const refusal = onion.refusalIn(reply)
  if (refusal !== undefined && isRefusedByLimits(refusal.code)) decision.cancel()
  const told = decision.checked
    ? onion.withHeaders(reply, (inner) => addRateLimits(inner, decision.standings, wallClock()))
    : reply
  const stream = onion.untilEnd(told, end)
  if (stream === undefined) end()
  // A client that leaves needs its slot no longer, though nobody has ended its stream yet.
  else if (input.signal.aborted) end()
  else input.signal.addEventListener('abort', end, { once: true })
  return stream ?? told
}

/**
 * The limiter's decision; a refusal where it has none. The log line says why the limits were not checked. A request that ends
 * while it waits for it (its client has left) takes nothing.
 */
export async function decide(
  limiter: Admits,
  claims: readonly Claim[],
  signal: AbortSignal,
  tell: BaseContext['tell'],
): Promise<Decision | Refusal> {
  if (signal.aborted) return refusalOfEnded(signal)
  try {
    const decision = limiter.admitAtOnce(claims) ?? (await waitFor(limiter.admit(claims), signal))
    if (decision === 'ended') return refusalOfEnded(signal)
    if (decision.admitted && !decision.checked) tell({ limits: 'unchecked' })
    return decision
  } catch (error) {
    if (!(error instanceof LimiterUnavailable)) throw error
    // Not logged for each request: the limiter tells of its store once.
    tell({ limits: error.code })
    return NOT_CHECKED
  }
}

async function waitFor(deciding: Promise<Decision>, signal: AbortSignal): Promise<Decision | 'ended'> {
  const decision = await unlessEnded(deciding, signal)
  if (decision === 'ended') deciding.then(giveBack, () => {})
  return decision
}

function giveBack(decision: Decision): void {
  if (decision.admitted) decision.cancel()
}

/** The refusal of a request that a limit has no room for. */
export function turnAway(denial: Denial, tell: BaseContext['tell']): Refusal {
  tell({ limit: denial.limit.name })
  return denied(denial)
}

/** A signal that aborts with the request's own, and when its slot is lost. */
function holdSlot(signal: AbortSignal, lost: AbortSignal): { readonly signal: AbortSignal; stop(): void } {
  // A third of the cost of `AbortSignal.any`, and each request with a slot has one.
  const held = new AbortController()
  const follow = () => held.abort(signal.reason)
  const end = () => held.abort(new RequestEnded('slot_lost', SLOT_LOST))
  if (signal.aborted) follow()
  else signal.addEventListener('abort', follow, { once: true })
  if (lost.aborted) end()
  else lost.addEventListener('abort', end, { once: true })
  return { signal: held.signal, stop: () => lost.removeEventListener('abort', end) }
}
