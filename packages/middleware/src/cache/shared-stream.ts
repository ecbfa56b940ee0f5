import { answerAssembler, BrokenStream, type ChatAnswer, chatEvents } from '../completion/index.ts'
import { endedBy } from '../pipeline/index.ts'

/** A model's stream of events that several requests read, each from its beginning and at a pace of its own. */
export interface SharedStream {
  /**
   * One more reader. The model is read as fast as the fastest asks; nothing is read ahead.
   *
   * @param signal aborts when this reader's client has left, or the gateway ends its request
   * @param onLeave called once if the reader gives up before the end
   */
  open(signal: AbortSignal, onLeave: (reason: unknown) => void): ReadableStream<Uint8Array>
  /**
   * Reads to the end for somebody who wants the answer whole.
   *
   * @throws BrokenStream
   */
  readToEnd(signal: AbortSignal): Promise<WholeStream>
  /** Resolves when the answer is whole, or, with nothing, when it has broken off. */
  readonly ended: Promise<WholeStream | undefined>
  /** Ends the call to the model: nobody reads any more. */
  cancel(reason: unknown): Promise<void>
}

/** A stream that came to its end, and the answer that it adds up to. */
export interface WholeStream {
  /** UTF-8 JSON. */
  readonly answer: Uint8Array
  /** `undefined` where it was too long to be kept. */
  readonly events: Uint8Array | undefined
}

export interface SharedStreamOptions {
  /** What is kept for those who come later, in bytes; what is longer is passed on and let go. */
  readonly maxKeptBytes: number
  /** Called when so much has come that not all of it can be kept: nobody who comes from now on can read it whole. */
  readonly onTooLong: () => void
  /** Called once, when the answer is whole, or broken off. */
  readonly onEnd: (whole: WholeStream | undefined) => void
}

/** How far one reader may fall behind another once the beginning is no longer kept, in bytes. */
const MAX_LAG_BYTES = 4 * 1024 * 1024

interface Reader {
  /** Which chunk it reads next, counted from the stream's first. */
  next: number
}

export function sharedStream(
  source: ReadableStream<Uint8Array>,
  { maxKeptBytes, onTooLong, onEnd }: SharedStreamOptions,
): SharedStream {
  const reader = source.getReader()
  const events = chatEvents()
  const assembler = answerAssembler()
  const readers = new Set<Reader>()
  /** Of the stream's chunks, those from number `first` on. */
  let chunks: Uint8Array[] = []
  let first = 0
  let keptBytes = 0
  let keepsAll = true
  let done = false
  let fault: unknown
  let whole: WholeStream | undefined
  let told = false
  const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<WholeStream | undefined>()
  let reading: Promise<void> | undefined

  /** One read for all who wait. It never rejects: what it met is in `done` and `fault`. */
  function more(): Promise<void> {
    reading ??= read().finally(() => {
      reading = undefined
    })
    return reading
  }

  async function read(): Promise<void> {
    try {
      const { done: isOver, value } = await reader.read()
      if (isOver) {
        events.close()
        done = true
      } else {
        for (const chunk of events.feed(value)) assembler.add(chunk)
        chunks.push(value)
        keptBytes += value.byteLength
        letGo()
      }
    } catch (error) {
      fault = error ?? new BrokenStream({ code: 'stream_cut' })
      done = true
    }
    if (events.ended !== undefined || done) tell()
  }

  function tell(): void {
    if (told) return
    told = true
    const answer = fault === undefined && events.ended === 'whole' ? textOf(assembler.answer()) : undefined
    if (answer !== undefined) whole = { answer, events: keepsAll ? Buffer.concat(chunks, keptBytes) : undefined }
    onEnd(whole)
    resolveEnded(whole)
  }

  /** Once not all can be kept, no more is than what somebody has still to read. */
  function letGo(): void {
    if (keepsAll && keptBytes > maxKeptBytes) {
      keepsAll = false
      onTooLong()
    }
    if (keepsAll) return
    const slowest = Math.min(...[...readers].map(({ next }) => next))
    let gone = 0
    while (gone < chunks.length && (first + gone < slowest || keptBytes > maxKeptBytes + MAX_LAG_BYTES)) {
      keptBytes -= chunks[gone]?.byteLength ?? 0
      gone += 1
    }
    chunks = chunks.slice(gone)
    first += gone
  }

  return {
    open(signal, onLeave) {
      const mine: Reader = { next: 0 }
      readers.add(mine)
      let stop = () => {}
      const end = () => {
        readers.delete(mine)
        stop()
      }
      return new ReadableStream(
        {
          start(controller) {
            const abort = () => {
              end()
              onLeave(signal.reason)
              controller.error(new BrokenStream({ code: endedBy(signal)?.code ?? 'client_left' }))
            }
            stop = () => signal.removeEventListener('abort', abort)
            if (signal.aborted) abort()
            else signal.addEventListener('abort', abort)
          },
          async pull(controller) {
            while (readers.has(mine)) {
              if (mine.next < first) {
                end()
                onLeave(undefined)
                return controller.error(new BrokenStream({ code: 'too_slow' }))
              }
              const chunk = chunks[mine.next - first]
              if (chunk !== undefined) {
                mine.next += 1
                letGo()
                return controller.enqueue(chunk)
              }
              if (done) {
                end()
                return fault === undefined ? controller.close() : controller.error(fault)
              }
              await more()
            }
          },
          cancel(reason) {
            end()
            onLeave(reason)
          },
        },
        { highWaterMark: 0 },
      )
    },
    async readToEnd(signal) {
      while (!told) {
        signal.throwIfAborted()
        await more()
      }
      if (whole !== undefined) return whole
      throw fault ?? (events.ended instanceof BrokenStream ? events.ended : new BrokenStream({ code: 'stream_cut' }))
    },
    ended,
    cancel: (reason) => reader.cancel(reason),
  }
}

/** UTF-8; `undefined` for no answer, and for one that is nested too deeply to be written. */
function textOf(answer: ChatAnswer | undefined): Uint8Array | undefined {
  try {
    return answer && Buffer.from(JSON.stringify(answer))
  } catch {
    return undefined
  }
}
