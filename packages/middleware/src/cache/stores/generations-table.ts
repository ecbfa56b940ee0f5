import { hash } from 'node:crypto'
import { isOutage } from '../../pipeline/index.ts'
import { type OpenTable, statusOf } from '../../storage/index.ts'
import { type GenerationStore, newGeneration } from '../generation-store.ts'

const PARTITION = 'generations'

interface GenerationEntity {
  subject: string
  generation: string
  /** By the clock of whoever purged. */
  purgedAt: Date
}

interface GenerationRow extends GenerationEntity {
  readonly etag: string
  /** Of the last write, by the service's clock. */
  readonly timestamp: string
}

/** Generations in Azure Table Storage: a row a subject, all in one partition beside the completions. */
export function tableGenerationStore(open: OpenTable): GenerationStore {
  const table = open('tollgatecache')
  const read = (signal: AbortSignal) => Array.fromAsync(table.list<GenerationRow>({ PartitionKey: PARTITION }, signal))

  return {
    async list(signal) {
      const rows = await read(signal).catch((error) => {
        // No answer or a 5xx: reading twice changes nothing, and a connection that lay idle may be dead.
        if (signal.aborted || !isOutage(error) || (statusOf(error) ?? 500) < 500) throw error
        return read(signal)
      })
      return new Map(rows.map(({ subject, generation }) => [subject, generation]))
    },

    async renew(subject, signal) {
      const fields = { subject, generation: newGeneration(), purgedAt: new Date() }
      await table.put({ partitionKey: PARTITION, rowKey: rowOf(subject), ...fields }, 'any', signal)
    },

    async sweep(before, signal) {
      let removed = 0
      try {
        const old = (await read(signal)).filter(({ timestamp }) => Date.parse(timestamp) < before)
        // Not one that was purged again meanwhile.
        for (const row of old) if (await table.remove(row, { etag: row.etag }, signal)) removed += 1
      } catch (error) {
        if (!signal.aborted) throw error
      }
      return { removed }
    },
  }
}

/** Hashed, because a subject may hold characters that a key may not. */
function rowOf(subject: string): string {
  return hash('sha256', subject, 'base64url')
}
