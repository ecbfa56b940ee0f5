import { BrokenStream, chatEvents } from '../completion/index.ts'
import { endedBy, isEventStream, isTimeout, withDeadline } from '../pipeline/index.ts'
import { NoAnswer } from './no-answer.ts'

export interface OpenStreamOptions {
  /** Longest wait for the first event, in milliseconds. */
  readonly firstByteMs: number
  /** Longest silence between two pieces, in milliseconds. A reader that is slow doesn't count as silence. */
  readonly idleMs: number
  /** Longest life of the stream, in milliseconds. */
  readonly totalMs: number
  /** Aborts when the client has left, or the gateway ends the request. */
  readonly left: AbortSignal
}

/**
 * A model's stream of events, byte for byte, once its first chunk is there: until then a failure can still be answered
 * with a status. It is read as fast as it is asked for. The call ends at once when the reader cancels, the client
 * leaves, or a bound is passed, and then the stream errs with `BrokenStream`.
 *
 * @param call starts the request; it must honour the signal, for the answer's body too
 * @throws NoAnswer; `TimeoutError`; whatever the call throws
 */
export async function openStream(
  call: (signal: AbortSignal, timeoutMs: number) => Promise<Response>,
  { firstByteMs, idleMs, totalMs, left }: OpenStreamOptions,
): Promise<ReadableStream<Uint8Array>> {
  const over = new AbortController()
  const signal = AbortSignal.any([left, over.signal])
  const timer = setTimeout(() => over.abort(new DOMException(`Not done within ${totalMs} ms`, 'TimeoutError')), totalMs)
  const end = (reason?: unknown) => {
    clearTimeout(timer)
    over.abort(reason)
  }

  let begun: Begun
  try {
    begun = await withDeadline(firstByteMs, async () => begin(await call(signal, firstByteMs)))
  } catch (error) {
    end(error)
    throw error
  }

  const { reader, read } = begun
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const ahead = read.shift()
          if (ahead !== undefined) return controller.enqueue(ahead)
          const { done, value } = await withDeadline(idleMs, () => reader.read())
          if (!done) return controller.enqueue(value)
          clearTimeout(timer)
          controller.close()
        } catch (error) {
          // The reason why we gave up says more than what the transport made of it.
          const cause = over.signal.aborted ? over.signal.reason : error
          end(cause)
          controller.error(new BrokenStream({ code: codeOf(cause, left) }, { cause }))
        }
      },
      cancel(reason) {
        end(reason)
        return reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

interface Begun {
  readonly reader: ReadableStreamDefaultReader<Uint8Array>
  /** What had to be read to see the first chunk. */
  readonly read: Uint8Array[]
}

async function begin(response: Response): Promise<Begun> {
  const { status, body } = response
  if (body === null || !isEventStream(response)) {
    throw new NoAnswer({ status, code: 'invalid_response' })
  }
  const reader: ReadableStreamDefaultReader<Uint8Array> = body.getReader()
  const events = chatEvents()
  const read: Uint8Array[] = []
  for (;;) {
    const { done, value } = await reader.read()
    if (done) events.close()
    else {
      read.push(value)
      if (events.feed(value).length > 0) return { reader, read }
    }
    const { ended } = events
    if (ended !== undefined) {
      throw new NoAnswer({ status, ...(ended === 'whole' ? { code: 'invalid_response' } : ended.failure) })
    }
  }
}

function codeOf(cause: unknown, left: AbortSignal): string {
  if (left.aborted) return endedBy(left)?.code ?? 'client_left'
  return isTimeout(cause) ? 'timeout' : 'stream_cut'
}
