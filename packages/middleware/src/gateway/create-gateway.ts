import {
  type Authenticated,
  authenticate,
  type ConsumerStore,
  keyDirectory,
  keyUses,
  protectedResource,
  tokenDirectory,
} from '../auth/index.ts'
import { completionCache, GENERATION_LIFE_MS, localTier, purgeVersions } from '../cache/index.ts'
import type { Check } from '../health/index.ts'
import { budget, countsMoney, limiter, localLimiter, modelLimits, noLimits, requestLimits } from '../limits/index.ts'
import { type Call, chat, embeddings, type Operation, type Reply, responses } from '../operations/index.ts'
import {
  digestWith,
  type FinishedRequest,
  type Handler,
  type Log,
  OperatorError,
  pipeline,
  systemTime,
} from '../pipeline/index.ts'
import {
  connectionCheck,
  dearestPrice,
  modelsBehind,
  POLICY_FILE,
  type Policy,
  type PolicySource,
  pinPolicy,
  routeOf,
  targetsFor,
  type WithPolicy,
} from '../policy/index.ts'
import type { Table } from '../storage/index.ts'
import { completions, modelList, type Surface } from '../surfaces/index.ts'
import type { TargetKind, TargetSettings } from '../targets/index.ts'
import {
  azureToken,
  connect,
  documentReader,
  fallback,
  probe,
  type RetryPolicy,
  type Routed,
  reachableModels,
  retryWithinBudget,
  rightsOf,
  route,
  upstream,
  weighted,
} from '../upstream/index.ts'
import { ledger, removeOld, rollUp, type UsageReader } from '../usage/index.ts'
import { dryRun, isDryRun } from './dry-run.ts'
import { limitedTries } from './limited-tries.ts'
import { limiterEvents } from './limiter-events.ts'
import { metricsPage } from './metrics-page.ts'
import { openUsage } from './open-usage.ts'
import { reachCounters } from './reach-counters.ts'
import { READS, readRate } from './read-rate.ts'
import { type Judged, shadow } from './shadow.ts'
import { openStores, type StoresOptions } from './stores.ts'
import { usageApi } from './usage-api.ts'

/** What is said of the policy's text by the app's own settings. */
export interface PolicyDocumentRules {
  /** The policy's name in the table of its revisions. */
  readonly name: string
  /** Whether a text can be used here. @throws PolicyError */
  check(text: string, source: string): void
}

const NO_DOCUMENT: PolicyDocumentRules = {
  name: POLICY_FILE,
  check() {
    throw new OperatorError('This app has a policy of its own, which no text takes the place of.')
  },
}

/** All durations are milliseconds. */
export interface GatewayOptions extends StoresOptions {
  /** By which policy requests are decided, or what makes it of the table that keeps the policy's revisions. */
  readonly policy: PolicySource | ((policies: Table) => PolicySource)
  /** For those who manage the policy over HTTP; without, that can't be done. */
  readonly policyDocument?: PolicyDocumentRules | undefined
  /** The kinds of target that the policy was resolved by: those that ship with Tollgate by default. */
  readonly targetKinds?: readonly TargetKind[] | undefined
  /** HMAC secret for cache keys and prompt hashes; plain SHA-256 without one. */
  readonly cacheSecret: string | undefined
  readonly maxBodyBytes: number
  /** The most output tokens, of each choice, that a request may ask for, and that it gets where it asks for none. */
  readonly maxOutputTokens: number
  readonly storeDeadlineMs: number
  /** A cache that takes longer is a miss. */
  readonly cacheDeadlineMs: number
  /** How long a connection to a model's service may take to come about. */
  readonly connectMs?: number | undefined
  readonly firstByteMs: number
  readonly totalMs: number
  readonly idleMs: number
  readonly streamTotalMs: number
  /** Whether failed calls are made again: within a retry budget by default, as each model's `retry` says. */
  readonly retry?: RetryPolicy | undefined
  /** Of a user-assigned managed identity; `undefined` for the system's. */
  readonly clientId: string | undefined
  /** Whether App Service's own authentication (EasyAuth) stands before the app: then its word of who calls is believed. */
  readonly trustEasyAuth?: boolean | undefined
  /** For what concerns all requests, and no single one. */
  readonly log: Log
}

