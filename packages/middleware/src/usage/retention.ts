import type { UsageKept } from '../policy/index.ts'
import type { EntityKey, Table } from '../storage/index.ts'
import { HOUR_MS, startOf } from './periods.ts'
import { removeRolled } from './rolled.ts'
import { progressOf } from './rollup.ts'
import { minuteOf, partitionsBefore } from './segment.ts'
import { clearUnread, unreadHours } from './unread.ts'

export interface RetentionOptions {
  readonly table: Table
  readonly kept: UsageKept
  readonly now: number
  readonly signal: AbortSignal
}

/** Rows that a batch can remove. */
const BATCH = 100
/** Rows that one run removes at most; the rest is for the next run. */
const MOST = 20_000

/**
 * Removes segments, hours and days that are kept no longer. Only what is rolled up is removed: an hour that is not, since the
 * timer didn't run, stays until it is, and one of which something can't be read is kept as long as hours are. Months are kept for
 * good.
 */
export async function removeOld({ table, kept, now, signal }: RetentionOptions): Promise<number> {
  const progress = await progressOf(table, signal)
  if (progress === undefined) return 0
  // An hour longer, so that no reader that began before is left without what it is about to read.
  const hour = Math.min(startOf('hour', now - kept.detailMs - HOUR_MS), progress.next.getTime())
  const marks = await unreadHours(table, signal)
  const unread = new Set(marks.map(({ start }) => start))
  const old = startOf('month', now - kept.hoursMs - HOUR_MS)
  const oldMarks = marks.filter(({ start }) => start < old)
  for (const mark of oldMarks) await clearUnread(table, mark, signal)
  let removed = 0
  const isOver = (segment: EntityKey) => !unread.has(startOf('hour', minuteOf(segment)))
  const segments = table.scan({ partition: partitionsBefore(hour), select: ['rows'] }, signal)
  for await (const batch of batchesOf(segments, isOver)) {
    removed += await removeBatch(table, batch, signal)
    if (removed >= MOST) return removed
  }
  // A mark keeps readers from the month's row. Until no reader goes by it any more, they need the hours: the next run removes them.
  if (oldMarks.length > 0) return removed
  for (const period of ['hour', 'day'] as const) {
    // The whole month's row stands in for them.
    removed += await removeRolled(table, period, { before: old, most: MOST - removed, signal })
  }
  return removed
}

async function removeBatch(table: Table, batch: readonly EntityKey[], signal: AbortSignal): Promise<number> {
  try {
    await table.removeAll(batch, signal)
    return batch.length
  } catch (error) {
    if ((error as { readonly statusCode?: number }).statusCode !== 404) throw error
  }
  // Another run was quicker with some of them.
  let removed = 0
  for (const key of batch) if (await table.remove(key, 'any', signal)) removed += 1
  return removed
}

async function* batchesOf(
  rows: AsyncIterable<EntityKey>,
  isOver: (row: EntityKey) => boolean,
): AsyncGenerator<readonly EntityKey[]> {
  let batch: EntityKey[] = []
  for await (const { partitionKey, rowKey } of rows) {
    if (!isOver({ partitionKey, rowKey })) continue
    if (batch.length === BATCH || (batch[0] !== undefined && batch[0].partitionKey !== partitionKey)) {
      yield batch
      batch = []
    }
    batch.push({ partitionKey, rowKey })
  }
  if (batch.length > 0) yield batch
}
