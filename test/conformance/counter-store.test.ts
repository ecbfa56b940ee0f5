import { memoryCounterStore, openRedis, type Redis, redisCounterStore, tableCounterStore } from '@tollgate/middleware'
import { afterAll, beforeAll, describe } from 'vitest'
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts'
import { tableAccounts } from '../support/tables.ts'
import { counterStoreConforms } from './counter-store.ts'

const now = () => performance.now()

counterStoreConforms('memory', () => memoryCounterStore({ wallClock: Date.now, now }))
for (const { name, open } of tableAccounts()) counterStoreConforms(name, () => tableCounterStore({ open, now }))

describe.skipIf(noRedis)(noRedis ?? 'on Redis', () => {
  let server: RedisServer
  let redis: Redis
  beforeAll(async () => {
    server = await startRedis()
    redis = openRedis(server.url)
  })
  afterAll(async () => {
    redis?.close()
    await server?.close()
  })

  counterStoreConforms('Redis', () => redisCounterStore({ redis, now }))
})
