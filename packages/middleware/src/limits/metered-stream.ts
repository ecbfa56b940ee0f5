import { BrokenStream, type ChatChunk, chatEvents, type ToldUsage, usageTally } from '../operations/index.ts'

export interface MeteredStreamOptions {
  /** What the answer may have, in tokens of all choices together. */
  readonly maxOutput: number
  /** Aborts when the client has left, or the gateway ends the request. */
  readonly signal: AbortSignal
  /** Told once what the model took; `undefined` where it has told nothing. Not certain: it may be more than was told. */
  readonly onEnd: (told: ToldUsage | undefined) => void
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
  const tally = usageTally()
  /** What it has told before its end. What it tells at the end is of tokens that have been sent already. */
  let toldOutput = 0
  let open = true

  function end(): void {
    if (!open) return
    open = false
    signal.removeEventListener('abort', end)
    const isOver = events.finished || events.ended === 'whole' || events.isEmpty
    const usage = isOver ? tally.usage : undefined
    if (usage !== undefined) onEnd({ usage, isCertain: true })
    else onEnd(tally.told && { usage: tally.told, isCertain: false })
  }
  if (signal.aborted) end()
  else signal.addEventListener('abort', end)

  function count(chunk: ChatChunk): void {
    tally.add(chunk)
    if (!events.finished) toldOutput = tally.told?.output ?? 0
  }

  return new ReadableStream(
    {
      async pull(controller) {
        try {
          const { done, value } = await reader.read()
          for (const chunk of done ? events.close() : events.feed(value)) count(chunk)
          if (done) {
            end()
            return controller.close()
          }
          if (Math.max(tally.counted, toldOutput) > maxOutput) throw new BrokenStream({ code: 'reservation_exceeded' })
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
