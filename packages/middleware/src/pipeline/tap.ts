import { RequestEnded } from './ended.ts'

/** How a streamed answer ended: whole, given up by its reader, or broken by its writer or by the end of the process. */
export type StreamEnd = 'complete' | 'client_left' | 'broken'

/**
 * Passes a stream through and tells, once, how it ended. Nothing is read before it is asked for, nothing is kept, and
 * who cancels the tapped stream cancels the source at once.
 *
 * @param onPiece told of each piece that is read
 */
export function tap(
  source: ReadableStream<Uint8Array>,
  onEnd: (end: StreamEnd) => void,
  onPiece?: () => void,
): ReadableStream<Uint8Array> {
  const reader = source.getReader()
  let ended = false
  const end = (how: StreamEnd) => {
    if (!ended) onEnd(how)
    ended = true
  }
  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (!done) {
            onPiece?.()
            return controller.enqueue(value)
          }
          end('complete')
          controller.close()
        } catch (fault) {
          end('broken')
          controller.error(fault)
        }
      },
      cancel(reason) {
        // The source first: what is within has then ended too, and its part of the record is there to be told.
        const cancelled = reader.cancel(reason)
        end(reason instanceof RequestEnded ? 'broken' : 'client_left')
        return cancelled
      },
    },
    { highWaterMark: 0 },
  )
}

/** Whether a response is a stream of events (Server-Sent Events), which is passed on as it comes. */
export function isEventStream({ headers }: Response): boolean {
  return /^text\/event-stream\b/i.test(headers.get('content-type') ?? '')
}
