import type { EntityKey, Table } from '../storage/index.ts'
import { MINUTE_MS, type Period } from './periods.ts'
import { placeOf, readRolled, rolledWithin, writeRolled } from './rolled.ts'
import { forgotten, minuteOf, partitionsBefore, SUMS_FIELDS, sumsIn } from './segment.ts'
import { FORGOTTEN, type Tally, withoutName } from './tally.ts'
import { placeText } from './unread.ts'

export interface ForgetOptions {
  readonly table: Table
  readonly consumer: string
  /** Milliseconds since 1970. */
  readonly now: number
  readonly signal: AbortSignal
}

export interface Forgotten {
  /** Rows of requests that were removed. */
  readonly rows: number
  /** Segments, hours, days and months from which its name was taken. */
  readonly changed: number
  /**
   * Its requests are so recent that an instance may still write some of them: from this time on, in milliseconds since 1970, it
   * is to be called once more. `undefined` where nothing is to come.
   */
  readonly againAt: number | undefined
  /** What can't be read, by partition and row: nobody knows whether it has the consumer. */
  readonly unreadable: readonly string[]
}

/** So long after a segment's minute may its instance write it again, where the table doesn't fail. */
const LIVE_MS = 3 * MINUTE_MS
const MAX_PASSES = 5
const MAX_TRIES = 10
const FOREVER = Date.UTC(2200, 0)

/**
 * Takes a consumer out of the ledger: its rows, with all that they tell, and its name. What its requests came to stays in the sums
 * of models and targets, under no one's name, so that no total changes.
 */
export async function forgetConsumer(options: ForgetOptions): Promise<Forgotten> {
  let [rows, changed] = [0, 0]
  let againAt: number | undefined
  const unreadable = new Set<string>()
  for (let pass = 0; pass < MAX_PASSES; pass += 1) {
    const found = [await forgetSegments(options), await forgetPeriods(options)]
    let changedNow = 0
    for (const each of found) {
      rows += each.rows
      changedNow += each.changed
      againAt = each.againAt ?? againAt
      for (const place of each.unreadable) unreadable.add(place)
    }
    changed += changedNow
    // A roll-up that had read a segment before may have written its hour since.
    if (changedNow === 0) break
  }
  return { rows, changed, againAt, unreadable: [...unreadable] }
}

async function forgetSegments({ table, consumer, now, signal }: ForgetOptions): Promise<Forgotten> {
  let [rows, changed] = [0, 0]
  let againAt: number | undefined
  const unreadable: string[] = []
  for await (const segment of table.scan<Fields>(
    { partition: partitionsBefore(FOREVER), select: SUMS_FIELDS },
    signal,
  )) {
    const sums = sumsIn(segment)
    const has = sums === undefined ? 0 : await forgetIn(segment, sums)
    if (sums === undefined || has === 'unreadable') {
      unreadable.push(placeText(segment))
      continue
    }
    if (has !== 'nothing') {
      rows += has
      changed += 1
    }
    // Of one that was forgotten a moment ago nobody knows which it was.
    const isOver = has === 'nothing' && withoutName(sums, FORGOTTEN) === undefined
    if (!isOver && now < minuteOf(segment) + LIVE_MS) againAt = Math.max(againAt ?? 0, minuteOf(segment) + LIVE_MS)
  }
  return { rows, changed, againAt, unreadable }

  /** Tells how many rows were removed. */
  async function forgetIn(
    { partitionKey, rowKey }: EntityKey,
    sums: Tally,
  ): Promise<number | 'nothing' | 'unreadable'> {
    if (withoutName(sums, consumer) === undefined) return 'nothing'
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const { entity } = await table.read<Fields>({ partitionKey, rowKey }, { signal })
      if (entity === undefined) return 0
      const without = withoutConsumer(entity, consumer)
      if (without === 'unreadable') return without
      if (without === undefined) return 0
      const { etag } = await table.put(without.entity, { etag: entity.etag }, signal)
      if (etag !== undefined) return without.removed
    }
    throw new Error('A segment of the ledger kept changing. Try again.')
  }
}

function withoutConsumer(segment: Parameters<typeof forgotten>[0], consumer: string) {
  try {
    return forgotten(segment, consumer)
  } catch {
    return 'unreadable'
  }
}

type Fields = Readonly<Record<string, unknown>>

async function forgetPeriods({ table, consumer, signal }: ForgetOptions): Promise<Forgotten> {
  let changed = 0
  const unreadable: string[] = []
  for (const period of ['hour', 'day', 'month'] as const) {
    for await (const { start, tally } of rolledWithin(table, period, { from: 0, before: FOREVER }, 'all', signal)) {
      if (tally === undefined) unreadable.push(placeText(placeOf(period, start)))
      else if (withoutName(tally, consumer) !== undefined) {
        await forgetIn(period, start)
        changed += 1
      }
    }
  }
  return { rows: 0, changed, againAt: undefined, unreadable }

  async function forgetIn(period: Period, start: number): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const found = await readRolled(table, period, start, signal)
      const tally = found?.tally && withoutName(found.tally, consumer)
      if (found === undefined || tally === undefined) return
      if (await writeRolled(table, period, { start, tally, segments: found.segments }, found, signal)) return
    }
    throw new Error(`The figures of a ${period} kept changing. Try again.`)
  }
}
