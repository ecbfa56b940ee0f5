import {
  type Answer,
  type Assembler,
  BrokenStream,
  type EventSource,
  eventsIn,
  type Operation,
  type StreamEnd,
  type StreamEvent,
  type StreamReply,
} from '../operations/index.ts'
import { endedBy, type StreamOutcome, type Usage } from '../pipeline/index.ts'
import { type ByteBudget, keptBytes } from './kept-bytes.ts'

/**
 * A model's stream of events that several requests read, each from its beginning and at a pace of its own. It has one reader
 * of its source. Who reads at its tip gets the source's own events, which are parsed once for all; what is kept for those who
 * come later is bytes.
 */
export interface SharedStream {
  /**
   * One more reader; `undefined` where the beginning is not kept any more. The model is read as fast as the fastest asks;
   * nothing is read ahead.
   *
   * @param signal aborts when this reader's client has left, or the gateway ends its request
   * @param onOver called once, when the reader has read all, was broken off or has left, `reason` where it told one
   */
  open(signal: AbortSignal, onOver: (how: StreamOutcome, reason?: unknown) => void): EventSource | undefined
  /**
   * Reads to the end for somebody who wants the answer whole; `undefined` once it is too long to be kept.
   *
   * @throws BrokenStream
   */
  collect(signal: AbortSignal): Promise<WholeStream | undefined>
  /** Whether the call has ended, and `ended` has resolved. */
  isOver(): boolean
  /** Resolves when the call has ended, in whatever way, and `settle` was called. Never rejects. */
  readonly ended: Promise<SharedEnd>
  /** Nobody opens it any more: what all have read can be let go. */
  shut(): void
  /** Ends the call to the model: nobody reads any more. */
  cancel(reason: unknown): void
}

/** How the call of a stream ended. */
export interface SharedEnd extends Pick<StreamEnd, 'attempts'> {
  /** `undefined` where the answer has broken off or was given up. */
  readonly whole: WholeStream | undefined
  /** Why it is not whole. */
  readonly fault: unknown
}

/** A stream that came to its end. */
export interface WholeStream {
  readonly usage: Usage | undefined
  /** Its bytes; `undefined` where it was too long to be kept. */
  readonly events: Uint8Array | undefined
  /** The answer that it adds up to; `undefined` where it was too long to be kept. Put together when it is asked for. */
  answer(): Answer | undefined
}

export interface SharedStreamOptions {
  readonly operation: Operation
  /**
   * What is kept for those who come later, in bytes; what is longer is passed on and let go. A reader may fall as far behind
   * another.
   */
  readonly maxKeptBytes: number
  /** What all streams of the process may keep together. */
  readonly budget: ByteBudget
  /** Called when not all can be kept any more: nobody who comes from now on can read it whole. */
  readonly onTooLong: () => void
  /** Called once, when the call has ended and before any reader is told of it: a reader that asks again then finds what it stores. */
  readonly settle: (end: SharedEnd) => void
}

/**
 * Up to so many bytes of a stream its answer is put together as it comes, which spares to parse it again. What that holds is
 * some ten times as much, at the worst.
 */
const MAX_ASSEMBLED_BYTES = 256 * 1024

interface Reader {
  /** The place in the stream from which it reads next, in bytes. */
  next: number
  /** There is more, or it is over. */
  readonly wake: () => void
  readonly tooSlow: () => void
}

