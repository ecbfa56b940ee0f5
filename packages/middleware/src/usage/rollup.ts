import type { Log } from '../pipeline/index.ts'
import type { Table } from '../storage/index.ts'
import { clearLate, GRACE_MS, isSettled, type LateHour, lateHours } from './late.ts'
import { endOf, HOUR_MS, type Period, startOf, startsOf } from './periods.ts'
import { findRolled, placeOf, rolledWithin, writeRolled } from './rolled.ts'
import { minuteOf, partitionsBefore, SUMS_FIELDS, segmentPartition, sumsIn } from './segment.ts'
import { addTally, newTally, type Tally } from './tally.ts'
import { clearUnread, markUnread, placeText, unreadHours } from './unread.ts'

export interface RollUpOptions {
  readonly table: Table
  /** Milliseconds since 1970. An hour is over when it is by this and by the table's clock. */
  readonly now: number
  /** Ends it early: the next run goes on. */
  readonly signal: AbortSignal
  /** Is told once of each row that can't be read. */
  readonly log?: Log | undefined
}

/** What a run works on. */
interface Run extends RollUpOptions {
  /** To be told of what can't be read, and of an hour whose figures it belongs to. */
  readonly unreadable: (place: string, hour: number) => Promise<void>
}

/** Hours after which it is noted how far the roll-up has come: what ends a run then doesn't undo it. */
const HOURS_AT_ONCE = 24
const MAX_TRIES = 20

/** How far the roll-up has come: one row. */
interface Progress {
  /** The hour in which the ledger begins, and the first one that is not rolled up. */
  readonly first: Date
  readonly next: Date
}

const PROGRESS = { partitionKey: 'progress', rowKey: 'rolled' }

export async function progressOf(table: Table, signal: AbortSignal): Promise<Progress | undefined> {
  return (await table.read<Progress>(PROGRESS, { signal })).entity
}

/**
 * Makes hours of segments, days of hours and months of days, each as a whole, once it is over. Right if it is run twice at once,
 * again, or killed at any moment: each row is computed of what there is, and written only if it is still as it was before that
 * was read.
 *
 * @returns the hours, days and months that were written
 */
export async function rollUp({ table, now: ownNow, signal, log }: RollUpOptions): Promise<number> {
  const { entity, date = ownNow } = await table.read<Progress>(PROGRESS, { signal })
  const now = Math.min(ownNow, date)
  const progress = entity ?? (await begin(table, now, signal))
  if (progress === undefined) return 0
  const end = startOf('hour', now - GRACE_MS)
  const first = firstWith(await lateHours(table, signal), progress.first.getTime())
  const noted: Noted = { etag: entity?.etag, progress: entity }
  let written = 0
  let next = first < progress.first.getTime() ? first : progress.next.getTime()
  do {
    const before = Math.max(next, Math.min(end, next + HOURS_AT_ONCE * HOUR_MS))
    const from = { first: new Date(first), next: new Date(next) }
    written += await rollUpTo(before, from, noted, { table, now, signal, log })
    next = before
  } while (next < end)
  return written
}

/** The row of the progress, as a run knows it. */
interface Noted {
  etag: string | undefined
  progress: Progress | undefined
}

/**
 * Notes how far a run has come, unless another run has noted more: one that went back to an earlier beginning has rolled up less, and
 * the next one goes on from there.
 */
async function noteProgress(table: Table, own: Progress, noted: Noted, signal: AbortSignal): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    if (noted.progress !== undefined && isBehind(own, noted.progress)) return
    const condition = noted.etag === undefined ? 'absent' : { etag: noted.etag }
    const { etag } = await table.put({ ...PROGRESS, first: own.first, next: own.next }, condition, signal)
    if (etag !== undefined) {
      Object.assign(noted, { etag, progress: own })
      return
    }
    const { entity } = await table.read<Progress>(PROGRESS, { signal })
    Object.assign(noted, { etag: entity?.etag, progress: entity })
  }
  throw new Error('The progress of the roll-up kept changing')
}

function isBehind(own: Progress, other: Progress): boolean {
  const [first, othersFirst] = [own.first.getTime(), other.first.getTime()]
  return first === othersFirst ? own.next < other.next : first > othersFirst
}

/** Where the ledger begins once what came late is in it: a whole day, since a day or month is made of all that is in it. */
function firstWith(late: readonly LateHour[], first: number): number {
  const starts = late.map(({ start }) => start).filter((start) => start >= first - FURTHEST_MS)
  return starts.reduce((earliest, start) => Math.min(earliest, startOf('day', start)), first)
}

