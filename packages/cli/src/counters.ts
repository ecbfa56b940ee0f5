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

/** Of the Redis that keeps the counters; `undefined` where the tables do. @throws CommandFault where it is no such URL */
export function redisUrl({ env: { TOLLGATE_REDIS: url } }: Place): string | undefined {
  if (!url) return undefined
  if (/^rediss?:$/.test(URL.parse(url)?.protocol ?? '')) return url
  throw new CommandFault('TOLLGATE_REDIS is no redis:// or rediss:// URL.')
}

/** Runs a command's work on the counters of limits. They are in Redis where `TOLLGATE_REDIS` is set, as for the gateway. */
export async function withCounters<T>(
  place: Place,
  open: OpenTable,
  work: (store: CounterStore) => Promise<T>,
): Promise<T> {
  const url = redisUrl(place)
  if (url === undefined) return await work(tableCounterStore({ open, now }))
  const redis = openRedis(url)
  try {
    return await work(redisCounterStore({ redis, now }))
  } finally {
    redis.close()
  }
}
