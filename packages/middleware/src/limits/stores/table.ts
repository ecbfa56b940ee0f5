import { hash } from 'node:crypto'
import type { GetTableEntityOptions } from '@azure/data-tables'
import { type OpenTable, readEntity, statusOf, writeEntity } from '../../storage/index.ts'
import type { CounterStore, StoreTime } from './counter-store.ts'

const ROW = 'counters'
/** A `Date` header (RFC 9110, section 5.6.7) names the second only. */
const DATE_RESOLUTION_MS = 1_000

export interface TableCounterOptions {
  readonly open: OpenTable
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** Counters in Azure Table Storage: a row a subject, each in a partition of its own, so that no partition runs hot. */
export function tableCounterStore({ open, now }: TableCounterOptions): CounterStore {
  const table = open('tollgatecounters')

  /** Takes the time off every answer, a refusal's too. */
  function timed(abortSignal: AbortSignal) {
    const sent = now()
    let time: StoreTime | undefined
    const options: GetTableEntityOptions = {
      abortSignal,
      onResponse: ({ headers }) => {
        const date = Date.parse(headers.get('date') ?? '')
        if (!Number.isNaN(date)) time = { date, resolutionMs: DATE_RESOLUTION_MS, sent, received: now() }
      },
    }
    return { options, time: () => time }
  }

  return {
    async read(subject, signal) {
      const { options, time } = timed(signal)
      const key = { partition: partitionOf(subject), row: ROW }
      const entity = await readEntity<{ text: string }>(table, key, { signal, onResponse: options.onResponse })
      return { row: entity && { text: entity.text, etag: entity.etag }, time: time() }
    },

    async writeIfMatch(subject, text, etag, signal) {
      const entity = { partitionKey: partitionOf(subject), rowKey: ROW, subject, text }
      const { options, time } = timed(signal)
      try {
        const written = await writeEntity(table, (client) =>
          etag === undefined
            ? client.createEntity(entity, options)
            : client.updateEntity(entity, 'Replace', { etag, ...options }),
        )
        if (written.etag === undefined) throw new Error('The table service wrote a row and named no ETag')
        return { etag: written.etag, time: time() }
      } catch (error) {
        const status = statusOf(error)
        // 409: another made the row first; 412: another changed it; 404: it was removed.
        if (status === 409 || status === 412 || status === 404) return { etag: undefined, time: time() }
        throw error
      }
    },
  }
}

/** Hashed, because a subject may hold characters that a key may not. */
function partitionOf(subject: string): string {
  return hash('sha256', subject, 'base64url')
}
