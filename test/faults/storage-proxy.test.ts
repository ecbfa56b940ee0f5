import type { TableClient } from '@azure/data-tables'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { tableClient } from '../support/tables.ts'

/* What the tests under faults lean on, so it is tested itself: what is applied, and what the client sees. */

let proxy: StorageProxy
let table: TableClient
let direct: TableClient
beforeAll(async () => {
  proxy = await startStorageProxy(inject('azurite'))
  table = tableClient(proxy.connectionString, 'tollgatecounters')
  direct = tableClient(inject('azurite'), 'tollgatecounters')
  await table.createTable().catch(() => {})
})
afterAll(() => proxy?.close())
beforeEach(() => {
  proxy.heal()
  proxy.forget()
})

const row = (text = 'a') => ({ partitionKey: unique('p'), rowKey: 'r', text })
const kept = async ({ partitionKey, rowKey }: { partitionKey: string; rowKey: string }) =>
  direct.getEntity<{ text: string }>(partitionKey, rowKey).then(
    ({ text }) => text,
    () => undefined,
  )

describe('the storage fault proxy', () => {
  test('passes everything on, and counts it by kind', async () => {
    const [one, two] = [row(), row()]
    const partitionKey = unique('p')
    await table.createEntity(one)
    const { etag } = await table.getEntity(one.partitionKey, one.rowKey)
    await table.updateEntity({ ...one, text: 'b' }, 'Replace', { etag })
    await table.upsertEntity(two, 'Replace')
    await table.upsertEntity(two, 'Merge')
    await table.deleteEntity(two.partitionKey, two.rowKey)
    for await (const _ of table.listEntities({ queryOptions: { filter: `PartitionKey eq '${one.partitionKey}'` } })) {
      // Only asked for.
    }
    await table.submitTransaction([
      ['create', { partitionKey, rowKey: '1' }],
      ['create', { partitionKey, rowKey: '2' }],
    ])
    expect(await kept(one)).toBe('b')
    expect(await kept({ partitionKey, rowKey: '2' })).toBeUndefined()
    expect(proxy.counts()).toEqual({
      'insert tollgatecounters': 1,
      'get tollgatecounters': 1,
      'update tollgatecounters': 1,
      'replace tollgatecounters': 1,
      'merge tollgatecounters': 1,
      'delete tollgatecounters': 1,
      'query tollgatecounters': 1,
      'batch tollgatecounters': 1,
    })
    expect(proxy.transactions().at(-1)).toEqual({ operation: 'batch', table: 'tollgatecounters', entities: 2 })
  })

  test.each([
    [503, 'ServerBusy'],
    [412, 'UpdateConditionNotSatisfied'],
  ])('answers %i %s without applying', async (status, code) => {
    const injected = proxy.inject({ kind: 'answer', status, code }, { operation: 'insert', times: 1 })
    const entity = row()
    await expect(table.createEntity(entity)).rejects.toMatchObject({
      statusCode: status,
      details: { odataError: { code } },
    })
    expect([await kept(entity), injected.hits()]).toEqual([undefined, 1])
    await table.createEntity(entity)
    expect(await kept(entity)).toBe('a')
  })

  test.each([
    ['lost request', undefined],
    ['lost reply', 'a'],
  ] as const)('%s: the connection is cut, and what is kept is %s', async (kind, expected) => {
    proxy.inject({ kind })
    const entity = row()
    await expect(table.createEntity(entity)).rejects.toThrow()
    expect(await kept(entity)).toBe(expected)
  })

  test('late: applied when the test says so, in competition with what came meanwhile', async () => {
    const [entity, other] = [row(), row()]
    await table.createEntity(other)
    const { etag } = await table.getEntity(other.partitionKey, other.rowKey)
    const injected = proxy.inject({ kind: 'late' }, { times: 2 })
    await expect(table.createEntity(entity)).rejects.toThrow()
    await expect(table.updateEntity({ ...other, text: 'late' }, 'Replace', { etag })).rejects.toThrow()
    expect(await kept(entity)).toBeUndefined()
    await table.updateEntity({ ...other, text: 'meanwhile' }, 'Replace', { etag })
    expect(await injected.land()).toEqual([204, 412])
    expect([await kept(entity), await kept(other)]).toEqual(['a', 'meanwhile'])
    expect(await injected.land()).toEqual([])
  })

  test('hang: no answer until the client gives up', async () => {
    proxy.inject({ kind: 'hang' })
    const entity = row()
    const signal = AbortSignal.timeout(100)
    await expect(table.createEntity(entity, { abortSignal: signal })).rejects.toThrow('abort')
    expect(await kept(entity)).toBeUndefined()
  })

  test('latency: waits, then passes it on', async () => {
    proxy.inject({ kind: 'latency', ms: 120 })
    const [entity, started] = [row(), performance.now()]
    await table.createEntity(entity)
    // Timers count whole milliseconds, and may fire within the last one.
    expect(performance.now() - started).toBeGreaterThanOrEqual(119)
  })

  test('corrupt: applied, and answered with what is no JSON', async () => {
    const entity = row()
    await table.createEntity(entity)
    proxy.inject({ kind: 'corrupt' })
    await expect(table.getEntity(entity.partitionKey, entity.rowKey)).rejects.toThrow()
  })

  test('strikes by chance alike for the same seed', async () => {
    const strike = async (seed: number) => {
      const seeded = await startStorageProxy(inject('azurite'), { seed })
      seeded.inject({ kind: 'answer', status: 503, code: 'ServerBusy' }, { chance: 0.5, table: 'tollgatecounters' })
      const client = tableClient(seeded.connectionString, 'tollgatecounters')
      const struck: boolean[] = []
      for (let i = 0; i < 16; i += 1) {
        struck.push(
          await client.createEntity(row()).then(
            () => false,
            () => true,
          ),
        )
      }
      await seeded.close()
      return struck
    }
    const [first, again, other] = [await strike(7), await strike(7), await strike(8)]
    expect(again).toEqual(first)
    expect(other).not.toEqual(first)
    expect(new Set(first).size).toBe(2)
  })
})
