import {
  authenticate,
  azureToken,
  budget,
  type CacheStore,
  type Check,
  type Codec,
  type Consumer,
  type ConsumerStore,
  type CounterStore,
  completionCache,
  connect,
  digestWith,
  GENERATION_LIFE_MS,
  type GenerationStore,
  generations,
  type Handler,
  limiter,
  localLimiter,
  memoryCacheStore,
  memoryConsumerStore,
  memoryCounterStore,
  memoryGenerationStore,
  nearCache,
  openRedis,
  openTables,
  parse,
  pipeline,
  probe,
  rateLimit,
  redisCacheStore,
  redisCounterStore,
  requestClaims,
  route,
  routeOf,
  type StorageLocation,
  type Sweepable,
  subjectsOf,
  tableCacheStore,
  tableConsumerStore,
  tableCounterStore,
  tableGenerationStore,
  upstream,
} from '@tollgate/middleware'
import { consoleLog } from './console-log.ts'
import { generateCodec } from './generate-surface.ts'
import { limiterEvents } from './limiter-events.ts'
import { reachCounters } from './reach-counters.ts'
import type { Settings } from './settings.ts'

const now = () => performance.now()
const wallClock = () => Date.now()

/** How long a revoked key may still work. */
const KEY_MAX_AGE_MS = 30_000
/** Well under the four minutes after which Azure's load balancer drops a silent connection, and most proxies' minute. */
const HEARTBEAT_MS = 15_000
/** How long a health check may take. */
export const CHECK_MS = 3_000
/** Completions in each process: what was purged or replaced elsewhere is forgotten by and by. */
const NEAR_CACHE = { maxBytes: 64 * 1024 * 1024, maxAgeMs: 60_000 }
/** All completions that there are, where there are no tables: `memory:`. */
const MEMORY_CACHE = { maxBytes: 64 * 1024 * 1024 }

/** Lookups of made-up keys: a first 60 for each network and one a second from then on; twenty a second for all of those. */
const UNKNOWN_KEYS = {
  each: { capacity: 60, refill: 1, periodMs: 1_000 },
  total: { capacity: 600, refill: 20, periodMs: 1_000 },
}

interface Stores {
  readonly consumers: ConsumerStore
  readonly counters: CounterStore
  readonly completions: CacheStore
  readonly generations: GenerationStore
  /** What has expired where nothing goes by itself. */
  readonly sweepable: Sweepable | undefined
  close(): void
}

interface WithConsumer {
  readonly consumer: Consumer
}

interface WithModel {
  readonly routed: { readonly model: string }
}

/** The gateway of one app: the rooms are built once, and every route goes through the same ones. */
export interface Gateway {
  readonly generate: Handler
  /** What it can't work without. The cache is not among it: without one, every request is a miss. */
  readonly checks: Readonly<Record<'tables' | 'limits' | 'model', Check['run']>>
  /** Removes what has expired from the tables, and tells how much that was. */
  sweep(signal: AbortSignal): Promise<{ readonly completions: number; readonly generations: number }>
  /** Gives back what it holds of limits. To be called when the process ends. */
  close(): Promise<void>
}

export function createGateway(settings: Settings): Gateway {
  const { policy, maxBodyBytes, maxOutputTokens } = settings
  const stores = openStores(settings)
  const digest = digestWith(settings.cacheSecret)
  const limits = limiter({
    store: stores.counters,
    deadlineMs: settings.storeDeadlineMs,
    storeDown: policy.storeDown,
    events: limiterEvents,
  })

  const authentication = authenticate({
    store: stores.consumers,
    guard: localLimiter({ ...UNKNOWN_KEYS, now }),
    maxAgeMs: KEY_MAX_AGE_MS,
    deadlineMs: settings.storeDeadlineMs,
    now,
    wallClock,
  })
  const purges = generations({ store: stores.generations, deadlineMs: settings.cacheDeadlineMs, log: consoleLog })
  const cache = completionCache({
    near: nearCache(NEAR_CACHE),
    far: stores.completions,
    generations: purges,
    digest,
    deadlineMs: settings.cacheDeadlineMs,
    log: consoleLog,
  })
  const connection = connect({ token: azureToken(settings.clientId) })
  const model = upstream({
    connect: connection,
    firstByteMs: settings.firstByteMs,
    totalMs: settings.totalMs,
    idleMs: settings.idleMs,
    streamTotalMs: settings.streamTotalMs,
  })

  const subjects = ({ consumer }: WithConsumer) => subjectsOf(policy, consumer)
  const claims = (context: WithConsumer, ofModel?: string) => {
    const found = subjects(context)
    return 'code' in found ? found : requestClaims(found, ofModel)
  }
  const requestLimits = rateLimit({ limiter: limits, claims: (context: WithConsumer) => claims(context), wallClock })
  const modelLimits = rateLimit({
    limiter: limits,
    claims: (context: WithConsumer & WithModel) => claims(context, context.routed.model),
    wallClock,
  })
  const usageLimits = budget({ limiter: limits, subjects, wallClock })

  // The order of the rooms is written here and nowhere else: who, how often, what, where to, how often that, seen before,
  // for how much, ask.
  const through = (name: string, codec: Codec): Handler => {
    const handler = pipeline()
      .use(authentication)
      .use(requestLimits)
      .use(parse({ codec, maxBodyBytes, digest, heartbeatMs: HEARTBEAT_MS }))
      .use(route({ name, policy: () => policy, maxOutputTokens }))
      .use(modelLimits)
      .use(cache)
      .use(usageLimits)
      .handle(model)
    return (request, context) => {
      // Beside the look at the key, so that the cache doesn't have to wait for it.
      purges.warm()
      return handler(request, context)
    }
  }

  const target = policy.models.get(routeOf(policy, 'generate').model)?.targets[0].settings
  return {
    generate: through('generate', generateCodec(maxOutputTokens)),
    checks: {
      tables: (signal) => stores.consumers.findConsumer('health', signal),
      limits: (signal) => reachCounters(stores.counters, limits, signal),
      model: (signal) => probe(connection, target, { signal, timeoutMs: CHECK_MS }),
    },
    async sweep(signal) {
      const now = wallClock()
      const completions = await stores.sweepable?.sweep(now, signal)
      const generations = await stores.generations.sweep(now - GENERATION_LIFE_MS, signal)
      return { completions: completions?.removed ?? 0, generations: generations.removed }
    },
    async close() {
      await limits.close()
      stores.close()
    },
  }
}

function openStores({ storage, redis }: Settings): Stores {
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
    }
  }
  const open = openTables(location)
  const completions = tableCacheStore(open)
  return {
    consumers: tableConsumerStore(open),
    counters: tableCounterStore({ open, now }),
    completions,
    generations: tableGenerationStore(open),
    sweepable: completions,
  }
}
