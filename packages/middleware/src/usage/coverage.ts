import type { Table } from '../storage/index.ts'
import { lateHours } from './late.ts'
import { endOf, HOUR_MS, MINUTE_MS, type Period, startOf } from './periods.ts'
import { type Figures, placeOf, rolledWithin } from './rolled.ts'
import { MODELS_FIELDS, minuteOf, minutesOf, modelSumsIn, SUMS_FIELDS, segmentPartition, sumsIn } from './segment.ts'
import { addTally, newTally, type Tally } from './tally.ts'
import { placeText, unreadHours } from './unread.ts'

/** From one moment on, and before another: milliseconds since 1970. */
export interface Span {
  readonly from: number
  readonly before: number
}

export interface CoverOptions {
  readonly table: Table
  readonly figures: Figures
  readonly signal: AbortSignal
}

export interface Covered {
  readonly tally: Tally
  /** Rows of the ledger that can't be read: what only they hold is not in the tally. */
  readonly unreadable: readonly string[]
}

/**
 * What requests came to in a span of whole minutes. Each moment is taken from one place: from the longest period that is rolled up,
 * lies within the span and can be read, or from its segments. A roll-up that goes on meanwhile adds periods, and takes away none that was
 * read, so nothing is counted twice or left out.
 */
export async function tallyOver(span: Span, options: CoverOptions): Promise<Covered> {
  const tally = newTally()
  const unreadable = await tallyEach(span, ['month', 'day', 'hour'], options, (more) => addTally(tally, more))
  return { tally, unreadable }
}

/**
 * The same piece by piece.
 *
 * @param periods that a piece may be of, the longest first; what none of them has is in pieces of a minute
 * @param add told each piece, and when it began: milliseconds since 1970
 * @returns rows of the ledger that can't be read
 */
export async function tallyEach(
  span: Span,
  periods: readonly Period[],
  { table, figures, signal }: CoverOptions,
  add: (tally: Tally, start: number) => void,
): Promise<readonly string[]> {
  const unreadable: string[] = []
  const [fields, read] = figures === 'all' ? [SUMS_FIELDS, sumsIn] : [MODELS_FIELDS, modelSumsIn]
  // Before all else: what comes late from now on has not been there yet.
  const [late, unread] = await Promise.all([lateHours(table, signal), unreadHours(table, signal)])
  let gaps: readonly Span[] = [span]
  for (const period of periods) {
    const left: Span[] = []
    for (const gap of gaps) {
      const within = wholePeriods(period, gap)
      let at = gap.from
      for await (const rolled of rolledWithin(table, period, within, figures, signal)) {
        if (rolled.tally === undefined) {
          unreadable.push(placeText(placeOf(period, rolled.start)))
          continue
        }
        const end = endOf(period, rolled.start)
        const holds = ({ start }: { readonly start: number }) => rolled.start <= start && start < end
        // Of an hour whose first segments are kept no longer, what is rolled up says more than those that came late.
        if (late.some(holds) || unread.some(holds)) {
          if (period !== 'hour') continue
          const rows = await rowsOfHour(table, rolled.start, signal)
          if (rows > rolled.rows || (rows === rolled.rows && unread.some(holds))) continue
        }
        if (at < rolled.start) left.push({ from: at, before: rolled.start })
        at = end
        add(rolled.tally, rolled.start)
      }
      if (at < gap.before) left.push({ from: at, before: gap.before })
    }
    gaps = left
  }
  for (const gap of gaps) {
    for await (const segment of segmentsWithin<Fields>(table, gap, fields, signal)) {
      const sums = read(segment)
      if (sums === undefined) unreadable.push(placeText(segment))
      else add(sums, minuteOf(segment))
    }
  }
  return unreadable
}

type Fields = Readonly<Record<string, unknown>>

function wholePeriods(period: Period, { from, before }: Span) {
  const start = startOf(period, from)
  return { from: start === from ? start : endOf(period, from), before: startOf(period, before) }
}

async function rowsOfHour(table: Table, hour: number, signal: AbortSignal): Promise<number> {
  let rows = 0
  for await (const segment of table.scan<{ rows: number }>(
    { partition: segmentPartition(hour), select: ['rows'] },
    signal,
  )) {
    rows += Number(segment.rows) || 0
  }
  return rows
}

/** The segments that were opened in a span of whole minutes. */
export async function* segmentsWithin<T extends object>(
  table: Table,
  { from, before }: Span,
  select: readonly string[] | undefined,
  signal: AbortSignal,
) {
  const whole = { from: Math.ceil(from / HOUR_MS) * HOUR_MS, before: startOf('hour', before) }
  const fields = select === undefined ? {} : { select }
  if (from < Math.min(whole.from, before)) yield* partly(from, Math.min(whole.from, before))
  if (whole.from < whole.before) {
    const partition = { from: segmentPartition(whole.from), before: segmentPartition(whole.before) }
    yield* table.scan<T>({ partition, ...fields }, signal)
  }
  if (whole.from <= whole.before && whole.before < before) yield* partly(whole.before, before)

  /** Of one hour. */
  function partly(first: number, end: number) {
    return table.scan<T>({ partition: segmentPartition(first), rows: minutesOf(first, end), ...fields }, signal)
  }
}

export function wholeMinutes({ from, before }: Span): Span {
  return { from: Math.floor(from / MINUTE_MS) * MINUTE_MS, before: Math.ceil(before / MINUTE_MS) * MINUTE_MS }
}
