import { BrokenStream, type EventSource, type StreamEnd, type StreamEvent } from '../operations/index.ts'
import { endedBy, isTimeout, type Spend, type StreamOutcome, type UpstreamFailure } from '../pipeline/index.ts'
import type { CallBounds } from './call-bounds.ts'

/** The events of an answer that has begun. */
export interface OpenEvents {
  /**
   * The events that come next, one at the least; `undefined` once the answer is whole.
   *
   * @param idleMs longest silence until then, in milliseconds; `undefined` for one that somebody else bounds
   * @throws BrokenStream; the reason of the bounds' signal; whatever the connection throws
   */
  next(idleMs: number | undefined): Promise<readonly StreamEvent[] | undefined>
  /** Nobody wants the rest. */
  cancel(): void
  /** Whether what has been read is all of the answer. */
  isWhole(): boolean
  /** Output tokens so far, at the least. */
  output(): number
  /** What it has taken, as far as it has come. */
  spend(): Spend
}

export interface OpenStreamOptions {
  readonly bounds: CallBounds
  /** Longest silence between two pieces, in milliseconds. A reader that is slow doesn't count as silence. */
  readonly idleMs: number
  /** The most output tokens that may be passed on. */
  readonly maxOutput: number
  /** Aborts when the client has left, or the gateway ends the request. */
  readonly left: AbortSignal
  /** Called once, at the end. */
  readonly ending: (how: StreamOutcome, failure?: UpstreamFailure) => StreamEnd
}

/**
 * A stream as it is replied with. The call ends at once when its reader cancels, the client leaves, or a bound is passed:
 * of time, or of what is reserved. Then, but for a cancel, the stream breaks with `BrokenStream`.
 */
export function openStream(
  events: OpenEvents,
  { bounds, idleMs, maxOutput, left, ending }: OpenStreamOptions,
): { readonly events: EventSource; readonly ended: Promise<StreamEnd> } {
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>()
  let isOver = false
  let isCancelled = false
  let broken: BrokenStream | undefined

  function over(how: StreamOutcome, failure?: UpstreamFailure): void {
    if (isOver) return
    isOver = true
    bounds.signal.removeEventListener('abort', onAbort)
    bounds.done()
    resolve(ending(how, failure))
  }
  /** @returns what the stream breaks with: what broke it first */
  function breakOff(cause: unknown): BrokenStream {
    broken ??= cause instanceof BrokenStream ? cause : new BrokenStream({ code: codeOf(cause, left) }, { cause })
    events.cancel()
    over(left.aborted && endedBy(left) === undefined ? 'client_left' : 'broken', broken.failure)
    return broken
  }
  function onAbort(): void {
    breakOff(bounds.signal.reason)
  }

  if (bounds.signal.aborted) onAbort()
  else bounds.signal.addEventListener('abort', onAbort)
  return {
    ended,
    events: {
      async read() {
        if (isCancelled) return undefined
        if (broken !== undefined) throw broken
        try {
          const came = await events.next(idleMs)
          if (isCancelled) return undefined
          // The reason why the call was given up says more than what became of the reading then.
          if (broken !== undefined) throw broken
          if (came === undefined) over('complete')
          else if (events.output() > maxOutput) throw new BrokenStream({ code: 'reservation_exceeded' })
          // Not at the connection's end, which may come later than the answer's and is nobody's concern then.
          else if (events.isWhole()) over('complete')
          return came
        } catch (error) {
          if (isCancelled) return undefined
          throw breakOff(error)
        }
      },
      cancel() {
        if (isCancelled) return
        isCancelled = true
        if (!isOver) events.cancel()
        over('client_left')
      },
    },
  }
}

/** An answer that came whole, as the events in which it would have been streamed. */
export function replayed(replay: Iterable<StreamEvent>, spend: Spend): OpenEvents {
  const iterator = replay[Symbol.iterator]()
  return {
    async next() {
      const { done, value } = iterator.next()
      return done ? undefined : [value]
    },
    cancel: () => void iterator.return?.(),
    isWhole: () => false,
    output: () => 0,
    spend: () => spend,
  }
}

function codeOf(cause: unknown, left: AbortSignal): string {
  if (left.aborted) return endedBy(left)?.code ?? 'client_left'
  return isTimeout(cause) ? 'timeout' : 'stream_cut'
}
