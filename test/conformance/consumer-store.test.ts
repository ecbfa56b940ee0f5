import {
  type Consumer,
  type ConsumerStore,
  type KeyRecord,
  memoryConsumerStore,
  tableConsumerStore,
} from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { tableAccounts } from '../support/tables.ts'

conforms('memory', memoryConsumerStore)
for (const { name, open } of tableAccounts()) conforms(name, () => tableConsumerStore(open))

function conforms(name: string, create: () => ConsumerStore): void {
  describe(`consumer store: ${name}`, () => {
    const consumer = (): Consumer => ({ id: unique('alice@example.com:team'), plan: 'free', disabled: false })
    const key = (): KeyRecord => ({
      publicId: unique('key').replaceAll('-', ''),
      consumer: 'alice',
      digest: 'q'.repeat(43),
      disabled: false,
      createdAt: 1_790_000_000_123,
    })

    test('knows nothing before anything was added', async () => {
      const store = create()
      expect(await store.findConsumer(unique('nobody'))).toBeUndefined()
      expect(await store.findKey(unique('none'))).toBeUndefined()
    })

    test('gives back what was added, to the millisecond', async () => {
      const store = create()
      const [alice, plain, expiring] = [consumer(), key(), { ...key(), disabled: true, expiresAt: 1_800_000_000_999 }]
      expect(await store.addConsumer(alice)).toBe(true)
      expect(await store.addKey(plain)).toBe(true)
      expect(await store.addKey(expiring)).toBe(true)
      expect(await store.findConsumer(alice.id)).toEqual(alice)
      expect(await store.findKey(plain.publicId)).toEqual(plain)
      expect(await store.findKey(expiring.publicId)).toEqual(expiring)
    })

    test('never replaces: a taken id is refused and left as it was', async () => {
      const store = create()
      const [alice, first] = [consumer(), key()]
      await store.addConsumer(alice)
      await store.addKey(first)
      expect(await store.addConsumer({ ...alice, plan: 'pro' })).toBe(false)
      expect(await store.addKey({ ...first, consumer: 'mallory' })).toBe(false)
      expect(await store.findConsumer(alice.id)).toEqual(alice)
      expect(await store.findKey(first.publicId)).toEqual(first)
    })

    test('of many that add one id at once, exactly one succeeds', async () => {
      const store = create()
      const alice = consumer()
      const added = await Promise.all(Array.from({ length: 8 }, () => store.addConsumer(alice)))
      expect(added.filter(Boolean)).toHaveLength(1)
    })

    test('changes what is named, and nothing else', async () => {
      const store = create()
      const [alice, record] = [consumer(), key()]
      await store.addConsumer(alice)
      await store.addKey(record)
      expect(await store.updateConsumer(alice.id, { plan: 'pro' })).toBe(true)
      expect(await store.updateConsumer(alice.id, { disabled: true })).toBe(true)
      expect(await store.findConsumer(alice.id)).toEqual({ ...alice, plan: 'pro', disabled: true })
      expect(await store.updateKey(record.publicId, { expiresAt: 1_800_000_000_999 })).toBe(true)
      expect(await store.updateKey(record.publicId, { disabled: true })).toBe(true)
      expect(await store.findKey(record.publicId)).toEqual({ ...record, disabled: true, expiresAt: 1_800_000_000_999 })
    })

    test('removes a key for good', async () => {
      const store = create()
      const record = key()
      await store.addKey(record)
      expect(await store.removeKey(record.publicId)).toBe(true)
      expect(await store.findKey(record.publicId)).toBeUndefined()
      expect(await store.removeKey(record.publicId)).toBe(false)
    })

    test('makes nothing by changing it', async () => {
      const store = create()
      const [alice, record] = [consumer(), key()]
      expect(await store.updateConsumer(alice.id, { plan: 'pro' })).toBe(false)
      expect(await store.updateKey(record.publicId, { disabled: true })).toBe(false)
      expect([await store.findConsumer(alice.id), await store.findKey(record.publicId)]).toEqual([undefined, undefined])
    })

    test('lists consumers, and keys by consumer', async () => {
      const store = create()
      const [alice, bob] = [consumer(), consumer()]
      const keys = [alice, alice, bob].map(({ id }) => ({ ...key(), consumer: id }))
      await Promise.all([alice, bob].map((each) => store.addConsumer(each)))
      await Promise.all(keys.map((each) => store.addKey(each)))
      const consumers = await Array.fromAsync(store.listConsumers())
      expect(consumers).toEqual(expect.arrayContaining([alice, bob]))
      const ofAlice = await Array.fromAsync(store.listKeys({ consumer: alice.id }))
      expect(ofAlice).toHaveLength(2)
      expect(ofAlice).toEqual(expect.arrayContaining(keys.slice(0, 2)))
      expect(await Array.fromAsync(store.listKeys({}))).toEqual(expect.arrayContaining(keys))
      expect(await Array.fromAsync(store.listKeys({ consumer: unique("o'hara") }))).toEqual([])
    })

    test('tells ids apart by case', async () => {
      const store = create()
      const upper = { ...key(), publicId: `A${unique('k').replaceAll('-', '')}` }
      await store.addKey(upper)
      expect(await store.findKey(upper.publicId.toLowerCase())).toBeUndefined()
    })
  })
}
