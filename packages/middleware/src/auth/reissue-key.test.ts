import { beforeEach, describe, expect, test } from 'vitest'
import { StoreUnavailable } from '../pipeline/index.ts'
import {
  type ConsumerStore,
  callerOfKey,
  generateKey,
  isConsumerId,
  type KeyRecord,
  memoryConsumerStore,
  parseKey,
  reissueKey,
} from './index.ts'

const NOW = 1_790_000_000_000
const DAY_MS = 86_400_000

let store: ConsumerStore
beforeEach(() => {
  store = memoryConsumerStore()
})

async function oldKey(fields: Partial<KeyRecord> = {}): Promise<KeyRecord> {
  const parsed = parseKey(generateKey()) ?? expect.fail('It did not parse')
  const record = { ...parsed, consumer: 'alice', scopes: ['call'], disabled: false, createdAt: NOW - DAY_MS, ...fields }
  await store.addKey(record)
  return record
}
const rotate = (old: KeyRecord, options: Partial<Parameters<typeof reissueKey>[2]> = {}) =>
  reissueKey(store, old, { graceMs: 7 * DAY_MS, now: NOW, ...options })
const working = async () =>
  (await Array.fromAsync(store.listKeys({}))).filter(({ expiresAt = Number.POSITIVE_INFINITY }) => expiresAt > NOW)

describe('a key in the place of another', () => {
  test('has the same consumer, scopes, grant and groups, and what it spends is counted by the same family', async () => {
    const bound = {
      scopes: ['call', 'later'],
      grant: { models: ['chat'], budget: { usd: 1, per: 'day' } },
      groups: { team: 'a' },
    } as const
    const old = await oldKey(bound)
    const { key, record, oldEndsAt } = await rotate(old)
    expect(oldEndsAt).toBe(NOW + 7 * DAY_MS)
    expect(record).toMatchObject({ consumer: 'alice', ...bound, family: old.publicId, createdAt: NOW })
    expect(parseKey(key)).toEqual({ publicId: record.publicId, digest: record.digest })
    expect(await store.findKey(record.publicId)).toEqual(record)
    expect(await store.findKey(old.publicId)).toEqual({
      ...old,
      replacedBy: record.publicId,
      expiresAt: NOW + 7 * DAY_MS,
    })
    const alice = { id: 'alice', plan: 'free', disabled: false }
    expect(callerOfKey(record, alice).grant).toEqual(callerOfKey(old, alice).grant)
  })

  test('passes its family on again and again', async () => {
    const first = await oldKey()
    let last = first
    for (let turn = 0; turn < 4; turn += 1) last = (await rotate(last)).record
    expect(last.family).toBe(first.publicId)
  })

  test('ends when the old one would have, unless it is told otherwise; the old one never ends later than it would', async () => {
    const old = await oldKey({ expiresAt: NOW + DAY_MS })
    const { record, oldEndsAt } = await rotate(old)
    expect([record.expiresAt, oldEndsAt]).toEqual([NOW + DAY_MS, NOW + DAY_MS])
    const other = await rotate(record, { expiresAt: NOW + 90 * DAY_MS, graceMs: 0 })
    expect([other.record.expiresAt, other.oldEndsAt]).toEqual([NOW + 90 * DAY_MS, NOW])
    expect((await rotate(await oldKey())).record.expiresAt).toBeUndefined()
  })

  test('is not made of a key whose place one has taken: that one is named', async () => {
    const old = await oldKey()
    const { record } = await rotate(old)
    const seen = await store.findKey(old.publicId)
    await expect(rotate(seen ?? old)).rejects.toThrow(
      `Key ${record.publicId} has taken the place of key ${old.publicId}`,
    )
    expect(await Array.fromAsync(store.listKeys({}))).toHaveLength(2)
  })

  test('of many rotations at once one succeeds, and no key is left that nobody was shown', async () => {
    const old = await oldKey({ grant: { budget: { usd: 1, per: 'day' } } })
    const tried = await Promise.allSettled(Array.from({ length: 8 }, (_, turn) => rotate(old, { graceMs: turn })))
    const made = tried.filter((each) => each.status === 'fulfilled')
    expect(made).toHaveLength(1)
    const keys = await Array.fromAsync(store.listKeys({}))
    expect(keys.map(({ publicId }) => publicId).toSorted()).toEqual(
      [old.publicId, made[0]?.value.record.publicId].toSorted(),
    )
  })

  test.each([
    ['disabled', { disabled: true }, 'is disabled'],
    ['expired', { expiresAt: NOW }, 'has expired'],
    ['of a row that this version can’t read', { digest: '' }, "can't be read"],
  ] as const)('is not made of a key that is %s', async (_what, fields, message) => {
    const old = await oldKey(fields)
    await expect(rotate(old)).rejects.toThrow(message)
    expect(await Array.fromAsync(store.listKeys({}))).toEqual([old])
  })

  test('is there before the old one ends: a crash between leaves both', async () => {
    const old = await oldKey()
    store = {
      ...store,
      replaceKey: async () => {
        expect(await working()).toHaveLength(2)
        throw new TypeError('a crash')
      },
    }
    await expect(rotate(old, { graceMs: 0 })).rejects.toThrow('a crash')
    expect(await store.findKey(old.publicId)).toEqual(old)
    // It can be rotated again; what nobody was shown lets nobody in.
    store = { ...store, replaceKey: memoryConsumerStore().replaceKey }
    expect((await rotate(old)).record.family).toBe(old.publicId)
  })

  test('is told though the store fails then, with the old one as staying', async () => {
    const old = await oldKey()
    const inner = store
    store = {
      ...inner,
      replaceKey: async () => {
        throw new StoreUnavailable()
      },
    }
    const { record, oldEndsAt } = await rotate(old, { graceMs: 0 })
    expect(oldEndsAt).toBeUndefined()
    expect(await inner.findKey(record.publicId)).toEqual(record)
    expect(await inner.findKey(old.publicId)).toEqual(old)
  })

  test('is made of one that is revoked meanwhile, which has ended', async () => {
    const old = await oldKey()
    await store.removeKey(old.publicId)
    expect((await rotate(old)).oldEndsAt).toBe(NOW)
  })
})

test('no consumer of a key has an id that a token’s could have', () => {
  for (const id of ['~entra~t~o', '~', 'a~b', '%7Ea', '～a']) expect(isConsumerId(id)).toBe(false)
})
