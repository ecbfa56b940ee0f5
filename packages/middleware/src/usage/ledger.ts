import { randomBytes } from 'node:crypto'
import {
  describeFault,
  type FinishedRequest,
  type Log,
  systemTime,
  type TargetState,
  type Time,
  withDeadline,
} from '../pipeline/index.ts'
import type { Table } from '../storage/index.ts'
import { isLate, markLate } from './late.ts'
import { HOUR_MS, MINUTE_MS } from './periods.ts'
import { usageRow } from './row.ts'
import { newSegment, type Segment } from './segment.ts'
import { TOLD_MS, targetsText } from './told-targets.ts'

export interface LedgerOptions {
  readonly table: Table
  readonly log: Log
  /** Names this process among all that write to the table; drawn by default. */
  readonly instance?: string
  readonly time?: Time
  /** The most that is kept in memory while the table can't be written, in bytes. */
  readonly maxBytes?: number
  /** The targets that this process does not ask for a while; asked for every ten seconds. */
  readonly targets?: () => readonly TargetState[]
}

/** Writes down each request's end: a row of a table a minute, and not one a request. */
export interface Ledger {
  /** Costs a few microseconds, and no call to the table. */
  record(request: FinishedRequest): void
  /** Writes all that was recorded by now. Rejects with the signal's reason; what the table says is logged. */
  flush(signal?: AbortSignal): Promise<void>
  /** Writes the last. To be called when the process ends. */
  close(signal?: AbortSignal): Promise<void>
}

/** What was recorded is written at most so much later, in milliseconds. */
export const FLUSH_MS = 10_000
/** A write that takes longer is given up, and tried again at the next flush. */
const WRITE_MS = 10_000
const MAX_BYTES = 32 * 1024 * 1024
/** Requests that wait until another step is told of them, or until as many have come after them. */
const MOST_WAITING = 1_024
const WRITES_AT_ONCE = 4
/** Nothing but a consumer's being forgotten changes a segment, and that once. */
const MAX_TRIES = 5
/** While there are targets that are not asked, that is told again so often, in milliseconds: one write may fail. */
const TELL_AGAIN_MS = TOLD_MS / 2
const NO_TARGETS = targetsText([])

/** A segment, and what of it is written. */
interface Kept {
  readonly segment: Segment
  /** How many rows it had, and how many without detail, when it was written last. */
  written: { readonly rows: number; readonly dropped: number } | undefined
  /** Its row's ETag; `undefined` where there is none, and `unknown` after a write of which nobody knows what became. */
  etag: string | 'unknown' | undefined
  /** It is to be written for the sake of what it tells of targets. */
  tells: boolean
}

/**
 * The ledger of one process. Rows are packed and written every ten seconds while there is anything to write, each segment by a
 * write of the whole row that holds only if the row is as this process left it: a write that is repeated, or that arrives late,
 * changes nothing.
 */
