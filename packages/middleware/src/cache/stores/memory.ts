import { LRUCache } from 'lru-cache'
import type { CacheEntry, CacheStore } from '../store.ts'

export interface MemoryCacheOptions {
  /** Bound on the bodies and keys held, in bytes. */
  readonly maxBytes: number
  /** Longest time that an entry is held, in milliseconds; absent: until it is pushed out. */
  readonly maxAgeMs?: number
}

/** Completions in this process, bounded in bytes; the least recently used goes first. */
export function memoryCacheStore({ maxBytes, maxAgeMs }: MemoryCacheOptions): CacheStore {
  const entries = new LRUCache<string, CacheEntry>({
    maxSize: maxBytes,
    sizeCalculation: (entry, key) => entry.body.byteLength + key.length,
    ...(maxAgeMs === undefined ? {} : { ttl: maxAgeMs }),
  })
  return {
    get: async (key) => entries.get(key),
    async set(key, entry) {
      if (entry.body.byteLength + key.length > maxBytes) return false
      entries.set(key, entry)
      return true
    },
  }
}
