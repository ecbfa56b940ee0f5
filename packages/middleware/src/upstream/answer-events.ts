import {
  BrokenStream,
  type ChatChunk,
  chatEvents,
  growingBytes,
  type UsageTally,
  usageTally,
} from '../operations/index.ts'
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
   * The events of the answer that come next, each with its data as it came, in one form: without comments and other events.
   * `undefined` once the answer is whole.
   *
   * @param idleMs longest silence until then, in milliseconds; `undefined` for one that somebody else bounds
   * @throws BrokenStream; `TimeoutError`; whatever the connection throws
   */
  next(idleMs: number | undefined): Promise<Buffer | undefined>
  /** Nobody wants the rest. */
  cancel(): void
  /** What the answer takes, as far as it has come. */
  readonly tally: UsageTally
  /** Why it ended before any choice had begun, where it did. */
  readonly brokenBefore: BrokenStream | undefined
  /** Whether it has ended, by itself, without any choice. */
  readonly isEmpty: boolean
  /** Whether every choice that has begun has ended. */
  readonly isFinished: boolean
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
  const ready = growingBytes(Number.POSITIVE_INFINITY)
  const events = chatEvents((data) => {
    for (const line of linesOf(data)) for (const part of [DATA, line, LINE_END]) ready.append(part)
    ready.append(LINE_END)
  })
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
    const isFinished = events.finished
    if (isFinished && graceMs() <= 0) return stop()
    const since = performance.now()
    try {
      const { done, value } = await read(isFinished ? Math.min(idleMs ?? Number.POSITIVE_INFINITY, graceMs()) : idleMs)
      return done ? events.close() : events.feed(value)
    } catch (error) {
      if (signal.aborted || !(hasTold() || (isFinished && isTimeout(error)))) throw error
      return stop()
    } finally {
      if (isFinished) waitedMs += performance.now() - since
    }
  }

  /** Nothing that is still to come is waited for. */
  function stop(): readonly ChatChunk[] {
    reader.cancel().catch(() => {})
    return events.close()
  }

  function read(waitMs: number | undefined): ReturnType<typeof reader.read> {
    return waitMs === undefined ? reader.read() : withDeadline(waitMs, () => reader.read())
  }

  function graceMs(): number {
    return (hasTold() ? endGraceMs : endGraceMs * USAGE_GRACE) - waitedMs
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
    get isFinished() {
      return events.finished
    },
    get brokenBefore() {
      return !events.begun && events.ended instanceof BrokenStream ? events.ended : undefined
    },
    async next(idleMs) {
      while (events.ended === undefined) {
        const chunks = await more(idleMs)
        for (const chunk of chunks) tally.add(chunk)
        if (ready.length === 0) continue
        const bytes = Buffer.from(ready.view())
        ready.clear()
        return bytes
      }
      if (events.ended instanceof BrokenStream) throw events.ended
      void linger()
      return undefined
    },
  }
}

const DATA = Buffer.from('data: ')
const LINE_END = Buffer.from('\n')
const LF = 10

function* linesOf(data: Buffer): Generator<Buffer> {
  let from = 0
  for (let to = data.indexOf(LF); to >= 0; to = data.indexOf(LF, from)) {
    yield data.subarray(from, to)
    from = to + 1
  }
  yield data.subarray(from)
}
