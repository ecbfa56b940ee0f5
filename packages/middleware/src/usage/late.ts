import type { Table } from '../storage/index.ts'
import { HOUR_MS, nameOf, startNamed, startOf } from './periods.ts'

/*
 * An hour is rolled up once it is over. An instance that can write a segment of it only later, since the table failed, says so first:
 * a row that names the hour. Readers leave out what is rolled up of it until a roll-up has made it anew.
 */

const PARTITION = 'late'

/** So long after an hour's end is it rolled up: what its instances had recorded is written by then, in milliseconds. */
export const GRACE_MS = 2 * 60_000

/** Whether what is written into an hour now may come too late for its roll-up: some clocks are a little off. */
export function isLate(minute: number, now: number): boolean {
  return now > startOf('hour', minute) + HOUR_MS + GRACE_MS / 2
}

/** To be called before a segment is written late. */
export async function markLate(table: Table, minute: number, signal: AbortSignal): Promise<void> {
  await table.put({ partitionKey: PARTITION, rowKey: nameOf('hour', minute) }, 'any', signal)
}

export interface LateHour {
  readonly start: number
  /** When it was marked last, by the table's clock: milliseconds since 1970. */
  readonly markedAt: number
  readonly etag: string
}

/** The hours of which something was written late, and that are still to be rolled up again. */
export async function lateHours(table: Table, signal: AbortSignal): Promise<readonly LateHour[]> {
  const marks = await Array.fromAsync(table.scan<{ timestamp: string }>({ partition: PARTITION }, signal))
  return marks.map(({ rowKey, etag, timestamp }) => ({
    start: startNamed(rowKey),
    etag,
    markedAt: Date.parse(timestamp),
  }))
}

/** Whether what a mark was set for has been written by now, or never will be: a roll-up that begins now sees it. */
export function isSettled({ markedAt }: LateHour, now: number): boolean {
  return now >= markedAt + GRACE_MS
}

/** To be called when all that holds the hour is rolled up again; a mark that was set again meanwhile stays. */
export async function clearLate(table: Table, { start, etag }: LateHour, signal: AbortSignal): Promise<void> {
  await table.remove({ partitionKey: PARTITION, rowKey: nameOf('hour', start) }, { etag }, signal)
}
