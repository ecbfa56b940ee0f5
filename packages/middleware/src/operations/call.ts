import type { Attempt, Input, Refusal, ReplyHeaders, StreamOutcome } from '../pipeline/index.ts'
import type { Body } from './body.ts'
import type { Answer, Operation } from './operation.ts'
import type { EventSource } from './stream-event.ts'

/** The fields that a model takes. */
export interface FieldRules {
  /** By which the length of an answer is bounded. */
  readonly outputField: string
  /** Whether it takes a temperature. */
  readonly temperature: boolean
}

/** What goes down the call onion: a request, read and decoded by its surface. */
export interface Call extends Input {
  readonly operation: Operation
  /** The policy's route: default model, cache rule, transforms. */
  readonly route: string
  /** A name from the policy; `undefined` for the route's default. */
  readonly model: string | undefined
  /** Without `model`: which one serves is decided further in. */
  readonly body: Body
  readonly streamed: boolean
  /**
   * Of a body that the surface has worded itself: the same in the words that the model takes. A caller's own body goes on as it
   * came.
   */
  readonly fit?: (body: Body, rules: FieldRules) => Body
  /** The surface's name, and the SHA-256 of the body as it came: for who asks. Without a secret in it, so that it must not leave the process. */
  bodyDigest(): string
}

/**
 * Where a reply was made: by a call for this request, in the cache (also a refusal that is remembered), or by a call that
 * another request had made.
 */
export type ReplySource = 'call' | 'cache' | 'shared'

interface Replied {
  readonly source: ReplySource
  readonly headers: ReplyHeaders
}

export interface AnswerReply extends Replied {
  readonly kind: 'answer'
  readonly answer: Answer
  readonly attempts: readonly Attempt[]
  /** Whether the answer is that of anybody who asks the same; `false` where a budget cut it short. */
  readonly storable: boolean
}

/** How a stream ended, and what its calls took. */
export interface StreamEnd {
  readonly how: StreamOutcome
  /** None where the model was not asked for it. */
  readonly attempts: readonly Attempt[]
}

export interface StreamReply extends Replied {
  readonly kind: 'stream'
  /** To be read to the end or cancelled, on every path. */
  readonly events: EventSource
  /**
   * Never rejects. Resolves after the last `read`, after `cancel`, or when the call's signal aborts, whichever comes first.
   */
  readonly ended: Promise<StreamEnd>
  readonly storable: boolean
}

export interface RefusedReply extends Replied {
  readonly kind: 'refused'
  readonly refusal: Refusal
  readonly attempts: readonly Attempt[]
  /** Whether it holds for all who ask the same: the service failed, and not a limit or the one caller. */
  readonly shared: boolean
  /** Whether another model may be asked: the service failed, before any byte; not a limit, not the caller's fault. */
  readonly fallible: boolean
}

/** What comes back up. Everything that decides looks at it. */
export type Reply = AnswerReply | StreamReply | RefusedReply

/** A refusal that was decided on the way, by no call: a limit's, or the caller's fault. */
export function refused(refusal: Refusal, headers: ReplyHeaders = {}): RefusedReply {
  return { kind: 'refused', refusal, headers, attempts: [], source: 'call', shared: false, fallible: false }
}

const attemptsOfFaults = new WeakMap<object, readonly Attempt[]>()

/**
 * The fault, and what the calls to the model took until it was thrown: a programming fault has no reply that could say so, and
 * what was reserved must not be spent by a call that was never sent.
 *
 * @example throw faultAfter(fault, [{ …, spend: NOTHING_SPENT, failure: { code: 'request_failed', unspent: true } }])
 */
export function faultAfter<Fault>(fault: Fault, attempts: readonly Attempt[]): Fault {
  if (typeof fault === 'object' && fault !== null) attemptsOfFaults.set(fault, attempts)
  return fault
}

/** What the calls took before a fault; `undefined` where nobody knows. */
export function attemptsBefore(fault: unknown): readonly Attempt[] | undefined {
  return typeof fault === 'object' && fault !== null ? attemptsOfFaults.get(fault) : undefined
}
