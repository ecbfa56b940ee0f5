import { noteUsage, readAnswer, usageOfAnswer } from '../../operations/index.ts'
import {
  bodyOf,
  describeFault,
  isEventStream,
  type Refusal,
  type Refuse,
  type Time,
  type TokenUsage,
  wholeResponse,
} from '../../pipeline/index.ts'
import { forwardedStatus } from '../cache-status.ts'
import type { HeldClaim } from '../claims/held-claim.ts'
import { type CacheEntry, ownBytes } from '../entry.ts'
import { expiryOf } from '../freshness.ts'
import { type Keep, MAX_ENTRY_BYTES } from '../keeper.ts'
import type { RefusedBefore } from '../refused-before.ts'
import { isStorable } from '../storable.ts'
import type { Visit } from '../visit.ts'
import { type ByteBudget, byteBudget } from './byte-budget.ts'
import type { Asked } from './flight.ts'
import { sharedStream, type WholeStream } from './shared-stream.ts'

export interface AskingOptions {
  readonly keep: Keep
  readonly refusals: RefusedBefore
  readonly time: Pick<Time, 'wallClock'>
  /** From 0 to 1. */
  readonly random: () => number
}

/** For whom and under what claim the model is asked. */
export interface Errand {
  readonly visit: Visit
  readonly claim: () => HeldClaim | undefined
  /** Whether the one who asks has left meanwhile, and others have not. */
  readonly hasLeft: () => boolean
}

export type Ask = (errand: Errand, signal: AbortSignal) => Promise<Asked>

/** What the streams under way in this process may keep for those who come later, in bytes. */
const MAX_KEPT_BYTES = 64 * 1024 * 1024

/**
 * Passes on to the rooms within, stores what ends whole, and says what of it is everybody's: an answer, a stream, or the
 * model's failure. A limit's refusal is the asker's own, and an answer that a budget cut short too.
 */
export function asking({ keep, refusals, time, random }: AskingOptions): Ask {
  const budget: ByteBudget = byteBudget(MAX_KEPT_BYTES)

  async function ask(errand: Errand, signal: AbortSignal): Promise<Asked> {
    const { request, context, next, ownKey, keeps } = errand.visit
    let refusal: Refusal | undefined
    const refuse: Refuse = (why) => {
      refusal = why
      return context.refuse(why)
    }
    const response = await next({ refuse }, { ...request, signal })
    if (response.status === 200 && response.body !== null) {
      return isEventStream(response) ? stream(errand, response, response.body, signal) : whole(errand, response)
    }
    if (refusal !== undefined && keeps) refusals.note(ownKey, refusal)
    const shared = refusal !== undefined && isEverybodys(refusal) ? withoutRequestId(refusal) : undefined
    return {
      own: own(response, errand.visit, false),
      others: shared && { kind: 'refused', refusal: shared },
    }
  }

  async function whole(errand: Errand, response: Response): Promise<Asked> {
    const { visit, claim } = errand
    const { record, log } = visit.context
    const answer = await bodyOf(response)
    const parsed = readAnswer(answer.toString())
    const entry = entryOf(visit, { answer, events: undefined }, parsed && usageOfAnswer(parsed)?.usage)
    const isOthers = parsed !== undefined && !record.clamped
    const isKept = isOthers && visit.keeps && isStorable(parsed, visit)
    const stored = isKept && (await keep(visit.key, entry, claim(), log))
    return {
      own: own(wholeResponse(answer, { status: 200, headers: response.headers }), visit, stored),
      others: isOthers ? { kind: 'whole', entry } : { kind: 'alone' },
    }
  }

  function stream(errand: Errand, response: Response, body: ReadableStream<Uint8Array>, signal: AbortSignal): Asked {
    const { visit } = errand
    const { promise: tooLong, resolve: onTooLong } = Promise.withResolvers<void>()
    const shared = sharedStream(body, { maxKeptBytes: MAX_ENTRY_BYTES, budget, onTooLong })
    const stored = shared.ended.then((whole) => settle(errand, whole)).finally(() => shared.shut())
    signal.addEventListener('abort', () => void shared.cancel(signal.reason).catch(() => {}), { once: true })
    const passed = new Response(null, { status: 200, headers: response.headers })
    const mine = { ...own(passed, visit, false), stream: shared }
    return visit.context.record.clamped
      ? { own: mine, others: { kind: 'alone' } }
      : { own: mine, others: { kind: 'stream', stream: shared }, until: Promise.race([stored, tooLong]) }
  }

  /** What is left to do when a stream has ended, in whatever way. */
  async function settle(errand: Errand, whole: WholeStream | undefined): Promise<void> {
    const { visit, claim } = errand
    const { record, log } = visit.context
    // Where no budget holds, nobody further in has noted it; and the reader of the stream may leave before it is told.
    if (record.usage === undefined && whole?.usage !== undefined) noteUsage(record, whole.usage)
    if (errand.hasLeft()) noteAfterwards(visit)
    if (whole === undefined || record.clamped || !visit.keeps) return
    const answer = whole.answer()
    if (answer === undefined || !isStorable(answer.completion, visit)) return
    await keep(visit.key, entryOf(visit, answer, whole.usage), claim(), log)
  }

  function entryOf(
    { rule }: Visit,
    { answer, events }: { readonly answer: Uint8Array; readonly events: Uint8Array | undefined },
    usage: TokenUsage | undefined,
  ): CacheEntry {
    const storedAt = time.wallClock()
    const expiresAt = expiryOf(rule, storedAt, random())
    return { answer: ownBytes(answer), events: events && ownBytes(events), usage, storedAt, expiresAt }
  }

  return async function askAndTell(errand, signal) {
    try {
      const asked = await ask(errand, signal)
      if (asked.own.stream === undefined && errand.hasLeft()) noteAfterwards(errand.visit)
      return asked
    } catch (fault) {
      if (errand.hasLeft()) {
        errand.visit.context.log('error', 'fault', describeFault(fault))
        noteAfterwards(errand.visit)
      }
      throw fault
    }
  }
}

function own(response: Response, { forwardedAs: fwd }: Visit, stored: boolean): Asked['own'] {
  response.headers.set('cache-status', forwardedStatus({ fwd, stored }))
  return { kind: 'asked', response }
}

/** Whether a refusal would be that of anybody who asks the same. */
function isEverybodys({ code, upstream }: Refusal): boolean {
  return code === 'upstream_failed' && upstream?.code !== 'client_left'
}

/** It names the asker's own call. */
function withoutRequestId({ upstream, ...refusal }: Refusal): Refusal {
  if (upstream === undefined) return refusal
  const { requestId: _, ...told } = upstream
  return { ...refusal, upstream: told }
}

/** The line of a request that has left is written; what its call took in the end is still to be told. */
function noteAfterwards({ context: { record, log } }: Visit): void {
  const { usage, costNanoUsd, uncertain, upstream } = record
  log('info', 'call of a request that had left', { usage, costNanoUsd, uncertain, upstream })
}
