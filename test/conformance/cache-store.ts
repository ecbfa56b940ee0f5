import { randomBytes } from 'node:crypto'
import type { CacheEntry, CacheStore } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'

const signal = new AbortController().signal

/** What every cache store must keep to. It may hold at most 8 MiB an entry. */
export function cacheStoreConforms(name: string, create: () => CacheStore): void {
  describe(`cache store: ${name}`, () => {
    const entry = (body: Uint8Array): CacheEntry => ({
      body,
      storedAt: 1_790_000_000_001,
      expiresAt: 1_790_003_600_001,
    })

    test('has nothing under a new key', async () => {
      expect(await create().get(unique('key'), signal)).toBeUndefined()
    })

    test.each([0, 1, 1024, 64 * 1024, 64 * 1024 + 1, 700 * 1024])('gives back %i bytes as they were', async (size) => {
      const store = create()
      const key = unique('key')
      const stored = entry(randomBytes(size))
      expect(await store.set(key, stored, signal)).toBe(true)
      const found = await store.get(key, signal)
      expect(Buffer.from(found?.body ?? []).equals(stored.body)).toBe(true)
      expect(found).toMatchObject({ storedAt: stored.storedAt, expiresAt: stored.expiresAt })
    })

    test('the last write under a key wins, whole', async () => {
      const store = create()
      const key = unique('key')
      await store.set(key, entry(randomBytes(200 * 1024)), signal)
      await store.set(key, entry(Buffer.from('short')), signal)
      expect(Buffer.from((await store.get(key, signal))?.body ?? []).toString()).toBe('short')
    })

    test('says so when an entry is too large, and keeps nothing of it', async () => {
      const store = create()
      const key = unique('key')
      expect(await store.set(key, entry(randomBytes(9 * 1024 * 1024)), signal)).toBe(false)
      expect(await store.get(key, signal)).toBeUndefined()
    })
  })
}
