import { BrokenStream, type Reply, type StreamEnd, type StreamReply } from '../operations/index.ts'
import {
  endedBy,
  type Refusal,
  type ReplyHeaders,
  type StreamOutcome,
  type Time,
  upstreamFailed,
} from '../pipeline/index.ts'
import { forwardedStatus } from './cache-headers.ts'
import type { CacheRequest } from './cache-request.ts'
import { type CallFacts, callFacts, type Lead } from './leader.ts'
import type { SharedStream } from './shared-stream.ts'
import type { ClaimedCall, SharedOutcome, Subscription } from './single-flight.ts'
import { hit, sparedFacts, stored, targetHeader } from './stored-reply.ts'

/** What joining a call comes to: a reply, or nothing that is of use to this request. */
export type Joined = Reply | 'ask alone'

const COLLAPSED = { 'cache-status': forwardedStatus({ collapsed: true }) } as const

/** What is said of an answer that another request's call has made. @param target the id of the one that made it */
function byAnothersCall(target: string | undefined): { readonly source: 'shared'; readonly headers: ReplyHeaders } {
  return { source: 'shared', headers: target === undefined ? COLLAPSED : { ...COLLAPSED, ...targetHeader(target) } }
}

/** Joins an in-flight call, as its leader or as one who waits for it, and replies with what comes of it. */
export async function join(
  inFlight: ClaimedCall,
  request: CacheRequest,
  lead: Lead,
  time: Pick<Time, 'wallClock'>,
): Promise<Joined> {
  const { call, context } = request
  const facts = callFacts(context)
  const leader = { request, claim: inFlight.claim, facts }
  const subscription = inFlight.join((signal) => lead(leader, signal))

  const outcome = await unlessLeft(subscription.outcome, subscription, call.signal, facts.leaderLeft)
  if (outcome === 'left') return turnAway(leftBy(call.signal), request, subscription)
  if (outcome.kind !== 'own') return waited(outcome, request, subscription, time)
  context.tell({ cache: 'miss' })
  const { reply, stream } = outcome
  return stream === undefined || reply.kind !== 'stream'
    ? reply
    : ownStream(reply, stream, request, subscription, facts)
}

/** The stream of a leader's own call, which goes on for others where the leader leaves. */
function ownStream(
  reply: StreamReply,
  stream: SharedStream,
  { call: { signal } }: CacheRequest,
  subscription: Subscription,
  facts: CallFacts,
): StreamReply {
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>()
  const events = stream.open(signal, (how, reason) => {
    const endsCall = subscription.leave(reason)
    if (endsCall || stream.isOver()) return void stream.ended.then(({ attempts }) => resolve({ how, attempts }))
    // What the stream has told so far is not all.
    facts.leaderLeft()
    resolve({ how, attempts: [] })
  })
  if (events === undefined) {
    subscription.leave(undefined)
    throw new Error('The stream was let go before its leader had opened it')
  }
  return { ...reply, events, ended }
}

function waited(
  outcome: SharedOutcome,
  request: CacheRequest,
  subscription: Subscription,
  { wallClock }: Pick<Time, 'wallClock'>,
): Promise<Joined> | Joined {
  const { call, context, rule } = request
  switch (outcome.kind) {
    case 'alone':
      return 'ask alone'
    case 'found':
      return hit(outcome.found.entry, call, context, { rule, now: wallClock(), answer: outcome.found.answer })
    case 'refused':
      return turnAway(outcome.refusal, request, subscription, outcome.fallible)
    case 'answer':
      context.tell({ cache: 'collapsed', ...sparedFacts(outcome.answer.usage, context) })
      context.step('cache', 'collapsed')
      return stored(outcome.answer, undefined, call, byAnothersCall(outcome.target))
    case 'stream':
      return call.streamed ? followed(outcome, request, subscription) : collected(outcome, request, subscription)
  }
}

type OfStream = Extract<SharedOutcome, { kind: 'stream' }>

/** The stream of another's call, from its beginning and as it comes. */
function followed({ stream, target }: OfStream, { call, context }: CacheRequest, subscription: Subscription): Joined {
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>()
  const end = (how: StreamOutcome) => resolve({ how, attempts: [] })
  const told = stream.ended.then(({ whole }) => context.tell(sparedFacts(whole?.usage, context)))
  const events = stream.open(call.signal, (how, reason) => {
    subscription.leave(reason)
    if (stream.isOver()) void told.then(() => end(how))
    else end(how)
  })
  if (events === undefined) {
    subscription.leave(undefined)
    return 'ask alone'
  }
  context.tell({ cache: 'collapsed' })
  context.step('cache', 'collapsed')
  return { kind: 'stream', events, ended, storable: true, ...byAnothersCall(target) }
}

/** The answer that the stream of another's call adds up to. */
async function collected(
  { stream, target }: OfStream,
  request: CacheRequest,
  subscription: Subscription,
): Promise<Joined> {
  const { call, context } = request
  try {
    const whole = await unlessLeft(stream.collect(call.signal), subscription, call.signal)
    if (whole === 'left') return turnAway(leftBy(call.signal), request, subscription)
    const answer = whole?.answer()
    if (answer === undefined) return 'ask alone'
    context.tell({ cache: 'collapsed', ...sparedFacts(whole?.usage, context) })
    context.step('cache', 'collapsed')
    return stored(answer, undefined, call, byAnothersCall(target))
  } catch (fault) {
    if (call.signal.aborted) return turnAway(leftBy(call.signal), request, subscription)
    if (!(fault instanceof BrokenStream)) throw fault
    // It was the other's reservation that was too small.
    if (fault.failure.code === 'reservation_exceeded') return 'ask alone'
    return turnAway(upstreamFailed(fault.failure), request, subscription)
  } finally {
    subscription.leave(undefined)
  }
}

function turnAway(
  refusal: Refusal,
  { context, forwardedAs: fwd }: CacheRequest,
  subscription: Subscription,
  fallible = false,
): Reply {
  const collapsed = !subscription.leads()
  context.tell({ cache: collapsed ? 'collapsed' : 'miss' })
  if (collapsed) context.step('cache', 'collapsed')
  return {
    kind: 'refused',
    refusal,
    headers: { 'cache-status': forwardedStatus({ fwd, collapsed }) },
    attempts: [],
    source: collapsed ? 'shared' : 'call',
    shared: false,
    fallible,
  }
}

/** Why a request ended before it had an answer: nobody reads this one, or the gateway itself ended it. */
function leftBy(signal: AbortSignal): Refusal {
  const ended = endedBy(signal)
  return ended === undefined
    ? upstreamFailed({ code: 'client_left' })
    : { ...ended.refusal, upstream: { code: ended.code } }
}

/** Waits for work until its request has left; one whose own call ends with it waits for that end. */
async function unlessLeft<T>(
  work: Promise<T>,
  subscription: Subscription,
  signal: AbortSignal,
  onLeft: () => void = () => {},
): Promise<T | 'left'> {
  const { promise: left, resolve } = Promise.withResolvers<'left'>()
  const leave = () => {
    if (subscription.leave(signal.reason)) return
    // At once: the call may end in the same turn, since another leaves too.
    onLeft()
    resolve('left')
  }
  if (signal.aborted) leave()
  else signal.addEventListener('abort', leave)
  try {
    return await Promise.race([work, left])
  } finally {
    signal.removeEventListener('abort', leave)
  }
}
