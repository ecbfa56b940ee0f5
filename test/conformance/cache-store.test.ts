import { randomBytes } from 'node:crypto'
import {
  type CacheClaim,
  type CacheStore,
  memoryCacheStore,
  type OpenTable,
  type Redis,
  redisCacheStore,
  type Table,
  type TableName,
  tableCacheStore,
} from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { tableAccounts, tableClient } from '../support/tables.ts'
import { describeWithRedis } from '../support/with-redis.ts'
import { cacheEntry, cacheStoreConforms, claimOf, textOf } from './cache-store.ts'

const KIB = 1024
const HOUR = 3_600_000
const MINUTE = 60_000
const LARGE = 2000 * KIB
const NOW = Date.now()
const signal = new AbortController().signal
const times = { now: NOW, expiresAt: NOW + HOUR }
const later = { now: NOW + 2 * HOUR, expiresAt: NOW + 3 * HOUR }

cacheStoreConforms('memory', () => memoryCacheStore({ maxBytes: 8 * KIB * KIB }))

test('cache store: memory is bounded, and lets the least recently used go', async () => {
  const store = memoryCacheStore({ maxBytes: 10_000 })
  await store.claim('claimed', times, signal)
  for (const key of ['a', 'b', 'c', 'd']) await store.set(key, cacheEntry(randomBytes(3_000)), signal)
  expect(await store.get('a', signal)).toBeUndefined()
  expect(await store.get('d', signal)).toBeDefined()
  expect((await store.claim('claimed', times, signal)).kind).toBe('claimed')
  expect(await store.set('e', cacheEntry(randomBytes(10_000)), signal)).toBe(false)
})

