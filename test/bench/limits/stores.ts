import { join } from 'node:path'
import { TableClient } from '@azure/data-tables'
import { ROOT, startHost } from '../../support/host.ts'
import { noRedis, startRedis } from '../../support/redis.ts'
import type { StoreKind } from './gates/gate.ts'
import { httpRequests, redisCommands } from './transaction-count.ts'
import { startWire, type Wire } from './wire.ts'

/** A store that limiters share, behind a wire of its own. */
export interface Store {
  /** For limiters: a connection string, or a URL; empty where there is no store. */
  readonly address: string
  readonly wire: Pick<Wire, 'transactions' | 'delay'>
  /** Throws away all counters, so that no run works among another's rows. */
  clear(): Promise<void>
}

export interface Stores {
  /** `undefined` where this machine has no such store. */
  of(kind: StoreKind): Store | undefined
  close(): Promise<void>
}

/** Azurite in a process of its own, keeping nothing on disk; and a `redis-server`, where there is one. */
export async function startStores(): Promise<Stores> {
  const closing: (() => Promise<unknown>)[] = []
  const close = async () => {
    for (const end of closing.splice(0).reverse()) await end()
  }
  try {
    const azurite = await startHost({}, join(ROOT, 'test/bench/servers/azurite.ts'), /tables at (\S+)/)
    closing.push(() => azurite.stop('SIGKILL'))
    const endpoint = /TableEndpoint=http:\/\/127\.0\.0\.1:(\d+)/.exec(azurite.url)
    const tablesWire = await startWire(Number(endpoint?.[1]), httpRequests)
    closing.push(tablesWire.close)
    const tables: Store = {
      address: azurite.url.replace(endpoint?.[0] ?? '', `TableEndpoint=http://127.0.0.1:${tablesWire.port}`),
      wire: tablesWire,
      clear: () => dropCounters(azurite.url),
    }
    const redis = noRedis === undefined ? await redisStore(closing) : undefined
    const none: Store = { address: '', wire: { transactions: () => 0, delay: () => {} }, clear: async () => {} }
    return { of: (kind) => ({ tables, redis, none })[kind], close }
  } catch (error) {
    await close()
    throw error
  }
}

async function redisStore(closing: (() => Promise<unknown>)[]): Promise<Store> {
  const server = await startRedis()
  closing.push(server.close)
  const wire = await startWire(server.port, redisCommands)
  closing.push(wire.close)
  return { address: `redis://127.0.0.1:${wire.port}`, wire, clear: server.restart }
}

async function dropCounters(connectionString: string): Promise<void> {
  const table = TableClient.fromConnectionString(connectionString, 'tollgatecounters', {
    allowInsecureConnection: true,
  })
  await table.deleteTable().catch((error: { statusCode?: number }) => {
    if (error.statusCode !== 404) throw error
  })
}
