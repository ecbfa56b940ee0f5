import { randomUUID } from 'node:crypto'
import type { Condition, EntityKey, KeyRange, Table } from '../storage/index.ts'
import { CHUNK_BYTES, chunked, chunkNames, joined, MAX_CHUNKS } from './chunks.ts'
import { endOf, nameOf, type Period, startNamed, startOf } from './periods.ts'
import { packedTally, tallyIn } from './segment.ts'
import { type Tally, withoutConsumers } from './tally.ts'

/*
 * What a whole hour, day or month came to: one row, which is there or not. So a reader sees a period once, from here or from what
 * it was made of, and a roll-up that is repeated, or killed, changes nothing that was right. A tally that is too large for a row
 * has parts beside it, written before the row that names them.
 */

/** A period that is rolled up. */
export interface Rolled {
  readonly start: number
  readonly etag: string
  /** Rows that it was made of; of an hour also the segments. */
  readonly rows: number
  readonly segments: number
}

/** What a period came to; `undefined` where that can't be read. */
export type WithTally = Rolled & { readonly tally: Tally | undefined }

interface RolledRow extends Readonly<Record<string, unknown>> {
  readonly etag: string
  readonly rows?: unknown
  readonly segments?: unknown
  /** Parts beside this row, and what tells them from those of any other write. */
  readonly parts?: unknown
  readonly writeId?: unknown
}

const PARTITIONS = { hour: 'hours-', day: 'days-', month: 'months' } as const
/** How much of a period's name its partition has: an hour's month, a day's year. */
const NAMED = { hour: 6, day: 4, month: 0 } as const
const PART_BYTES = MAX_CHUNKS * CHUNK_BYTES
const PART = '~'

/** Where a period's row is. */
export function placeOf(period: Period, start: number): EntityKey {
  const rowKey = nameOf(period, start)
  return { partitionKey: PARTITIONS[period] + rowKey.slice(0, NAMED[period]), rowKey }
}

function partKey({ partitionKey, rowKey }: EntityKey, writeId: string, index: number): EntityKey {
  return { partitionKey, rowKey: `${rowKey}${PART}${writeId}${PART}${index}` }
}

function rolledOf({ rowKey }: EntityKey, { etag, rows, segments }: RolledRow): Rolled {
  return { start: startNamed(rowKey), etag, rows: Number(rows ?? 0), segments: Number(segments ?? 0) }
}

/** What is known of a period that is rolled up, without its figures. */
export async function findRolled(
  table: Table,
  period: Period,
  start: number,
  signal: AbortSignal,
): Promise<Rolled | undefined> {
  const place = placeOf(period, start)
  const { entity } = await table.read<RolledRow>(place, { signal, select: ['rows', 'segments'] })
  return entity && rolledOf(place, entity)
}

/** Which figures are read: those of each consumer, or those of models alone. */
export type Figures = 'all' | 'models'

/** The periods from one moment on and before another that are rolled up, in the order of time, with what they came to. */
export async function* rolledWithin(
  table: Table,
  period: Period,
  range: { readonly from: number; readonly before: number },
  figures: Figures,
  signal: AbortSignal,
): AsyncGenerator<WithTally> {
  if (range.from >= range.before) return
  const select = ['rows', 'segments', 'parts', 'writeId', ...chunkNames(figures === 'all' ? 'sums' : 'models')]
  for await (const row of table.scan<RolledRow>({ ...keysWithin(period, range), select }, signal)) {
    if (row.rowKey.includes(PART)) continue
    const start = startNamed(row.rowKey)
    // Its partition may hold what the range of names does not.
    if (start < range.from || start >= range.before) continue
    if (figures === 'models') yield { ...rolledOf(row, row), tally: tallyIn(joined('models', row)) }
    else yield await whole(table, period, row, signal)
  }
}

/** Partitions and rows of the periods that begin within a range. */
function keysWithin(
  period: Period,
  { from, before }: { readonly from: number; readonly before: number },
): {
  readonly partition: string | KeyRange
  readonly rows: KeyRange
} {
  const [first, end] = [placeOf(period, from), placeOf(period, endOf(period, before - 1))]
  const rows = { from: first.rowKey, before: end.rowKey }
  const partition =
    first.partitionKey === end.partitionKey
      ? first.partitionKey
      : { from: first.partitionKey, before: `${end.partitionKey}${PART}` }
  return { partition, rows }
}