/** The gateway of one process: its middleware is built once, and all surfaces go through it. */
export interface Gateway {
  /** The way of a surface's requests, to be put into a `trace`. */
  handler(surface: Surface): Handler
  /** The way of those who ask which models they may use. */
  readonly models: Handler
  /** The way of those who ask what holds for themselves, by any key of theirs, to be put into a `readEntry`. */
  readonly me: Handler
  /** The way of those who read what requests came to, by a key of scope `read`, to be put into a `readEntry`. */
  readonly usageApi: Handler
  /** Who signs callers in, for clients that ask before they call: to be put into a `readEntry`. */
  readonly protectedResource: Handler
  /** The way of those who manage, by a key of scope `read` or `admin`, to be put into a `manageEntry`. */
  readonly manageApi: Handler
  readonly consumers: ConsumerStore
  readonly policy: PolicySource
  /**
   * What it can't work without. The cache is not among it: without one, every request is a miss. A policy that was applied and can't be
   * used is: requests go by the one before.
   */
  readonly checks: Readonly<Record<'policy' | 'tables' | 'limits' | 'model', Check['run']>>
  /** Removes what has expired from the tables, and tells how much that was. */
  sweep(signal: AbortSignal): Promise<{
    readonly completions: number
    readonly generations: number
    readonly changes: number
    readonly shadows: number
  }>
  /** To be told of each request's end by the `trace` that it goes through: it is written down. */
  finished(request: FinishedRequest): void
  /** What all instances' requests came to. */
  readonly usage: UsageReader
  /** What all requests came to, for Prometheus, by a key of scope `read`: to be put into a `readEntry`. */
  readonly metrics: Handler
  /**
   * Sums up what was written down, hour by hour, and removes what the policy no longer keeps. Any number of instances may do so at
   * the same time.
   */
  rollUp(signal: AbortSignal): Promise<{ readonly written: number; readonly removed: number }>
  /** Writes down the last requests, and gives back what it holds of limits. To be called when the process ends. */
  close(): Promise<void>
}

/** What is given to a handler of those who read usage or metrics. */
export type Reading = WithPolicy & Authenticated<'read'>

/** What tells a gateway of each request's end. One that can't be had, since its settings are wrong, has failed the request already. */
export function tellingEnds(gateway: () => Gateway): (request: FinishedRequest) => void {
  return function finished(request) {
    let found: Gateway
    try {
      found = gateway()
    } catch {
      return
    }
    found.finished(request)
  }
}

/** How long a health check may take, in milliseconds. */
export const CHECK_MS = 3_000
/** Of usage, where there are no tables. */
const KEPT_IN_MEMORY = { detailMs: 3_600_000, hoursMs: 86_400_000 }
/** How long a revoked key may still work. */
const KEY_MAX_AGE_MS = 30_000
/** Well under the four minutes after which Azure's load balancer drops a silent connection, and most proxies' minute. */
const HEARTBEAT_MS = 15_000
/** Completions in each process: what was purged or replaced elsewhere is forgotten by and by. */
const LOCAL_TIER = { maxBytes: 64 * 1024 * 1024, maxAgeMs: 60_000 }
/** Lookups of made-up keys, and by themselves checks of forged tokens: a first 60 for each network and one a second from then on; twenty a second for all of those. */
const UNKNOWN_KEYS = {
  each: { capacity: 60, refill: 1, periodMs: 1_000 },
  total: { capacity: 600, refill: 20, periodMs: 1_000 },
}

/** Requests to manage whose credentials don't let them in: as lookups of made-up keys. */
const FAILED_TRIES = UNKNOWN_KEYS

