import type { UpstreamFailure } from '../pipeline/index.ts'
import { BrokenStream, type ChatChunk, chatEvents } from './chat-events.ts'

/** What a streamed answer is in a route's words: the `data` of its events. One is made for each stream. */
export interface EventEncoder {
  /** `undefined` where the chunk says nothing to this route's callers. */
  chunk(chunk: ChatChunk): string | undefined
  /** The last event of a whole answer. */
  end(): string
  /** The last event of one that broke off. */
  failed(failure: UpstreamFailure): string
}

export interface EncodeStreamOptions {
  readonly encoder: EventEncoder
  /** After so much silence, in milliseconds, a comment is sent: proxies cut connections that seem dead. */
  readonly heartbeatMs: number
  readonly onBroken: (broken: BrokenStream) => void
}

const HEARTBEAT = Buffer.from(': keep-alive\n\n')
/** How long the model's connection may take to end after its last event, in milliseconds, to be used again. */
const LINGER_MS = 1_000

/**
 * A model's stream of chunks as a route's stream of events. The model is read only as fast as this is; who cancels it
 * cancels the model's stream at once. A stream that breaks off ends with an event that says so, and then with an error,
 * so that whoever serves it breaks its own connection: a cut answer must never look like a whole one.
 */
export function encodeStream(
  source: ReadableStream<Uint8Array>,
  { encoder, heartbeatMs, onBroken }: EncodeStreamOptions,
): ReadableStream<Uint8Array> {
  const reader = source.getReader()
  const events = chatEvents()
  let reading: ReturnType<typeof reader.read> | undefined
  /** Ends the wait for what is read, or for silence. */
  let wake = () => {}
  let broken: BrokenStream | undefined
  let cancelled = false

  /** Waits for something to send, or for the end; `undefined` where neither has come for long. */
  async function next(): Promise<string | undefined> {
    let isSilent = false
    const timer = setTimeout(() => {
      isSilent = true
      wake()
    }, heartbeatMs)
    try {
      for (;;) {
        reading ??= reader.read()
        if (!isSilent) await settledOrWoken(reading)
        if (isSilent) return undefined
        const read = await reading
        reading = undefined
        const chunks = read.done ? events.close() : events.feed(read.value)
        const text = chunks.map(encode).join('')
        if (text !== '' || events.ended !== undefined) return text
      }
    } finally {
      clearTimeout(timer)
      wake = () => {}
    }
  }

  /**
   * A promise of its own for each wait. A race against one that lives as long as the silence would keep all that was read
   * meanwhile: each race stays among that one's listeners, with its result.
   */
  function settledOrWoken(read: Promise<unknown>): Promise<void> {
    return new Promise((resolve) => {
      wake = resolve
      const settled = () => resolve()
      read.then(settled, settled)
    })
  }

  function encode(chunk: ChatChunk): string {
    const data = encoder.chunk(chunk)
    return data === undefined ? '' : event(data)
  }

  function breakOff(by: BrokenStream): string {
    broken = by
    onBroken(by)
    reader.cancel(by).catch(() => {})
    return event(encoder.failed(by.failure))
  }

  return new ReadableStream(
    {
      async pull(controller) {
        // Not together with its event: an error throws away what waits to be read.
        if (broken !== undefined) return controller.error(broken)
        let text: string | undefined
        try {
          text = await next()
        } catch (fault) {
          if (cancelled) return
          const by =
            fault instanceof BrokenStream ? fault : new BrokenStream({ code: 'request_failed' }, { cause: fault })
          return controller.enqueue(Buffer.from(breakOff(by)))
        }
        if (cancelled) return
        const { ended } = events
        if (text === undefined) return controller.enqueue(HEARTBEAT)
        if (ended instanceof BrokenStream) return controller.enqueue(Buffer.from(text + breakOff(ended)))
        if (ended === undefined) return controller.enqueue(Buffer.from(text))
        controller.enqueue(Buffer.from(text + event(encoder.end())))
        controller.close()
        await linger(reader)
      },
      cancel(reason) {
        cancelled = true
        return reader.cancel(reason)
      },
    },
    { highWaterMark: 0 },
  )
}

function event(data: string): string {
  return `data: ${data}\n\n`
}

/** Reads what little follows the last event, since a connection that is cut before its end can't be used again. */
async function linger(reader: ReadableStreamDefaultReader<Uint8Array>): Promise<void> {
  const giveUp = setTimeout(() => reader.cancel().catch(() => {}), LINGER_MS)
  try {
    while (!(await reader.read()).done);
  } catch {
    // The answer is whole; how its connection ends changes nothing.
  } finally {
    clearTimeout(giveUp)
  }
}
