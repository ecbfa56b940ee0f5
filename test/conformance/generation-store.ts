import type { GenerationStore } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'

const signal = new AbortController().signal
const HOUR_MS = 3_600_000

/**
 * What every store of generations must keep to.
 *
 * @param create a store with nothing in it; the second one of a pair sees what the first one does
 */
export function generationStoreConforms(name: string, create: () => readonly [GenerationStore, GenerationStore]): void {
  describe(`generation store: ${name}`, () => {
    const consumer = () => `consumer:${unique('alice@example.com:team_7.x')}` as const

    test('has none before anything was purged', async () => {
      const [store] = create()
      expect(await store.list(signal)).toEqual(new Map())
      expect(await store.sweep(Date.now(), signal)).toEqual({ removed: 0 })
    })

    test('gives what was purged a generation that it never had, and nothing else', async () => {
      const [store, other] = create()
      const [alice, bob] = [consumer(), consumer()]
      const seen = new Set<string | undefined>()
      for (let i = 0; i < 5; i += 1) {
        await store.renew(alice, signal)
        seen.add((await other.list(signal)).get(alice))
      }
      expect(seen.size).toBe(5)
      expect(seen).not.toContain(undefined)
      expect((await store.list(signal)).has(bob)).toBe(false)
    })

    test('keeps subjects of all kinds apart', async () => {
      const [store, other] = create()
      const longest = `consumer:${'a'.repeat(128)}` as const
      const subjects = ['all', 'shared', 'route:generate', 'plan:pro', 'consumer:pro', 'consumer:Pro', longest] as const
      await Promise.all(subjects.map((subject) => store.renew(subject, signal)))
      const list = await other.list(signal)
      expect([...list.keys()].toSorted()).toEqual(subjects.toSorted())
      expect(new Set(list.values()).size).toBe(subjects.length)
      expect([...list.values()].join('')).toMatch(/^[\w-]+$/)
    })

    test('of many purges at once none fails, and one is the last', async () => {
      const [store, other] = create()
      const alice = consumer()
      await store.renew(alice, signal)
      const before = (await store.list(signal)).get(alice)
      await Promise.all(Array.from({ length: 8 }, (_, i) => (i % 2 ? store : other).renew(alice, signal)))
      const [mine, theirs] = [await store.list(signal), await other.list(signal)]
      expect(mine).toEqual(theirs)
      expect(mine.get(alice)).not.toBe(before)
    })

    test('forgets what was purged before a moment, and nothing that was purged since', async () => {
      const [store, other] = create()
      await store.renew('all', signal)
      await store.renew('shared', signal)
      expect(await store.sweep(Date.now() - HOUR_MS, signal)).toEqual({ removed: 0 })
      expect((await other.list(signal)).size).toBe(2)
      expect(await store.sweep(Date.now() + HOUR_MS, signal)).toEqual({ removed: 2 })
      expect((await other.list(signal)).size).toBe(0)
      await store.renew('all', signal)
      expect((await other.list(signal)).size).toBe(1)
    })
  })
}
