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

/** Whether the client has closed its connection, or broken off its upload, before it was answered. */
export function clientHasLeft(signal: AbortSignal): boolean {
  return signal.aborted && endedBy(signal) === undefined
}

/** For the log: the client is not there to read it. nginx logs the same status for a connection that its client closed. */
export const CLIENT_LEFT: Refusal = {
  kind: 'refusal',
  code: 'client_left',
  status: 499,
  message: 'The client closed the connection before the answer.',
}

/** The refusal of a request whose signal has aborted: what the gateway ended it with, or that its client has left. */
export function refusalOfEnded(signal: AbortSignal): Refusal {
  return endedBy(signal)?.refusal ?? CLIENT_LEFT
}

/**
 * Waits for work until the request's signal aborts, and then no longer: neither a client that has left nor a process that
 * ends waits for a store. The work goes on unheard; what it takes is for the caller to give back.
 *
 * @throws what the work throws before that.
 */
export async function unlessEnded<T>(work: Promise<T>, signal: AbortSignal): Promise<T | 'ended'> {
  const { promise: ended, resolve } = Promise.withResolvers<'ended'>()
  const end = () => resolve('ended')
  if (signal.aborted) end()
  else signal.addEventListener('abort', end)
  // After the signal has aborted, what the work throws has no reader.
  work.catch(() => {})
  try {
    return await Promise.race([ended, work])
  } finally {
    signal.removeEventListener('abort', end)
  }
}
