import { type ConsumerStore, memoryConsumerStore, tableConsumerStore } from '../auth/index.ts'
import {
  type CacheStore,
  type GenerationStore,
  memoryCacheStore,
  memoryGenerationStore,
  redisCacheStore,
  type Sweepable,
  tableCacheStore,
  tableGenerationStore,
} from '../cache/index.ts'
import {
  type CounterStore,
  memoryCounterStore,
  redisCounterStore,
  type TableCounterStore,
  tableCounterStore,
} from '../limits/index.ts'
import { memoryTable, openRedis, openTables, type StorageLocation, type Table } from '../storage/index.ts'

/** All that a gateway keeps outside of a request. */
export interface Stores {
  readonly consumers: ConsumerStore
  readonly counters: CounterStore
  readonly completions: CacheStore
  readonly generations: GenerationStore
  /** What has expired where nothing goes by itself. */
  readonly sweepable: Sweepable | undefined
  /** Counters in the tables, where shadow revisions leave rows; also where Redis keeps them now. */
  readonly shadows: Pick<TableCounterStore, 'sweepShadows'> | undefined
  /** The ledger's, in the tables also where Redis keeps the counters: it is to outlive both. */
  readonly usage: Table
  /** The policy's revisions, and who changed what. */
  readonly policies: Table
  readonly audit: Table
  close(): void
}

export interface StoresOptions {
  readonly storage: StorageLocation
  /** URL of the Redis that keeps counters and completions; `undefined` where the tables do. */
  readonly redis: string | undefined
}

/** All completions that there are, where there are no tables: `memory:`. */
const MEMORY_CACHE = { maxBytes: 64 * 1024 * 1024 }

const now = () => performance.now()
const wallClock = () => Date.now()

export function openStores({ storage, redis }: StoresOptions): Stores {
  const tables = openStorage(storage)
  if (redis === undefined) return { ...tables, close: () => {} }
  // One each: Redis answers in order, and a counter must not wait behind completions of some megabytes.
  const [forCounters, forCompletions] = [openRedis(redis), openRedis(redis)]
  return {
    // The tables may still hold completions of a time before there was a Redis, and they are swept.
    ...tables,
    counters: redisCounterStore({ redis: forCounters, now }),
    completions: redisCacheStore({ redis: forCompletions, wallClock }),
    close() {
      forCounters.close()
      forCompletions.close()
    },
  }
}

function openStorage(location: StorageLocation): Omit<Stores, 'close'> {
  if (location.kind === 'memory') {
    return {
      consumers: memoryConsumerStore(),
      counters: memoryCounterStore({ wallClock, now }),
      completions: memoryCacheStore(MEMORY_CACHE),
      generations: memoryGenerationStore({ wallClock }),
      sweepable: undefined,
      shadows: undefined,
      usage: memoryTable({ wallClock }),
      policies: memoryTable({ wallClock }),
      audit: memoryTable({ wallClock }),
    }
  }
  const open = openTables(location)
  const completions = tableCacheStore(open)
  const counters = tableCounterStore({ open, now })
  return {
    consumers: tableConsumerStore(open),
    counters,
    completions,
    generations: tableGenerationStore(open),
    sweepable: completions,
    shadows: counters,
    usage: open('tollgateusage'),
    policies: open('tollgatepolicy'),
    audit: open('tollgateaudit'),
  }
}