export function ledger(options: LedgerOptions): Ledger {
  const { table, log, time = systemTime, instance = randomBytes(6).toString('hex'), maxBytes = MAX_BYTES } = options
  let waiting: FinishedRequest[] = []
  let open: Segment | undefined
  const kept = new Map<Segment, Kept>()
  let parts = 0
  let stopTimer: (() => void) | undefined
  let dueAt = Number.POSITIVE_INFINITY
  let writing: Promise<void> | undefined
  /** By how much this clock is behind the table's, as far as that has told. */
  let behindMs = 0
  let told = { text: NO_TARGETS, at: Number.NEGATIVE_INFINITY }
  let failing: { readonly since: number; lostRows: number; lostDetail: number } | undefined

  function record(request: FinishedRequest): void {
    // What is packed at once dies young, and costs the garbage collector nothing.
    if (isComplete(request)) pack(request)
    else {
      waiting.push(request)
      if (waiting.length >= MOST_WAITING) packFirst(MOST_WAITING / 2)
    }
    if (stopTimer === undefined) arm()
    // The timer of an instance that was frozen between two requests is late.
    else if (time.wallClock() > dueAt) flushInBackground()
  }

  function arm(): void {
    dueAt = time.wallClock() + FLUSH_MS
    stopTimer = time.every(FLUSH_MS, flushInBackground)
  }

  function disarm(): void {
    stopTimer?.()
    stopTimer = undefined
    dueAt = Number.POSITIVE_INFINITY
  }

  function flushInBackground(): void {
    if (writing === undefined) void flush()
  }

  /** Puts the first ones of those that wait into segments. */
  function packFirst(count: number): void {
    // An instance that was frozen meanwhile may find that its hour is gone by: then it counts in this one.
    const since = time.wallClock() - HOUR_MS
    const first = waiting.slice(0, count)
    waiting = waiting.slice(count)
    for (const request of first) pack(request, since)
  }

  function pack(request: FinishedRequest, since = 0): void {
    try {
      segmentFor(Math.max(request.startedAt + request.ms, since)).add(usageRow(request))
    } catch (fault) {
      log('error', 'fault', describeFault(fault))
    }
  }

  function segmentFor(endedAt: number): Segment {
    const minute = Math.floor(endedAt / MINUTE_MS) * MINUTE_MS
    // What ended a moment before the minute did may be told after it; a clock that was set back is another matter.
    const isOf = open !== undefined && minute <= open.minute && minute >= open.minute - MINUTE_MS
    if (open !== undefined && isOf && open.hasRoom()) return open
    keepWithin(maxBytes)
    open = newSegment({ minute, instance, part: parts })
    parts += 1
    kept.set(open, { segment: open, written: undefined, etag: undefined, tells: false })
    return open
  }

  /** Bounds what is kept while the table can't be written: details go first, the oldest before all others, and then sums. */
  function keepWithin(most: number): void {
    let bytes = 0
    for (const { segment } of kept.values()) bytes += segment.bytes
    if (bytes <= most) return
    let lostDetail = 0
    let lostRows = 0
    for (const { segment } of kept.values()) {
      if (bytes <= most / 2) break
      const before = segment.bytes
      lostDetail += segment.dropDetail()
      bytes -= before - segment.bytes
    }
    for (const { segment, written } of kept.values()) {
      if (bytes <= most || segment === open) break
      kept.delete(segment)
      lostRows += segment.rows - (written?.rows ?? 0)
      bytes -= segment.bytes
    }
    if (failing !== undefined) {
      failing.lostDetail += lostDetail
      failing.lostRows += lostRows
    }
    log('error', 'usage lost', { requests: lostRows, details: lostDetail })
  }

  /** Also where no request comes: how a target is has changed, or was told long ago. */
  function tellTargets(states: readonly TargetState[]): void {
    const now = time.wallClock()
    const text = targetsText(states)
    const isTold = text === told.text && (text === NO_TARGETS || now - told.at < TELL_AGAIN_MS)
    if (isTold) return
    const each = kept.get(segmentFor(now))
    if (each === undefined) return
    each.tells = true
    flushInBackground()
  }

  async function flush(signal?: AbortSignal): Promise<void> {
    // What was recorded since the writing began is not in it.
    while (writing !== undefined) await writing
    signal?.throwIfAborted()
    disarm()
    packFirst(waiting.length)
    keepWithin(maxBytes)
    writing = write(signal).finally(() => {
      writing = undefined
      if (stopTimer === undefined && (waiting.length > 0 || [...kept.values()].some(isUnwritten))) arm()
    })
    await writing
  }

  async function write(signal: AbortSignal | undefined): Promise<void> {
    const queue = [...kept.values()].filter(isUnwritten)
    const writer = async () => {
      try {
        for (let next = queue.shift(); next !== undefined; next = queue.shift()) await put(next, signal)
      } catch (error) {
        queue.length = 0
        throw error
      }
    }
    // All of them: one that still writes a segment must not meet the next flush at it.
    const ends = await Promise.allSettled(Array.from({ length: WRITES_AT_ONCE }, writer))
    signal?.throwIfAborted()
    const failure = ends.find((end) => end.status === 'rejected')
    if (failure === undefined) recovered()
    else failed(failure.reason)
    for (const each of kept.values()) if (each.segment !== open && !isUnwritten(each)) kept.delete(each.segment)
  }

  async function put(each: Kept, signal: AbortSignal | undefined): Promise<void> {
    const { segment } = each
    const entity = segment.entity()
    const telling = options.targets && { text: targetsText(options.targets()), at: time.wallClock() }
    if (telling !== undefined) Object.assign(entity, { targets: telling.text, toldAt: telling.at })
    const { rows, dropped } = segment
    const within = <T>(work: (signal: AbortSignal) => Promise<T>) =>
      withDeadline(WRITE_MS, (late) => work(signal === undefined ? late : AbortSignal.any([late, signal])), time)
    const mark = () => within((late) => markLate(table, segment.minute, late))
    const isLateNow = () => isLate(segment.minute, time.wallClock() + behindMs)
    const isMarked = isLateNow()
    if (isMarked) await mark()
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      if (each.etag === 'unknown') {
        const found = await within((late) => table.read(segment.place, { signal: late, select: ['rows'] }))
        each.etag = found.entity?.etag
      }
      const condition = each.etag === undefined ? 'absent' : { etag: each.etag }
      // Until its answer is there, nobody knows.
      each.etag = 'unknown'
      const { etag, date } = await within((late) => table.put(entity, condition, late))
      if (date !== undefined) behindMs = Math.max(0, date - time.wallClock())
      if (etag === undefined) continue
      // Only now is it known, or it took so long. Where it fails, the segment is written once more.
      if (!isMarked && isLateNow()) await mark()
      each.etag = etag
      each.written = { rows, dropped }
      each.tells = false
      if (telling !== undefined) told = telling
      return
    }
    throw new Error('A segment of the ledger kept changing')
  }

  /** Once for each time that the table fails. */
  function failed(error: unknown): void {
    if (failing !== undefined) return
    failing = { since: time.now(), lostRows: 0, lostDetail: 0 }
    const requests = [...kept.values()].reduce(
      (sum, { segment, written }) => sum + segment.rows - (written?.rows ?? 0),
      0,
    )
    log('warn', 'usage not written', { requests, ...describeFault(error) })
  }

  function recovered(): void {
    if (failing === undefined) return
    const { since, lostRows, lostDetail } = failing
    failing = undefined
    log('info', 'usage written again', { ms: Math.round(time.now() - since), lost: lostRows, lostDetail })
  }

  const stopTelling = options.targets && time.every(FLUSH_MS, () => tellTargets(options.targets?.() ?? []))
  return {
    record,
    flush,
    async close(signal) {
      stopTelling?.()
      await flush(signal)
      disarm()
    },
  }
}

/** Of a call to a model more may be told after the request's end: its answer is stored when it was sent. */
function isComplete({ facts }: FinishedRequest): boolean {
  return facts.cache !== 'miss'
}

function isUnwritten({ segment, written, tells }: Kept): boolean {
  return tells || written === undefined || segment.rows !== written.rows || segment.dropped !== written.dropped
}
