import { beforeEach, expect, test } from 'vitest'
import { type CacheEntry, type CacheStore, memoryCacheStore, tieredCacheStore } from './index.ts'

const signal = new AbortController().signal
const entry = (text: string, expiresAt: number): CacheEntry => ({ body: Buffer.from(text), storedAt: 0, expiresAt })
const textOf = (found: CacheEntry | undefined) => found && Buffer.from(found.body).toString()

let time: number
let near: CacheStore
let far: CacheStore
let tiered: CacheStore
beforeEach(() => {
  time = 0
  near = memoryCacheStore({ maxBytes: 1_000 })
  far = memoryCacheStore({ maxBytes: 1_000 })
  tiered = tieredCacheStore(near, far, () => time)
})

test('what is found far is kept near', async () => {
  await far.set('key', entry('answer', 10), signal)
  expect(textOf(await tiered.get('key', signal))).toBe('answer')
  expect(textOf(await near.get('key', signal))).toBe('answer')
})

test('a near entry is served without asking far', async () => {
  await tiered.set('key', entry('answer', 10), signal)
  const cut: CacheStore = { ...far, get: () => Promise.reject(new Error('asked')) }
  expect(textOf(await tieredCacheStore(near, cut, () => time).get('key', signal))).toBe('answer')
})

test('an expired near entry does not hide one that another instance has renewed', async () => {
  await tiered.set('key', entry('old', 10), signal)
  time = 10
  await far.set('key', entry('new', 20), signal)
  expect(textOf(await tiered.get('key', signal))).toBe('new')
})

test('a write is kept if either store takes it', async () => {
  const none = memoryCacheStore({ maxBytes: 1 })
  expect(await tieredCacheStore(none, far, () => time).set('key', entry('answer', 10), signal)).toBe(true)
  expect(await tieredCacheStore(near, none, () => time).set('key', entry('answer', 10), signal)).toBe(true)
  expect(await tieredCacheStore(none, none, () => time).set('key', entry('answer', 10), signal)).toBe(false)
})
