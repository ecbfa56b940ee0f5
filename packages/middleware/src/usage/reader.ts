import { fnv1a, isOutage, withDeadline } from '../pipeline/index.ts'
import type { UsageKept } from '../policy/index.ts'
import type { Table } from '../storage/index.ts'
import { type Span, segmentsWithin, tallyEach, tallyOver, wholeMinutes } from './coverage.ts'
import {
  type ConsumerDay,
  type ShadowReport,
  type Unattributed,
  type UsageQuery,
  type UsageReader,
  type UsageReport,
  type UsageRow,
  UsageUnreadable,
} from './figures.ts'
import { endOf, MINUTE_MS, startOf } from './periods.ts'
import { mayHold, ROW_FIELDS, rowsIn } from './segment.ts'
import { shadowSums } from './shadow-sums.ts'
import { type Adding, addSums, isNothing, noSums, totalOf } from './sums.ts'
import { modelFigures, type Tally } from './tally.ts'
import { TARGET_FIELDS, TOLD_MS, targetsIn } from './told-targets.ts'
import { placeText } from './unread.ts'

export interface UsageReaderOptions {
  readonly table: Table
  readonly kept: () => UsageKept
  /** Milliseconds since 1970. */
  readonly wallClock?: () => number
  /** What budgets charged that the ledger doesn't show. By default a report says that it can't be told. */
  readonly unattributed?: (
    query: Pick<UsageQuery, 'consumer' | 'model'>,
    signal: AbortSignal,
  ) => Promise<readonly Unattributed[]>
}

/** What has ended so long ago has been written, unless its instance was killed or can't reach the tables. */
export const AGE_MS = 10_000
/** So long may the totals wait for what is unattributed, in milliseconds: a scraper waits ten seconds for all. */
const BEYOND_MS = 3_000
/** Before there was a ledger. */
const BEGINNING = Date.UTC(2025, 0)
const READS_AT_ONCE = 8

