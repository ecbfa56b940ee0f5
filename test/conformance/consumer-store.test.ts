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

    const NARROWED = {
      grant: { models: ['chat'], zones: ['eu'], routes: [], budget: { usd: 0.000_000_001, per: 'month' } },
      groups: { 'cost-centre': '4711', team: 'Ünïcode / "quoted"' },
      family: 'firstOfAll00',
    } as const

    test.each([
      ['all of them', NARROWED],
      ['a grant alone', { grant: { models: [] } }],
      ['groups alone', { groups: { team: 'a' } }],
      ['a family alone', { family: 'firstOfAll00' }],
    ])('keeps what a key is bound by: %s', async (_what, bound) => {
      const store = create()
      const narrowed: KeyRecord = { ...key(), ...structuredClone(bound), consumer: unique('narrowed') }
      expect(await store.addKey(narrowed)).toBe(true)
      expect(await store.findKey(narrowed.publicId)).toEqual(narrowed)
      await store.updateKey(narrowed.publicId, { disabled: true })
      await store.updateKey(narrowed.publicId, { usedAt: 1_790_000_000_456 })
      const changed = { ...narrowed, disabled: true, usedAt: 1_790_000_000_456 }
      expect(await store.findKey(narrowed.publicId)).toEqual(changed)
      expect(await Array.fromAsync(store.listKeys({ consumer: narrowed.consumer }))).toEqual([changed])
    })

    describe('a key whose place another takes', () => {
      const AT = 1_795_000_000_123

      test('says so, and ends then', async () => {
        const store = create()
        const record: KeyRecord = {
          ...key(),
          ...structuredClone(NARROWED),
          scopes: ['call', 'later'],
          usedAt: 1_790_000_000_456,
        }
        await store.addKey(record)
        const replaced = { ...record, replacedBy: 'another00000', expiresAt: AT }
        expect(await store.replaceKey(record.publicId, { replacedBy: 'another00000', expiresAt: AT })).toEqual(replaced)
        expect(await store.findKey(record.publicId)).toEqual(replaced)
      })

      test('ends at its own expiry where that is sooner', async () => {
        const store = create()
        const record: KeyRecord = { ...key(), expiresAt: AT - 1 }
        await store.addKey(record)
        const replaced = { ...record, replacedBy: 'another00000' }
        expect(await store.replaceKey(record.publicId, { replacedBy: 'another00000', expiresAt: AT })).toEqual(replaced)
      })

      test('is taken once: of many at once one succeeds, and all are told which', async () => {
        const store = create()
        const record = key()
        await store.addKey(record)
        const others = Array.from({ length: 8 }, (_, index) => `another0000${index}`)
        const told = await Promise.all(
          others.map((replacedBy, index) => store.replaceKey(record.publicId, { replacedBy, expiresAt: AT + index })),
        )
        const found = await store.findKey(record.publicId)
        expect(others).toContain(found?.replacedBy)
        expect(found?.expiresAt).toBe(AT + others.indexOf(found?.replacedBy ?? ''))
        for (const each of told) expect(each).toEqual(found)
        expect(await store.replaceKey(record.publicId, { replacedBy: 'late00000000', expiresAt: 1 })).toEqual(found)
      })

      test('where there is none, makes none', async () => {
        const store = create()
        const { publicId } = key()
        expect(await store.replaceKey(publicId, { replacedBy: 'another00000', expiresAt: AT })).toBeUndefined()
        expect(await store.findKey(publicId)).toBeUndefined()
      })
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

/** What versions that know no scopes, or no grants, write, and what they read; and what later ones may write. */
function beside(name: string, open: OpenTable): void {
  describe(`keys beside other versions: ${name}`, () => {
    const rows = open('tollgatekeys')
    const record = (scopes: readonly string[]): Omit<KeyRecord, 'grant' | 'groups'> => ({
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

    test.each<[string, Partial<KeyRecord>]>([
      ['a grant', { grant: { models: ['chat'] } }],
      ['an empty grant', { grant: {} }],
      ['groups', { groups: { team: 'a' } }],
    ])('they find no digest of a key with %s, by either of the fields that they look at', async (_what, bound) => {
      for (const scopes of [['call'], ['read'], ['call', 'read']]) {
        const key: KeyRecord = { ...record(scopes), ...bound }
        await tableConsumerStore(open).addKey(key)
        const { entity } = await rows.read<{ digest: string; scopedDigest?: string }>(place(key.publicId))
        // What the version with scopes alone goes by.
        expect(entity?.scopedDigest ?? entity?.digest).toBe('')
        expect((await tableConsumerStore(open).findKey(key.publicId))?.digest).toBe(key.digest)
      }
    })

    test.each<[string, Record<string, string | number>]>([
      ['a grant of a word that is not known', { grant: '{"models":["chat"],"hours":"9-17"}' }],
      ['a grant that is no JSON', { grant: 'all' }],
      ['a grant that is no text', { grant: 7 }],
      ['groups of another form', { groups: '["a"]' }],
      ['more groups than a request may have', { groups: '{"a":"1","b":"1","c":"1","d":"1"}' }],
    ])('%s lets a key nowhere in, and all are listed', async (_what, odd) => {
      const { publicId, createdAt, scopes: _, digest, ...fields } = record(['call'])
      const consumer = unique('later')
      const row = { ...place(publicId), ...fields, ...odd, consumer, createdAt: new Date(createdAt), scopes: 'call' }
      await rows.put({ ...row, digest: '', grantedDigest: digest }, 'absent')
      const store = tableConsumerStore(open)
      expect(await store.findKey(publicId)).toMatchObject({ publicId, digest: '' })
      expect(await Array.fromAsync(store.listKeys({ consumer }))).toMatchObject([{ publicId, digest: '' }])
    })

    test.each<[string, Record<string, string>]>([
      ['lost its grant', { digest: '', grantedDigest: 'q'.repeat(43) }],
      ['has a grant, and its digest where others look', { grant: '{"models":["chat"]}' }],
    ])('a row that %s lets its key nowhere in', async (_what, odd) => {
      const { publicId, createdAt, scopes: _, ...fields } = record(['call'])
      await rows.put({ ...place(publicId), ...fields, createdAt: new Date(createdAt), ...odd }, 'absent')
      expect(await tableConsumerStore(open).findKey(publicId)).toMatchObject({ publicId, digest: '' })
    })

    test('they find the digest of one that may call too', async () => {
      const key = record(['call', 'read'])
      await tableConsumerStore(open).addKey(key)
      const { entity } = await rows.read<{ digest: string }>(place(key.publicId))
      expect(entity?.digest).toBe(key.digest)
    })
  })
}
