import { createParser } from 'eventsource-parser'
import { errorCode, type UpstreamFailure } from '../pipeline/index.ts'
import type { ChatUsage } from './answer.ts'

/** As much of a `chat.completion.chunk` as the gateway itself reads. */
export interface ChatChunk {
  readonly model?: unknown
  readonly choices: readonly {
    readonly index?: unknown
    readonly delta?: ChatDelta | null
    readonly finish_reason?: unknown
  }[]
  readonly usage?: ChatUsage | null
}

/** A piece of the answer: of its text, of what the model thinks, or of a call of a tool. */
export interface ChatDelta {
  readonly content?: unknown
  readonly [field: string]: unknown
}

/** A streamed answer that can't be brought to its end. */
export class BrokenStream extends Error {
  override readonly name = 'BrokenStream'
  readonly failure: UpstreamFailure
  constructor(failure: UpstreamFailure, options?: ErrorOptions) {
    super('The stream of the model broke off', options)
    this.failure = failure
  }
}

/** Reads a model's stream of chat completion chunks (Server-Sent Events, WHATWG HTML, section 9.2), piece by piece. */
export interface ChatEvents {
  /** The chunks that these bytes complete. What comes after the end is of no account. */
  feed(bytes: Uint8Array): readonly ChatChunk[]
  /** To be called when no more bytes will come: an answer that is not whole by then is broken. */
  close(): void
  /** Whether every choice that has begun has had its `finish_reason`: a usage that comes then is the last. */
  readonly finished: boolean
  /** How the answer has ended, once it has. */
  readonly ended: 'whole' | BrokenStream | undefined
}

/** The longest single event that is waited for, in characters. */
const MAX_EVENT_LENGTH = 4 * 1024 * 1024

/**
 * A stream is whole with `data: [DONE]`, or where it ends after every choice has had its `finish_reason`. It is broken
 * by an error event, by an event that is no chunk, or by its end before that.
 */
export function chatEvents(): ChatEvents {
  const decoder = new TextDecoder()
  const unfinished = new Set<unknown>()
  let begun = false
  let ended: ChatEvents['ended']
  let completed: ChatChunk[] = []
  const isFinished = () => begun && unfinished.size === 0

  function take(chunk: ChatChunk): void {
    for (const { index, finish_reason } of chunk.choices) {
      begun = true
      if (finish_reason === null || finish_reason === undefined) unfinished.add(index)
      else unfinished.delete(index)
    }
    completed.push(chunk)
  }

  const parser = createParser({
    maxBufferSize: MAX_EVENT_LENGTH,
    onError({ type }) {
      // Lines that are no fields are ignored, as the standard says. An event without an end is not.
      if (type === 'max-buffer-size-exceeded') ended ??= new BrokenStream({ code: 'invalid_response' })
    },
    onEvent({ data }) {
      if (ended !== undefined) return
      const event = data === '[DONE]' ? 'whole' : parseChunk(data)
      if (event === 'whole' || event instanceof BrokenStream) ended = event
      else take(event)
    },
  })
  return {
    feed(bytes) {
      completed = []
      if (ended === undefined) parser.feed(decoder.decode(bytes, { stream: true }))
      return completed
    },
    close() {
      ended ??= isFinished() ? 'whole' : new BrokenStream({ code: 'stream_cut' })
    },
    get finished() {
      return isFinished()
    },
    get ended() {
      return ended
    },
  }
}

function parseChunk(data: string): ChatChunk | BrokenStream {
  let event: (Partial<ChatChunk> & { readonly error?: unknown }) | null
  try {
    event = JSON.parse(data)
  } catch {
    return new BrokenStream({ code: 'invalid_response' })
  }
  if (typeof event === 'object' && event !== null) {
    if (event.error !== undefined && event.error !== null) return new BrokenStream(failureIn(event.error))
    if (Array.isArray(event.choices) && event.choices.every((choice) => typeof choice === 'object' && choice !== null))
      return event as ChatChunk
  }
  return new BrokenStream({ code: 'invalid_response' })
}

function failureIn(error: unknown): UpstreamFailure {
  const { code, type } = Object(error) as { readonly code?: unknown; readonly type?: unknown }
  return { code: errorCode(code) ?? errorCode(type) ?? 'error_event' }
}