export function usageReader({ table, kept, wallClock = Date.now, unattributed }: UsageReaderOptions): UsageReader {
  /** `undefined` where it can't be told soon: what is certain must not wait for it. */
  async function beyond(signal: AbortSignal): Promise<readonly Unattributed[] | undefined> {
    if (unattributed === undefined) return undefined
    const told = withDeadline(BEYOND_MS, (late) => unattributed({}, AbortSignal.any([late, signal])))
    return told.catch(unlessFault)
  }

  async function targets(signal: AbortSignal) {
    const now = wallClock()
    // A segment is written for some time after its minute, and some clocks are ahead.
    const span = wholeMinutes({ from: now - TOLD_MS - 2 * MINUTE_MS, before: now + MINUTE_MS })
    return targetsIn(await Array.fromAsync(segmentsWithin<object>(table, span, TARGET_FIELDS, signal)), now)
  }

  return {
    targets,

    async report(query, signal): Promise<UsageReport> {
      const now = wallClock()
      const span = spanOf(query, now, kept())
      const { tally, unreadable } = await tallyOver(span, { table, figures: 'all', signal })
      const rows = rowsBy(query, tally)
      return {
        by: query.by,
        since: span.from,
        until: span.before,
        asOf: Math.min(span.before, now - AGE_MS),
        rows,
        total: totalOf(rows),
        unattributed: await unattributed?.(query, signal),
        unreadable,
      }
    },

    async daysOf({ consumer, since, until }, signal) {
      const days = new Map<string, ConsumerDay & { readonly sums: Adding }>()
      const add = (tally: Tally, at: number) => {
        const start = startOf('day', at)
        for (const { consumer: of, model, sums } of tally.cells.values()) {
          if (of !== consumer || isNothing(sums)) continue
          const key = `${start} ${model}`
          const own = days.get(key) ?? { start, model, sums: noSums() }
          addSums(own.sums, sums)
          days.set(key, own)
        }
      }
      const { from, before } = wholeMinutes({ from: since, before: until })
      const firstKept = endOf('day', wallClock() - kept().hoursMs)
      const span = { from: Math.max(from, firstKept), before }
      const unreadable = await tallyEach(span, ['day', 'hour'], { table, figures: 'all', signal }, add)
      return { since: span.from, days: [...days.values()].sort((a, b) => a.start - b.start), unreadable }
    },

    unattributedOf: async (consumer, signal) => unattributed?.({ consumer }, signal),

    async shadow(query, signal): Promise<ShadowReport> {
      const now = wallClock()
      const span = spanOf(query, now, kept())
      const { tally, unreadable } = await tallyOver(span, { table, figures: 'all', signal })
      const asOf = Math.min(span.before, now - AGE_MS)
      return { since: span.from, until: span.before, asOf, unreadable, ...shadowSums(query, tally) }
    },

    async totals(signal) {
      const now = wallClock()
      const span = wholeMinutes({ from: BEGINNING, before: now + 1 })
      const { tally, unreadable } = await tallyOver(span, { table, figures: 'models', signal })
      return {
        models: modelFigures(tally),
        asOf: now - AGE_MS,
        unattributed: await beyond(signal),
        unreadable,
        targets: await targets(signal),
      }
    },

    async why(requestId, { since, until }, signal) {
      const hash = fnv1a(requestId)
      const found: UsageRow[] = []
      const unreadable: string[] = []
      const places: { readonly partitionKey: string; readonly rowKey: string }[] = []
      const span = wholeMinutes({ from: since, before: until + 1 })
      for await (const segment of segmentsWithin<{ ids?: Uint8Array }>(table, span, ['ids'], signal)) {
        if (mayHold(segment.ids, hash)) places.push({ partitionKey: segment.partitionKey, rowKey: segment.rowKey })
      }
      const read = async () => {
        for (let place = places.pop(); place !== undefined; place = places.pop()) {
          const { entity } = await table.read<object>(place, { signal, select: ROW_FIELDS })
          if (entity === undefined) continue
          const rows = readRows({ ...entity, ...place })
          if (rows === undefined) unreadable.push(placeText(place))
          else found.push(...rows.filter((row) => row.requestId === requestId))
        }
      }
      await Promise.all(Array.from({ length: READS_AT_ONCE }, read))
      if (found.length === 0 && unreadable.length > 0) {
        throw new UsageUnreadable(`It may be in what can't be read: ${unreadable.join(', ')}`)
      }
      return found.sort((a, b) => b.startedAt - a.startedAt || b.call - a.call)
    },
  }
}

function readRows(segment: Parameters<typeof rowsIn>[0]): UsageRow[] | undefined {
  try {
    return rowsIn(segment)
  } catch {
    return undefined
  }
}

/** @throws what is no outage */
function unlessFault(error: unknown): undefined {
  if (!isOutage(error)) throw error
}

/** Of whole minutes, or of whole hours or months where nothing finer is kept any more. */
function spanOf({ since, until }: UsageQuery, now: number, { detailMs, hoursMs }: UsageKept): Span {
  const { from, before } = wholeMinutes({ from: since, before: until })
  const period = from < now - hoursMs ? 'month' : from < now - detailMs ? 'hour' : undefined
  const end = before < now - hoursMs ? 'month' : before < now - detailMs ? 'hour' : undefined
  return {
    from: Math.max(BEGINNING, period === undefined ? from : startOf(period, from)),
    before: end === undefined || startOf(end, before) === before ? before : endOf(end, before),
  }
}

function rowsBy({ by, consumer, model }: UsageQuery, tally: Tally): UsageReport['rows'] {
  const named = new Map<string, Adding>()
  const add = (name: string, sums: Adding) => {
    const own = named.get(name) ?? noSums()
    addSums(own, sums)
    named.set(name, own)
  }
  for (const cell of tally.cells.values()) {
    if (consumer !== undefined && cell.consumer !== consumer) continue
    if (model !== undefined && cell.model !== model) continue
    if (isNothing(cell.sums)) continue
    if (by !== 'target') add(cell[by], cell.sums)
    else for (const [target, sums] of cell.targets) add(target, sums)
  }
  return Array.from(named, ([name, sums]) => ({ name, ...sums })).sort(
    (a, b) => b.costNanoUsd - a.costNanoUsd || b.requests - a.requests || (a.name < b.name ? -1 : 1),
  )
}
