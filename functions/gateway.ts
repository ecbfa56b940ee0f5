import {
  authenticate,
  azureToken,
  type CacheStore,
  type Check,
  type Codec,
  type Consumer,
  type ConsumerStore,
  type CounterStore,
  completionCache,
  connect,
  digestWith,
  type Handler,
  limiter,
  localLimiter,
  memoryCacheStore,
  memoryConsumerStore,
  memoryCounterStore,
  openTables,
  type Policy,
  parse,
  pipeline,
  probe,
  type Refusal,
  rateLimit,
  route,
  type StorageLocation,
  type Subject,
  tableCacheStore,
  tableConsumerStore,
  tableCounterStore,
  tieredCacheStore,
  upstream,
} from '@tollgate/middleware'
import { generateCodec } from './generate-surface.ts'
import type { Settings } from './settings.ts'

const now = () => performance.now()
const wallClock = () => Date.now()

/** How long a revoked key may still work. */
const KEY_MAX_AGE_MS = 30_000
/** Well under the four minutes after which Azure's load balancer drops a silent connection, and most proxies' minute. */
const HEARTBEAT_MS = 15_000
/** How long a health check may take. */
export const CHECK_MS = 3_000
const NEAR_CACHE = { maxBytes: 64 * 1024 * 1024, maxAgeMs: 60_000 }

/** Lookups of made-up keys: a first 60 for each network and one a second from then on; twenty a second for all of those. */
const UNKNOWN_KEYS = {
  each: { capacity: 60, refill: 1, periodMs: 1_000 },
  total: { capacity: 600, refill: 20, periodMs: 1_000 },
}

interface Stores {
  readonly consumers: ConsumerStore
  readonly counters: CounterStore
  readonly completions: CacheStore
}

/** The gateway of one app: the rooms are built once, and every route goes through the same ones. */
export interface Gateway {
  readonly generate: Handler
  /** What it can't work without. The cache is not among it: without one, every request is a miss. */
  readonly checks: Readonly<Record<'tables' | 'model', Check['run']>>
}

export function createGateway(settings: Settings): Gateway {
  const { policy, maxBodyBytes } = settings
  const stores = openStores(settings.storage)
  const digest = digestWith(settings.cacheSecret)
  const requestLimiter = limiter({ store: stores.counters, deadlineMs: settings.storeDeadlineMs, now })

  const authentication = authenticate({
    store: stores.consumers,
    guard: localLimiter({ ...UNKNOWN_KEYS, now }),
    maxAgeMs: KEY_MAX_AGE_MS,
    deadlineMs: settings.storeDeadlineMs,
    now,
    wallClock,
  })
  const cache = completionCache({ store: stores.completions, digest, deadlineMs: settings.cacheDeadlineMs, wallClock })
  const connection = connect({ token: azureToken(settings.clientId) })
  const model = upstream({
    connect: connection,
    firstByteMs: settings.firstByteMs,
    totalMs: settings.totalMs,
    idleMs: settings.idleMs,
    streamTotalMs: settings.streamTotalMs,
  })

  const planOf = ({ consumer }: { readonly consumer: Consumer }): Subject | Refusal => {
    const plan = policy.plans.get(consumer.plan)
    return plan === undefined ? missingPlan(consumer.plan) : { id: `consumer:${consumer.id}`, limits: plan.requests }
  }

  // The order of the rooms is written here and nowhere else: who, how often, what, where to, seen before, ask.
  const through = (name: keyof Policy['routes'], codec: Codec): Handler =>
    pipeline()
      .use(authentication)
      .use(rateLimit({ limiter: requestLimiter, subject: planOf }))
      .use(parse({ codec, maxBodyBytes, digest, heartbeatMs: HEARTBEAT_MS }))
      .use(route({ name, policy: () => policy }))
      .use(cache)
      .handle(model)

  const target = policy.models.get(policy.routes.generate.model)
  return {
    generate: through('generate', generateCodec(settings.maxOutputTokens)),
    checks: {
      tables: (signal) => reach(stores, signal),
      model: (signal) => probe(connection, target, { signal, timeoutMs: CHECK_MS }),
    },
  }
}

/** A point read of each table that a request needs; that there is no such row is an answer. */
async function reach({ consumers, counters }: Stores, signal: AbortSignal): Promise<void> {
  await Promise.all([consumers.findConsumer('health', signal), counters.read('health', signal)])
}

function missingPlan(plan: string): Refusal {
  const message = `This consumer's plan '${plan}' is not in the policy. The operator must add it or move the consumer.`
  return { code: 'plan_unavailable', status: 403, message }
}

function openStores(location: StorageLocation): Stores {
  if (location.kind === 'memory') {
    return {
      consumers: memoryConsumerStore(),
      counters: memoryCounterStore({ wallClock, now }),
      completions: memoryCacheStore({ maxBytes: NEAR_CACHE.maxBytes }),
    }
  }
  const open = openTables(location)
  return {
    consumers: tableConsumerStore(open),
    counters: tableCounterStore({ open, now }),
    completions: tieredCacheStore(memoryCacheStore(NEAR_CACHE), tableCacheStore(open), wallClock),
  }
}
