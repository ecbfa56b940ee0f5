import type { Refusal } from '../pipeline/index.ts'
import type { ChatAnswer } from './answer.ts'
import type { EventEncoder } from './encode-stream.ts'
import type { CompletionRequest } from './request.ts'

/** Between what a route's callers speak and what the rooms speak, which is OpenAI's chat completions. */
export interface Codec {
  /** A request's JSON body as a completion request, or why it is none. */
  decode(body: unknown): CompletionRequest | Refusal
  /** The body of a 200. */
  encode(answer: ChatAnswer): unknown
  /** For one streamed answer. */
  events(): EventEncoder
}
