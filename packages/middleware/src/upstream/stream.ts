import {
  BrokenStream,
  failureOfAnswer,
  readAnswer,
  replayEvents,
  type ToldUsage,
  usageWithoutAnswer,
} from '../operations/index.ts'
import { endedBy, isTimeout, withDeadline } from '../pipeline/index.ts'
import { answerBody, restOf } from './answer-body.ts'
import { answerEvents } from './answer-events.ts'
import { NoAnswer } from './no-answer.ts'

export interface OpenStreamOptions {
  /** Longest wait for the first event, in milliseconds. */
  readonly firstByteMs: number
  /** Longest silence between two pieces, in milliseconds. A reader that is slow doesn't count as silence. */
  readonly idleMs: number
  /** Longest life of the stream, in milliseconds. */
  readonly totalMs: number
  /** How long the end of a stream is waited for once its answer and its usage are there, in milliseconds. */
  readonly endGraceMs: number
  /** Aborts when the client has left, or the gateway ends the request. */
  readonly left: AbortSignal
  /** Is told what an answer took that is no completion. */
  readonly onUsage: (told: ToldUsage) => void
}

/**
 * A model's stream of events, once its first chunk is there: until then a failure can still be answered with a status. It
 * holds the events of the answer alone, each with its data as it came. What came whole, as JSON, is a stream too. It is
 * read as fast as it is asked for. The call ends at once when the reader cancels, the client leaves, or a bound is passed,
 * and then the stream errs with `BrokenStream`.
 *
 * @param call starts the request; it must honour the signal, for the answer's body too
 * @throws NoAnswer; `TimeoutError`; whatever the call throws
 */
export async function openStream(
  call: (signal: AbortSignal, timeoutMs: number) => Promise<Response>,
  options: OpenStreamOptions,
): Promise<ReadableStream<Uint8Array>> {
  const { firstByteMs, idleMs, totalMs, left } = options
  const over = new AbortController()
  const signal = AbortSignal.any([left, over.signal])
  const timer = setTimeout(() => over.abort(new DOMException(`Not done within ${totalMs} ms`, 'TimeoutError')), totalMs)
  const end = (reason?: unknown) => {
    clearTimeout(timer)
    over.abort(reason)
  }

  let begun: Begun
  try {
    begun = await withDeadline(firstByteMs, async () => begin(await call(signal, firstByteMs), options, signal))
  } catch (error) {
    end(error)
    throw error
  }

  let { ahead } = begun
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const bytes = ahead ?? (await begun.next(idleMs))
          ahead = undefined
          if (bytes !== undefined) return controller.enqueue(bytes)
          clearTimeout(timer)
          controller.close()
        } catch (error) {
          // The reason why we gave up says more than what the transport made of it.
          const cause = over.signal.aborted ? over.signal.reason : error
          end(cause)
          controller.error(
            cause instanceof BrokenStream ? cause : new BrokenStream({ code: codeOf(cause, left) }, { cause }),
          )
        }
      },
      cancel(reason) {
        end(reason)
        begun.cancel()
      },
    },
    { highWaterMark: 0 },
  )
}

interface Begun {
  /** What had to be read to see the first chunk. */
  readonly ahead: Buffer | undefined
  /** The events that come next; `undefined` at the answer's end. */
  next(idleMs: number): Promise<Buffer | undefined>
  cancel(): void
}

async function begin(response: Response, options: OpenStreamOptions, signal: AbortSignal): Promise<Begun> {
  const { status } = response
  const body = await answerBody(response)
  if (body.kind === 'json') return replayed(await restOf(body, status), status, options)
  const events = answerEvents(body, { ...options, signal })
  try {
    const ahead = await events.next(undefined)
    if (events.brokenBefore !== undefined) throw events.brokenBefore
    const { next, cancel } = events
    return { ahead, next, cancel }
  } catch (error) {
    if (!(error instanceof BrokenStream)) throw error
    const { told } = events.tally
    if (told !== undefined) options.onUsage({ usage: told, isCertain: events.isEmpty })
    throw new NoAnswer({ status, ...error.failure })
  }
}

/** An answer that came whole, as the events in which it would have been streamed. */
function replayed(bytes: Buffer, status: number, { onUsage }: OpenStreamOptions): Begun {
  const text = bytes.toString()
  const answer = readAnswer(text)
  if (answer === undefined) {
    const told = usageWithoutAnswer(text)
    if (told !== undefined) onUsage(told)
    throw new NoAnswer({ status, ...failureOfAnswer(text) })
  }
  const events = replayEvents(answer)
  const next = async () => {
    const { done, value } = events.next()
    return done ? undefined : Buffer.from(value)
  }
  return { ahead: undefined, next, cancel: () => {} }
}

function codeOf(cause: unknown, left: AbortSignal): string {
  if (left.aborted) return endedBy(left)?.code ?? 'client_left'
  return isTimeout(cause) ? 'timeout' : 'stream_cut'
}
