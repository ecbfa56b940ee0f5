import type { Refusal } from './refusal.ts'

/**
 * The reason of a request's signal where the gateway itself ends the request: a client that has left needs no answer,
 * and this one does.
 */
export class RequestEnded extends Error {
  override readonly name = 'RequestEnded'
  /** Why, in the words of a failed upstream call. */
  readonly code: string
  /** The answer, where none has begun. */
  readonly refusal: Refusal
  constructor(code: string, refusal: Refusal) {
    super('The gateway ended this request')
    this.code = code
    this.refusal = refusal
  }
}

/** Why the gateway ended a request; `undefined` where it goes on, or the client has left. */
export function endedBy({ reason }: AbortSignal): RequestEnded | undefined {
  return reason instanceof RequestEnded ? reason : undefined
}
