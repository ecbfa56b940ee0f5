import { isJson, type Json } from '../body.ts'
import { BrokenStream } from '../broken-stream.ts'
import { isWithinBounds } from '../json-bounds.ts'
import type { StreamParser } from '../operation.ts'
import { ParsedStream, unreadable } from '../parsed-stream.ts'
import type { ServerSentEvent } from '../server-sent-events.ts'
import { eventOf } from '../stream-event.ts'
import { failureIn, failureInText } from '../told-error.ts'
import { type ChatUsage, usageOf } from '../usage.ts'
import { errorIn } from './answer.ts'
import { type ChatDelta, carriesOutput, isContent } from './message.ts'

/** As much of a `chat.completion.chunk` as the gateway itself reads. */
export interface ChatChunk {
  readonly model?: unknown
  readonly choices: readonly {
    readonly index?: unknown
    readonly delta?: ChatDelta | null
    readonly finish_reason?: unknown
  }[]
  readonly usage?: ChatUsage | null
  readonly service_tier?: unknown
}

/** The most choices of a stream. No service makes more than 128; each is kept in mind to the end. */
const MAX_CHOICES = 1_024

/**
 * Reads a stream of chat completion chunks (Server-Sent Events, WHATWG HTML, section 9.2) in one pass: each event is parsed
 * once, for what it says, for how far its choices are, and for what they take.
 *
 * A stream is whole with `[DONE]`, or where it ends after every choice has ended: by a `finish_reason` that is known, or by
 * an unknown one after which the usage has come. It is broken by an error event, by an event that can't be read, by the
 * end of a stream without a choice, and by its end before that. Events that carry no answer (pings, data that is empty or
 * of another kind) are passed over.
 *
 * An event keeps its data as it came, but for two kinds that are written anew, since what reads them again has their bytes
 * alone: an array of chunks is an event for each, and a usage without choices gets an empty list of them.
 */
export function chatStream(): StreamParser {
  return new ChatStream(false)
}

class ChatStream extends ParsedStream {
  readonly #choices = new ChoiceStates()

  get begun(): boolean {
    return this.#choices.count > 0
  }
  get finished(): boolean {
    return this.#choices.haveEnded
  }

  protected stopped(): 'whole' | BrokenStream {
    const choices = this.#choices
    this.isEmpty = choices.count === 0 && choices.usageCame
    const code = choices.count === 0 && this.passedOver ? 'invalid_response' : 'stream_cut'
    return choices.haveEnded ? 'whole' : new BrokenStream({ code })
  }

  protected receive({ type, data, bytes }: ServerSentEvent): void {
    const read = readEvent(type, data.trim())
    if (read instanceof BrokenStream) this.ended = read
    else if (read === 'end') {
      this.isEmpty = this.#choices.count === 0
      this.ended = this.isEmpty ? new BrokenStream({ code: 'invalid_response' }) : 'whole'
      this.completed.push({ bytes, name: undefined, json: undefined })
    } else if (Array.isArray(read)) {
      for (const chunk of read) this.#take(chunk)
      this.passedOver ||= read.length === 0
    } else this.#take(read.chunk, read.isAsItCame ? bytes : undefined)
  }