/** A row with the tally of its parts. Where it was written anew meanwhile, its parts are gone, and it is read again. */
async function whole(
  table: Table,
  period: Period,
  row: EntityKey & RolledRow,
  signal: AbortSignal,
): Promise<WithTally> {
  let found: EntityKey & RolledRow = row
  for (;;) {
    const { parts, writeId } = found
    const read = Array.from({ length: Number(parts ?? 0) }, async (_, index) => {
      const { entity } = await table.read<object>(partKey(row, String(writeId), index), { signal })
      return entity && joined('sums', entity as Readonly<Record<string, unknown>>)
    })
    const pieces = await Promise.all(read)
    if (pieces.every((piece) => piece !== undefined)) {
      const bytes = Buffer.concat([joined('sums', found), ...pieces])
      return { ...rolledOf(row, found), tally: tallyIn(bytes) }
    }
    const place = placeOf(period, startNamed(row.rowKey))
    const { entity } = await table.read<RolledRow>(place, { signal })
    if (entity === undefined || entity.writeId === writeId) return { ...rolledOf(row, found), tally: undefined }
    found = entity
  }
}

/** The figures of one period; `undefined` where it is not rolled up. */
export async function readRolled(
  table: Table,
  period: Period,
  start: number,
  signal: AbortSignal,
): Promise<WithTally | undefined> {
  const { entity } = await table.read<RolledRow>(placeOf(period, start), { signal })
  return entity && whole(table, period, entity, signal)
}

/** @returns `false` where the row is not as it was expected, and nothing was changed */
export async function writeRolled(
  table: Table,
  period: Period,
  { start, tally, segments }: { readonly start: number; readonly tally: Tally; readonly segments: number },
  condition: Exclude<Condition, 'any'>,
  signal: AbortSignal,
): Promise<boolean> {
  const place = placeOf(period, start)
  const packed = packedTally(tally)
  const models = chunked('models', packedTally(withoutConsumers(tally)))
  const own = Math.max(0, MAX_CHUNKS - Object.keys(models).length) * CHUNK_BYTES
  const rest = packed.subarray(own)
  const writeId = randomUUID()
  const parts = Math.ceil(rest.byteLength / PART_BYTES)
  const before =
    typeof condition === 'string'
      ? undefined
      : await table.read<RolledRow>(place, { signal, select: ['parts', 'writeId'] })
  for (let index = 0; index < parts; index += 1) {
    const piece = rest.subarray(index * PART_BYTES, (index + 1) * PART_BYTES)
    await table.put({ ...partKey(place, writeId, index), ...chunked('sums', piece) }, 'absent', signal)
  }
  const row = {
    ...place,
    rows: tally.rows,
    segments,
    parts,
    writeId,
    ...chunked('sums', packed.subarray(0, own)),
    ...models,
  }
  const { etag } = await table.put(row, condition, signal)
  const gone = etag === undefined ? { parts, writeId } : before?.entity
  for (let index = 0; index < Number(gone?.parts ?? 0); index += 1) {
    await table.remove(partKey(place, String(gone?.writeId), index), 'any', signal)
  }
  return etag !== undefined
}

/** Removes the hours or days before a moment, of months that are rolled up themselves. Tells how many rows that were. */
export async function removeRolled(
  table: Table,
  period: 'hour' | 'day',
  { before, most, signal }: { readonly before: number; readonly most: number; readonly signal: AbortSignal },
): Promise<number> {
  const months = new Map<number, boolean>()
  /** Whether there is a row that stands in for what was a part of this month. */
  async function isWhole(month: number): Promise<boolean> {
    const known = months.get(month)
    if (known !== undefined) return known
    const rolled = month < startOf('month', before) ? await readRolled(table, 'month', month, signal) : undefined
    months.set(month, rolled?.tally !== undefined)
    return rolled?.tally !== undefined
  }
  let removed = 0
  const end = placeOf(period, before)
  const where = {
    partition: { from: PARTITIONS[period], before: `${end.partitionKey}${PART}` },
    rows: { from: '', before: end.rowKey },
    select: ['rows'],
  }
  for await (const row of table.scan<object>(where, signal)) {
    if (removed >= most) break
    const [name = ''] = row.rowKey.split(PART)
    if ((await isWhole(startOf('month', startNamed(name)))) && (await table.remove(row, 'any', signal))) removed += 1
  }
  return removed
}
