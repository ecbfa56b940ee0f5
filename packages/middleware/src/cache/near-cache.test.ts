import { beforeEach, describe, expect, test } from 'vitest'
import type { CacheEntry } from './entry.ts'
import { type NearCache, nearCache } from './near-cache.ts'

const MAX_BYTES = 100_000
const MAX_AGE_MS = 60_000

const entry = (answer: number, events?: number): CacheEntry => ({
  answer: Buffer.alloc(answer),
  events: events === undefined ? undefined : Buffer.alloc(events),
  usage: undefined,
  storedAt: 0,
  expiresAt: 1,
})

describe('a near cache', () => {
  let time: number
  let near: NearCache
  beforeEach(() => {
    time = 1
    near = nearCache({ maxBytes: MAX_BYTES, maxAgeMs: MAX_AGE_MS, now: () => time })
  })

  test('gives back what was put in', () => {
    const held = entry(10, 20)
    expect(near.get('key')).toBeUndefined()
    expect(near.set('key', held)).toBe(true)
    expect(near.get('key')).toBe(held)
  })

  test('gives nothing back that was taken out', () => {
    near.set('key', entry(1))
    near.delete('key')
    expect(near.get('key')).toBeUndefined()
  })

  test('holds an entry no longer than its age', () => {
    near.set('key', entry(1))
    time += MAX_AGE_MS
    expect(near.get('key')).toBeDefined()
    time += 1
    expect(near.get('key')).toBeUndefined()
  })

  test.each([
    ['answers, which are remembered in two forms', () => entry(4_500)],
    ['events', () => entry(0, 9_000)],
  ])('is bounded by its %s, and lets the least recently used go', (_what, make) => {
    for (let index = 0; index < 10; index += 1) near.set(`key ${index}`, make())
    near.get('key 0')
    near.set('key 10', make())
    expect(near.get('key 0')).toBeDefined()
    expect(near.get('key 1')).toBeUndefined()
    expect(near.get('key 10')).toBeDefined()
  })

  test('is bounded by what empty entries take, too', () => {
    const keys = Array.from({ length: 1_000 }, (_, index) => `key ${index}`)
    for (const key of keys) near.set(key, entry(0))
    expect(keys.filter((key) => near.get(key) !== undefined).length).toBeLessThan(MAX_BYTES / 500)
  })

  test('takes no entry of more than a quarter, and forgets the one before it', () => {
    near.set('other', entry(1))
    near.set('key', entry(1))
    expect(near.set('key', entry(0, MAX_BYTES / 4))).toBe(false)
    expect(near.get('key')).toBeUndefined()
    expect(near.get('other')).toBeDefined()
    expect(near.set('key', entry(0, MAX_BYTES / 4 - 1_000))).toBe(true)
  })

  test('of no size takes nothing', () => {
    expect(nearCache({ maxBytes: 1, maxAgeMs: 1 }).set('key', entry(0))).toBe(false)
  })
})
