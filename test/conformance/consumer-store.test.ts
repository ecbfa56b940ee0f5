import {
  type Consumer,
  type ConsumerStore,
  type KeyRecord,
  memoryConsumerStore,
  type OpenTable,
  tableConsumerStore,
} from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { tableAccounts } from '../support/tables.ts'

conforms('memory', memoryConsumerStore)
for (const { name, open } of tableAccounts()) {
  conforms(name, () => tableConsumerStore(open))
  beside(name, open)
}

function conforms(name: string, create: () => ConsumerStore): void {
  describe(`consumer store: ${name}`, () => {
    const consumer = (): Consumer => ({ id: unique('alice@example.com:team'), plan: 'free', disabled: false })
    const key = (): KeyRecord => ({
      publicId: unique('key').replaceAll('-', ''),
      consumer: 'alice',
      digest: 'q'.repeat(43),
      scopes: ['call'],
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

    test.each([[['read']], [['call', 'read']], [['admin']], [[]]])('keeps the scopes %j of a key', async (scopes) => {
      const store = create()
      const scoped = { ...key(), scopes, consumer: unique('scoped') }
      await store.addKey(scoped)
      expect(await store.updateKey(scoped.publicId, { disabled: true })).toBe(true)
      expect(await store.findKey(scoped.publicId)).toEqual({ ...scoped, disabled: true })
      expect(await Array.fromAsync(store.listKeys({ consumer: scoped.consumer }))).toEqual([
        { ...scoped, disabled: true },
      ])
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

/** What versions that know no scopes write, and what they read. */
function beside(name: string, open: OpenTable): void {
  describe(`keys beside a version without scopes: ${name}`, () => {
    const rows = open('tollgatekeys')
    const record = (scopes: readonly string[]): KeyRecord => ({
      publicId: unique('key').replaceAll('-', ''),
      consumer: 'alice',
      digest: 'q'.repeat(43),
      scopes,
      disabled: false,
      createdAt: 1_790_000_000_123,
    })
    const place = (publicId: string) => ({ partitionKey: publicId, rowKey: 'key' })

    test('a row of theirs is of a key that may call', async () => {
      const { publicId, createdAt, scopes, ...fields } = record(['call'])
      await rows.put({ ...place(publicId), ...fields, createdAt: new Date(createdAt) }, 'absent')
      expect(await tableConsumerStore(open).findKey(publicId)).toEqual({ publicId, createdAt, scopes, ...fields })
    })

    test('scopes that no version writes let a key nowhere in, and all are listed', async () => {
      const { publicId, createdAt, scopes: _, ...fields } = record(['call'])
      const consumer = unique('odd')
      const odd = { ...place(publicId), ...fields, consumer, createdAt: new Date(createdAt), scopes: 7 }
      await rows.put(odd, 'absent')
      const listed = await Array.fromAsync(tableConsumerStore(open).listKeys({ consumer }))
      expect(listed).toMatchObject([{ publicId, scopes: [] }])
    })

    test.each([[['read']], [['admin', 'read']], [[]]])(
      'they find no digest of a key of scopes %j, and let it nowhere in',
      async (scopes) => {
        const key = record(scopes)
        await tableConsumerStore(open).addKey(key)
        const { entity } = await rows.read<{ digest: string }>(place(key.publicId))
        expect(entity?.digest).toBe('')
      },
    )

    test('they find the digest of one that may call too', async () => {
      const key = record(['call', 'read'])
      await tableConsumerStore(open).addKey(key)
      const { entity } = await rows.read<{ digest: string }>(place(key.publicId))
      expect(entity?.digest).toBe(key.digest)
    })
  })
}
