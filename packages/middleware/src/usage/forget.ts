import type { Table } from '../storage/index.ts'
import { MINUTE_MS, type Period } from './periods.ts'
import { readRolled, rolledWithin, writeRolled } from './rolled.ts'
import { forgotten, minuteOf, partitionsBefore, SUMS_FIELDS, sumsIn } from './segment.ts'
import { withoutName } from './tally.ts'

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
  for (let pass = 0; pass < MAX_PASSES; pass += 1) {
    const segments = await forgetSegments(options)
    const periods = await forgetPeriods(options)
    rows += segments.rows
    changed += segments.changed + periods
    againAt = segments.againAt ?? againAt
    // A roll-up that had read a segment before may have written its hour since.
    if (segments.changed + periods === 0) break
  }
  return { rows, changed, againAt }
}

async function forgetSegments({ table, consumer, now, signal }: ForgetOptions): Promise<Forgotten> {
  let [rows, changed] = [0, 0]
  let againAt: number | undefined
  for await (const segment of table.scan<Fields>(
    { partition: partitionsBefore(FOREVER), select: SUMS_FIELDS },
    signal,
  )) {
    if (withoutName(sumsIn(segment), consumer) === undefined) continue
    rows += await forgetIn(segment)
    changed += 1
    if (now < minuteOf(segment) + LIVE_MS) againAt = Math.max(againAt ?? 0, minuteOf(segment) + LIVE_MS)
  }
  return { rows, changed, againAt }

  /** Tells how many rows were removed. */
  async function forgetIn({
    partitionKey,
    rowKey,
  }: {
    readonly partitionKey: string
    readonly rowKey: string
  }): Promise<number> {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const { entity } = await table.read<Fields>({ partitionKey, rowKey }, { signal })
      const without = entity && forgotten(entity, consumer)
      if (entity === undefined || without === undefined) return 0
      const { etag } = await table.put(without.entity, { etag: entity.etag }, signal)
      if (etag !== undefined) return without.removed
    }
    throw new Error('A segment of the ledger kept changing. Try again.')
  }
}

type Fields = Readonly<Record<string, unknown>>

async function forgetPeriods({ table, consumer, signal }: ForgetOptions): Promise<number> {
  let changed = 0
  for (const period of ['hour', 'day', 'month'] as const) {
    for await (const rolled of rolledWithin(table, period, { from: 0, before: FOREVER }, 'all', signal)) {
      if (withoutName(rolled.tally, consumer) === undefined) continue
      await forgetIn(period, rolled.start)
      changed += 1
    }
  }
  return changed

  async function forgetIn(period: Period, start: number): Promise<void> {
    for (let tries = 0; tries < MAX_TRIES; tries += 1) {
      const found = await readRolled(table, period, start, signal)
      const tally = found && withoutName(found.tally, consumer)
      if (found === undefined || tally === undefined) return
      if (await writeRolled(table, period, { start, tally, segments: found.segments }, found, signal)) return
    }
    throw new Error(`The figures of a ${period} kept changing. Try again.`)
  }
}
