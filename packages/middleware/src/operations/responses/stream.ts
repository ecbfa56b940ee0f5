import { isJson, type Json } from '../body.ts'
import { BrokenStream } from '../broken-stream.ts'
import { isWithinBounds } from '../json-bounds.ts'
import type { StreamParser } from '../operation.ts'
import { ParsedStream, unreadable } from '../parsed-stream.ts'
import type { ServerSentEvent } from '../server-sent-events.ts'
import { eventOf, type StreamEvent } from '../stream-event.ts'
import { codeOfError, failureInText, isError } from '../told-error.ts'
import { failureCode, isAnswer, usageOf } from './answer.ts'

/**
 * Reads a stream of a response's events (Server-Sent Events, WHATWG HTML, section 9.2) in one pass: each is parsed once, for what
 * it says, for how far the response is, and for what it takes.
 *
 * A stream is whole with `response.completed` or `response.incomplete`. It is broken by `error`, by `response.failed`, by an event
 * that can't be read, and by its end before that. Events of another kind (pings, data that is empty or of no type) are passed over.
 */
export function responseStream(): StreamParser {
  return new ResponseStream(true)
}

/** Ends of an answer. */
const ENDS: ReadonlySet<unknown> = new Set(['response.completed', 'response.incomplete'])
/** Ends that are none. */
const FAILURES: ReadonlySet<unknown> = new Set(['response.failed', 'response.cancelled'])

class ResponseStream extends ParsedStream {
  begun = false
  finished = false
  /** Whether any of an answer came. A response without any item is one that thought up to its length, and not empty. */
  #came = false

  protected stopped(): BrokenStream {
    return new BrokenStream({ code: this.passedOver && !this.#came ? 'invalid_response' : 'stream_cut' })
  }

  protected receive({ type, data, bytes }: ServerSentEvent): void {
    const read = readEvent(type, data.trim())
    if (read instanceof BrokenStream) this.ended = read
    else if (read === undefined) this.passedOver = true
    else this.#take(read, eventOf(read, bytes, type === '' ? undefined : type))
  }

  #take(json: Json, event: StreamEvent): void {
    const { type, response } = json
    this.#came = true
    const tokens = isPiece(json) ? 1 : 0
    // What it tells before its end repeats the request.
    const by = isJson(response) && isJson(response.usage) ? response : NOTHING
    this.tally.add(usageOf(by), tokens, by)
    if (FAILURES.has(type)) {
      this.begun = true
      this.finished = true
      this.ended = new BrokenStream({ code: failureCode(isJson(response) ? response : {}) })
      return
    }
    if (ENDS.has(type)) {
      if (isEnd(response)) {
        this.begun = true
        this.finished = true
        this.ended = 'whole'
        this.completed.push(event)
      } else this.ended = new BrokenStream({ code: 'invalid_response' })
      return
    }
    this.begun ||= tokens > 0 || type === 'response.output_item.added'
    this.toldOutput = this.tally.toldOutput
    this.completed.push(event)
  }
}

const NOTHING: Json = {}

/** Some servers leave out of the last event what was sent before it. */
function isEnd(response: unknown): boolean {
  return isJson(response) && isAnswer({ ...response, output: response.output ?? [] })
}

/**
 * Whether an event brings output, of which each piece is one token at the least. A summary of what a model thought is written
 * by another one, and not billed.
 */
function isPiece({ type, delta }: Json): boolean {
  return (
    typeof delta === 'string' &&
    delta !== '' &&
    typeof type === 'string' &&
    type.endsWith('.delta') &&
    !type.startsWith('response.reasoning_summary')
  )
}

/** The object of an event of the answer; `undefined` where it carries none. */
function readEvent(name: string, text: string): Json | BrokenStream | undefined {
  if (!isWithinBounds(text)) return new BrokenStream({ code: 'invalid_response' })
  if (name === 'error') return new BrokenStream(failureInText(text))
  let value: unknown
  try {
    value = JSON.parse(text)
  } catch {
    const isAnswer = name.startsWith('response.') || text.startsWith('{') || text.startsWith('[')
    return isAnswer ? unreadable() : undefined
  }
  if (!isJson(value)) return undefined
  const { type, error, code } = value
  // Flat, as the service writes it, or as other errors of the API are.
  if (type === 'error')
    return new BrokenStream({ code: codeOfError(isError(error) ? error : { code }) ?? 'error_event' })
  if (isError(error)) return new BrokenStream({ code: codeOfError(error) ?? 'error_event' })
  return typeof type === 'string' && type.startsWith('response.') ? value : undefined
}
