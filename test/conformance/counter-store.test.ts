import { memoryCounterStore, redisCounterStore, tableCounterStore } from '@tollgate/middleware'
import { tableAccounts } from '../support/tables.ts'
import { describeWithRedis } from '../support/with-redis.ts'
import { counterStoreConforms } from './counter-store.ts'

const now = () => performance.now()

counterStoreConforms('memory', () => memoryCounterStore({ wallClock: Date.now, now }))
for (const { name, open } of tableAccounts()) counterStoreConforms(name, () => tableCounterStore({ open, now }))

describeWithRedis('on Redis', (redis) => {
  counterStoreConforms('Redis', () => redisCounterStore({ redis, now }))
})
