import {
  type Answer,
  type AnswerReply,
  BrokenStream,
  type RefusedReply,
  type Reply,
  type StreamReply,
} from '../operations/index.ts'
import {
  addFacts,
  type BaseContext,
  describeFault,
  type Facts,
  type Refusal,
  TARGET_HEADER,
  type Time,
  type ToldFacts,
  type UpstreamFailure,
} from '../pipeline/index.ts'
import { forwardedStatus } from './cache-headers.ts'
import type { Asked, CacheRequest } from './cache-request.ts'
import { MAX_ENTRY_BYTES, type WriteEntry } from './cache-writer.ts'
import { type CacheEntry, expiryOf, ownBytes } from './entry.ts'
import type { HeldClaim } from './held-claim.ts'
import { byteBudget } from './kept-bytes.ts'
import type { RefusedBefore } from './refused-before.ts'
import { type SharedEnd, sharedStream } from './shared-stream.ts'
import type { Led, OwnOutcome } from './single-flight.ts'

/** For whom and under what claim the model is asked. */
export interface Leader {
  readonly request: CacheRequest
  readonly claim: () => HeldClaim | undefined
  /** What is told of the call, which may outlive its leader. */
  readonly facts: CallFacts
}

export type Lead = (leader: Leader, signal: AbortSignal) => Promise<Led>

export interface LeadOptions {
  readonly write: WriteEntry
  readonly refusals: RefusedBefore
  readonly time: Pick<Time, 'wallClock'>
  /** From 0 to 1. */
  readonly random: () => number
}

/** What the streams under way in this process may keep for those who come later, in bytes. */
const MAX_KEPT_BYTES = 64 * 1024 * 1024

/**
 * Passes on to the middlewares within, stores what ends whole, and says what of it is everybody's: an answer, a stream, or the
 * model's failure. A limit's refusal is the leader's own, and an answer that a budget cut short too.
 */
export function leading({ write, refusals, time, random }: LeadOptions): Lead {
  const budget = byteBudget(MAX_KEPT_BYTES)

  return async function lead(leader, signal) {
    const { request, facts } = leader
    const within: Asked & Pick<BaseContext, 'tell'> = { asked: true, tell: facts.tell }
    request.context.step('cache', 'miss')
    let reply: Reply
    try {
      reply = await request.next(within, { ...request.call, signal })
    } catch (fault) {
      facts.failed(fault)
      throw fault
    }
    switch (reply.kind) {
      case 'answer':
        facts.end(reply.attempts.at(-1)?.failure)
        return whole(leader, reply)
      case 'stream':
        return stream(leader, reply, signal)
      case 'refused':
        facts.end(reply.refusal.upstream)
        return refused(leader, reply)
    }
  }

  function refused({ request }: Leader, reply: RefusedReply): Led {
    const { refusal, shared, fallible } = reply
    const concernsOthers = shared && (!isOfRequest(refusal) || isAllFingerprinted(request.call))
    if (request.keeps && concernsOthers) refusals.note(request.ownKey, refusal)
    return {
      own: own(reply, request),
      others: concernsOthers ? { kind: 'refused', refusal: withoutRequestId(refusal), fallible } : undefined,
    }
  }

  async function whole({ request, claim }: Leader, reply: AnswerReply): Promise<Led> {
    const { answer, storable } = reply
    const isKept = storable && isStorable(answer, request)
    const entry = isKept
      ? entryOf(request, reply, { bytes: answer.bytes, events: undefined, usage: answer.usage })
      : undefined
    const stored = entry !== undefined && (await write(request.key, entry, claim(), request.context.log))
    request.context.step('store', storeDecision(isKept, stored))
    return {
      own: own(reply, request, stored),
      others: storable ? { kind: 'answer', answer, target: reply.headers[TARGET_HEADER] } : { kind: 'alone' },
    }
  }

  function stream(leader: Leader, reply: StreamReply, signal: AbortSignal): Led {
    const { operation } = leader.request.call
    const { promise: tooLong, resolve: onTooLong } = Promise.withResolvers<void>()
    const { promise: stored, resolve: onStored } = Promise.withResolvers<void>()
    const shared = sharedStream(reply, {
      operation,
      maxKeptBytes: MAX_ENTRY_BYTES,
      budget,
      onTooLong,
      settle(end) {
        leader.facts.end(failureOf(end))
        onStored(store(leader, end, reply).finally(shared.shut))
      },
    })
    // All may have left before it came.
    if (signal.aborted) shared.cancel(signal.reason)
    else signal.addEventListener('abort', () => shared.cancel(signal.reason), { once: true })
    const mine = { ...own(reply, leader.request), stream: shared }
    return reply.storable
      ? {
          own: mine,
          others: { kind: 'stream', stream: shared, target: reply.headers[TARGET_HEADER] },
          until: Promise.race([stored, tooLong]),
        }
      : { own: mine, others: { kind: 'alone' } }
  }

  /** What can be stored of a stream that has ended, in whatever way. */
  async function store({ request, claim }: Leader, { whole }: SharedEnd, reply: StreamReply): Promise<void> {
    if (whole === undefined || !reply.storable || !request.keeps) return
    const answer = whole.answer()
    if (answer === undefined || !isStorable(answer, request)) return request.context.step('store', NOT_STORABLE)
    const entry = entryOf(request, reply, { bytes: answer.bytes, events: whole.events, usage: whole.usage })
    const stored = await write(request.key, entry, claim(), request.context.log)
    request.context.step('store', storeDecision(true, stored))
  }

  function isStorable(answer: Answer, { call, context, keeps, rule: { tools } }: CacheRequest): boolean {
    return keeps && call.operation.isStorable(answer, { body: context.routed.body, tools })
  }

  function entryOf(
    { rule, context }: CacheRequest,
    { headers }: Reply,
    { bytes, events, usage }: Pick<Answer, 'bytes' | 'usage'> & { readonly events: Uint8Array | undefined },
  ): CacheEntry {
    const storedAt = time.wallClock()
    const expiresAt = expiryOf(rule, storedAt, random())
    return {
      answer: ownBytes(bytes),
      events: events && ownBytes(events),
      usage,
      candidate: candidateOf(headers[TARGET_HEADER], context.routed.candidates),
      storedAt,
      expiresAt,
    }
  }
}

