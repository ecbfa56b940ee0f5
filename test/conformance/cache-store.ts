import { hash, randomBytes } from 'node:crypto'
import type { CacheClaim, CacheEntry, CacheStore, ClaimOutcome } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'

const KIB = 1024
const HOUR = 3_600_000
const signal = new AbortController().signal
/** One moment for all: a store that counts time itself must not reach the hour's end during a test. */
const NOW = Date.now()

export function cacheEntry(answer: Uint8Array | string, change: Partial<CacheEntry> = {}): CacheEntry {
  const bytes = Buffer.from(answer)
  return { answer: bytes, events: undefined, usage: undefined, storedAt: NOW, expiresAt: NOW + HOUR, ...change }
}

type Found = CacheEntry | 'claimed' | undefined

export const textOf = (found: Found) => (typeof found === 'object' ? Buffer.from(found.answer).toString() : found)

/** With bytes as bytes, whatever holds them. */
const plain = (found: Found) =>
  typeof found === 'object'
    ? { ...found, answer: Buffer.from(found.answer), events: found.events && Buffer.from(found.events) }
    : found

/** @throws if the key was not there to be claimed. */
export function claimOf(outcome: ClaimOutcome): CacheClaim {
  if (outcome.kind !== 'claimed') throw new Error(`The key is ${outcome.kind}`)
  return outcome.claim
}

