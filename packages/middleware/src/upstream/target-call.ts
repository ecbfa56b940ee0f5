import {
  type Answer,
  type AnswerReply,
  type Assembler,
  BrokenStream,
  type Call,
  faultAfter,
  type Json,
  type RefusedReply,
  type Reply,
  refused,
  type StreamParser,
  type StreamReply,
} from '../operations/index.ts'
import {
  type Attempt,
  type BaseContext,
  clientHasLeft,
  describeFault,
  endedBy,
  isOutage,
  newSpanId,
  type ReplyHeaders,
  type Spend,
  type StreamOutcome,
  traceHeaders,
  type UpstreamFailure,
  unlessEnded,
  upstreamFailed,
  withDeadline,
} from '../pipeline/index.ts'
import { answerBody, MAX_ANSWER_BYTES, wholeOf } from './answer-body.ts'
import { type AnswerEvents, answerEvents, spendOf } from './answer-events.ts'
import { type Balancer, waitsOf } from './balancers/index.ts'
import { callBounds } from './call-bounds.ts'
import type { Candidate, Candidates } from './candidates.ts'
import {
  type FailedCall,
  failedAnswer,
  failureOf,
  isFallible,
  logFailure,
  NoAnswer,
  spendOfFailure,
} from './failure.ts'
import { type OpenEvents, openStream, replayed } from './open-stream.ts'
import { insists, type RetriedModel } from './retry.ts'
import type { Routed } from './route.ts'
import { servedElsewhere } from './spillover.ts'
import { translatedAnswer, translatedEvents, translationFor } from './translation.ts'
import type { CallProgress, Transport } from './transports/index.ts'

export interface CallOptions {
  readonly transport: Transport
  /** Longest wait for the first byte, in milliseconds. A plain answer's first byte comes when it is complete. */
  readonly firstByteMs: number
  /** Longest wait for the whole of a plain answer, or for a stream to begin, over all calls of a request and all models, in milliseconds. */
  readonly totalMs: number
  /** Longest silence between two pieces of a streamed answer, in milliseconds. A reader that is slow doesn't count as silence. */
  readonly idleMs: number
  /** Longest life of a streamed answer, in milliseconds, the calls that failed before it among them. */
  readonly streamTotalMs: number
  /**
   * How long the end of a stream is waited for once its answer and its usage are there, in milliseconds; five times as long
   * where the usage is still to come. 2,000 by default.
   */
  readonly endGraceMs?: number
}

const END_GRACE_MS = 2_000

/** What the middleware before must have settled. */
export interface Callable {
  readonly routed: Pick<Routed['routed'], 'candidates' | 'body' | 'sticky' | 'startedAt'> & {
    readonly model: RetriedModel
  }
  readonly reserved: {
    /** Calls to a target, one after the other. */
    readonly attempts: number
    /** The most output tokens, of all choices together; `undefined` where nothing limits it. */
    readonly output: number | undefined
    /** Reserves for one more call that may cost as much; `false` where a limit has no more. Left out where nothing is counted. */
    readonly cover?: () => Promise<boolean>
  }
}

/** A call that is to be made. */
export interface TargetCall extends CallOptions {
  readonly balancer: Balancer
  readonly candidate: Candidate
  readonly candidates: Candidates
  /** What was tried for the same request. */
  readonly before: readonly Attempt[]
  /** How long the request's calls before it have taken, in milliseconds. */
  readonly sinceMs: number
}

/**
 * One call to one target. Its reply's `attempts` are those that were made before, and this one. `fallible` says whether another
 * may do better.
 *
 * @throws faults of our own, with their attempts beside them
 */