for (const { name, connection, open } of tableAccounts()) {
  cacheStoreConforms(name, () => tableCacheStore(open))

  const store = tableCacheStore(open)
  const client = tableClient(connection, 'tollgatecache')
  const placeOf = (key: string) => ({ partitionKey: key.slice(0, 1), rowKey: key })

  /** The keys of all rows that are of a key. */
  async function rowsOf(key: string): Promise<string[]> {
    const filter = `PartitionKey eq '${key.slice(0, 1)}' and RowKey ge '${key}' and RowKey lt '${key}~'`
    const rows = await Array.fromAsync(client.listEntities({ queryOptions: { filter } }))
    return rows.map(({ rowKey }) => String(rowKey))
  }

  /** The same account by tables of which some calls are another's. */
  function meddled(change: (real: Table) => Partial<Table>): OpenTable {
    return (table) => {
      const real = open(table)
      return { ...real, ...change(real) }
    }
  }

  describe(`cache store: damage in ${name}`, () => {
    const large = randomBytes(LARGE)

    test.each<[string, (key: string) => Promise<unknown>]>([
      ['a changed byte', (key) => changeChunk(key, (chunk) => chunk.fill(1, 100, 101))],
      ['an unknown version', (key) => changeChunk(key, (chunk) => chunk.fill(99, 0, 1))],
      ['a chunk cut short', (key) => changeChunk(key, (chunk) => chunk.subarray(1))],
      ['a row of an unknown kind', (key) => merge(key, { kind: 'other' })],
      ['a wrong number of parts', (key) => merge(key, { parts: 1 })],
      ['a number of parts that can’t be', (key) => merge(key, { parts: 1e9 })],
      ['the parts of another write', (key) => merge(key, { writeId: 'other' })],
      ['a missing part', async (key) => client.deleteEntity(key.slice(0, 1), String((await rowsOf(key)).at(-1)))],
    ])('%s is a miss, and gone', async (_what, damage) => {
      const key = unique('key')
      await store.set(key, cacheEntry(large), signal)
      await damage(key)
      expect(await store.get(key, signal)).toBeUndefined()
      expect(await rowsOf(key)).not.toContain(key)
    })

    test('is no hindrance to whoever claims the key', async () => {
      const key = unique('key')
      await store.set(key, cacheEntry('answer'), signal)
      await merge(key, { kind: 'other' })
      const claim = claimOf(await store.claim(key, times, signal))
      expect(await claim.store(cacheEntry('new'), signal)).toBe(true)
      expect(textOf(await store.get(key, signal))).toBe('new')
    })

    test('that was mended meanwhile is not removed', async () => {
      const key = unique('key')
      await store.set(key, cacheEntry('damaged'), signal)
      await merge(key, { kind: 'other' })
      const late = tableCacheStore(
        meddled((real) => ({
          async remove(...args) {
            await store.set(key, cacheEntry('mended'), signal)
            return real.remove(...args)
          },
        })),
      )
      expect(await late.get(key, signal)).toBeUndefined()
      expect(textOf(await store.get(key, signal))).toBe('mended')
    })

    async function merge(key: string, change: object) {
      await client.updateEntity({ ...placeOf(key), ...change }, 'Merge')
    }

    async function changeChunk(key: string, change: (chunk: Buffer) => Buffer) {
      const row = await client.getEntity<{ chunk0: Uint8Array }>(key.slice(0, 1), key)
      await merge(key, { chunk0: change(Buffer.from(row.chunk0)) })
    }
  })

  describe(`cache store: rows in ${name}`, () => {
    test('what an entry had in parts is gone when it is replaced', async () => {
      const key = unique('key')
      await store.set(key, cacheEntry(randomBytes(LARGE)), signal)
      expect(await rowsOf(key)).toHaveLength(3)
      await store.set(key, cacheEntry(randomBytes(LARGE)), signal)
      expect(await rowsOf(key)).toHaveLength(3)
      await store.set(key, cacheEntry('small'), signal)
      expect(await rowsOf(key)).toEqual([key])
    })

    test('and when it has expired, and its key was claimed', async () => {
      const key = unique('key')
      await store.set(key, cacheEntry(randomBytes(LARGE)), signal)
      const claim = claimOf(await store.claim(key, later, signal))
      await claim.store(cacheEntry('small'), signal)
      expect(await rowsOf(key)).toEqual([key])
    })

    test('whoever has lost a claim leaves no parts behind', async () => {
      const key = unique('key')
      const lost = claimOf(await store.claim(key, times, signal))
      await store.set(key, cacheEntry('theirs'), signal)
      expect(await lost.store(cacheEntry(randomBytes(LARGE)), signal)).toBe(false)
      expect(await rowsOf(key)).toEqual([key])
    })

    test('whoever reads a row that is replaced meanwhile has a miss, and removes nothing', async () => {
      const key = unique('key')
      await store.set(key, cacheEntry(randomBytes(LARGE)), signal)
      const slow = tableCacheStore(
        meddled((real) => ({
          async read<T extends object>(...args: Parameters<Table['read']>) {
            const row = await real.read<T>(...args)
            if (args[0].rowKey === key) await store.set(key, cacheEntry('new'), signal)
            return row
          },
        })),
      )
      expect(await slow.get(key, signal)).toBeUndefined()
      expect(textOf(await store.get(key, signal))).toBe('new')
    })
  })

  describe(`cache store: lost answers of ${name}`, () => {
    /** Every update is carried out, but the answer to the first is lost. */
    function losing(): CacheStore {
      let lost = false
      return tableCacheStore(
        meddled((real) => ({
          async put(...args) {
            const answer = await real.put(...args)
            if (lost || typeof args[1] === 'string') return answer
            lost = true
            throw new Error('The answer was lost')
          },
        })),
      )
    }

    test('a claim that may have been renewed is still its holder’s', async () => {
      const key = unique('key')
      const claim = claimOf(await losing().claim(key, times, signal))
      await expect(claim.renew(later.expiresAt, signal)).rejects.toThrow('lost')
      expect((await store.claim(key, later, signal)).kind).toBe('held')
      expect(await claim.store(cacheEntry('answer'), signal)).toBe(true)
      expect(textOf(await store.get(key, signal))).toBe('answer')
    })

    test('and can be given free', async () => {
      const key = unique('key')
      const claim = claimOf(await losing().claim(key, times, signal))
      await expect(claim.renew(later.expiresAt, signal)).rejects.toThrow('lost')
      await claim.release(signal)
      expect(await rowsOf(key)).toEqual([])
    })

    test('but not once another has taken it over', async () => {
      const key = unique('key')
      const claim = claimOf(await losing().claim(key, times, signal))
      await expect(claim.renew(times.expiresAt, signal)).rejects.toThrow('lost')
      await store.claim(key, later, signal)
      expect(await claim.store(cacheEntry('answer'), signal)).toBe(false)
      expect(await store.get(key, signal)).toBe('claimed')
    })
  })

  describe(`cache store: sweeping ${name}`, () => {
    // In years that no other test's rows are of: all of them share the table.
    const YEAR_MS = 365 * 24 * HOUR
    let past = 0
    const nextPast = () => {
      past += YEAR_MS
      return past
    }

    test('removes what has expired, parts and claims too, and nothing else', async () => {
      const then = nextPast()
      const [old, oldLarge, claimed, fresh] = ['old', 'large', 'claimed', 'fresh'].map(unique)
      const keys = [old, oldLarge, claimed, fresh].map(String)
      await store.set(String(old), cacheEntry('old', { expiresAt: then - MINUTE - 1 }), signal)
      await store.set(String(oldLarge), cacheEntry(randomBytes(LARGE), { expiresAt: then - MINUTE - 1 }), signal)
      await store.claim(String(claimed), { now: 0, expiresAt: then - MINUTE - 1 }, signal)
      await store.set(String(fresh), cacheEntry(randomBytes(LARGE), { expiresAt: then - MINUTE }), signal)

      expect(await store.sweep(then, signal)).toEqual({ removed: 5 })
      const left = await Promise.all(keys.map(rowsOf))
      expect(left.map(({ length }) => length)).toEqual([0, 0, 0, 3])
      expect(await store.sweep(then, signal)).toEqual({ removed: 0 })
      expect(await store.sweep(then + 1, signal)).toEqual({ removed: 3 })
    })

    test('removes parts that belong to nothing any more', async () => {
      const then = nextPast()
      const key = unique('key')
      await store.set(key, cacheEntry(randomBytes(LARGE), { expiresAt: then }), signal)
      await client.deleteEntity(key.slice(0, 1), key)
      expect(await store.sweep(then + MINUTE + 1, signal)).toEqual({ removed: 2 })
      expect(await rowsOf(key)).toEqual([])
    })

    test('removes any number, and by two at the same time', async () => {
      const then = nextPast()
      const keys = Array.from({ length: 150 }, () => unique('many'))
      for (let from = 0; from < keys.length; from += 10) {
        const some = keys.slice(from, from + 10)
        await Promise.all(some.map((key) => store.set(key, cacheEntry('x', { expiresAt: then }), signal)))
      }
      const both = await Promise.all([1, 2].map(() => store.sweep(then + MINUTE + 1, signal)))
      expect(both.reduce((sum, { removed }) => sum + removed, 0)).toBe(keys.length)
    })

    test('may remove what was written anew that very moment, which is a miss and no more', async () => {
      const then = nextPast()
      const key = unique('taken')
      await store.set(key, cacheEntry('old', { expiresAt: then }), signal)
      let claim: CacheClaim | undefined
      const late = tableCacheStore(
        meddled((real) => ({
          async removeAll(...args) {
            const outcome = await store.claim(key, times, signal)
            claim = outcome.kind === 'claimed' ? outcome.claim : undefined
            return real.removeAll(...args)
          },
        })),
      )
      expect(await late.sweep(then + MINUTE + 1, signal)).toEqual({ removed: 1 })
      expect(claim).toBeDefined()
      expect(await claim?.store(cacheEntry('new'), signal)).toBe(false)
      expect(await store.get(key, signal)).toBeUndefined()
    })

    test('removes the rest of a batch of which another was quicker with some', async () => {
      const then = nextPast()
      const keys = ['a', 'b', 'c'].map((name) => unique(`quick-${name}`))
      for (const key of keys) await store.set(key, cacheEntry('x', { expiresAt: then }), signal)
      const late = tableCacheStore(
        meddled((real) => ({
          async removeAll(...args) {
            const [key = ''] = keys
            await real.remove(placeOf(key), 'any')
            return real.removeAll(...args)
          },
        })),
      )
      expect(await late.sweep(then + MINUTE + 1, signal)).toEqual({ removed: 2 })
    })

    test('ends early when it is told to, and goes on the next time', async () => {
      const then = nextPast()
      // As many partitions as keys, and more than are swept at the same time.
      const keys = Array.from({ length: 20 }, (_, index) => unique(String.fromCharCode(65 + index)))
      for (const key of keys) await store.set(key, cacheEntry('x', { expiresAt: then }), signal)
      const end = new AbortController()
      const ended = tableCacheStore(
        meddled((real) => ({
          async removeAll(...args) {
            await real.removeAll(...args)
            end.abort()
          },
        })),
      )
      const first = await ended.sweep(then + MINUTE + 1, end.signal)
      expect(first.removed).toBeGreaterThan(0)
      expect(first.removed).toBeLessThan(keys.length)
      const second = await store.sweep(then + MINUTE + 1, signal)
      expect(first.removed + second.removed).toBeLessThanOrEqual(keys.length)
      expect(await store.sweep(then + MINUTE + 1, signal)).toEqual({ removed: 0 })
      expect(await rowsOf(String(keys[0]))).toEqual([])
    })

    test('says what went wrong', async () => {
      const then = nextPast()
      await store.set(unique('key'), cacheEntry('x', { expiresAt: then }), signal)
      const broken = tableCacheStore(meddled(() => ({ removeAll: () => Promise.reject(new Error('down')) })))
      await expect(broken.sweep(then + MINUTE + 1, signal)).rejects.toThrow('down')
      expect(await store.sweep(then + MINUTE + 1, signal)).toEqual({ removed: 1 })
    })

    test('has nothing to do where there is no table yet', async () => {
      const elsewhere: OpenTable = () => open('tollgatenowhere' as TableName)
      expect(await tableCacheStore(elsewhere).sweep(NOW, signal)).toEqual({ removed: 0 })
    })
  })
}

