import { hash } from 'node:crypto'
import { type OpenTable, readEntity, statusOf, writeEntity } from '../../storage/index.ts'
import type { CounterStore, StoreTime } from '../store.ts'

const ROW = 'counters'

export interface TableCounterOptions {
  readonly open: OpenTable
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** Counters in Azure Table Storage: a row a subject, each in a partition of its own, so that no partition runs hot. */
export function tableCounterStore({ open, now }: TableCounterOptions): CounterStore {
  const table = open('tollgatecounters')
  return {
    async read(subject, signal) {
      const sent = now()
      let time: StoreTime | undefined
      const entity = await readEntity<{ subject: string; text: string }>(
        table,
        { partition: partitionOf(subject), row: ROW },
        {
          signal,
          onResponse: ({ headers }) => {
            const date = Date.parse(headers.get('date') ?? '')
            if (!Number.isNaN(date)) time = { date, sent, received: now() }
          },
        },
      )
      return { row: entity && { text: entity.text, etag: entity.etag }, time }
    },

    async writeIfMatch(subject, text, etag, abortSignal) {
      const entity = { partitionKey: partitionOf(subject), rowKey: ROW, subject, text }
      try {
        await writeEntity(table, (client) =>
          etag === undefined
            ? client.createEntity(entity, { abortSignal })
            : client.updateEntity(entity, 'Replace', { etag, abortSignal }),
        )
        return true
      } catch (error) {
        const status = statusOf(error)
        // 409: another made the row first; 412: another changed it; 404: it was removed.
        if (status === 409 || status === 412 || status === 404) return false
        throw error
      }
    },
  }
}

/** Hashed, because a subject may hold characters that a key may not. */
function partitionOf(subject: string): string {
  return hash('sha256', subject, 'base64url')
}