/** What the own model of each route is asked for, to see that it is there. */
const PROBED: readonly (readonly [route: string, operation: Operation])[] = [
  ['generate', chat],
  ['chat', chat],
  ['embeddings', embeddings],
  ['responses', responses],
]

/** The targets of a model that requests go to which name none, and what they ask there. */
interface Probed {
  readonly targets: readonly TargetSettings[]
  readonly path: string
}

function probedModels(policy: Policy): readonly Probed[] {
  const asked = new Map<string, Probed>()
  for (const [route, { path }] of PROBED) {
    // The model that all routes have by default answers chat; whether it does more, only a policy can say.
    if (path !== chat.path && !policy.routes.has(route)) continue
    for (const name of modelsBehind(routeOf(policy, route).model, policy.virtualModels)) {
      const model = policy.models.get(name)
      if (model === undefined) continue
      asked.set(`${model.name} ${path}`, { targets: model.targets.map(({ settings }) => settings), path })
    }
  }
  return [...asked.values()]
}

/** Resolves with the first that resolves; where none does, rejects with what the first of them threw. */
async function anyOf(probes: readonly Promise<void>[]): Promise<void> {
  try {
    await Promise.any(probes)
  } catch (fault) {
    throw fault instanceof AggregateError ? fault.errors[0] : fault
  }
}

/** Dry runs of each consumer, and of all, in each process. */
const DRY_RUNS = {
  each: { capacity: 60, refill: 1, periodMs: 1_000 },
  total: { capacity: 600, refill: 60, periodMs: 1_000 },
}

/** What Prometheus is answered. It waits 10 s for it by default, and mostly asks each 15 s or more. */
const METRICS = { deadlineMs: 8_000, maxAgeMs: 5_000, maxBytes: 4 * 1024 * 1024 }

const now = () => performance.now()
const wallClock = () => Date.now()

/** The models that a caller's requests for a name may come to, and that no limit refuses each time: one on money, of one without a price. */
function askable(name: string, { policy, consumer }: Pick<Admitted, 'policy' | 'consumer'>): readonly string[] {
  if (consumer.grant?.routes?.length === 0) return []
  const rights = rightsOf(policy, consumer)
  return reachableModels(name, { policy, rights })
    .filter(({ name: model, targets }) => {
      const isPriced = dearestPrice(targetsFor(targets, rights)) !== undefined
      return isPriced || !countsMoney(policy, consumer, model)
    })
    .map(({ name: model }) => model)
}

/** Made by the first who asks for it: what most processes never meet is not loaded at their start. */
function later<T>(make: () => Promise<T>): () => Promise<T> {
  let made: Promise<T> | undefined
  return () => {
    made ??= make()
    return made
  }
}

/** What the call onion is given by the HTTP onion. */
type Admitted = WithPolicy & Authenticated<'call'> & { readonly admitted: true }

/**
 * Composes the gateway. The order of the middleware is written here and nowhere else: by which policy, who, how often;
 * read and decode; which model, how often that, seen before, for how much, ask.
 *
 * @example
 * const gateway = createGateway({ policy: fixedPolicy(policy), storage, log, … })
 * const entry = trace({ refuse: generate.refuse, handler: () => gateway.handler(generate) })
 */
const DAY_MS = 86_400_000
/** The tables are swept about as often. */
const SWEPT_MS = 600_000