export async function callTarget(call: Call, context: Callable & BaseContext, options: TargetCall): Promise<Reply> {
  const { operation, streamed, signal } = call
  const { routed, reserved, requestId, trace, tell, step, log } = context
  const { candidate, candidates, balancer } = options
  const { target, tier } = candidate
  const [startedAt, started] = [Date.now(), performance.now()]
  const { sinceMs } = options
  const leftMs = options.totalMs - sinceMs
  const spanId = trace?.spanId === undefined ? undefined : newSpanId()
  const progress: CallProgress = {}
  const bounds = callBounds(streamed ? options.streamTotalMs - sinceMs : leftMs, signal)
  let parser: StreamParser | undefined
  /** Milliseconds, once the first event of a stream has come. */
  let firstTokenMs: number | undefined
  let hasBegun = false
  /** Of the answer, where there is one. */
  let spillover: string | undefined

  const attempts = (spend: Spend, failure?: UpstreamFailure, isOurs = false): readonly Attempt[] => {
    const { id } = target
    const price = spillover === undefined ? target.price : target.spilloverPrice
    const ms = performance.now() - started
    const { kind, model } = target.settings
    const { url } = progress
    const more = {
      asked: { kind, model, ...(url !== undefined && { url }), ...(spanId !== undefined && { spanId }) },
      // One that the caller names is what its body asks for already, and it may be another name of it.
      ...(tier !== undefined && tier !== routed.body.json.service_tier && { tier }),
      ...(failure && { failure }),
      ...(hasBegun && BEGUN),
      ...(spillover !== undefined && { spillover }),
      ...(firstTokenMs !== undefined && { firstTokenMs }),
    }
    const attempt: Attempt = { model: routed.model.name, target: id, price, spend, startedAt, ms, ...more }
    telling(() => balancer.report(candidate, isOurs ? { ...attempt, failure: OURS } : attempt))
    return [...options.before, attempt]
  }
  /** What the call took must be known whatever becomes of this. */
  const telling = (tell: () => void) => {
    try {
      tell()
    } catch (fault) {
      log('error', 'fault', describeFault(fault))
    }
  }

  const answered = (answer: Answer, spend: Spend): AnswerReply => {
    bounds.done()
    step('attempts', 'answered')
    return { ...madeAt(target.id), kind: 'answer', answer, attempts: attempts(spend) }
  }

  const streaming = (events: OpenEvents): StreamReply => {
    firstTokenMs = performance.now() - started
    step('attempts', 'streaming')
    const ending = (how: StreamOutcome, failure?: UpstreamFailure) => ({
      how,
      attempts: attempts(events.spend(), failure),
    })
    const bound = { idleMs: options.idleMs, maxOutput: reserved.output ?? Number.POSITIVE_INFINITY }
    telling(() => balancer.began?.(candidate))
    return { ...madeAt(target.id), kind: 'stream', ...openStream(events, { ...bound, bounds, left: signal, ending }) }
  }

  const refusedBy = (
    failure: UpstreamFailure,
    spend: Spend,
    { said, ...more }: Omit<FailedCall, 'url'> & { readonly said?: Json | undefined } = {},
  ): RefusedReply => {
    step('attempts', failure.code ?? 'failed')
    const ended = endedBy(signal)
    if (ended !== undefined) {
      const told = { ...(failure.unspent ? { unspent: true as const } : {}), code: ended.code }
      tell({ upstream: told })
      return { ...refused(ended.refusal), attempts: attempts(spend, told) }
    }
    const isClients = failure.code === CLIENT_LEFT
    // A call that was broken off since its client has left is nothing that an operator could mend.
    if (!isClients) logFailure(log, failure, { url: progress.url, ...more })
    // What was given less than its time, since the calls before had taken that, says nothing of the target.
    const isCutShort = failure.code === 'timeout' && sinceMs > 0 && leftMs < options.firstByteMs
    const made = attempts(spend, failure, isCutShort)
    const afterMs = insists(routed.model)
      ? failure.retryAfterMs
      : retryAfterOf(failure, candidates, waitsOf(balancer, candidates, made).anywhereMs)
    return {
      ...refused(upstreamFailed(failure, said, afterMs), headersAt(target.id)),
      attempts: made,
      shared: !isClients,
      fallible: !isClients && isFallible(failure),
    }
  }

  try {
    const preparing = options.transport.prepare?.(target.settings, operation)
    if (preparing !== undefined)
      await unlessEnded(
        withDeadline(leftMs, () => preparing),
        signal,
      )
    bounds.within(Math.min(options.firstByteMs, leftMs))
    const { model } = target.settings
    const isTierAsked = tier === undefined || routed.body.json.service_tier === tier
    const sent = routed.body.with(isTierAsked ? { model } : { model, service_tier: tier })
    const changed = sent.changed.filter((field) => field !== 'model')
    if (changed.length > 0) tell({ changed })
    const translated = translationFor(options.transport, operation, routed.body, options.candidate)
    const translation = translated !== undefined && 'body' in translated ? translated : undefined
    const bytes = translation === undefined ? sent.bytes : Buffer.from(JSON.stringify(translation.body))
    const answer = await options.transport.send(target.settings, operation, bytes, {
      signal: bounds.signal,
      requestId,
      forwarded: trace === undefined ? forwardedOf(call) : [...forwardedOf(call), ...traceHeaders(trace, spanId)],
      progress,
    })
    const { status, headers } = answer
    if (target.spilloverPrice !== undefined) spillover = servedElsewhere(headers, target.settings.model)
    if (status < 200 || status > 299) {
      const { failure: told, said } = await failedAnswer(answer, translation)
      const failure = leftOr(told, signal)
      bounds.done()
      return refusedBy(failure, spendOfFailure(failure), { headers, said })
    }
    // The rest of a plain answer is bounded by the whole.
    if (!streamed) bounds.came()
    const body = await answerBody(answer)
    hasBegun = true
    if (body.kind === 'json') {
      const parsed = operation.parse(
        translatedAnswer(await wholeOf(body, status, operation.maxAnswerBytes), translation),
      )
      if (parsed.kind === 'failure') throw new NoAnswer({ status, ...parsed.failure }, parsed.spend)
      if (!streamed) return answered(parsed.answer, parsed.spend)
      bounds.came()
      return streaming(replayed(operation.replay(parsed.answer), parsed.spend))
    }
    parser = operation.stream()
    const events = answerEvents(translatedEvents(body, translation), {
      parser,
      bounds,
      endGraceMs: options.endGraceMs ?? END_GRACE_MS,
    })
    if (!streamed)
      return answered(await assembled(events, operation.assembler(), options.idleMs, status), events.spend())
    await events.begin(status)
    bounds.came()
    return streaming(events)
  } catch (error) {
    bounds.abort(error)
    if (error instanceof NoAnswer) {
      hasBegun = true
      return refusedBy(error.failure, error.spend)
    }
    const failure = leftOr(failureOf(error, progress), signal)
    const spend = parser === undefined ? spendOfFailure(failure) : spendOf(parser)
    if (signal.aborted || isOutage(error)) return refusedBy(failure, spend, { error })
    tell({ upstream: failure })
    step('attempts', 'fault')
    throw faultAfter(error, attempts(spend, failure, true))
  }
}

