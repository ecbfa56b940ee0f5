import type { UpstreamFailure } from '../../pipeline/index.ts'
import { BrokenStream } from '../broken-stream.ts'
import { isWithinBounds } from '../json-bounds.ts'
import { type ServerSentEvent, serverSentEvents } from '../server-sent-events.ts'
import type { ChatUsage } from './answer.ts'
import { codeOfError, errorIn } from './answer-error.ts'
import { isContent } from './answer-text.ts'
import { finishOf } from './finish-reason.ts'
import { carriesOutput } from './output-tokens.ts'

/** As much of a `chat.completion.chunk` as the gateway itself reads. */
export interface ChatChunk {
  readonly model?: unknown
  readonly choices: readonly {
    readonly index?: unknown
    readonly delta?: ChatDelta | null
    readonly finish_reason?: unknown
  }[]
  readonly usage?: ChatUsage | null
}

/** A piece of the answer: of its text, of what the model thinks, or of a call of a tool. */
export interface ChatDelta {
  readonly content?: unknown
  readonly [field: string]: unknown
}

/** Reads a model's stream of chat completion chunks (Server-Sent Events, WHATWG HTML, section 9.2), piece by piece. */
export interface ChatEvents {
  /** The chunks that these bytes complete. What comes after the end is of no account. */
  feed(bytes: Uint8Array): readonly ChatChunk[]
  /** To be called when no more bytes will come: the last chunks. An answer that is not whole by then is broken. */
  close(): readonly ChatChunk[]
  /** Whether any choice has begun. */
  readonly begun: boolean
  /** Whether it has ended, by itself, without any: nothing was generated but what its usage tells. */
  readonly isEmpty: boolean
  /** Whether every choice that has begun has ended: what is still to come is its usage, or nothing. */
  readonly finished: boolean
  /** How the answer has ended, once it has. */
  readonly ended: 'whole' | BrokenStream | undefined
}

/** The longest single event that is waited for, in bytes: an image in base64 fits. */
export const MAX_EVENT_BYTES = 4 * 1024 * 1024

/**
 * A stream is whole with `[DONE]`, or where it ends after every choice has ended: by a `finish_reason` that is known, or by
 * an unknown one after which the usage has come. It is broken by an error event, by an event that can't be read, by the
 * end of a stream without a choice, and by its end before that. Events that carry no answer (pings, data that is empty or
 * of another kind) are passed over.
 *
 * @param onEvent is told the data of each event that belongs to the answer, and that of its end: to be copied
 */
export function chatEvents(onEvent: (data: Buffer) => void = () => {}): ChatEvents {
  const choices = new Map<number, ChoiceState>()
  /** Whether the usage has come in a chunk of its own, and no output after it. */
  let usageCame = false
  let ended: ChatEvents['ended']
  let isEmpty = false
  /** Whether anything came that is no answer. */
  let passedOver = false
  let completed: ChatChunk[] = []
  let isFinished = false

  function take(chunk: ChatChunk): void {
    for (const [place, choice] of chunk.choices.entries()) {
      const index = choiceIndex(choice, place)
      const hasOutput = carriesOutput(choice.delta)
      choices.set(index, nextState(choices.get(index), choice.finish_reason, hasOutput))
      if (hasOutput) usageCame = false
    }
    if (chunk.choices.length === 0 && chunk.usage !== undefined && chunk.usage !== null) usageCame = true
    isFinished = choices.size > 0
    for (const state of choices.values()) isFinished &&= isOver(state, usageCame)
    completed.push(chunk)
  }

  function receive(event: ServerSentEvent): void {
    if (ended !== undefined) return
    const read = readEvent(event)
    if (read === 'end') {
      isEmpty = choices.size === 0
      ended = isEmpty ? new BrokenStream({ code: 'invalid_response' }) : 'whole'
    }
    if (read instanceof BrokenStream) ended = read
    if (Array.isArray(read)) for (const chunk of read) take(chunk)
    passedOver ||= Array.isArray(read) && read.length === 0
    if (read === 'end' || (Array.isArray(read) && read.length > 0)) onEvent(event.bytes)
  }

  const events = serverSentEvents({ maxBytes: MAX_EVENT_BYTES, onEvent: receive })
  return {
    feed(bytes) {
      completed = []
      if (ended !== undefined) return completed
      events.feed(bytes)
      if (events.isTooLong) ended ??= new BrokenStream({ code: 'invalid_response' })
      return completed
    },
    close() {
      completed = []
      if (ended !== undefined) return completed
      events.close()
      // The last event may have been cut: then it is the stream that is at fault, and not what it says.
      if (ended === undefined || isUnreadable(ended)) {
        isEmpty = choices.size === 0 && usageCame
        const code = choices.size === 0 && passedOver ? 'invalid_response' : 'stream_cut'
        ended = isFinished ? 'whole' : new BrokenStream({ code })
      }
      return completed
    },
    get begun() {
      return choices.size > 0
    },
    get isEmpty() {
      return isEmpty
    },
    get finished() {
      return isFinished
    },
    get ended() {
      return ended
    },
  }
}

