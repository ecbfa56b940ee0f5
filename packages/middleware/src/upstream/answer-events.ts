import { BrokenStream, type StreamEvent, type StreamParser } from '../operations/index.ts'
import { type ByteSource, SPEND_UNKNOWN, type Spend } from '../pipeline/index.ts'
import type { AnswerBody } from './answer-body.ts'
import type { CallBounds } from './call-bounds.ts'
import { NoAnswer } from './failure.ts'
import type { OpenEvents } from './open-stream.ts'

export interface AnswerEventsOptions {
  readonly parser: StreamParser
  readonly bounds: CallBounds
  /** How long the end of a stream is waited for once its answer and its usage are there, in milliseconds. */
  readonly endGraceMs: number
}

/** A model's answer as it streams it. */
export interface AnswerEvents extends OpenEvents {
  /**
   * Reads as far as the first event: until then a failure can still be answered with a status.
   *
   * @throws NoAnswer where it breaks before any choice has begun; what `next` throws
   */
  begin(status: number): Promise<void>
}

/** How long the wait is where the usage is still to come, as a multiple: without it, all that was reserved counts as spent. */
const USAGE_GRACE = 5
/** How long the model's connection may take to end after its last event, in milliseconds, to be used again. */
const LINGER_MS = 1_000

/**
 * Reads a stream of events to the end of its answer. A stream that has told all and doesn't end is whole after a grace, and
 * so is one that breaks then: nothing of it is missing.
 */
export function answerEvents(
  { head, rest }: AnswerBody,
  { parser, bounds, endGraceMs }: AnswerEventsOptions,
): AnswerEvents {
  let first: Uint8Array | undefined = head
  let ahead: readonly StreamEvent[] | undefined
  /** How long the end has been waited for. A reader who takes its time is not counted in. */
  let waitedMs = 0
  const stop = (): undefined => {
    rest.cancel()
  }
  const hasTold = () => parser.finished && parser.usage !== undefined
  const graceMs = () => (hasTold() ? endGraceMs : endGraceMs * USAGE_GRACE) - waitedMs

  /** What comes after all choices have ended; `undefined` where nothing does, or nothing is waited for any more. */
  async function bytesAtEnd(idleMs: number | undefined): Promise<Uint8Array | undefined> {
    const leftMs = graceMs()
    if (leftMs <= 0) return stop()
    const since = performance.now()
    bounds.within(Math.min(idleMs ?? leftMs, leftMs), stop)
    try {
      return await rest.read()
    } catch (error) {
      if (bounds.signal.aborted || !hasTold()) throw error
      return stop()
    } finally {
      bounds.came()
      waitedMs += performance.now() - since
    }
  }

  async function next(idleMs: number | undefined): Promise<readonly StreamEvent[] | undefined> {
    if (ahead !== undefined) {
      const events = ahead
      ahead = undefined
      return events
    }
    while (parser.ended === undefined) {
      let came = first
      if (came !== undefined) first = undefined
      else if (parser.finished) came = await bytesAtEnd(idleMs)
      else {
        if (idleMs !== undefined) bounds.within(idleMs)
        came = await rest.read()
        if (idleMs !== undefined) bounds.came()
      }
      const events = came === undefined ? parser.close() : parser.feed(came)
      if (parser.ended === 'whole' && came !== undefined) void linger(rest)
      if (events.length > 0) return events
    }
    if (parser.ended === 'whole') return undefined
    throw parser.ended
  }

  return {
    next,
    cancel: stop,
    isWhole: () => parser.ended === 'whole',
    output: () => parser.output,
    spend: () => spendOf(parser),
    async begin(status) {
      try {
        ahead = await next(undefined)
        if (!parser.begun && parser.ended instanceof BrokenStream) throw parser.ended
      } catch (error) {
        stop()
        throw error instanceof BrokenStream ? new NoAnswer({ status, ...error.failure }, spendOf(parser)) : error
      }
    },
  }
}

/** A connection that is cut before its end can't be used again, so what little follows is read. */
async function linger(rest: ByteSource): Promise<void> {
  const timer = setTimeout(() => rest.cancel(), LINGER_MS)
  try {
    while ((await rest.read()) !== undefined);
  } catch {
    // The answer is whole; how its connection ends changes nothing.
  } finally {
    clearTimeout(timer)
  }
}

/** What a streamed answer has taken, as far as it has come: certain where it has ended, and its usage covers all of it. */
export function spendOf(parser: StreamParser): Spend {
  const isOver = parser.finished || parser.ended === 'whole' || parser.isEmpty
  if (isOver && parser.usage !== undefined) return { usage: parser.usage, isCertain: true }
  return parser.told === undefined ? SPEND_UNKNOWN : { usage: parser.told, isCertain: false }
}
