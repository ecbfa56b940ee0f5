import { type Call, type RefusedReply, type Reply, refused } from '../operations/index.ts'
import { type Digest, type Log, type Middleware, type Refusal, systemTime, type Time } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'
import { bypassStatus, forwardedStatus, hitStatus, NOT_CACHED_STATUS, requestDirectives } from './cache-headers.ts'
import { fingerprintMemo, type KeyUnder, scopeOf } from './cache-key.ts'
import type { Asked, Cacheable, CacheRequest } from './cache-request.ts'
import { cacheWriter } from './cache-writer.ts'
import { type CacheEntry, freshUntil } from './entry.ts'
import { join } from './join.ts'
import { leading } from './leader.ts'
import type { LocalTier } from './local-tier.ts'
import type { PurgeVersions } from './purge-versions.ts'
import { refusedBefore } from './refused-before.ts'
import { sharedTier } from './shared-tier.ts'
import { singleFlight } from './single-flight.ts'
import type { CacheStore } from './store.ts'
import { storeHealth } from './store-health.ts'
import { hit } from './stored-reply.ts'

export interface CompletionCacheOptions {
  /** In this process. */
  readonly local: LocalTier
  /** For all instances. */
  readonly shared: CacheStore
  readonly purgeVersions: PurgeVersions
  readonly digest: Digest
  /** A store that takes longer is a miss, in milliseconds. */
  readonly deadlineMs: number
  /** For what concerns all requests: when the store begins to fail, and when it works again. */
  readonly log: Log
  readonly time?: Time
  /** From 0 to 1: spreads over time what would else happen everywhere at once. */
  readonly random?: () => number
}

export type CompletionCache = Middleware<Cacheable, Asked, Call, Reply> & {
  /** What the cache would do for a request now: looks, claims nothing and starts nothing. */
  look(call: Call, context: Readonly<Cacheable>): Promise<Looked>
}

export interface Looked {
  readonly outcome: 'hit' | 'miss' | 'bypass'
  /** What it would refuse the request with: a refusal that is remembered, or that nothing is cached. */
  readonly refusal?: Refusal
}

interface Keyed {
  readonly rule: CacheRule
  readonly scope: string
  readonly keyUnder: KeyUnder
}

/** So many failures of the store one after the other are an outage, and not a slow moment. */
const OPENS_AFTER = 3
/** Stands for the purge version where it can't be told: such requests share calls, and nothing is stored under it. */
const UNKNOWN = '?'

/**
 * Answers from the cache, or from a call for the same that is under way, or asks and stores what ends whole.
 * Scope: the consumer, unless the route's rule says otherwise, so that nobody can get, or learn of, another's completions.
 * A store that is slow, down or damaged is a miss, never an error.
 *
 * Plain and streamed requests answer each other. A request's `Cache-Control` may say `no-cache`, `no-store`, `max-age` and
 * `only-if-cached`; the last is refused with 504 (`not_cached`) where there is nothing.
 */