/** The place of a target among those that might have answered: any of its tiers. @param target its id */
function candidateOf(target: string | undefined, candidates: CacheRequest['context']['routed']['candidates']) {
  const place = target === undefined ? -1 : candidates.findIndex((candidate) => candidate.target.id === target)
  return place < 0 ? undefined : place
}

const NOT_STORABLE = 'not storable'

function storeDecision(isKept: boolean, stored: boolean): string {
  if (!isKept) return NOT_STORABLE
  return stored ? 'stored' : 'not stored'
}

function own(reply: Reply, { forwardedAs: fwd }: CacheRequest, stored = false): OwnOutcome {
  const headers = { ...reply.headers, 'cache-status': forwardedStatus({ fwd, stored }) }
  return { kind: 'own', reply: { ...reply, headers } }
}

/** Whether the service has found something wrong with what was asked. */
function isOfRequest({ said, upstream }: Refusal): boolean {
  return said !== undefined || upstream?.status === 400
}

/** As the gateway itself asks for a stream's usage. */
const USAGE_ASKED = JSON.stringify({ include_usage: true })

/**
 * Whether all that a request says is part of its key, but for how it wants to be sent the answer. What the service finds wrong
 * with any other field (`metadata`, `service_tier`) does not concern those who ask the same otherwise, and may repeat what
 * stands in it.
 */
function isAllFingerprinted({ operation, body }: CacheRequest['call']): boolean {
  const told = operation.fingerprinted(body)
  return Object.entries(body.json).every(([field, value]) => {
    if (field === 'stream_options') return JSON.stringify(value) === USAGE_ASKED
    return field === 'stream' || Object.hasOwn(told, field)
  })
}

/** It names the leader's own call. */
function withoutRequestId({ upstream, ...refusal }: Refusal): Refusal {
  if (upstream === undefined) return refusal
  const { requestId: _, ...told } = upstream
  return { ...refusal, upstream: told }
}

function failureOf({ attempts, fault }: SharedEnd): UpstreamFailure | undefined {
  return attempts.at(-1)?.failure ?? (fault instanceof BrokenStream ? fault.failure : undefined)
}

/**
 * What is told of a call. It belongs to the call: its leader's line has what the call took only if the leader is there when
 * that is known. Else a line of its own, at the call's end, tells it. The costs of all lines are added up.
 */
export interface CallFacts {
  readonly tell: (facts: Facts) => void
  /** The leader's line may be written from now on. */
  leaderLeft(): void
  /** @param failure how the call failed, where that was not told */
  end(failure: UpstreamFailure | undefined): void
  /** The call ended by a fault, which the leader's line tells if the leader is there. */
  failed(fault: unknown): void
}

export function callFacts({ tell, log }: Pick<BaseContext, 'tell' | 'log'>): CallFacts {
  const [startedAt, started] = [Date.now(), performance.now()]
  let hasLeft = false
  let hasEnded = false
  /** All that was told until the call's end. */
  const told: ToldFacts = {}
  const end = (failure?: UpstreamFailure) => {
    hasEnded = true
    const { upstream = failure } = told
    if (!hasLeft) return tell(told)
    const { attempts, ...taken } = { ...parted(told).taken, upstream }
    log('info', 'call of a request that had left', taken)
    const known: Facts = Object.fromEntries(
      Object.entries({ ...taken, attempts }).filter(([, fact]) => fact !== undefined),
    )
    tell({ ...known, outlived: { startedAt, ms: performance.now() - started } })
  }
  return {
    tell(facts) {
      addFacts(told, facts)
      // What the call took is told at its end, once it is known whose line tells it.
      if (!hasLeft) tell(hasEnded ? facts : parted(facts).others)
    },
    leaderLeft() {
      hasLeft = true
    },
    end,
    failed(fault) {
      if (hasLeft) log('error', 'fault', describeFault(fault))
      end()
    },
  }
}

/** What a call took, and what else was told. */
function parted(facts: Facts) {
  const { usage, costNanoUsd, toolCalls, tier, spillover, uncertain, upstream, attempts, ...others } = facts
  return { taken: { usage, costNanoUsd, toolCalls, tier, spillover, uncertain, upstream, attempts }, others }
}
