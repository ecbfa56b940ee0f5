import { noteUsage, parseAnswer, usageOf } from '../completion/index.ts'
import { isEventStream, type Refusal, type Refuse, type Time, type TokenUsage } from '../pipeline/index.ts'
import { forwardedStatus } from './cache-status.ts'
import type { CacheEntry } from './entry.ts'
import type { Asked } from './flight.ts'
import { expiryOf } from './freshness.ts'
import { type Keep, MAX_ENTRY_BYTES } from './keeper.ts'
import type { RefusedBefore } from './refused-before.ts'
import type { HeldClaim } from './search.ts'
import { sharedStream, type WholeStream } from './shared-stream.ts'
import { isStorable } from './storable.ts'
import type { Visit } from './visit.ts'

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
  /** Whether the one who asks has left meanwhile. */
  readonly hasLeft: () => boolean
}

export type Ask = (errand: Errand, signal: AbortSignal) => Promise<Asked>

/**
 * Passes on to the rooms within, stores what ends whole, and says what of it is everybody's: an answer, a stream, or the
 * model's failure. A limit's refusal is the asker's own, and an answer that a budget cut short too.
 */
export function asking({ keep, refusals, time, random }: AskingOptions): Ask {
  return async function ask(errand, signal) {
    const { request, context, next, ownKey } = errand.visit
    let refusal: Refusal | undefined
    const refuse: Refuse = (why) => {
      refusal = why
      return context.refuse(why)
    }
    const response = await next({ refuse }, { ...request, signal })
    if (response.status !== 200 || response.body === null) {
      if (refusal !== undefined) refusals.note(ownKey, refusal)
      const others =
        refusal !== undefined && isEverybodys(refusal) ? ({ kind: 'refused', refusal } as const) : undefined
      return { own: own(response, errand.visit, false), others }
    }
    return isEventStream(response) ? stream(errand, response, response.body, signal) : whole(errand, response)
  }

  async function whole(errand: Errand, response: Response): Promise<Asked> {
    const { visit, claim } = errand
    const { record, log } = visit.context
    const answer = new Uint8Array(await response.arrayBuffer())
    const parsed = parseAnswer(Buffer.from(answer).toString('utf8'))
    const entry = entryOf(visit, { answer, events: undefined }, usageOf(parsed?.usage))
    const isOthers = parsed !== undefined && !record.clamped
    const isKept = isOthers && visit.keeps && isStorable(parsed, visit.rule)
    const stored = isKept && (await keep(visit.key, entry, claim(), log))
    if (errand.hasLeft()) noteAfterwards(visit)
    return {
      own: own(new Response(answer, { status: 200, headers: response.headers }), visit, stored),
      others: isOthers ? { kind: 'whole', entry, stored } : { kind: 'alone' },
    }
  }

  function stream(errand: Errand, response: Response, body: ReadableStream<Uint8Array>, signal: AbortSignal): Asked {
    const { visit, claim } = errand
    const { record, log } = visit.context
    const over = Promise.withResolvers<unknown>()

    async function end(whole: WholeStream | undefined): Promise<void> {
      const parsed = whole && parseAnswer(Buffer.from(whole.answer).toString('utf8'))
      const usage = usageOf(parsed?.usage)
      if (errand.hasLeft()) {
        if (record.usage === undefined && usage !== undefined) noteUsage(record, usage)
        noteAfterwards(visit)
      }
      const isKept = parsed !== undefined && !record.clamped && visit.keeps && isStorable(parsed, visit.rule)
      if (whole !== undefined && isKept) await keep(visit.key, entryOf(visit, whole, usage), claim(), log)
    }

    const shared = sharedStream(body, {
      maxKeptBytes: MAX_ENTRY_BYTES,
      onTooLong: () => over.resolve(undefined),
      onEnd: (whole) => over.resolve(end(whole)),
    })
    signal.addEventListener('abort', () => void shared.cancel(signal.reason).catch(() => {}), { once: true })
    return {
      own: { ...own(new Response(null, { status: 200, headers: response.headers }), visit, false), stream: shared },
      others: record.clamped ? { kind: 'alone' } : { kind: 'stream', stream: shared },
      until: over.promise,
    }
  }

  function entryOf(
    { rule }: Visit,
    { answer, events }: Pick<CacheEntry, 'answer' | 'events'>,
    usage: TokenUsage | undefined,
  ): CacheEntry {
    const storedAt = time.wallClock()
    return { answer, events, usage, storedAt, expiresAt: expiryOf(rule, storedAt, random()) }
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

/** The line of a request that has left is written; what its call took in the end is still to be told. */
function noteAfterwards({ context: { record, log } }: Visit): void {
  const { usage, costNanoUsd, uncertain } = record
  log('info', 'call of a request that had left', { usage, costNanoUsd, uncertain })
}
