import { BrokenStream, type EventSource, type StreamEvent } from '../operations/index.ts'
import type { ByteStream } from '../pipeline/index.ts'
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

/** What came of a read of the source. */
type Came = { readonly events: readonly StreamEvent[] | undefined } | { readonly fault: unknown }

/**
 * A streamed answer in a surface's words. The model is read only as fast as this is; who cancels it cancels the model's
 * stream at once. A stream that breaks off ends with an event that says so, and then with an error, so that whoever serves it
 * breaks its own connection: a cut answer must never look like a whole one.
 */
export function writtenStream(source: EventSource, options: WrittenStreamOptions): ByteStream {
  const { writer, heartbeatMs, onBroken } = options
  let state: 'open' | 'over' | BrokenStream = 'open'
  /** The read of the source that is under way: one that a heartbeat didn't wait for goes on. */
  let isReading = false
  /** What it came to while nobody waited. */
  let came: Came | undefined
  let waiting: ((came: Came | 'silence') => void) | undefined
  /** One timer for all waits: to make one for each costs more than the event. */
  const silence = setTimeout(wake, heartbeatMs, 'silence').unref()

  function wake(by: Came | 'silence'): void {
    const wakes = waiting
    waiting = undefined
    if (wakes !== undefined) wakes(by)
    else if (by !== 'silence') came = by
  }

  function readSource(): void {
    isReading = true
    source.read().then(
      (events) => {
        isReading = false
        wake({ events })
      },
      (fault) => {
        isReading = false
        wake({ fault })
      },
    )
  }

  function next(): Promise<Came | 'silence'> {
    return new Promise((resolve) => {
      waiting = resolve
      if (!isReading) readSource()
    })
  }

  function close(to: 'over' | BrokenStream): void {
    state = to
    clearTimeout(silence)
  }

  function breakOff(fault: unknown): Uint8Array {
    const broken =
      fault instanceof BrokenStream ? fault : new BrokenStream({ code: 'request_failed' }, { cause: fault })
    close(broken)
    onBroken(broken)
    return bytesOf(writer.failed(broken.failure))
  }

  return {
    ended: options.ended,
    async read() {
      if (state === 'open') silence.refresh()
      while (state === 'open') {
        const got = came ?? (await next())
        came = undefined
        // It may have been cancelled meanwhile.
        if (state !== 'open') break
        if (got === 'silence') return Buffer.from(writer.heartbeat ?? HEARTBEAT)
        if ('fault' in got) {
          // Where it was one on the way that erred, what is within goes on.
          source.cancel(got.fault)
          return breakOff(got.fault)
        }
        try {
          if (got.events === undefined) {
            close('over')
            const last = bytesOf(writer.end())
            return last.byteLength === 0 ? undefined : last
          }
          const written = write(got.events, writer)
          if (written !== undefined) return written
        } catch (fault) {
          source.cancel(fault)
          return breakOff(fault)
        }
      }
      // Not together with its event: who serves it must have sent that.
      if (state instanceof BrokenStream) throw state
      return undefined
    },
    cancel(reason) {
      if (state !== 'open') return
      close('over')
      source.cancel(reason)
      wake('silence')
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