export function sharedStream(reply: Pick<StreamReply, 'events' | 'ended'>, options: SharedStreamOptions): SharedStream {
  const { operation, maxKeptBytes, budget, onTooLong, settle } = options
  const source = reply.events
  const kept = keptBytes()
  const readers = new Set<Reader>()
  const { promise: ended, resolve: resolveEnded } = Promise.withResolvers<SharedEnd>()
  let assembler: Assembler | undefined = operation.assembler()
  /** What the source gave last, and where it begins. */
  let tip: { readonly start: number; readonly events: readonly StreamEvent[] } | undefined
  /** Bytes of the common budget, while all is kept. */
  let taken = 0
  let keepsAll = true
  let isReading = false
  /** Given up between two reads: all that the source gave is kept. */
  let isCancelledAtRest = false
  /** Whether the source has ended. What it took is still to be told then. */
  let isClosed = false
  let end: SharedEnd | undefined
  /** For those who wait for more without being readers. */
  let change: PromiseWithResolvers<void> | undefined

  /** One read for all who wait. */
  function pull(): void {
    if (isReading || isClosed) return
    isReading = true
    source.read().then(came).catch(fail)
  }

  /** The source has broken off; or what it gave can't be read, by a defect: then nobody waits for more of it. */
  function fail(fault: unknown): void {
    source.cancel(fault)
    close(fault ?? new BrokenStream({ code: 'stream_cut' }))
  }

  function came(events: readonly StreamEvent[] | undefined): void {
    isReading = false
    if (isClosed) return
    if (events === undefined) close(undefined)
    else {
      tip = { start: kept.end, events }
      for (const event of events) keep(event)
      letGo()
      wakeAll()
    }
  }

  function keep(event: StreamEvent): void {
    const { byteLength } = event.bytes
    kept.add(event.bytes)
    if (kept.bytes > MAX_ASSEMBLED_BYTES) assembler = undefined
    assembler?.add(event)
    if (!keepsAll) return
    if (kept.bytes <= maxKeptBytes && budget.take(byteLength)) taken += byteLength
    else {
      stopKeeping()
      onTooLong()
    }
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
    kept.dropBefore(slowest)
    while (kept.bytes > maxKeptBytes) kept.drop()
    if (slowest < kept.first) for (const each of [...readers]) if (each.next < kept.first) each.tooSlow()
  }

  function wakeAll(): void {
    for (const each of [...readers]) each.wake()
    change?.resolve()
    change = undefined
  }

  /** The source has ended. Its readers are told once what it took is known, and stored what can be. */
  function close(fault: unknown): void {
    isReading = false
    if (isClosed) return
    isClosed = true
    void reply.ended.then((inner) => over(inner, fault))
  }

  function over({ how, attempts }: StreamEnd, fault: unknown): void {
    // One that was given up may have been whole by then.
    const isWhole = how === 'complete' && (fault === undefined || isCancelledAtRest)
    end = isWhole
      ? { attempts, whole: wholeOf(attempts), fault: undefined }
      : { attempts, whole: undefined, fault: fault ?? new BrokenStream({ code: 'stream_cut' }) }
    assembler = undefined
    settle(end)
    resolveEnded(end)
    wakeAll()
  }

  /** Put together once, from the bytes where it is long: in parts, as it comes, it would take memory that is not counted. */
  function wholeOf(attempts: StreamEnd['attempts']): WholeStream {
    const spend = attempts.at(-1)?.spend
    const usage = spend?.isCertain ? spend.usage : undefined
    const events = keepsAll ? kept.joined() : undefined
    let parts = assembler
    let answer: Answer | undefined
    return {
      usage,
      events,
      answer() {
        if (events === undefined || answer !== undefined) return answer
        answer = (parts ?? assembled(operation, events)).answer(usage)
        parts = undefined
        return answer
      },
    }
  }

  /** What has come and this reader has not read. */
  function take(reader: Reader): readonly StreamEvent[] | undefined {
    const { next } = reader
    if (next === kept.end) return undefined
    if (next === tip?.start) {
      reader.next = kept.end
      letGo()
      return tip.events
    }
    const bytes = kept.eventsFrom(next)
    if (bytes === undefined) return undefined
    reader.next = next + bytes.byteLength
    letGo()
    return [...eventsIn(bytes)]
  }

  return {
    open(signal, onOver) {
      if (kept.first > 0) return undefined
      let failure: unknown
      let pending: PromiseWithResolvers<readonly StreamEvent[] | undefined> | undefined
      const leave = () => {
        signal.removeEventListener('abort', abort)
        return readers.delete(mine)
      }
      const breakOff = (fault: unknown, how: StreamOutcome, reason?: unknown) => {
        if (!leave()) return
        failure = fault
        pending?.reject(fault)
        pending = undefined
        onOver(how, reason)
      }
      const abort = () => {
        const byGateway = endedBy(signal)
        const failed = new BrokenStream({ code: byGateway?.code ?? 'client_left' })
        breakOff(failed, byGateway === undefined ? 'client_left' : 'broken', signal.reason)
      }
      /** What can be told at once: events, or that it is over. */
      const tell = () => {
        if (pending === undefined) return
        const events = take(mine)
        if (events === undefined && end === undefined) return pull()
        if (events === undefined && end?.whole === undefined) return breakOff(end?.fault, 'broken')
        pending.resolve(events)
        pending = undefined
        if (events === undefined && leave()) onOver('complete')
      }
      const mine: Reader = {
        next: 0,
        wake: tell,
        tooSlow: () => breakOff(new BrokenStream({ code: 'too_slow' }), 'broken'),
      }
      readers.add(mine)
      if (signal.aborted) abort()
      else signal.addEventListener('abort', abort)
      return {
        read() {
          if (failure !== undefined) return Promise.reject(failure)
          if (!readers.has(mine)) return Promise.resolve(undefined)
          pending = Promise.withResolvers()
          const { promise } = pending
          tell()
          return promise
        },
        cancel(reason) {
          if (!leave()) return
          pending?.resolve(undefined)
          pending = undefined
          onOver('client_left', reason)
        },
      }
    },
    async collect(signal) {
      while (end === undefined) {
        signal.throwIfAborted()
        if (!keepsAll) return undefined
        change ??= Promise.withResolvers()
        const { promise } = change
        pull()
        await promise
      }
      if (end.whole === undefined) throw end.fault
      return end.whole.events === undefined ? undefined : end.whole
    },
    isOver: () => end !== undefined,
    ended,
    shut() {
      stopKeeping()
      letGo()
    },
    cancel(reason) {
      if (isClosed) return
      isCancelledAtRest = !isReading
      source.cancel(reason)
      close(new BrokenStream({ code: 'client_left' }))
    },
  }
}

function assembled(operation: Operation, events: Uint8Array): Assembler {
  const assembler = operation.assembler()
  for (const event of eventsIn(events)) assembler.add(event)
  return assembler
}
