import {
  type Answer,
  BrokenStream,
  type Call,
  costOf,
  type EventSource,
  eventsIn,
  type Reply,
  type ReplySource,
  type StreamEnd,
  type StreamEvent,
} from '../operations/index.ts'
import {
  type BaseContext,
  endedBy,
  type Facts,
  type ReplyHeaders,
  type StreamOutcome,
  TARGET_HEADER,
  toldUsage,
  type Usage,
} from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'
import { hitStatus } from './cache-headers.ts'
import type { Cacheable } from './cache-request.ts'
import { type CacheEntry, freshUntil } from './entry.ts'

/** Bytes of a stored stream that are sent at a time, or one event where that is longer. */
const PIECE_BYTES = 16 * 1024

type Asking = Readonly<Cacheable & Pick<BaseContext, 'tell' | 'step'>>

export interface HitOptions {
  readonly rule: CacheRule
  /** Milliseconds since 1970. */
  readonly now: number
  /** The entry's, where it is parsed already. */
  readonly answer?: Answer | undefined
}

/** Answers with an entry, whose age and remaining life it tells (RFC 9111, section 5.1; RFC 9211, section 2.4). */
export function hit(entry: CacheEntry, call: Call, context: Asking, { rule, now, answer }: HitOptions): Reply {
  context.tell({ cache: 'hit', ...sparedFacts(entry.usage, context) })
  context.step('cache', 'hit')
  const age = Math.max(0, Math.floor((now - entry.storedAt) / 1_000))
  const ttl = Math.max(0, Math.floor((freshUntil(entry, rule) - now) / 1_000))
  const kept = answer ?? call.operation.answerOf(entry.answer, entry.usage)
  return stored(kept, entry.events, call, {
    source: 'cache',
    headers: { age: String(age), 'cache-status': hitStatus(ttl), ...targetHeader(targetOf(entry, context)) },
  })
}

/** The id of the target that made an entry; `undefined` where that isn't known. */
function targetOf({ candidate }: CacheEntry, { routed }: Pick<Cacheable, 'routed'>): string | undefined {
  return candidate === undefined ? undefined : routed.candidates[candidate]?.target.id
}

/** Whose answer a reply has. @param target its id */
export function targetHeader(target: string | undefined): ReplyHeaders {
  return target === undefined ? NO_HEADERS : { [TARGET_HEADER]: target }
}

const NO_HEADERS: ReplyHeaders = {}

/** What an answer would have taken, had the model been asked for it. */
export function sparedFacts(usage: Usage | undefined, { routed }: Pick<Cacheable, 'routed'>): Facts {
  if (usage === undefined) return {}
  const { price } = routed
  const spared = toldUsage(usage)
  return price === undefined ? { spared } : { spared, sparedNanoUsd: costOf(usage, price) }
}

/**
 * An answer that is there in the form that is asked for: whole, or as a stream, at the pace of its reader.
 *
 * @param events its stream; `undefined` where it came whole
 */
export function stored(
  answer: Answer,
  events: Uint8Array | undefined,
  call: Call,
  replied: { readonly source: ReplySource; readonly headers: ReplyHeaders },
): Reply {
  if (!call.streamed) return { kind: 'answer', answer, attempts: [], storable: true, ...replied }
  const pieces = piecesOf(events === undefined ? call.operation.replay(answer) : eventsIn(events))
  return { kind: 'stream', ...streamOf(pieces, call.signal), storable: true, ...replied }
}

function* piecesOf(events: Iterable<StreamEvent>): Generator<readonly StreamEvent[], void> {
  let piece: StreamEvent[] = []
  let bytes = 0
  for (const event of events) {
    piece.push(event)
    bytes += event.bytes.byteLength
    if (bytes < PIECE_BYTES) continue
    yield piece
    piece = []
    bytes = 0
  }
  if (piece.length > 0) yield piece
}

/** A stream of what is there, which ends with its request. */
function streamOf(
  pieces: Iterator<readonly StreamEvent[], void>,
  signal: AbortSignal,
): { readonly events: EventSource; readonly ended: Promise<StreamEnd> } {
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>()
  let isOver = false
  let failure: unknown
  const end = (how: StreamOutcome, fault?: unknown) => {
    if (isOver) return
    isOver = true
    failure = fault
    signal.removeEventListener('abort', abort)
    resolve({ how, attempts: [] })
  }
  const abort = () => {
    const code = endedBy(signal)?.code
    end(code === undefined ? 'client_left' : 'broken', new BrokenStream({ code: code ?? 'client_left' }))
  }
  if (signal.aborted) abort()
  else signal.addEventListener('abort', abort)
  const events: EventSource = {
    async read() {
      if (failure !== undefined) throw failure
      if (isOver) return undefined
      try {
        const { done, value } = pieces.next()
        if (!done) return value
      } catch (fault) {
        end('broken', fault)
        throw fault
      }
      end('complete')
      return undefined
    },
    cancel: () => end('client_left'),
  }
  return { events, ended }
}