export function createGateway(options: GatewayOptions): Gateway {
  const { maxBodyBytes, maxOutputTokens, storeDeadlineMs: deadlineMs, cacheDeadlineMs, log } = options
  const stores = openStores(options)
  const policy = typeof options.policy === 'function' ? options.policy(stores.policies) : options.policy
  const digest = digestWith(options.cacheSecret)
  const limits = limiter({
    store: stores.counters,
    deadlineMs,
    storeDown: () => policy.current().storeDown,
    events: limiterEvents(log),
  })
  const usageKept = () => (options.storage.kind === 'memory' ? KEPT_IN_MEMORY : policy.current().usage)
  const balancer = weighted({ time: systemTime, random: Math.random, log })
  const book = ledger({ table: stores.usage, log, targets: () => balancer.states() })
  const usage = openUsage({
    table: stores.usage,
    counters: stores.counters,
    consumers: stores.consumers,
    policy: () => ({ ...policy.current(), usage: usageKept() }),
    wallClock,
  })
  const purges = purgeVersions({ store: stores.generations, deadlineMs: cacheDeadlineMs, log })
  const egress = connectionCheck({ hosts: () => policy.current().trustedHosts ?? [] })
  const { connectMs } = options
  const transport = connect({
    token: azureToken(options.clientId),
    targetKinds: options.targetKinds,
    check: egress,
    connectMs,
  })

  const cache = completionCache({
    local: localTier(LOCAL_TIER),
    shared: stores.completions,
    purgeVersions: purges,
    digest,
    deadlineMs: cacheDeadlineMs,
    log,
  })

  const keys = keyDirectory({
    store: stores.consumers,
    guard: localLimiter({ ...UNKNOWN_KEYS, now }),
    maxAgeMs: KEY_MAX_AGE_MS,
    deadlineMs,
    now,
  })
  const tokens = tokenDirectory({
    read: documentReader({ check: egress, connectMs }),
    guard: localLimiter({ ...UNKNOWN_KEYS, now }),
    time: systemTime,
    log,
  })
  const uses = keyUses({ store: stores.consumers, deadlineMs, wallClock, log })
  const callers = { keys, tokens, trustEasyAuth: options.trustEasyAuth, wallClock, onUse: uses.noteUse }
  const known = pipeline()
    .use(pinPolicy(policy))
    .use(authenticate({ ...callers, scope: 'call' }))
  const reading = pipeline()
    .use(pinPolicy(policy))
    .use(authenticate({ ...callers, scope: 'read' }))
    .use(readRate(localLimiter({ ...READS, now })))
  const tries = localLimiter({ ...FAILED_TRIES, now })
  const { name: policyName, check } = options.policyDocument ?? NO_DOCUMENT
  const managing = later(async () => {
    const [{ ACTIONS }, { findAction, manageApi }] = await Promise.all([
      import('../manage/index.ts'),
      import('./manage-api.ts'),
    ])
    const asked = pipeline().use(pinPolicy(policy)).use(findAction(ACTIONS))
    const managed = manageApi({ ...stores, policyName, check, from: 'api', wallClock })
    return {
      looking: asked
        .use(limitedTries(authenticate({ ...callers, scope: ['read', 'admin'] }), tries))
        .use(readRate(localLimiter({ ...READS, now }), 'what is managed'))
        .handle(managed),
      changing: asked.use(limitedTries(authenticate({ ...callers, scope: 'admin' }), tries)).handle(managed),
    }
  })
  const anyone = pipeline()
    .use(pinPolicy(policy))
    .use(authenticate({ ...callers, scope: ['call', 'read', 'admin'] }))
    .use(readRate(localLimiter({ ...READS, now })))
  const telling = later(async () => {
    const { me } = await import('./me.ts')
    return anyone.handle(
      me({
        counters: stores.counters,
        table: stores.usage,
        usage,
        models: (asking) =>
          [...asking.policy.models.keys(), ...(asking.policy.virtualModels?.keys() ?? [])].filter(
            (name) => askable(name, asking).length > 0,
          ),
        wallClock,
      }),
    )
  })
  const admitted = known.use(requestLimits({ limiter: limits, wallClock }))

  const judged = shadow({ limiter: limits, maxOutputTokens, wallClock })
  const asked = pipeline<Admitted & Routed & Judged, Call, Reply>()
    .use(modelLimits({ limiter: limits, wallClock }))
    .use(cache)
    .use(judged.asking(budget({ limiter: limits, wallClock })))
    .handle(
      upstream({
        transport,
        balancer,
        retry: options.retry ?? retryWithinBudget({ time: systemTime, random: Math.random }),
        firstByteMs: options.firstByteMs,
        totalMs: options.totalMs,
        idleMs: options.idleMs,
        streamTotalMs: options.streamTotalMs,
      }),
    )
  const calls = pipeline<Admitted & Judged, Call, Reply>()
    .use(route({ maxOutputTokens }))
    .handle(fallback(asked, { totalMs: options.totalMs }))

  const dryRuns = localLimiter({ ...DRY_RUNS, now })

  function through(surface: Surface): Handler {
    const decoding = { surface, maxBodyBytes, maxOutputTokens, digest, heartbeatMs: HEARTBEAT_MS }
    const handler = admitted.handle(completions({ ...decoding, handler: judged.judging(calls) }))
    const dry = known.handle(dryRun({ limiter: limits, cache, transport, guard: dryRuns, wallClock, decoding }))
    return (request, context) => {
      // Beside the look at the key, so that the cache doesn't have to wait for it.
      purges.warm()
      return isDryRun(request) ? dry(request, context) : handler(request, context)
    }
  }

  const listed = modelList({ askable })
  const models = admitted.handle(listed)
  const dryModels = known.use(noLimits()).handle(listed)

  const handlers = new Map<Surface, Handler>()
  return {
    consumers: stores.consumers,
    policy,
    models: (request, context) => (isDryRun(request) ? dryModels(request, context) : models(request, context)),
    protectedResource: pipeline().use(pinPolicy(policy)).handle(protectedResource()),
    me: async (request, context) => (await telling())(request, context),
    usageApi: reading.handle(usageApi({ reader: usage, wallClock })),
    async manageApi(request, context) {
      const { looking, changing } = await managing()
      return request.method === 'GET' ? looking(request, context) : changing(request, context)
    },
    handler(surface) {
      const handler = handlers.get(surface) ?? through(surface)
      handlers.set(surface, handler)
      return handler
    },
    checks: {
      async policy() {
        await policy.refresh()
        policy.current()
        const refused = policy.refused()
        if (refused !== undefined) throw refused
      },
      tables: (signal) => stores.consumers.findConsumer('health', signal),
      limits: (signal) => reachCounters(stores.counters, limits, signal),
      async model(signal) {
        await policy.refresh()
        const models = probedModels(policy.current())
        const asking = (target: TargetSettings | undefined, path: string) =>
          probe(transport, target, { path, signal, timeoutMs: CHECK_MS })
        // None at all is a fault of its own.
        if (models.length === 0) await asking(undefined, chat.path)
        await Promise.all(models.map(({ targets, path }) => anyOf(targets.map((target) => asking(target, path)))))
      },
    },
    async sweep(signal) {
      const at = wallClock()
      const completions = await stores.sweepable?.sweep(at, signal)
      const purged = await stores.generations.sweep(at - GENERATION_LIFE_MS, signal)
      const { sweepAudit } = await import('../manage/index.ts')
      const changes = await sweepAudit(stores.audit, at, signal)
      // They are looked for in the whole table: once a day.
      const shadows = at % DAY_MS < SWEPT_MS ? await stores.shadows?.sweepShadows(at, signal) : 0
      return { completions: completions?.removed ?? 0, generations: purged.removed, changes, shadows: shadows ?? 0 }
    },
    finished: book.record,
    usage,
    metrics: reading.handle(metricsPage({ usage, ...METRICS, now })),
    async rollUp(signal) {
      await policy.refresh()
      const run = { table: stores.usage, now: wallClock(), signal, log }
      const written = await rollUp(run)
      return { written, removed: await removeOld({ ...run, kept: usageKept() }) }
    },
    async close() {
      await Promise.all([limits.close(), book.close(), uses.close()])
      stores.close()
    },
  }
}
