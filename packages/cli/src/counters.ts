import {
  type CounterStore,
  type OpenTable,
  openRedis,
  redisCounterStore,
  tableCounterStore,
} from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
import type { Place } from './place.ts'

const now = () => performance.now()

/** Runs a command's work on the counters of limits. They are in Redis where `TOLLGATE_REDIS` is set, as for the gateway. */
export async function withCounters<T>(
  { env }: Place,
  open: OpenTable,
  work: (store: CounterStore) => Promise<T>,
): Promise<T> {
  const { TOLLGATE_REDIS: url } = env
  if (!url) return await work(tableCounterStore({ open, now }))
  if (!/^rediss?:$/.test(URL.parse(url)?.protocol ?? '')) {
    throw new CommandFault('TOLLGATE_REDIS is no redis:// or rediss:// URL.')
  }
  const redis = openRedis(url)
  try {
    return await work(redisCounterStore({ redis, now }))
  } finally {
    redis.close()
  }
}
