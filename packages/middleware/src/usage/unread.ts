import type { EntityKey, Table } from '../storage/index.ts'
import { nameOf, startNamed } from './periods.ts'

/*
 * A segment, or a row of sums, that this version can't read: a later one wrote it, or it holds nonsense. It is left out of figures,
 * which tell so, and its hour is marked: its detail is kept as long as hours are, and each roll-up tries that hour again.
 */

const PARTITION = 'unread'

/** Partition and row of what can't be read, as reports and logs name it. */
export function placeText({ partitionKey, rowKey }: EntityKey): string {
  return `${partitionKey}/${rowKey}`
}

export interface UnreadHour {
  readonly start: number
  readonly etag: string
}

/** The hours of which something could not be read when they were rolled up last. */
export async function unreadHours(table: Table, signal: AbortSignal): Promise<readonly UnreadHour[]> {
  const marks = await Array.fromAsync(table.scan<object>({ partition: PARTITION }, signal))
  return marks.map(({ rowKey, etag }) => ({ start: startNamed(rowKey), etag }))
}

/** @returns whether it was not marked before */
export async function markUnread(table: Table, hour: number, signal: AbortSignal): Promise<boolean> {
  const { etag } = await table.put({ partitionKey: PARTITION, rowKey: nameOf('hour', hour) }, 'absent', signal)
  return etag !== undefined
}

/** To be called when all of the hour was read; a mark that was set again meanwhile stays. */
export async function clearUnread(table: Table, { start, etag }: UnreadHour, signal: AbortSignal): Promise<void> {
  await table.remove({ partitionKey: PARTITION, rowKey: nameOf('hour', start) }, { etag }, signal)
}
