import {
  authenticate,
  azureToken,
  budget,
  type CacheStore,
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
  type Log,
  limiter,
  localLimiter,
  memoryCacheStore,
  memoryConsumerStore,
  memoryCounterStore,
  memoryGenerationStore,
  nearCache,
  OperatorError,
  openTables,
  parse,
  pipeline,
  rateLimit,
  requestClaims,
  route,
  type StorageLocation,
  type Sweepable,
  subjectsOf,
  tableCacheStore,
  tableConsumerStore,
  tableCounterStore,
  tableGenerationStore,
  upstream,
} from '@tollgate/middleware'
import { generateCodec } from '../../functions/generate-surface.ts'
import type { Settings } from '../../functions/settings.ts'

const now = () => performance.now()
const wallClock = () => Date.now()

const MIB = 1024 * 1024

interface WithConsumer {
  readonly consumer: Consumer
}

interface WithModel {
  readonly routed: { readonly model: string }
}

interface Stores {
  readonly consumers: ConsumerStore
  readonly counters: CounterStore
  readonly completions: CacheStore & Partial<Sweepable>
  readonly generations: GenerationStore
}

export interface PortableGateway {
  readonly consumers: ConsumerStore
  readonly generate: Handler
  /** Removes what has expired from the tables, where nothing goes by itself. */
  sweep(signal: AbortSignal): Promise<void>
  /** Gives back what this process holds of limits. */
  close(): Promise<void>
}

/**
 * The rooms of a request, in the order in which they stand, from the library alone.
 *
 * @throws OperatorError where the settings name a Redis.
 */
export function createGateway(settings: Settings, log: Log): PortableGateway {
  const { policy, storeDeadlineMs, cacheDeadlineMs, maxOutputTokens } = settings
  if (settings.redis !== undefined) throw new OperatorError('This example has no Redis in it. Unset TOLLGATE_REDIS.')
  const stores = openStores(settings.storage)
  const digest = digestWith(settings.cacheSecret)
  const limits = limiter({ store: stores.counters, deadlineMs: storeDeadlineMs, storeDown: policy.storeDown })
  const subjects = ({ consumer }: WithConsumer) => subjectsOf(policy, consumer)
  const claims = (context: WithConsumer, ofModel?: string) => {
    const found = subjects(context)
    return 'code' in found ? found : requestClaims(found, ofModel)
  }

  const generate = pipeline()
    .use(
      authenticate({
        store: stores.consumers,
        guard: localLimiter({
          each: { capacity: 60, refill: 1, periodMs: 1_000 },
          total: { capacity: 600, refill: 20, periodMs: 1_000 },
          now,
        }),
        maxAgeMs: 30_000,
        deadlineMs: storeDeadlineMs,
        now,
        wallClock,
      }),
    )
    .use(rateLimit({ limiter: limits, claims: (context: WithConsumer) => claims(context), wallClock }))
    .use(
      parse({
        codec: generateCodec(maxOutputTokens),
        maxBodyBytes: settings.maxBodyBytes,
        digest,
        heartbeatMs: 15_000,
      }),
    )
    .use(route({ name: 'generate', policy: () => policy, maxOutputTokens }))
    .use(
      rateLimit({
        limiter: limits,
        claims: (context: WithConsumer & WithModel) => claims(context, context.routed.model),
        wallClock,
      }),
    )
    .use(
      completionCache({
        near: nearCache({ maxBytes: 64 * MIB, maxAgeMs: 60_000 }),
        far: stores.completions,
        generations: generations({ store: stores.generations, deadlineMs: cacheDeadlineMs, log }),
        digest,
        deadlineMs: cacheDeadlineMs,
        log,
      }),
    )
    .use(budget({ limiter: limits, subjects, wallClock }))
    .handle(
      upstream({
        connect: connect({ token: azureToken(settings.clientId) }),
        firstByteMs: settings.firstByteMs,
        totalMs: settings.totalMs,
        idleMs: settings.idleMs,
        streamTotalMs: settings.streamTotalMs,
      }),
    )

  return {
    consumers: stores.consumers,
    generate,
    async sweep(signal) {
      await stores.completions.sweep?.(wallClock(), signal)
      await stores.generations.sweep(wallClock() - GENERATION_LIFE_MS, signal)
    },
    close: () => limits.close(),
  }
}

function openStores(location: StorageLocation): Stores {
  if (location.kind === 'memory') {
    return {
      consumers: memoryConsumerStore(),
      counters: memoryCounterStore({ wallClock, now }),
      completions: memoryCacheStore({ maxBytes: 64 * MIB }),
      generations: memoryGenerationStore({ wallClock }),
    }
  }
  const open = openTables(location)
  return {
    consumers: tableConsumerStore(open),
    counters: tableCounterStore({ open, now }),
    completions: tableCacheStore(open),
    generations: tableGenerationStore(open),
  }
}