describeWithRedis('on Redis', (redis) => {
  const create = () => redisCacheStore({ redis, prefix: 'cache:', wallClock: () => NOW })
  const send = (...command: (string | Buffer)[]) => redis.send(command, signal)

  cacheStoreConforms('Redis', create)

  describe('cache store: damage in Redis', () => {
    test.each<[string, string, Buffer]>([
      ['a changed byte', '120', Buffer.from([1])],
      ['an unknown version', '37', Buffer.from([99])],
      ['an unknown kind', '0', Buffer.from('x')],
      ['a claim that names no time', '0', Buffer.from('c')],
      ['something that follows', '400', Buffer.from('x')],
    ])('%s is a miss, and gone', async (_what, offset, bytes) => {
      const key = unique('key')
      await create().set(key, cacheEntry(randomBytes(100)), signal)
      await send('SETRANGE', `cache:{${key}}`, offset, bytes)
      expect(await create().get(key, signal)).toBeUndefined()
      expect(await send('EXISTS', `cache:{${key}}`)).toBe(0)
    })

    test('a value that is too short is a miss, and gone', async () => {
      const key = unique('key')
      await send('SET', `cache:{${key}}`, 'e')
      expect(await create().get(key, signal)).toBeUndefined()
      expect(await send('EXISTS', `cache:{${key}}`)).toBe(0)
    })

    test('is no hindrance to whoever claims the key', async () => {
      const key = unique('key')
      await send('SET', `cache:{${key}}`, 'nonsense')
      const claim = claimOf(await create().claim(key, times, signal))
      expect(await claim.store(cacheEntry('new'), signal)).toBe(true)
      expect(textOf(await create().get(key, signal))).toBe('new')
    })

    test('that was mended meanwhile is not removed', async () => {
      const key = unique('key')
      await send('SET', `cache:{${key}}`, 'e')
      const slow: Redis = {
        ...redis,
        async send(command, its) {
          const reply = await redis.send(command, its)
          if (command[0] === 'GET') await create().set(key, cacheEntry('mended'), signal)
          return reply
        },
      }
      const late = redisCacheStore({ redis: slow, prefix: 'cache:', wallClock: () => NOW })
      expect(await late.get(key, signal)).toBeUndefined()
      expect(textOf(await create().get(key, signal))).toBe('mended')
    })
  })

  test('cache store: Redis lets entries and claims expire by itself', async () => {
    const [stored, claimed] = [unique('key'), unique('key')]
    await create().set(stored, cacheEntry('answer'), signal)
    const claim = claimOf(await create().claim(claimed, times, signal))
    const lifeOf = async (key: string) => Number(await send('PTTL', `cache:{${key}}`))
    for (const key of [stored, claimed]) {
      expect(await lifeOf(key)).toBeGreaterThan(HOUR - MINUTE)
      expect(await lifeOf(key)).toBeLessThanOrEqual(HOUR)
    }
    await claim.renew(NOW + 2 * HOUR, signal)
    expect(await lifeOf(claimed)).toBeGreaterThan(HOUR)
    await claim.store(cacheEntry('answer'), signal)
    expect(await lifeOf(claimed)).toBeLessThanOrEqual(HOUR)
  })
})