/** Where choices are told apart: by their `index`, or by their place in the chunk where they have none. */
export function choiceIndex({ index }: { readonly index?: unknown }, place: number): number {
  return Number.isSafeInteger(index) && Number(index) >= 0 ? Number(index) : place
}

/**
 * `ended`: by a known reason. `unknown`: has one that we don't know. `untrusted`: output came after its end, by a server
 * that fills the field into each chunk, whose reasons tell nothing.
 */
type ChoiceState = 'open' | 'ended' | 'unknown' | 'untrusted'

function nextState(state: ChoiceState | undefined, reason: unknown, hasOutput: boolean): ChoiceState {
  if (state === 'untrusted') return state
  if (hasOutput && (state === 'ended' || state === 'unknown')) return 'untrusted'
  // Without a reason: Azure tells of its filters after the end, too.
  return finishOf(reason) ?? state ?? 'open'
}

function isOver(state: ChoiceState, usageCame: boolean): boolean {
  return state === 'ended' || (usageCame && state !== 'open')
}

function isUnreadable(ended: ChatEvents['ended']): boolean {
  return ended instanceof BrokenStream && ended.cause === UNREADABLE
}

const UNREADABLE = Symbol('unreadable')
const END = /^\[DONE\]$/i
const END_LENGTH = 6
/** What some servers send as the data of an event, to keep the connection. */
const KEEP_ALIVE = /^:?\s*(?:ping|pong|keep[-_ ]?alive|heart[-_ ]?beat|no-?op)\b[^{}[\]]{0,64}$/i
/** Names of events whose data must be an answer's. */
const ANSWER_EVENTS: ReadonlySet<string> = new Set(['', 'message', 'data', 'chunk', 'completion', 'delta'])

/** The chunks in an event: none where it carries no answer. */
function readEvent({
  type,
  data,
}: Pick<ServerSentEvent, 'type' | 'data'>): readonly ChatChunk[] | 'end' | BrokenStream {
  const text = data.trim()
  if (!isWithinBounds(text)) return new BrokenStream({ code: 'invalid_response' })
  if (type === 'error') return new BrokenStream(failureInText(text))
  if (text.length === END_LENGTH && END.test(text)) return 'end'
  if (text === '') return []
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    const isAnswer = ANSWER_EVENTS.has(type) || text.startsWith('{') || text.startsWith('[')
    return KEEP_ALIVE.test(text) || !isAnswer ? [] : unreadable()
  }
  return Array.isArray(value) ? readAll(value) : readValue(value)
}

/** Some servers put an event's one value into an array. */
function readAll(values: readonly unknown[]): readonly ChatChunk[] | BrokenStream {
  const chunks: ChatChunk[] = []
  for (const value of values) {
    const read = readValue(value)
    if (read instanceof BrokenStream) return read
    chunks.push(...read)
  }
  return chunks
}

function readValue(value: unknown): readonly ChatChunk[] | BrokenStream {
  if (!isRecord(value)) return []
  const error = errorIn(value)
  if (error !== undefined) return new BrokenStream(failureIn(error))
  const { choices, usage } = value
  if (choices === undefined || choices === null) return isRecord(usage) ? [{ ...value, choices: [] }] : []
  if (!Array.isArray(choices) || !choices.every(isChoice)) return unreadable()
  return [value as unknown as ChatChunk]
}

function isChoice(choice: unknown): choice is Record<string, unknown> {
  if (!isRecord(choice)) return false
  const { delta } = choice
  return delta === undefined || delta === null || (isRecord(delta) && isContent(delta.content))
}

function unreadable(): BrokenStream {
  return new BrokenStream({ code: 'invalid_response' }, { cause: UNREADABLE })
}

function failureInText(text: string): UpstreamFailure {
  try {
    const value: unknown = JSON.parse(text)
    return failureIn(isRecord(value) ? (value.error ?? value) : value)
  } catch {
    return failureIn(undefined)
  }
}

function failureIn(error: unknown): UpstreamFailure {
  return { code: codeOfError(error) ?? 'error_event' }
}

function isRecord(value: unknown): value is Record<string, unknown> {
  return typeof value === 'object' && value !== null && !Array.isArray(value)
}
