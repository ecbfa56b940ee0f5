import { BrokenStream, type ChatChunk, chatEvents, type UsageTally, usageTally } from '../completion/index.ts'
import { isTimeout, withDeadline } from '../pipeline/index.ts'
import type { AnswerBody } from './answer-body.ts'

export interface AnswerEventsOptions {
  /** Longest silence between two pieces, in milliseconds. */
  readonly idleMs: number
  /** How long the end of a stream is waited for once its answer and its usage are there, in milliseconds. */
  readonly endGraceMs: number
  /** Aborts when the call has ended for another reason than the model's. */
  readonly signal: AbortSignal
}

/** A model's answer as it streams it, one piece after the other. */
export interface AnswerEvents {
  /**
   * What comes next; `undefined` once the answer is whole.
   *
   * @param idleMs longest silence until then, in milliseconds; `undefined` for one that somebody else bounds
   * @throws BrokenStream; `TimeoutError`; whatever the connection throws
   */
  next(idleMs: number | undefined): Promise<AnswerPiece | undefined>
  /** Nobody wants the rest. */
  cancel(): void
  /** What the answer takes, as far as it has come. */
  readonly tally: UsageTally
  /** Why it ended before any choice had begun, where it did. */
  readonly brokenBefore: BrokenStream | undefined
  /** Whether it has ended, by itself, without any choice. */
  readonly isEmpty: boolean
}

export interface AnswerPiece {
  readonly chunks: readonly ChatChunk[]
  /** The events of the answer, each with its data as it came, in one form: without comments and other events. */
  readonly text: string
}

/** How long the wait is where the usage is still to come, as a multiple: without it, all that was reserved counts as spent. */
const USAGE_GRACE = 5
/** How long the model's connection may take to end after its last event, in milliseconds, to be used again. */
const LINGER_MS = 1_000

/**
 * Reads a stream of events to the end of its answer. A stream that has told all and doesn't end is whole after a grace, and
 * so is one that breaks then: nothing of it is missing.
 */
export function answerEvents({ head, reader }: AnswerBody, options: AnswerEventsOptions): AnswerEvents {
  const { endGraceMs, signal } = options
  const data: string[] = []
  const events = chatEvents((event) => data.push(eventText(event)))
  const tally = usageTally()
  let first: Uint8Array | undefined = head
  /** How long the end has been waited for. A reader who takes its time is not counted in. */
  let waitedMs = 0

  const hasTold = () => events.finished && tally.usage !== undefined

  async function more(idleMs: number | undefined): Promise<readonly ChatChunk[]> {
    if (first !== undefined) {
      const bytes = first
      first = undefined
      return events.feed(bytes)
    }
    const since = performance.now()
    const isFinished = events.finished
    try {
      const { done, value } = await read(isFinished ? Math.min(idleMs ?? Number.POSITIVE_INFINITY, graceMs()) : idleMs)
      return done ? events.close() : events.feed(value)
    } catch (error) {
      if (signal.aborted || !(hasTold() || (isFinished && isTimeout(error)))) throw error
      reader.cancel().catch(() => {})
      return events.close()
    } finally {
      if (isFinished) waitedMs += performance.now() - since
    }
  }

  function read(waitMs: number | undefined): ReturnType<typeof reader.read> {
    return waitMs === undefined ? reader.read() : withDeadline(waitMs, () => reader.read())
  }

  /** Some time is left even for a stream that has been slow: what lies ready is read. */
  function graceMs(): number {
    return Math.max(1, (hasTold() ? endGraceMs : endGraceMs * USAGE_GRACE) - waitedMs)
  }

  /** A connection that is cut before its end can't be used again, so what little follows is read. */
  async function linger(): Promise<void> {
    try {
      await withDeadline(LINGER_MS, async () => {
        while (!(await reader.read()).done);
      })
    } catch {
      // The answer is whole; how its connection ends changes nothing.
      reader.cancel().catch(() => {})
    }
  }

  return {
    tally,
    cancel: () => void reader.cancel().catch(() => {}),
    get isEmpty() {
      return events.isEmpty
    },
    get brokenBefore() {
      return !events.begun && events.ended instanceof BrokenStream ? events.ended : undefined
    },
    async next(idleMs) {
      while (events.ended === undefined) {
        const chunks = await more(idleMs)
        for (const chunk of chunks) tally.add(chunk)
        const text = data.splice(0).join('')
        if (text !== '') return { chunks, text }
      }
      if (events.ended instanceof BrokenStream) throw events.ended
      void linger()
      return undefined
    },
  }
}

function eventText(data: string): string {
  const lines = data.includes('\n') || data.includes('\r') ? data.split(/\r\n|\r|\n/) : [data]
  return `${lines.map((line) => `data: ${line}`).join('\n')}\n\n`
}
