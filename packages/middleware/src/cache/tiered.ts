import type { CacheStore } from './store.ts'

/**
 * A near store before a far one: reads try the near one first, writes go to both. The near one never fails a call.
 *
 * @param wallClock milliseconds since 1970; an entry that has expired near by may have been renewed by another instance.
 */
export function tieredCacheStore(near: CacheStore, far: CacheStore, wallClock: () => number): CacheStore {
  return {
    async get(key, signal) {
      const held = await near.get(key, signal)
      if (held !== undefined && wallClock() < held.expiresAt) return held
      const found = await far.get(key, signal)
      if (found !== undefined) await near.set(key, found, signal)
      return found
    },
    async set(key, entry, signal) {
      const held = await near.set(key, entry, signal)
      const kept = await far.set(key, entry, signal)
      return held || kept
    },
  }
}
