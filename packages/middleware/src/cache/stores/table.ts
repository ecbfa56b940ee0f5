import { hash } from 'node:crypto'
import { type OpenTable, readEntity, writeEntity } from '../../storage/index.ts'
import type { CacheEntry, CacheStore } from '../store.ts'

const ROW = 'completion'
const VERSION = 1
/** Table Storage's bounds: 64 KiB a property, 1 MiB an entity. Azurite counts the entity as sent, in base64: 11 fit. */
const CHUNK_BYTES = 64 * 1024
const MAX_CHUNKS = 11

interface StoredEntry {
  version: number
  storedAt: Date
  expiresAt: Date
  /** SHA-256 of the whole body, so that a damaged entry is a miss and not a wrong answer. */
  digest: string
  chunks: number
  [chunk: `body${number}`]: Uint8Array
}

/** Completions in Azure Table Storage: an entity each, up to 704 KiB. */
export function tableCacheStore(open: OpenTable): CacheStore {
  const table = open('tollgatecache')
  return {
    async get(key, signal) {
      const stored = await readEntity<StoredEntry>(table, { partition: key, row: ROW }, { signal })
      return stored === undefined || stored.version !== VERSION ? undefined : assemble(stored)
    },
    async set(key, entry, abortSignal) {
      if (entry.body.byteLength > CHUNK_BYTES * MAX_CHUNKS) return false
      const entity = { partitionKey: key, rowKey: ROW, ...split(entry) }
      await writeEntity(table, (client) => client.upsertEntity(entity, 'Replace', { abortSignal }))
      return true
    },
  }
}

function split({ body, storedAt, expiresAt }: CacheEntry): StoredEntry {
  const stored: StoredEntry = {
    version: VERSION,
    storedAt: new Date(storedAt),
    expiresAt: new Date(expiresAt),
    digest: hash('sha256', body, 'base64url'),
    chunks: Math.ceil(body.byteLength / CHUNK_BYTES),
  }
  for (let chunk = 0; chunk < stored.chunks; chunk += 1) {
    stored[`body${chunk}`] = body.subarray(chunk * CHUNK_BYTES, (chunk + 1) * CHUNK_BYTES)
  }
  return stored
}

function assemble(stored: StoredEntry): CacheEntry | undefined {
  const chunks = Array.from({ length: stored.chunks }, (_, chunk) => stored[`body${chunk}`])
  if (!chunks.every((chunk) => chunk instanceof Uint8Array)) return undefined
  const body = Buffer.concat(chunks)
  if (hash('sha256', body, 'base64url') !== stored.digest) return undefined
  return { body, storedAt: new Date(stored.storedAt).getTime(), expiresAt: new Date(stored.expiresAt).getTime() }
}
