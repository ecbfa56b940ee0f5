import {
  type CounterStore,
  type LimiterEvents,
  openRedis,
  openTables,
  type Redis,
  redisCounterStore,
  storageLocation,
  systemTime,
  tableCounterStore,
} from '@tollgate/middleware'
import { compareAndSwap } from './compare-and-swap.ts'
import { flexible } from './flexible.ts'
import type { Gate, GateName } from './gate.ts'
import { tollgate } from './tollgate.ts'

/**
 * A limiter over its store, to which the connection stands: what it takes to load a client is not the limiter's.
 *
 * @param address of the store: a connection string or a URL; empty for a limiter without one
 */
export async function openGate(name: GateName, address: string, events: LimiterEvents): Promise<Gate> {
  switch (name) {
    case 'tollgate-tables':
      return tollgate({ store: await tables(address), events })
    case 'tollgate-redis':
      return tollgate({ store: redisCounterStore({ redis: await redis(address), now: systemTime.now }), events })
    case 'cas-tables':
      return compareAndSwap(await tables(address))
    case 'rlf-redis':
      return flexible(await redis(address))
    case 'rlf-memory':
      return flexible(undefined)
  }
}

async function tables(connectionString: string): Promise<CounterStore> {
  const location = storageLocation({ TOLLGATE_STORAGE: connectionString })
  if (location === undefined || location.kind === 'memory') throw new Error('This is no table storage')
  const store = tableCounterStore({ open: openTables(location), now: systemTime.now })
  await store.read('nobody', new AbortController().signal)
  return store
}

async function redis(url: string): Promise<Redis> {
  const opened = openRedis(url)
  await opened.send(['PING'], new AbortController().signal)
  return opened
}
