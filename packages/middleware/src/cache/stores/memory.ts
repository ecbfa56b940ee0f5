import { LRUCache } from 'lru-cache'
import { type CacheEntry, sizeOf } from '../entry.ts'
import type { CacheStore, Claim, ClaimTimes } from '../store.ts'

/** What a row takes beside its key and its entry's bytes. */
const OVERHEAD_BYTES = 512

export interface MemoryCacheOptions {
  /** Bound on all that is held, in bytes; the least recently used goes first, a claim too. */
  readonly maxBytes: number
}

type Row =
  | { readonly kind: 'entry'; readonly entry: CacheEntry; readonly expiresAt: number }
  | { readonly kind: 'claim'; readonly holder: object; readonly expiresAt: number }

/** Completions of one process, gone with it. */
export function memoryCacheStore({ maxBytes }: MemoryCacheOptions): CacheStore {
  const bytesOf = (row: Row, key: string) =>
    (row.kind === 'entry' ? sizeOf(row.entry) : 0) + 2 * key.length + OVERHEAD_BYTES
  const rows = new LRUCache<string, Row>({ maxSize: maxBytes, sizeCalculation: bytesOf })

  function put(key: string, entry: CacheEntry): boolean {
    const row: Row = { kind: 'entry', entry, expiresAt: entry.expiresAt }
    const fits = bytesOf(row, key) <= maxBytes
    if (fits) rows.set(key, row)
    return fits
  }

  function hold(key: string, expiresAt: number): Claim {
    const holder = {}
    const isOurs = () => {
      const row = rows.get(key)
      return row?.kind === 'claim' && row.holder === holder
    }
    rows.set(key, { kind: 'claim', holder, expiresAt })
    return {
      async store(entry, signal) {
        signal.throwIfAborted()
        return isOurs() && put(key, entry)
      },
      async renew(until, signal) {
        signal.throwIfAborted()
        if (!isOurs()) return false
        rows.set(key, { kind: 'claim', holder, expiresAt: until })
        return true
      },
      async release(signal) {
        signal.throwIfAborted()
        if (isOurs()) rows.delete(key)
      },
    }
  }

  return {
    async get(key, signal) {
      signal.throwIfAborted()
      const row = rows.get(key)
      return row?.kind === 'claim' ? 'claimed' : row?.entry
    },
    async set(key, entry, signal) {
      signal.throwIfAborted()
      return put(key, entry)
    },
    async claim(key, { now, expiresAt }: ClaimTimes, signal) {
      signal.throwIfAborted()
      const row = rows.get(key)
      if (row === undefined || row.expiresAt <= now) return { kind: 'claimed', claim: hold(key, expiresAt) }
      return row.kind === 'entry' ? { kind: 'found', entry: row.entry } : { kind: 'held' }
    },
  }
}
