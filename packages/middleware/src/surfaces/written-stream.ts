import { BrokenStream, type EventSource, type StreamEvent } from '../operations/index.ts'
import { type ByteStream, type ByteStreamEnd, RequestEnded, type StreamOutcome } from '../pipeline/index.ts'
import type { EventWriter } from './surface.ts'

export interface WrittenStreamOptions {
  readonly writer: EventWriter
  /** After so much silence, in milliseconds, a comment is sent: proxies cut connections that seem dead. */
  readonly heartbeatMs: number
  /** Resolves when all that the stream held is settled. */
  readonly ended: Promise<unknown>
  readonly onBroken: (broken: BrokenStream) => void
}

/** Headers of a stream of events: neither a cache nor a proxy on the way may keep it or hold it back. */
export const EVENT_STREAM_HEADERS = {
  'content-type': 'text/event-stream; charset=utf-8',
  'cache-control': 'no-store',
  'x-accel-buffering': 'no',
} as const

const HEARTBEAT = ': keep-alive\n\n'

/** What a read of the source came to. */
type Came = { readonly events: readonly StreamEvent[] | undefined } | { readonly fault: unknown }

/**
 * A streamed answer in a surface's words. The model is read only as fast as this is; who cancels it cancels the model's
 * stream at once. A stream that breaks off ends with an event that says so, and then with an error, so that whoever serves it
 * breaks its own connection: a cut answer must never look like a whole one.
 *
 * What is done for each event is done by functions that are made once, with one promise for the reader and one for the source:
 * a stream has hundreds of events, and an async function costs several times as much as most of them.
 */
export function writtenStream(
  source: EventSource,
  { writer, heartbeatMs, ended, onBroken }: WrittenStreamOptions,
): ByteStream {
  const end = Promise.withResolvers<ByteStreamEnd>()
  let state: 'open' | 'over' | BrokenStream = 'open'
  let hasBegun = false
  let hasEnded = false
  /** The read of the source that is under way: one that a heartbeat didn't wait for goes on. */
  let isReading = false
  /** What it came to while nobody waited. */
  let came: Came | undefined
  /** Ends the read that waits. */
  let waiting: ((piece: Uint8Array | Promise<undefined> | undefined) => void) | undefined
  /** One timer for all waits: to make one for each costs more than the event. */
  const silence = setTimeout(() => {
    if (waiting !== undefined) give(Buffer.from(writer.heartbeat ?? HEARTBEAT))
  }, heartbeatMs).unref()

  function give(piece: Uint8Array | Promise<undefined> | undefined): void {
    const resolve = waiting
    waiting = undefined
    if (piece instanceof Uint8Array) hasBegun = true
    resolve?.(piece)
  }
  function close(to: 'over' | BrokenStream): void {
    state = to
    clearTimeout(silence)
  }
  function finish(how: StreamOutcome): void {
    if (hasEnded) return
    hasEnded = true
    const told = () => end.resolve({ how, hasBegun })
    // It never rejects; were it to, the request must still have its end, and the process its life.
    void ended.then(told, told)
  }
  /** Not together with the last event: who serves it must have sent that. */
  async function atEnd(): Promise<undefined> {
    finish(state instanceof BrokenStream ? 'broken' : 'complete')
    await end.promise
    if (state instanceof BrokenStream) throw state
    return undefined
  }

  function readSource(): void {
    isReading = true
    source.read().then(onEvents, onFault)
  }
  function onEvents(events: readonly StreamEvent[] | undefined): void {
    isReading = false
    if (state !== 'open') return
    if (waiting === undefined) came = { events }
    else pass(events)
  }
  function onFault(fault: unknown): void {
    isReading = false
    if (state !== 'open') return
    if (waiting === undefined) came = { fault }
    else breakOff(fault)
  }
  function pass(events: readonly StreamEvent[] | undefined): void {
    try {
      if (events === undefined) {
        const last = bytesOf(writer.end())
        close('over')
        give(last.byteLength === 0 ? atEnd() : last)
        return
      }
      const written = write(events, writer)
      if (written === undefined) readSource()
      // A surface whose last event says that it was whole adds none.
      else give(written.byteLength === 0 ? atEnd() : written)
    } catch (fault) {
      breakOff(fault)
    }
  }
  function breakOff(fault: unknown): void {
    const broken =
      fault instanceof BrokenStream ? fault : new BrokenStream({ code: 'request_failed' }, { cause: fault })
    close(broken)
    // Where it was one on the way that erred, what is within goes on.
    source.cancel(fault)
    try {
      onBroken(broken)
      give(bytesOf(writer.failed(broken.failure)))
    } catch {
      // What can't be said is shown by the break.
      give(atEnd())
    }
  }

  return {
    ended: end.promise,
    read() {
      if (state !== 'open') return atEnd()
      silence.refresh()
      return new Promise((resolve) => {
        waiting = resolve
        const before = came
        came = undefined
        if (before === undefined) {
          if (!isReading) readSource()
        } else if ('fault' in before) breakOff(before.fault)
        else pass(before.events)
      })
    },
    cancel(reason) {
      if (state === 'open') {
        close('over')
        source.cancel(reason)
        give(undefined)
      }
      finish(reason instanceof RequestEnded ? 'broken' : 'client_left')
    },
  }
}

/** The events that say something to this surface's callers, in one piece; `undefined` where none does. */
function write(events: readonly StreamEvent[], writer: EventWriter): Uint8Array | undefined {
  let text = ''
  const pieces: Uint8Array[] = []
  for (const event of events) {
    const written = writer.write(event)
    if (typeof written === 'string') text += written
    else if (written !== undefined) {
      if (text !== '') pieces.push(Buffer.from(text))
      text = ''
      pieces.push(written)
    }
  }
  if (pieces.length === 0) return text === '' ? undefined : Buffer.from(text)
  if (text !== '') pieces.push(Buffer.from(text))
  return pieces.length === 1 ? pieces[0] : Buffer.concat(pieces)
}

function bytesOf(written: string | Uint8Array): Uint8Array {
  return typeof written === 'string' ? Buffer.from(written) : written
}