export function completionCache(options: CompletionCacheOptions): CompletionCache {
  const { local, shared, purgeVersions, digest, deadlineMs, log, time = systemTime, random = Math.random } = options
  const keyOf = fingerprintMemo(digest)
  const refusals = refusedBefore(random)
  const health = storeHealth('cache store', { time, log, opensAfter: OPENS_AFTER })
  const tier = sharedTier({ store: shared, health, deadlineMs, time, random })
  const write = cacheWriter({ local, shared, health, deadlineMs, time })
  const lead = leading({ write, refusals, time, random })
  const calls = singleFlight({ local, tier, time })

  return Object.assign(completionCache, { look })

  function completionCache(
    call: Call,
    context: CacheRequest['context'],
    next: CacheRequest['next'],
  ): Reply | Promise<Reply> {
    const keyed = keyedOf(call, context)
    if ('bypass' in keyed) {
      context.tell({ cache: 'bypass' })
      context.step('cache', `bypass: ${keyed.bypass}`)
      const { onlyIfCached } = requestDirectives(call.headers)
      return onlyIfCached ? notCached() : next({ asked: true }).then(withStatus(bypassStatus(keyed.bypass)))
    }
    const { rule, scope, keyUnder } = keyed
    const tag = tagOf(context, scope)
    // Without a promise while it is known: every hit waits for it.
    return typeof tag === 'object'
      ? tag.then((told) => answer(call, context, next, { rule, keyUnder, tag: told }))
      : answer(call, context, next, { rule, keyUnder, tag })
  }

  async function look(call: Call, context: Readonly<Cacheable>): Promise<Looked> {
    const keyed = keyedOf(call, context)
    const { noCache, onlyIfCached, maxAgeMs } = requestDirectives(call.headers)
    const otherwise = onlyIfCached ? { refusal: NOT_CACHED } : {}
    if ('bypass' in keyed) return { outcome: 'bypass', ...otherwise }
    const { rule, scope, keyUnder } = keyed
    const tag = await tagOf(context, scope)
    const key = keyUnder(tag ?? UNKNOWN)
    const isWanted = (entry: CacheEntry | undefined) =>
      entry !== undefined && serves(entry, { rule, maxAgeMs, now: time.wallClock() })
    if (!noCache && isWanted(local.get(key))) return { outcome: 'hit' }
    const before = noCache || maxAgeMs !== undefined ? undefined : refusals.find(`${context.consumer.id} ${key}`)
    if (before !== undefined) return { outcome: 'hit', refusal: before.refusal }
    if (!noCache && tag !== undefined && isWanted((await tier.look(key, call))?.entry)) return { outcome: 'hit' }
    return { outcome: 'miss', ...otherwise }
  }

  function tagOf({ routed }: Pick<Cacheable, 'routed'>, scope: string): ReturnType<PurgeVersions['tag']> {
    return purgeVersions.tag(['all', `route:${routed.route}`, scope])
  }

  /** Under which key, by which rule and for whom; or why the cache is passed by. */
  function keyedOf(call: Call, { routed, consumer }: Readonly<Cacheable>): Keyed | { readonly bypass: string } {
    const { cache: rule, body } = routed
    if (rule === undefined) return { bypass: 'off' }
    if (!rule.sampled && call.operation.isSampled(body)) return { bypass: 'sampled' }
    const scope = scopeOf(rule, consumer)
    const keyUnder = keyOf(call, routed, scope)
    return keyUnder === undefined ? { bypass: 'no-key' } : { rule, scope, keyUnder }
  }

  function answer(
    call: Call,
    context: CacheRequest['context'],
    next: CacheRequest['next'],
    {
      rule,
      keyUnder,
      tag,
    }: { readonly rule: CacheRule; readonly keyUnder: KeyUnder; readonly tag: string | undefined },
  ): Reply | Promise<Reply> {
    const { noCache, noStore, onlyIfCached, maxAgeMs } = requestDirectives(call.headers)
    const key = keyUnder(tag ?? UNKNOWN)
    const isWanted = (entry: CacheEntry, now: number) => serves(entry, { rule, maxAgeMs, now })

    const known = noCache ? undefined : local.get(key)
    if (known !== undefined) {
      const now = time.wallClock()
      if (isWanted(known, now)) return hit(known, call, context, { rule, now })
    }
    const ownKey = `${context.consumer.id} ${key}`
    const before = noCache || maxAgeMs !== undefined ? undefined : refusals.find(ownKey)
    if (before !== undefined) {
      context.tell({ cache: 'hit' })
      context.step('cache', 'hit: a refusal')
      return refusedBy(before.refusal, hitStatus(before.ttl, 'refused'))
    }

    const request: CacheRequest = {
      call,
      context,
      next,
      key,
      rule,
      ownKey,
      seeks: tag !== undefined,
      keeps: tag !== undefined && !noStore,
      forwardedAs: noCache || maxAgeMs !== undefined ? 'request' : 'miss',
    }
    const isPlain = !noCache && !noStore && !onlyIfCached && maxAgeMs === undefined
    // An answer to a request that offers tools may be a call of one, which has an effect in the world each time.
    if (isPlain && (rule.tools || !call.operation.offersTools(context.routed.body))) return together(request)
    return apart(request, { looks: !noCache && request.seeks, onlyIfCached, isWanted })
  }

  async function together(request: CacheRequest): Promise<Reply> {
    const joined = await join(calls.of(request), request, lead, time)
    return joined === 'ask alone' ? alone(request) : joined
  }

  async function alone(request: CacheRequest): Promise<Reply> {
    const joined = await join(calls.alone(), request, lead, time)
    if (joined === 'ask alone') throw new Error('Nobody asked for a request that is alone')
    return joined
  }

  /** A request that says how it wants to be answered, or whose answer may act, takes no part in another's call. */
  async function apart(
    request: CacheRequest,
    {
      looks,
      onlyIfCached,
      isWanted,
    }: {
      readonly looks: boolean
      readonly onlyIfCached: boolean
      readonly isWanted: (entry: CacheEntry, now: number) => boolean
    },
  ): Promise<Reply> {
    const { call, context, next, key, rule, forwardedAs: fwd } = request
    const found = looks ? await tier.look(key, call) : undefined
    const now = time.wallClock()
    if (found !== undefined && isWanted(found.entry, now)) {
      local.set(key, found.entry)
      return hit(found.entry, call, context, { rule, now, answer: found.answer })
    }
    if (onlyIfCached) {
      context.step('cache', NOT_CACHED.code)
      return notCached()
    }
    if (request.keeps) return alone(request)
    // Nobody else is answered by this call, and nothing of it is kept.
    context.tell({ cache: 'miss' })
    context.step('cache', 'miss')
    return withStatus(forwardedStatus({ fwd }))(await next({ asked: true }))
  }
}

/** Whether an entry is fresh, and as young as the request wants it. */
function serves(
  entry: CacheEntry,
  { rule, maxAgeMs, now }: { readonly rule: CacheRule; readonly maxAgeMs: number | undefined; readonly now: number },
): boolean {
  return now < freshUntil(entry, rule) && (maxAgeMs === undefined || now - entry.storedAt <= maxAgeMs)
}

/** For who wants no cache: gives what is within leave to ask the model. */
export function noCache(): Middleware<{}, Asked, Call, Reply> {
  return function noCache(_call, _context, next) {
    return next({ asked: true })
  }
}

const NOT_CACHED: Refusal = {
  kind: 'refusal',
  code: 'not_cached',
  status: 504,
  message: "Nothing is cached for this request, and its 'Cache-Control: only-if-cached' asks for nothing else.",
}

function notCached(): RefusedReply {
  return refused(NOT_CACHED, { 'cache-status': NOT_CACHED_STATUS })
}

/** A refusal of the model's that is remembered. */
function refusedBy(refusal: Refusal, status: string): RefusedReply {
  return { ...refused(refusal, { 'cache-status': status }), source: 'cache' }
}

function withStatus(status: string): (reply: Reply) => Reply {
  return (reply) => ({ ...reply, headers: { ...reply.headers, 'cache-status': status } })
}
