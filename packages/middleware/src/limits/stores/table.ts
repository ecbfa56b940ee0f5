import { hash } from 'node:crypto'
import type { OpenTable } from '../../storage/index.ts'
import { type CounterStore, SHADOW_LIFE_MS, SHADOW_SUBJECTS, type StoreTime } from './counter-store.ts'

const ROW = 'counters'
/** A `Date` header (RFC 9110, section 5.6.7) names the second only. */
const DATE_RESOLUTION_MS = 1_000

export interface TableCounterStore extends CounterStore {
  /**
   * Removes what shadow revisions counted that nothing has changed for `SHADOW_LIFE_MS`. Reads the whole table.
   *
   * @param now milliseconds since 1970
   * @returns how many rows
   */
  sweepShadows(now: number, signal: AbortSignal): Promise<number>
}

export interface TableCounterOptions {
  readonly open: OpenTable
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
  /** Milliseconds since 1970. */
  readonly wallClock?: () => number
}

/** Counters in Azure Table Storage: a row a subject, each in a partition of its own, so that no partition runs hot. */
export function tableCounterStore({ open, now, wallClock = Date.now }: TableCounterOptions): TableCounterStore {
  const table = open('tollgatecounters')

  const placeOf = (subject: string) => ({ partitionKey: partitionOf(subject), rowKey: ROW })

  /** @param sent before the question was; a read that is sent twice, or a table that is made, makes the interval longer */
  const timeOf = (date: number | undefined, sent: number): StoreTime | undefined =>
    date === undefined ? undefined : { date, resolutionMs: DATE_RESOLUTION_MS, sent, received: now() }

  return {
    async read(subject, signal) {
      const sent = now()
      const { entity, date } = await table.read<{ text: string }>(placeOf(subject), { signal })
      const time = timeOf(date, sent)
      if (entity === undefined) return { row: undefined, time }
      const { text, etag, timestamp } = entity
      return { row: { text, etag }, time, writtenAt: Date.parse(timestamp) }
    },

    async writeIfMatch(subject, text, etag, signal) {
      const sent = now()
      const judged = subject.startsWith(SHADOW_SUBJECTS) ? { judgedAt: new Date(wallClock()) } : undefined
      const row = { ...placeOf(subject), subject, text, ...judged }
      const { etag: written, date } = await table.put(row, etag === undefined ? 'absent' : { etag }, signal)
      return { etag: written, time: timeOf(date, sent) }
    },

    async sweepShadows(at, signal) {
      let removed = 0
      const old = { field: 'judgedAt', time: new Date(at - SHADOW_LIFE_MS), from: '' }
      for await (const key of table.listBefore(old, signal)) {
        if (await table.remove(key, 'any', signal)) removed += 1
      }
      return removed
    },
  }
}

/** Hashed, because a subject may hold characters that a key may not. */
function partitionOf(subject: string): string {
  return hash('sha256', subject, 'base64url')
}
