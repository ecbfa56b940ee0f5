import type { Answer, Body, Call, Operation, StreamEvent } from '../operations/index.ts'
import type { GatewayRequest, HttpResponse, Refusal, UpstreamFailure } from '../pipeline/index.ts'

/** A request in the words of the call onion. */
export interface Decoded extends Pick<Call, 'model' | 'body' | 'streamed' | 'fit'> {
  /** What stands for the prompt in logs: hashed, never written. */
  readonly prompt: string
}

/** One streamed answer in a surface's words. One is made for each stream. */
export interface EventWriter {
  /** `undefined` where the event says nothing to this surface's callers. The event's own bytes may be handed on. */
  write(event: StreamEvent): string | Uint8Array | undefined
  /** The last event of a whole answer; '' where the model's own says that it is whole. */
  end(): string | Uint8Array
  /** The last event of one that broke off. */
  failed(failure: UpstreamFailure): string | Uint8Array
  /** What keeps a silent connection open: a comment, and a blank line after it by default. */
  readonly heartbeat?: string
}

/** What callers speak. A single value in a single file. */
export interface Surface {
  readonly name: string
  readonly operation: Operation
  /** The policy's route that it takes; one that the policy doesn't name has the defaults. */
  readonly route: string
  /** @param options.maxOutputTokens the most that an answer may be asked to have, in tokens of each choice */
  decode(body: Body, request: GatewayRequest, options: { readonly maxOutputTokens: number }): Decoded | Refusal
  /** The body of a 200. */
  encode(answer: Answer): Uint8Array
  /** @param call as it was decoded: what the client asked to be told stands in its body */
  events(call: Call): EventWriter
  refuse(refusal: Refusal): HttpResponse
}
