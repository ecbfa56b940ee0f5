import type { Table } from '../storage/index.ts'
import { DAY_MS, endOf, HOUR_MS, type Period, startOf, startsOf } from './periods.ts'
import { findRolled, rolledWithin, writeRolled } from './rolled.ts'
import { minuteOf, partitionsBefore, SUMS_FIELDS, segmentPartition, sumsIn } from './segment.ts'
import { addTally, newTally, type Tally } from './tally.ts'

export interface RollUpOptions {
  readonly table: Table
  /** Milliseconds since 1970. */
  readonly now: number
  /** Ends it early: the next run goes on. */
  readonly signal: AbortSignal
}

/** So long after an hour's end is it rolled up: what its instances had recorded is written by then, in milliseconds. */
export const GRACE_MS = 2 * 60_000
/** What an instance could write only later is found where it is looked for again: in these hours each time … */
export const LATE_MS = 3 * HOUR_MS
/** … and in these once an hour. */
const VERY_LATE_MS = 26 * HOUR_MS
/** Of hours that were left undone; the rest is for the next run. */
const HOURS_A_RUN = 24 * 14
const MAX_TRIES = 20

/** How far the roll-up has come: one row. */
interface Progress {
  /** The hour in which the ledger begins, and the first one that is not rolled up. */
  readonly first: Date
  readonly next: Date
  /** When all that could be very late was looked for. */
  readonly searched: Date
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
export async function rollUp({ table, now, signal }: RollUpOptions): Promise<number> {
  const progress = (await progressOf(table, signal)) ?? (await begin(table, now, signal))
  if (progress === undefined) return 0
  const first = progress.first.getTime()
  const next = progress.next.getTime()
  const over = startOf('hour', now - GRACE_MS)
  const before = Math.min(over, next + HOURS_A_RUN * HOUR_MS)
  const isSearch = now - progress.searched.getTime() >= HOUR_MS
  const from = Math.max(first, Math.min(next, startOf('hour', now - (isSearch ? VERY_LATE_MS : LATE_MS))))

  let written = 0
  const roll = async (period: Period, start: number, made: () => Promise<Made | undefined>) => {
    if (await rolledAnew(table, period, start, made, signal)) written += 1
  }
  for (const hour of startsOf('hour', from, before)) await roll('hour', hour, () => hourOf(table, hour, signal))
  for (const day of startsOf('day', from - DAY_MS, before)) {
    if (endOf('day', day) <= Math.max(before, next))
      await roll('day', day, () => wholeOf(table, 'hour', 'day', day, first, signal))
  }
  for (const month of startsOf('month', from - DAY_MS, before)) {
    if (endOf('month', month) <= Math.max(before, next))
      await roll('month', month, () => wholeOf(table, 'day', 'month', month, first, signal))
  }
  await table.put(
    {
      ...PROGRESS,
      first: progress.first,
      next: new Date(Math.max(next, before)),
      searched: isSearch ? new Date(now) : progress.searched,
    },
    'any',
    signal,
  )
  return written
}

/** A little before the first segment: one that another instance could write only later belongs to it too. */
async function begin(table: Table, now: number, signal: AbortSignal): Promise<Progress | undefined> {
  const partition = partitionsBefore(now + HOUR_MS)
  for await (const segment of table.scan({ partition, select: ['rows'] }, signal)) {
    const first = new Date(startOf('day', minuteOf(segment) - VERY_LATE_MS))
    return { first, next: first, searched: new Date(now) }
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

async function hourOf(table: Table, hour: number, signal: AbortSignal): Promise<Made> {
  const tally = newTally()
  let segments = 0
  for await (const segment of table.scan({ partition: segmentPartition(hour), select: SUMS_FIELDS }, signal)) {
    addTally(tally, sumsIn(segment as object as Readonly<Record<string, unknown>>))
    segments += 1
  }
  return { tally, segments }
}

/** What the parts of a period add up to; `undefined` until all of them are there. */
async function wholeOf(
  table: Table,
  part: Period,
  period: Period,
  start: number,
  first: number,
  signal: AbortSignal,
): Promise<Made | undefined> {
  const from = Math.max(start, startOf(part, first))
  const before = endOf(period, start)
  const missing = new Set(startsOf(part, from, before))
  if (missing.size === 0) return undefined
  const tally = newTally()
  let segments = 0
  for await (const rolled of rolledWithin(table, part, { from, before }, 'all', signal)) {
    missing.delete(rolled.start)
    addTally(tally, rolled.tally)
    segments += rolled.segments
  }
  return missing.size === 0 ? { tally, segments } : undefined
}
