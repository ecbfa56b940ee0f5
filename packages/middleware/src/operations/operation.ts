import type { ModelRules, Spend, TokenKind, UpstreamFailure, Usage } from '../pipeline/index.ts'
import type { Body, Json } from './body.ts'
import type { BrokenStream } from './broken-stream.ts'
import type { Conversation } from './conversation.ts'
import type { StreamEvent } from './stream-event.ts'

/** What of a request moves its price, beside how many tokens of the usual kinds it takes. */
export interface Surcharges {
  /** The service tier that it asks for by name; `undefined` where it leaves that to the service. */
  readonly tier: string | undefined
  /** Hosted tools that it lets the service call, by name, without a date: the most calls of each; infinity where nothing bounds them. */
  readonly toolCalls: Readonly<Record<string, number>>
  /** Kinds of tokens that it can bring, beside `input`, `cachedInput`, `cacheWrite` and `output`. */
  readonly kinds: readonly TokenKind[]
}

/** The most that a call can take, in tokens. */
export interface Bounds {
  /** `undefined` where neither the body nor the model's context window bounds it. */
  readonly input: number | undefined
  /** The field of the body by which it may be given input that its bytes don't bound; `undefined` where there is none. */
  readonly unboundedField: string | undefined
  /** Of each choice; 0 where nothing is generated. */
  readonly output: number
  readonly choices: number
  /** Of all choices together, beyond that: what is billed as output and is none, as a prediction that the model rejects. */
  readonly moreOutput?: number
}

/** A whole answer. */
export interface Answer {
  /** As it came. In memory of its own; not to be changed. */
  readonly bytes: Buffer
  /** Parsed at the first call and kept. */
  json(): Json
  /** What the model told that it took; `undefined` where it told nothing. */
  readonly usage: Usage | undefined
}

/** What a 200's body is. Its tokens are billed, be it an answer or not. */
export type ParsedAnswer =
  | { readonly kind: 'answer'; readonly answer: Answer; readonly spend: Spend }
  | { readonly kind: 'failure'; readonly failure: UpstreamFailure; readonly spend: Spend }

/** Reads a model's stream, piece by piece, each event once. */
export interface StreamParser {
  /** The events of the answer that these bytes complete; pings and comments are passed over. What comes after the end is of no account. */
  feed(bytes: Uint8Array): readonly StreamEvent[]
  /** To be called when no more bytes will come: the last events. An answer that is not whole by then is broken. */
  close(): readonly StreamEvent[]
  /** Whether any choice has begun. */
  readonly begun: boolean
  /** Whether every choice that has begun has ended: what is still to come is its usage, or nothing. */
  readonly finished: boolean
  /** Whether it has ended, by itself, without any: nothing was generated but what its usage tells. */
  readonly isEmpty: boolean
  readonly ended: 'whole' | BrokenStream | undefined
  /** Output tokens so far, at the least: what was counted (each piece is one), or told before the end of its choices. */
  readonly output: number
  /** The most that was told, and no less than was counted; `undefined` where nothing was told. Never falls. */
  readonly told: Usage | undefined
  /** What is told of all that has come; `undefined` where nobody knows. */
  readonly usage: Usage | undefined
}

/** Puts the events of a stream together, as they come, as the answer that the model would have sent whole. */
export interface Assembler {
  add(event: StreamEvent): void
  /** What has come so far; `undefined` while that is no answer. */
  answer(usage: Usage | undefined): Answer | undefined
}

/** One kind of call to a model's service. A single value in a single file. */
export interface Operation {
  readonly name: 'chat' | 'embeddings' | 'responses' | 'messages'
  /** Under a target's base URL: `/chat/completions`. */
  readonly path: string
  /** Of the caller's headers, those that go on, in lower case: none that a target is asked by. No other one ever does. */
  readonly forwards: readonly string[]
  /** The longest plain answer, in bytes; 8 MiB where it is left out. */
  readonly maxAnswerBytes?: number
  /**
   * The body as it may be sent: with a bound on its answer, this where it states none, and for a stream with its usage asked for. The
   * same body where nothing is generated.
   */
  bounded(body: Body, maxOutputTokens: number, rules: ModelRules): Body
  /** `undefined` where what bounds the answer is no whole number above 0. */
  bounds(body: Body, rules: Pick<ModelRules, 'contextWindow'>): Bounds | undefined
  /**
   * A tighter bound of the input than its bytes, by the model's own vocabulary: takes a second of work for a million
   * characters. `undefined` where there is none; left out by an operation that never has one.
   *
   * @throws AbortError when the signal aborts
   */
  countInput?(
    body: Body,
    rules: Pick<ModelRules, 'contextWindow' | 'tokenizer'>,
    signal: AbortSignal,
  ): Promise<number | undefined>
  /** Roughly the tokens of its input, for a choice among models: never what anything is charged or limited by. */
  estimatedInput(body: Body): number
  /** Left out by an operation whose requests are no conversations. */
  readonly conversation?: Conversation
  /** What moves its price. What isn't told here is taken to be of the usual tier and kinds, and to call no hosted tool. */
  surcharges(body: Body): Surcharges
  /** The body with another bound for each choice; the same body where nothing is generated. */
  withOutput(body: Body, each: number): Body
  /** What the answer depends on: the body without the fields that don't change it. */
  fingerprinted(body: Body): Json
  /** Whether the same request may be answered differently each time. */
  isSampled(body: Body): boolean
  /** Whether an answer may be a call of a tool, which has an effect in the world each time. */
  offersTools(body: Body): boolean
  /** @param bytes of a 200; in memory of its own */
  parse(bytes: Buffer): ParsedAnswer
  /** An answer that was parsed before, by its bytes: parsed again only when it is asked for. */
  answerOf(bytes: Buffer, usage: Usage | undefined): Answer
  /** Whether an answer is whole and may be said again: ended by itself, not by a filter, with all choices that were asked for. */
  isStorable(answer: Answer, asked: { readonly body: Body; readonly tools: boolean }): boolean
  stream(): StreamParser
  assembler(): Assembler
  /** The events in which a service would have streamed an answer: assembled, they are the same answer. */
  replay(answer: Answer): Iterable<StreamEvent>
}
