import { beforeEach, describe, expect, test } from 'vitest'
import type { CacheEntry } from './entry.ts'
import { type LocalTier, localTier } from './local-tier.ts'

const MAX_BYTES = 100_000
const MAX_AGE_MS = 60_000

const entry = (answer: number, events?: number): CacheEntry => ({
  answer: Buffer.alloc(answer),
  events: events === undefined ? undefined : Buffer.alloc(events),
  usage: undefined,
  storedAt: 0,
  expiresAt: 1,
})

describe('the local tier', () => {
  let time: number
  let tier: LocalTier
  beforeEach(() => {
    time = 1
    tier = localTier({ maxBytes: MAX_BYTES, maxAgeMs: MAX_AGE_MS, now: () => time })
  })

  test('gives back what was put in', () => {
    const held = entry(10, 20)
    expect(tier.get('key')).toBeUndefined()
    expect(tier.set('key', held)).toBe(true)
    expect(tier.get('key')).toBe(held)
  })

  test('gives nothing back that was taken out', () => {
    tier.set('key', entry(1))
    tier.delete('key')
    expect(tier.get('key')).toBeUndefined()
  })

  test('holds an entry no longer than its age', () => {
    tier.set('key', entry(1))
    time += MAX_AGE_MS
    expect(tier.get('key')).toBeDefined()
    time += 1
    expect(tier.get('key')).toBeUndefined()
  })

  test.each([
    ['answers, which are remembered in two forms', () => entry(4_500)],
    ['events', () => entry(0, 9_000)],
  ])('is bounded by its %s, and lets the least recently used go', (_what, make) => {
    for (let index = 0; index < 10; index += 1) tier.set(`key ${index}`, make())
    tier.get('key 0')
    tier.set('key 10', make())
    expect(tier.get('key 0')).toBeDefined()
    expect(tier.get('key 1')).toBeUndefined()
    expect(tier.get('key 10')).toBeDefined()
  })

  test('is bounded by what empty entries take, too', () => {
    const keys = Array.from({ length: 1_000 }, (_, index) => `key ${index}`)
    for (const key of keys) tier.set(key, entry(0))
    expect(keys.filter((key) => tier.get(key) !== undefined).length).toBeLessThan(MAX_BYTES / 500)
  })

  test('takes no entry of more than a quarter, and forgets the one before it', () => {
    tier.set('other', entry(1))
    tier.set('key', entry(1))
    expect(tier.set('key', entry(0, MAX_BYTES / 4))).toBe(false)
    expect(tier.get('key')).toBeUndefined()
    expect(tier.get('other')).toBeDefined()
    expect(tier.set('key', entry(0, MAX_BYTES / 4 - 1_000))).toBe(true)
  })

  test('of no size takes nothing', () => {
    expect(localTier({ maxBytes: 1, maxAgeMs: 1 }).set('key', entry(0))).toBe(false)
  })
})
