import {
  type AnswerAssembler,
  answerAssembler,
  answerIn,
  BrokenStream,
  type ChatAnswer,
  chatEvents,
  usageTally,
} from '../../operations/index.ts'
import { endedBy, type TokenUsage } from '../../pipeline/index.ts'
import type { ByteBudget } from './byte-budget.ts'
import { keptChunks } from './kept-chunks.ts'

/** A model's stream of events that several requests read, each from its beginning and at a pace of its own. */
export interface SharedStream {
  /**
   * One more reader. The model is read as fast as the fastest asks; nothing is read ahead.
   *
   * @param signal aborts when this reader's client has left, or the gateway ends its request
   */
  open(signal: AbortSignal, reader: SharedReader): ReadableStream<Uint8Array>
  /**
   * Reads to the end for somebody who wants the answer whole; `undefined` once it is too long to be kept.
   *
   * @throws BrokenStream
   */
  readToEnd(signal: AbortSignal): Promise<WholeAnswer | undefined>
  /** Resolves when the answer is whole, or, with nothing, when it has broken off or was given up. */
  readonly ended: Promise<WholeStream | undefined>
  /** Nobody opens it any more: what all have read can be let go. */
  shut(): void
  /** Ends the call to the model: nobody reads any more. */
  cancel(reason: unknown): Promise<void>
}

/** One of these is called, once. */
export interface SharedReader {
  /** The reader has read all. */
  readonly onEnd: () => void
  /** It has given up before. */
  readonly onLeave: (reason: unknown) => void
}

/** A stream that came to its end. */
export interface WholeStream {
  readonly usage: TokenUsage | undefined
  /** The answer that it adds up to; `undefined` where the stream was too long to be kept. Put together when it is asked for. */
  answer(): WholeAnswer | undefined
}

export interface WholeAnswer {
  readonly usage: TokenUsage | undefined
  readonly completion: ChatAnswer
  /** The same, as UTF-8 JSON. */
  readonly answer: Uint8Array
  /** The stream's bytes. */
  readonly events: Uint8Array
}

export interface SharedStreamOptions {
  /**
   * What is kept for those who come later, in bytes; what is longer is passed on and let go. A reader may fall as far behind
   * another.
   */
  readonly maxKeptBytes: number
  /** What all streams of the process may keep together. */
  readonly budget: ByteBudget
  /** Called when not all can be kept any more: nobody who comes from now on can read it whole. */
  readonly onTooLong: () => void
}

/**
 * Up to so many bytes of a stream its answer is put together as it comes, which spares to parse it again. What that holds is
 * some ten times as much, at the worst.
 */
const MAX_ASSEMBLED_BYTES = 256 * 1024

interface Reader {
  /** The place in the stream from which it reads next, in bytes. */
  next: number
  readonly tooSlow: () => void
}

export function sharedStream(
  source: ReadableStream<Uint8Array>,
  { maxKeptBytes, budget, onTooLong }: SharedStreamOptions,
): SharedStream {
  const reader = source.getReader()
  const events = chatEvents()
  const tally = usageTally()
  let assembler: AnswerAssembler | undefined = answerAssembler()
  const readers = new Set<Reader>()
  const chunks = keptChunks()
  const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<WholeStream | undefined>()
  /** Bytes of the common budget, while all is kept. */
  let taken = 0
  let keepsAll = true
  let done = false
  let fault: unknown
  let whole: WholeStream | undefined
  let told = false
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
      const came = isOver ? events.close() : events.feed(value)
      if (chunks.bytes + (value?.byteLength ?? 0) > MAX_ASSEMBLED_BYTES) assembler = undefined
      for (const chunk of came) {
        tally.add(chunk)
        assembler?.add(chunk)
      }
      if (isOver) done = true
      // What follows the end is nothing to anybody.
      else if (!told) keep(value)
    } catch (error) {
      fault ??= error ?? new BrokenStream({ code: 'stream_cut' })
      done = true
    }
    if (events.ended !== undefined || done) tell()
  }

  function keep(chunk: Uint8Array): void {
    chunks.add(chunk)
    const fits = !keepsAll || (chunks.bytes <= maxKeptBytes && budget.take(chunk.byteLength))
    if (!fits) {
      stopKeeping()
      onTooLong()
    } else if (keepsAll) taken += chunk.byteLength
    letGo()
  }

  function stopKeeping(): void {
    keepsAll = false
    budget.give(taken)
    taken = 0
  }

  /** Once not all is kept, no more is than what somebody has still to read, and is not too far behind. */
  function letGo(): void {
    if (keepsAll) return
    let slowest = Number.POSITIVE_INFINITY
    for (const { next } of readers) slowest = Math.min(slowest, next)
    chunks.dropBefore(slowest)
    while (chunks.bytes > maxKeptBytes) chunks.drop()
    if (slowest < chunks.first) for (const each of [...readers]) if (each.next < chunks.first) each.tooSlow()
  }

  function tell(): void {
    if (told) return
    told = true
    if (fault === undefined && events.ended === 'whole') {
      whole = { usage: tally.usage, answer: answerOf(keepsAll ? chunks.joined() : undefined) }
    }
    resolveEnded(whole)
  }

  /** Put together once, from the bytes where it is long: in parts, as it comes, it would take memory that is not counted. */
  function answerOf(events: Uint8Array | undefined): WholeStream['answer'] {
    const { usage } = tally
    let answer: WholeAnswer | undefined
    return () => {
      if (events === undefined || answer !== undefined) return answer
      const completion = assembler === undefined ? answerIn(events) : assembler.answer()
      if (completion === undefined) return undefined
      answer = { usage, completion, answer: new TextEncoder().encode(JSON.stringify(completion)), events }
      return answer
    }
  }

  return {
    open(signal, { onEnd, onLeave }) {
      let abort = () => {}
      const close = () => {
        signal.removeEventListener('abort', abort)
        return readers.delete(mine)
      }
      let tooSlow = () => {}
      const mine: Reader = { next: 0, tooSlow: () => tooSlow() }
      readers.add(mine)
      return new ReadableStream(
        {
          start(controller) {
            const breakOff = (code: string, reason: unknown) => {
              close()
              onLeave(reason)
              controller.error(new BrokenStream({ code }))
            }
            tooSlow = () => breakOff('too_slow', undefined)
            abort = () => breakOff(endedBy(signal)?.code ?? 'client_left', signal.reason)
            if (signal.aborted) abort()
            else signal.addEventListener('abort', abort)
          },
          async pull(controller) {
            while (readers.has(mine)) {
              const chunk = chunks.from(mine.next)
              if (chunk !== undefined) {
                mine.next += chunk.byteLength
                letGo()
                return controller.enqueue(chunk)
              }
              if (done) {
                close()
                if (fault === undefined) controller.close()
                else controller.error(fault)
                return onEnd()
              }
              await more()
            }
          },
          cancel(reason) {
            if (close()) onLeave(reason)
          },
        },
        { highWaterMark: 0 },
      )
    },
    async readToEnd(signal) {
      while (!told) {
        signal.throwIfAborted()
        if (!keepsAll) return undefined
        await more()
      }
      if (whole !== undefined) return whole.answer()
      throw fault ?? (events.ended instanceof BrokenStream ? events.ended : new BrokenStream({ code: 'stream_cut' }))
    },
    ended,
    shut() {
      stopKeeping()
      letGo()
    },
    cancel(reason) {
      const cancelled = reader.cancel(reason)
      if (!done) {
        events.close()
        if (events.ended !== 'whole') fault = new BrokenStream({ code: 'client_left' })
        done = true
      }
      tell()
      return cancelled
    },
  }
}