/** What every cache store must keep to. The store must have room for 8 MiB. */
export function cacheStoreConforms(name: string, create: () => CacheStore): void {
  const at = (now: number) => ({ now, expiresAt: now + HOUR })

  describe(`cache store: ${name}`, () => {
    test('has nothing under a new key', async () => {
      expect(await create().get(unique('key'), signal)).toBeUndefined()
    })

    test.each([
      ...[0, 1, 64 * KIB - 1, 64 * KIB, 64 * KIB + 1, 700 * KIB],
      ...[704 * KIB - 1, 704 * KIB, 704 * KIB + 1, 1024 * KIB, 2900 * KIB],
    ])('gives back %i bytes as they were', async (size) => {
      const store = create()
      const key = unique('key')
      const stored = cacheEntry(randomBytes(size))
      expect(await store.set(key, stored, signal)).toBe(true)
      expect(plain(await store.get(key, signal))).toEqual(stored)
    })

    test.each<[string, Partial<CacheEntry>]>([
      ['its events', { events: Buffer.from('data: {"choices":[]}\n\ndata: [DONE]\n\n') }],
      ['no byte of events', { events: Buffer.alloc(0) }],
      ['its usage', { usage: { tokens: { input: 9, cachedInput: 3, output: 456 } } }],
      ['both', { events: randomBytes(100_000), usage: { tokens: { input: 0, cachedInput: 0, output: 1 } } }],
    ])('gives an entry back with %s', async (_what, change) => {
      const store = create()
      const key = unique('key')
      const stored = cacheEntry('{"choices":[]}', change)
      await store.set(key, stored, signal)
      expect(plain(await store.get(key, signal))).toEqual(stored)
    })

    test.each(['', 'a/b\\c#d?e', '50 %', '__proto__', 'ß', 'k'.repeat(2_000)])('takes %j for a key', async (text) => {
      const store = create()
      const key = text && unique(text)
      await store.set(key, cacheEntry(`of ${key}`), signal)
      expect(textOf(await store.get(key, signal))).toBe(`of ${key}`)
    })

    test('the last write under a key wins, whole', async () => {
      const store = create()
      const key = unique('key')
      for (const size of [5, 1000 * KIB, 200 * KIB, 1500 * KIB, 0]) {
        const stored = cacheEntry(randomBytes(size))
        await store.set(key, stored, signal)
        expect(plain(await store.get(key, signal))).toEqual(stored)
      }
    })

    test('says so when an entry is too large, and keeps nothing of it', async () => {
      const store = create()
      const key = unique('key')
      expect(await store.set(key, cacheEntry(randomBytes(9 * KIB * KIB)), signal)).toBe(false)
      expect(await store.get(key, signal)).toBeUndefined()
    })

    test('readers of large entries that are written all the time never see half of a write', async () => {
      const store = create()
      const key = unique('key')
      let writing = true
      const write = async () => {
        for (let count = 0; count < 4; count += 1) {
          const answer = randomBytes(900 * KIB)
          const entry = cacheEntry(answer, { events: hash('sha256', answer, 'buffer') })
          expect(await store.set(key, entry, signal)).toBe(true)
        }
      }
      let seen = 0
      const read = async () => {
        while (writing) {
          const found = plain(await store.get(key, signal))
          if (typeof found !== 'object') continue
          seen += 1
          expect(hash('sha256', found.answer, 'buffer').equals(found.events ?? Buffer.alloc(0))).toBe(true)
        }
      }
      const readers = Promise.all([read(), read()])
      await Promise.all([write(), write(), write()]).finally(() => {
        writing = false
      })
      await readers
      expect(seen).toBeGreaterThan(0)
      expect(await store.get(key, signal)).toBeDefined()
    })

    test('does nothing for a caller who has given up', async () => {
      const store = create()
      const key = unique('key')
      const gone = AbortSignal.abort(new Error('gone'))
      await expect(store.get(key, gone)).rejects.toThrow()
      await expect(store.set(key, cacheEntry('late'), gone)).rejects.toThrow()
      await expect(store.claim(key, at(NOW), gone)).rejects.toThrow()
      expect((await store.claim(key, at(NOW), signal)).kind).toBe('claimed')
    })
  })

  describe(`cache store: claims in ${name}`, () => {
    const crowd = async (store: CacheStore, key: string, now: number) => {
      const outcomes = await Promise.all(Array.from({ length: 20 }, () => store.claim(key, at(now), signal)))
      return outcomes.map(({ kind }) => kind).sort()
    }
    const oneOfTwenty = ['claimed', ...Array.from({ length: 19 }, () => 'held')]

    test('of twenty who want a new key, one gets it', async () => {
      expect(await crowd(create(), unique('key'), NOW)).toEqual(oneOfTwenty)
    })

    test('of twenty who want what another has let expire, one gets it', async () => {
      const store = create()
      const key = unique('key')
      await store.claim(key, at(NOW), signal)
      expect(await crowd(store, key, NOW + HOUR)).toEqual(oneOfTwenty)
    })

    test('of twenty who find an expired entry, one gets the key', async () => {
      const store = create()
      const key = unique('key')
      await store.set(key, cacheEntry('old'), signal)
      expect(await crowd(store, key, NOW + HOUR)).toEqual(oneOfTwenty)
      expect(await store.get(key, signal)).toBe('claimed')
    })

    test('a fresh entry is found, up to its last millisecond', async () => {
      const store = create()
      const key = unique('key')
      await store.set(key, cacheEntry('fresh'), signal)
      const outcome = await store.claim(key, at(NOW + HOUR - 1), signal)
      expect(outcome.kind === 'found' && textOf(outcome.entry)).toBe('fresh')
    })

    test('a key that is claimed has nothing under it, and is held up to its last millisecond', async () => {
      const store = create()
      const key = unique('key')
      await store.claim(key, at(NOW), signal)
      expect(await store.get(key, signal)).toBe('claimed')
      expect((await store.claim(key, at(NOW + HOUR - 1), signal)).kind).toBe('held')
    })

    test.each([5, 1500 * KIB])('its holder stores %i bytes, for all', async (size) => {
      const store = create()
      const key = unique('key')
      const stored = cacheEntry(randomBytes(size))
      const claim = claimOf(await store.claim(key, at(NOW), signal))
      expect(await claim.store(stored, signal)).toBe(true)
      expect(plain(await store.get(key, signal))).toEqual(stored)
      expect((await store.claim(key, at(NOW), signal)).kind).toBe('found')
    })

    test('its holder holds it for longer, again and again, and stores then', async () => {
      const store = create()
      const key = unique('key')
      const claim = claimOf(await store.claim(key, at(NOW), signal))
      expect(await claim.renew(NOW + 2 * HOUR, signal)).toBe(true)
      expect(await claim.renew(NOW + 3 * HOUR, signal)).toBe(true)
      expect((await store.claim(key, at(NOW + 3 * HOUR - 1), signal)).kind).toBe('held')
      expect(await claim.store(cacheEntry('answer'), signal)).toBe(true)
      expect(textOf(await store.get(key, signal))).toBe('answer')
    })

    test('its holder gives it free', async () => {
      const store = create()
      const key = unique('key')
      const claim = claimOf(await store.claim(key, at(NOW), signal))
      await claim.release(signal)
      expect(await store.get(key, signal)).toBeUndefined()
      expect(await crowd(store, key, NOW)).toEqual(oneOfTwenty)
    })

    test('an entry that is too large is not stored, and the key is held still', async () => {
      const store = create()
      const key = unique('key')
      const claim = claimOf(await store.claim(key, at(NOW), signal))
      expect(await claim.store(cacheEntry(randomBytes(9 * KIB * KIB)), signal)).toBe(false)
      expect((await store.claim(key, at(NOW), signal)).kind).toBe('held')
      await claim.release(signal)
      expect((await store.claim(key, at(NOW), signal)).kind).toBe('claimed')
    })

    test.each<[string, (store: CacheStore, key: string) => Promise<unknown>, string | undefined]>([
      ['another holds it', async (store, key) => claimOf(await store.claim(key, at(NOW + HOUR), signal)), 'claimed'],
      [
        'another has stored by it',
        async (store, key) =>
          claimOf(await store.claim(key, at(NOW + HOUR), signal)).store(cacheEntry('theirs'), signal),
        'theirs',
      ],
      ['another has just stored', (store, key) => store.set(key, cacheEntry('theirs'), signal), 'theirs'],
      [
        'another has given it free',
        async (store, key) => claimOf(await store.claim(key, at(NOW + HOUR), signal)).release(signal),
        undefined,
      ],
    ])('whoever has lost it can do nothing any more: %s', async (_what, takeOver, left) => {
      const store = create()
      const key = unique('key')
      const lost = claimOf(await store.claim(key, at(NOW), signal))
      await takeOver(store, key)
      const { kind } = await look()

      expect(await lost.renew(NOW + 9 * HOUR, signal)).toBe(false)
      for (const size of [5, 1500 * KIB]) expect(await lost.store(cacheEntry(randomBytes(size)), signal)).toBe(false)
      await lost.release(signal)
      expect(textOf(await store.get(key, signal))).toBe(left)
      expect((await look()).kind).toBe(kind)

      /** Without leaving a trace. */
      async function look() {
        const outcome = await store.claim(key, at(NOW), signal)
        if (outcome.kind === 'claimed') await outcome.claim.release(signal)
        return outcome
      }
    })
  })
}