const NONE_FORWARDED: readonly string[] = []

/** Of the caller's headers, those that the operation sends on: names and values by turns. */
function forwardedOf({ operation, headers }: Call): readonly string[] {
  if (operation.forwards.length === 0) return NONE_FORWARDED
  return operation.forwards.flatMap((name) => {
    const value = headers.get(name)
    return value === null ? [] : [name, value]
  })
}

const BEGUN = { begun: true } as const
/** What balancers are told of a failure that is none of the target's: a defect in the code, say. */
const OURS: UpstreamFailure = { code: 'request_timeout' }

/** What is the same in whatever a call to a target has made. */
function madeAt(target: string) {
  return { headers: headersAt(target), source: 'call', storable: true } as const
}

function headersAt(target: string): ReplyHeaders {
  return { 'x-tollgate-target': target }
}

/**
 * How long the caller is to wait, in milliseconds: until the first of its model's targets may be asked. Of one target alone, as
 * long as its service says, however long that is.
 */
function retryAfterOf({ retryAfterMs = 0 }: UpstreamFailure, candidates: Candidates, anywhereMs: number): number {
  return candidates.length === 1 ? Math.max(retryAfterMs, anywhereMs) : anywhereMs
}

const CLIENT_LEFT = 'client_left'

/** That the client has left, where it has: what else came of its call tells nothing, but whether it cost something. */
function leftOr(failure: UpstreamFailure, signal: AbortSignal): UpstreamFailure {
  if (!clientHasLeft(signal)) return failure
  return { code: CLIENT_LEFT, ...(failure.unspent ? { unspent: true } : {}) }
}

/** A plain answer of a stream's events. @throws NoAnswer; the bounds' reason; what the connection throws */
async function assembled(events: AnswerEvents, assembler: Assembler, idleMs: number, status: number): Promise<Answer> {
  let length = 0
  try {
    for (let came = await events.next(idleMs); came !== undefined; came = await events.next(idleMs)) {
      for (const event of came) {
        length += event.bytes.length
        assembler.add(event)
      }
      if (length > MAX_ANSWER_BYTES) throw new BrokenStream({ code: 'answer_too_large' })
    }
  } catch (error) {
    events.cancel()
    throw error instanceof BrokenStream ? new NoAnswer({ status, ...error.failure }, events.spend()) : error
  }
  const answer = assembler.answer(events.spend().usage)
  if (answer === undefined) throw new NoAnswer({ status, code: 'invalid_response' }, events.spend())
  return answer
}