  #take(chunk: ChatChunk, bytes?: Uint8Array): void {
    const pieces = this.#choices.add(chunk)
    if (this.#choices.count > MAX_CHOICES) this.ended ??= new BrokenStream({ code: 'invalid_response' })
    this.tally.add(usageOf(chunk.usage), pieces, chunk as unknown as Json)
    if (!this.#choices.haveEnded) this.toldOutput = this.tally.toldOutput
    this.completed.push(eventOf(chunk as unknown as Json, bytes))
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

class ChoiceStates {
  /** Whether the usage has come in a chunk of its own, and no output after it. */
  usageCame = false
  readonly #states = new Map<number, ChoiceState>()
  /** How many of them are. */
  #open = 0
  #ended = 0

  /** Gives the pieces of output that it brings: one for each choice that goes on. */
  add({ choices, usage }: ChatChunk): number {
    let pieces = 0
    for (const [place, choice] of choices.entries()) {
      const index = choiceIndex(choice, place)
      const hasOutput = carriesOutput(choice.delta)
      if (hasOutput) pieces += 1
      const before = this.#states.get(index)
      const state = nextState(before, choice.finish_reason, hasOutput)
      if (state === before) continue
      this.#count(before, -1)
      this.#count(state, 1)
      this.#states.set(index, state)
    }
    if (pieces > 0) this.usageCame = false
    else if (choices.length === 0 && usage !== undefined && usage !== null) this.usageCame = true
    return pieces
  }

  get count(): number {
    return this.#states.size
  }
  /** Whether every one that has begun has ended. */
  get haveEnded(): boolean {
    const { size } = this.#states
    return size > 0 && this.#open === 0 && (this.usageCame || this.#ended === size)
  }

  #count(state: ChoiceState | undefined, by: 1 | -1): void {
    if (state === 'open') this.#open += by
    if (state === 'ended') this.#ended += by
  }
}

function nextState(state: ChoiceState | undefined, reason: unknown, hasOutput: boolean): ChoiceState {
  if (state === 'untrusted') return state
  if (hasOutput && (state === 'ended' || state === 'unknown')) return 'untrusted'
  // Without a reason: Azure tells of its filters after the end, too.
  return finishOf(reason) ?? state ?? 'open'
}

/** What a choice's `finish_reason` says: that it has ended, perhaps (a word that we don't know), or nothing. */
type Finish = 'ended' | 'unknown' | undefined

/** As services name the end of a choice, in lower case. */
const ENDS: ReadonlySet<string> = new Set([
  // OpenAI, and most who speak its protocol.
  'stop',
  'length',
  'tool_calls',
  'function_call',
  'content_filter',
  // Anthropic's, by servers that pass them on.
  'end_turn',
  'max_tokens',
  'stop_sequence',
  'tool_use',
  'pause_turn',
  'refusal',
  'model_context_window_exceeded',
  // Mistral, Hugging Face, Together, vLLM, DeepSeek, Zhipu, Bedrock.
  'model_length',
  'error',
  'eos',
  'eos_token',
  'abort',
  'insufficient_system_resource',
  'sensitive',
  'network_error',
  'guardrail_intervened',
  'content_filtered',
  // Google and Cohere, in upper case.
  'complete',
  'tool_call',
  'safety',
  'recitation',
  'language',
  'other',
  'blocklist',
  'prohibited_content',
  'spii',
  'malformed_function_call',
  'error_toxic',
])

/** Words for "not yet", by servers that fill the field into each chunk. */
const NOT_YET: ReadonlySet<string> = new Set([
  '',
  'null',
  'none',
  'nil',
  'undefined',
  'nan',
  'n/a',
  'na',
  'false',
  'unspecified',
  'finish_reason_unspecified',
  'in_progress',
  'not_finished',
  'unfinished',
  'incomplete',
  'continue',
  'running',
  'streaming',
  'generating',
  'pending',
])

function finishOf(reason: unknown): Finish {
  if (typeof reason !== 'string') return undefined
  const word = reason.trim().toLowerCase()
  if (ENDS.has(word)) return 'ended'
  return NOT_YET.has(word) ? undefined : 'unknown'
}

const END = /^\[DONE\]$/i
const END_LENGTH = 6
/** What some servers send as the data of an event, to keep the connection. */
const KEEP_ALIVE = /^:?\s*(?:ping|pong|keep[-_ ]?alive|heart[-_ ]?beat|no-?op)\b[^{}[\]]{0,64}$/i
/** Names of events whose data must be an answer's. */
const ANSWER_EVENTS: ReadonlySet<string> = new Set(['', 'message', 'data', 'chunk', 'completion', 'delta'])

interface ReadChunk {
  readonly chunk: ChatChunk
  readonly isAsItCame: boolean
}

/** The chunk in an event, or all in an array of them: none where it carries no answer. */
function readEvent(type: string, text: string): ReadChunk | ChatChunk[] | 'end' | BrokenStream {
  if (!isWithinBounds(text)) return new BrokenStream({ code: 'invalid_response' })
  if (type === 'error') return new BrokenStream(failureInText(text))
  if (text.length === END_LENGTH && END.test(text)) return 'end'
  if (text === '') return NOTHING
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    const isAnswer = ANSWER_EVENTS.has(type) || text.startsWith('{') || text.startsWith('[')
    return KEEP_ALIVE.test(text) || !isAnswer ? NOTHING : unreadable()
  }
  if (Array.isArray(value)) return readAll(value)
  const chunk = readValue(value)
  if (chunk === undefined) return NOTHING
  return chunk instanceof BrokenStream ? chunk : { chunk, isAsItCame: chunk === value }
}

const NOTHING: ChatChunk[] = []

/** Some servers put an event's one value into an array. */
function readAll(values: readonly unknown[]): ChatChunk[] | BrokenStream {
  const chunks: ChatChunk[] = []
  for (const value of values) {
    const read = readValue(value)
    if (read instanceof BrokenStream) return read
    if (read !== undefined) chunks.push(read)
  }
  return chunks
}

function readValue(value: unknown): ChatChunk | BrokenStream | undefined {
  if (!isJson(value)) return undefined
  const error = errorIn(value)
  if (error !== undefined) return new BrokenStream(failureIn(error))
  const { choices, usage } = value
  if (choices === undefined || choices === null) return isJson(usage) ? { ...value, choices: [] } : undefined
  if (!Array.isArray(choices) || !choices.every(isChoice)) return unreadable()
  return value as unknown as ChatChunk
}

function isChoice(choice: unknown): boolean {
  if (!isJson(choice)) return false
  const { delta } = choice
  return delta === undefined || delta === null || (isJson(delta) && isContent(delta.content))
}
