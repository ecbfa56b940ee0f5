import { BrokenStream, type ChatChunk, chatEvents, leastTokens, usageOf } from '../completion/index.ts'
import type { TokenUsage } from '../pipeline/index.ts'

export interface MeteredStreamOptions {
  /** What the answer may have, in tokens of all choices together. */
  readonly maxOutput: number
  /** Aborts when the client has left, or the gateway ends the request. */
  readonly signal: AbortSignal
  /** Told once what the model took; `undefined` where nobody knows. */
  readonly onEnd: (usage: TokenUsage | undefined) => void
}

/**
 * Passes a model's stream of chunks through, byte for byte, and tells at its end what the model took. A stream that would
 * pass its bound ends with `BrokenStream` (`reservation_exceeded`), and its call with it: each piece counts as one token
 * at least, and what the model tells of its usage on the way counts too.
 */
export function meteredStream(
  source: ReadableStream<Uint8Array>,
  { maxOutput, signal, onEnd }: MeteredStreamOptions,
): ReadableStream<Uint8Array> {
  const reader = source.getReader()
  const events = chatEvents()
  let counted = 0
  let told: TokenUsage | undefined
  /** Whether what was told is of the whole answer. */
  let isLast = false
  let open = true

  function end(): void {
    if (!open) return
    open = false
    signal.removeEventListener('abort', end)
    onEnd(isLast || events.ended === 'whole' ? told : undefined)
  }
  if (signal.aborted) end()
  else signal.addEventListener('abort', end)

  function count(chunk: ChatChunk): void {
    counted += leastTokens(chunk)
    const usage = usageOf(chunk.usage)
    if (usage === undefined) return
    told = usage
    isLast = events.finished && chunk.choices.length === 0
    // What it tells at the end is of tokens that have been sent already.
    if (!events.finished) counted = Math.max(counted, usage.output)
  }

  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          if (done) {
            events.close()
            end()
            return controller.close()
          }
          for (const chunk of events.feed(value)) count(chunk)
          if (counted > maxOutput) throw new BrokenStream({ code: 'reservation_exceeded' })
          // Not at the connection's end, which may come later than the answer's and is nobody's concern then.
          if (events.ended !== undefined) end()
          controller.enqueue(value)
        } catch (fault) {
          end()
          reader.cancel(fault).catch(() => {})
          controller.error(fault)
        }
      },
      cancel(reason) {
        const cancelled = reader.cancel(reason)
        end()
        return cancelled
      },
    },
    { highWaterMark: 0 },
  )
}
