import { memoryCacheStore, tableCacheStore, tieredCacheStore } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { tableAccounts } from '../support/tables.ts'
import { cacheStoreConforms } from './cache-store.ts'

const signal = new AbortController().signal
const memory = () => memoryCacheStore({ maxBytes: 8 * 1024 * 1024 })

cacheStoreConforms('memory', memory)
for (const { name, open } of tableAccounts()) {
  cacheStoreConforms(name, () => tableCacheStore(open))
  cacheStoreConforms(`memory before ${name}`, () => tieredCacheStore(memory(), tableCacheStore(open), () => 0))
}

for (const { name, open } of tableAccounts()) {
  describe(`cache store: damage in ${name}`, () => {
    test.each([
      ['a changed byte', { body0: Buffer.from('x') }],
      ['a missing chunk', { chunks: 2 }],
      ['an unknown version', { version: 99 }],
    ])('%s is a miss', async (_what, damage) => {
      const key = unique('key')
      const store = tableCacheStore(open)
      await store.set(key, { body: Buffer.from('answer'), storedAt: 1, expiresAt: 2 }, signal)
      const client = await open('tollgatecache')()
      await client.updateEntity({ partitionKey: key, rowKey: 'completion', ...damage }, 'Merge')
      expect(await store.get(key, signal)).toBeUndefined()
    })
  })
}
