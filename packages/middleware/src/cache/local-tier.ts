import { LRUCache } from 'lru-cache'
import { type CacheEntry, sizeOf } from './entry.ts'

/** What an entry takes beside its bytes: its objects, its buffers' heads and its place in the list. */
const OVERHEAD_BYTES = 512
/** One entry may not push out more than this share of all the others. */
const LARGEST_SHARE = 1 / 4

export interface LocalTierOptions {
  /** Bound on all that is held, in bytes. */
  readonly maxBytes: number
  /** Longest time that an entry is held, in milliseconds: so long may one outlive its removal elsewhere. */
  readonly maxAgeMs: number
  /** Milliseconds on a monotonic clock; the process's own by default. */
  readonly now?: () => number
}

/** Completions in this process, a copy of what all instances share. */
export interface LocalTier {
  /** Expired ones too: their expiry is the caller's to check. */
  get(key: string): CacheEntry | undefined
  /** `false` if the entry is too large. Whatever stood under the key is gone, then too. */
  set(key: string, entry: CacheEntry): boolean
  delete(key: string): void
}

/** Bounded in bytes, and in each entry's age; the least recently used goes first. */
export function localTier({ maxBytes, maxAgeMs, now }: LocalTierOptions): LocalTier {
  const maxEntrySize = Math.max(1, Math.floor(maxBytes * LARGEST_SHARE))
  // The answer twice: in the shape of its route, too, it is remembered for as long as the entry.
  const bytesOf = (entry: CacheEntry, key: string) =>
    sizeOf(entry) + entry.answer.byteLength + 2 * key.length + OVERHEAD_BYTES
  const entries = new LRUCache<string, CacheEntry>({
    maxSize: maxBytes,
    maxEntrySize,
    sizeCalculation: bytesOf,
    ttl: maxAgeMs,
    // The clock is read each time, not at most once a millisecond by a timer.
    ttlResolution: 0,
    ...(now === undefined ? {} : { perf: { now } }),
  })
  return {
    get: (key) => entries.get(key),
    set(key, entry) {
      const fits = bytesOf(entry, key) <= maxEntrySize
      if (fits) entries.set(key, entry)
      else entries.delete(key)
      return fits
    },
    delete: (key) => void entries.delete(key),
  }
}