/** Rolls up what is late, what could not be read before, and the hours before this one. */
async function rollUpTo(before: number, progress: Progress, noted: Noted, options: RollUpOptions): Promise<number> {
  const { table, now, signal, log } = options
  const first = progress.first.getTime()
  const late = (await lateHours(table, signal)).filter(({ start }) => start < before)
  const unread = (await unreadHours(table, signal)).filter(({ start }) => start < before)
  const again = [...late, ...unread].map(({ start }) => start)
  const hours = new Set([...again, ...startsOf('hour', progress.next.getTime(), before)])
  /** By hour, whether it is marked for the first time. */
  const marked = new Map<number, boolean>()
  const run: Run = {
    ...options,
    async unreadable(place, hour) {
      const isNew = marked.get(hour) ?? (await markUnread(table, hour, signal))
      marked.set(hour, isNew)
      if (isNew) log?.('error', 'usage unreadable', { place })
    },
  }

  let written = 0
  const roll = async (period: Period, start: number, make: () => Promise<Made | undefined>) => {
    if (await rolledAnew(table, period, start, make, signal)) written += 1
  }
  for (const hour of hours) await roll('hour', hour, () => hourOf(hour, run))
  for (const day of startsHolding('day', hours, before)) {
    await roll('day', day, () => wholeOf('hour', 'day', day, first, run))
  }
  for (const month of startsHolding('month', hours, before)) {
    await roll('month', month, () => wholeOf('day', 'month', month, first, run))
  }
  // Last, so that a run that was killed is done again.
  for (const hour of late) if (isSettled(hour, now)) await clearLate(table, hour, signal)
  for (const hour of unread) if (!marked.has(hour.start)) await clearUnread(table, hour, signal)
  await noteProgress(table, { first: progress.first, next: new Date(before) }, noted, signal)
  return written
}

/** The days or months that hold these hours, and are over. */
function startsHolding(period: Period, hours: Iterable<number>, before: number): Set<number> {
  const starts = Array.from(hours, (hour) => startOf(period, hour))
  return new Set(starts.filter((start) => endOf(period, start) <= before))
}

/** So much earlier than the first segment may another one be, which its instance could write only later. */
const EARLIER_MS = 24 * HOUR_MS

/** What was written so much before the beginning had a wrong clock. */
const FURTHEST_MS = 35 * 24 * HOUR_MS

/** A little before the first segment: one that another instance could write only later belongs to it too. */
async function begin(table: Table, now: number, signal: AbortSignal): Promise<Progress | undefined> {
  const partition = partitionsBefore(now + HOUR_MS)
  for await (const segment of table.scan({ partition, select: ['rows'] }, signal)) {
    const first = new Date(startOf('day', minuteOf(segment) - EARLIER_MS))
    return { first, next: first }
  }
  return undefined
}

interface Made {
  readonly tally: Tally
  readonly segments: number
}

/** Writes a period's row, if it has become another one. */
async function rolledAnew(
  table: Table,
  period: Period,
  start: number,
  make: () => Promise<Made | undefined>,
  signal: AbortSignal,
): Promise<boolean> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    // Before what it is made of: so another run can't put its older sums over newer ones.
    const before = await findRolled(table, period, start, signal)
    const made = await make()
    if (made === undefined) return false
    // Fewer rows than before: some of what they were made of is removed by now.
    if (before !== undefined && made.tally.rows <= before.rows) return false
    if (await writeRolled(table, period, { start, ...made }, before ?? 'absent', signal)) return true
  }
  throw new Error(`The ${period}'s figures kept changing`)
}

/** What its segments add up to: those that can be read. */
async function hourOf(hour: number, { table, signal, unreadable }: Run): Promise<Made> {
  const tally = newTally()
  let segments = 0
  const scan = { partition: segmentPartition(hour), select: SUMS_FIELDS }
  for await (const segment of table.scan<Readonly<Record<string, unknown>>>(scan, signal)) {
    const sums = sumsIn(segment)
    if (sums === undefined) await unreadable(placeText(segment), hour)
    else addTally(tally, sums)
    segments += 1
  }
  return { tally, segments }
}

/** What the parts of a period add up to; `undefined` until all of them are there, and can be read. */
async function wholeOf(
  part: Period,
  period: Period,
  start: number,
  first: number,
  { table, signal, unreadable }: Run,
): Promise<Made | undefined> {
  const from = Math.max(start, startOf(part, first))
  const before = endOf(period, start)
  const missing = new Set(startsOf(part, from, before))
  if (missing.size === 0) return undefined
  const tally = newTally()
  let segments = 0
  for await (const rolled of rolledWithin(table, part, { from, before }, 'all', signal)) {
    if (rolled.tally === undefined) {
      await unreadable(placeText(placeOf(part, rolled.start)), rolled.start)
      continue
    }
    missing.delete(rolled.start)
    addTally(tally, rolled.tally)
    segments += rolled.segments
  }
  return missing.size === 0 ? { tally, segments } : undefined
}
