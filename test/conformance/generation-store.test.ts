import type { TableClient } from '@azure/data-tables'
import {
  memoryGenerationStore,
  type OpenTable,
  openTables,
  storageLocation,
  type TableName,
  tableGenerationStore,
} from '@tollgate/middleware'
import { afterAll, describe, expect, inject, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount, tableAccounts, tableClient } from '../support/tables.ts'
import { generationStoreConforms } from './generation-store.ts'

const signal = new AbortController().signal
const HOUR_MS = 3_600_000

generationStoreConforms('memory', () => {
  const store = memoryGenerationStore({ wallClock: () => Date.now() })
  return [store, store]
})
for (const { name, connection } of tableAccounts()) {
  generationStoreConforms(name, () => {
    const { own } = ownTables(connection)
    return [tableGenerationStore(own), tableGenerationStore(own)]
  })
}

const made: TableClient[] = []
afterAll(async () => {
  // Of a real account, which keeps what a test leaves. A table that was never made is deleted without an error.
  for (const client of made) await client.deleteTable()
})

/** Tables that no other test uses, since a purge of everything concerns everybody. */
function ownTables(connection: string): { readonly own: OpenTable; readonly completions: TableClient } {
  const suffix = `${process.pid}x${Date.now().toString(36)}x${made.length}`
  const named = (name: TableName) => `${name}${suffix}` as TableName
  const open = openAccount(connection)
  const completions = tableClient(connection, named('tollgatecache'))
  made.push(completions)
  return { own: (name) => open(named(name)), completions }
}

for (const { name, connection } of tableAccounts()) {
  describe(`generation store: rows in ${name}`, () => {
    test('are left alone by a sweep that reads them before they are purged again', async () => {
      const { own } = ownTables(connection)
      const store = tableGenerationStore(own)
      await store.renew('all', signal)
      const interrupted: OpenTable = (name) => {
        const table = own(name)
        return {
          ...table,
          async remove(...args) {
            await store.renew('all', signal)
            return table.remove(...args)
          },
        }
      }
      expect(await tableGenerationStore(interrupted).sweep(Date.now() + HOUR_MS, signal)).toEqual({ removed: 0 })
      expect((await store.list(signal)).has('all')).toBe(true)
    })

    test('are found among thousands, over all pages', async () => {
      const store = tableGenerationStore(ownTables(connection).own)
      const subjects = Array.from({ length: 1_050 }, (_, i) => `consumer:${i}` as const)
      await store.renew('all', signal)
      for (let i = 0; i < subjects.length; i += 50) {
        await Promise.all(subjects.slice(i, i + 50).map((subject) => store.renew(subject, signal)))
      }
      expect((await store.list(signal)).size).toBe(1_051)
      expect(await store.sweep(Date.now() + HOUR_MS, signal)).toEqual({ removed: 1_051 })
    })

    test('of completions beside them are neither listed nor swept', async () => {
      const { own, completions } = ownTables(connection)
      const store = tableGenerationStore(own)
      await store.renew('all', signal)
      await completions.createEntity({ partitionKey: 'g', rowKey: 'key', expiresAt: new Date(0) })
      expect([...(await store.list(signal)).keys()]).toEqual(['all'])
      await store.sweep(Date.now() + HOUR_MS, signal)
      expect(await completions.getEntity('g', 'key')).toMatchObject({ rowKey: 'key' })
    })
  })
}

describe('generation store: faults of the tables', () => {
  const faulty = async () => {
    const proxy = await startStorageProxy(inject('azurite'))
    const location = storageLocation({ TOLLGATE_STORAGE: proxy.connectionString })
    if (location?.kind !== 'connection-string') throw new Error('This is no table storage')
    const table = `tollgatecache${unique('x').replaceAll('-', '')}` as TableName
    return { proxy, store: tableGenerationStore(() => openTables(location)(table)) }
  }

  test.each([
    ['a lost connection', { kind: 'lost request' }],
    ['a busy server', { kind: 'answer', status: 503, code: 'ServerBusy' }],
  ] as const)('%s is passed over once when reading', async (_what, fault) => {
    const { proxy, store } = await faulty()
    try {
      await store.renew('all', signal)
      proxy.inject(fault, { operation: 'query', times: 1 })
      expect((await store.list(signal)).size).toBe(1)
      proxy.inject(fault, { operation: 'query', times: 2 })
      await expect(store.list(signal)).rejects.toThrow()
    } finally {
      await proxy.close()
    }
  })

  test('a purge that can’t be written is an error, and a refused read is not tried twice', async () => {
    const { proxy, store } = await faulty()
    try {
      proxy.inject({ kind: 'answer', status: 503, code: 'ServerBusy' })
      await expect(store.renew('all', signal)).rejects.toMatchObject({ statusCode: 503 })
      proxy.inject({ kind: 'answer', status: 403, code: 'AuthorizationFailure' })
      proxy.forget()
      await expect(store.list(signal)).rejects.toMatchObject({ statusCode: 403 })
      expect(proxy.transactions()).toHaveLength(1)
      proxy.heal()
      proxy.inject({ kind: 'hang' })
      await expect(store.list(AbortSignal.timeout(50))).rejects.toThrow()
      await expect(store.renew('all', AbortSignal.timeout(50))).rejects.toThrow()
    } finally {
      await proxy.close()
    }
  })
})

test('a generation store without its table has no generations, and makes it with the first purge', async () => {
  const { own } = ownTables(inject('azurite'))
  expect((await tableGenerationStore(own).list(signal)).size).toBe(0)
  await tableGenerationStore(own).renew('all', signal)
  expect((await tableGenerationStore(own).list(signal)).size).toBe(1)
})

test('a sweep of generations that is ended early is no error', async () => {
  const { own } = ownTables(inject('azurite'))
  await tableGenerationStore(own).renew('all', signal)
  const ended = AbortSignal.abort()
  expect(await tableGenerationStore(own).sweep(Date.now() + HOUR_MS, ended)).toEqual({ removed: 0 })
})
