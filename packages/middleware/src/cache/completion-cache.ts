import type { ChatBody, Digest } from '../operations/index.ts'
import {
  type BaseContext,
  type Log,
  type Middleware,
  type Refusal,
  type Refuse,
  systemTime,
  type Time,
} from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'
import { bypassStatus, forwardedStatus, hitStatus, NOT_CACHED_STATUS } from './cache-status.ts'
import { farSearch } from './claims/search.ts'
import { storeHealth } from './claims/store-health.ts'
import type { CacheEntry } from './entry.ts'
import { asking } from './flights/asking.ts'
import { board } from './flights/boarding.ts'
import { flights } from './flights/flights.ts'
import { freshUntil } from './freshness.ts'
import { hit } from './hit.ts'
import { keeper } from './keeper.ts'
import { cacheKey } from './key/cache-key.ts'
import { questionAliases } from './key/question-aliases.ts'
import { scopeOf } from './key/scope.ts'
import type { NearCache } from './near-cache.ts'
import type { Generations } from './purges/generations.ts'
import { refusedBefore } from './refused-before.ts'
import { requestDirectives } from './request-directives.ts'
import type { CacheStore } from './store.ts'
import type { Visit } from './visit.ts'

export interface CompletionCacheOptions {
  /** In this process. */
  readonly near: NearCache
  /** For all instances. */
  readonly far: CacheStore
  readonly generations: Generations
  readonly digest: Digest
  /** A store that takes longer is a miss, in milliseconds. */
  readonly deadlineMs: number
  /** For what concerns all requests: when the store begins to fail, and when it works again. */
  readonly log: Log
  readonly time?: Time
  /** From 0 to 1: spreads over time what would else happen everywhere at once. */
  readonly random?: () => number
}

/** What the rooms before must have settled. */
export interface Cacheable {
  readonly consumer: { readonly id: string; readonly plan: string }
  /** SHA-256 of the body as it came. */
  readonly bodyDigest: string
  readonly routed: {
    readonly route: string
    readonly cache: CacheRule | undefined
    /** What was done to the prompt, and in which version. */
    readonly transforms: string
    readonly body: ChatBody
    readonly target: { readonly identity: string }
  }
}

interface Asking {
  readonly rule: CacheRule
  readonly scope: string
  /** Of `questionDigest`. */
  readonly question: string
}

/**
 * Answers from the cache, or from a call for the same question that is under way, or asks and stores what ends whole.
 * Scope: the consumer, unless the route's rule says otherwise, so that nobody can get, or learn of, another's completions.
 * A store that is slow, down or damaged is a miss, never an error.
 *
 * Plain and streamed requests answer each other. A request's `Cache-Control` may say `no-cache`, `no-store`, `max-age` and
 * `only-if-cached`; the last is refused with 504 (`not_cached`) where there is nothing.
 */
export function completionCache(options: CompletionCacheOptions): Middleware<Cacheable, { readonly refuse: Refuse }> {
  const { near, far, generations, digest, deadlineMs, log, time = systemTime, random = Math.random } = options
  const digestOf = questionAliases()
  const refusals = refusedBefore(random)
  const health = storeHealth({ time, log })
  const search = farSearch({ store: far, health, deadlineMs, time, random })
  const ask = asking({ keep: keeper({ near, far, health, deadlineMs, time }), refusals, time, random })
  const departures = flights({ near, search, time })

  return async function completionCache(request, context, next) {
    const { routed, consumer, record } = context
    const { route, body } = routed
    const { noCache, noStore, onlyIfCached, maxAgeMs } = requestDirectives(request.headers)
    const asked = askedOf(context)
    if ('bypass' in asked) {
      record.cache = 'bypass'
      if (onlyIfCached) return withStatus(context.refuse(NOT_CACHED), NOT_CACHED_STATUS)
      return withStatus(await next({ refuse: context.refuse }), bypassStatus(asked.bypass))
    }
    const { rule, scope, question } = asked
    const generation = await generations.tag(['all', `route:${route}`, scope])
    const key = cacheKey({ scope, generation: generation ?? UNKNOWN, question }, digest)
    const visit: Visit = {
      request,
      context,
      next,
      key,
      rule,
      body,
      ownKey: `${consumer.id} ${key}`,
      asStream: body.stream === true,
      seeks: generation !== undefined,
      keeps: generation !== undefined && !noStore,
      forwardedAs: noCache || maxAgeMs !== undefined ? 'request' : 'miss',
    }
    const isWanted = (entry: CacheEntry) => willDo(entry, rule, maxAgeMs)

    const known = noCache ? undefined : near.get(key)
    if (known !== undefined && isWanted(known)) return hit(known, visit, time)
    const refused = noCache || maxAgeMs !== undefined ? undefined : refusals.find(visit.ownKey)
    if (refused !== undefined) return refuseAgain(refused.refusal, refused.ttl, context)

    const isPlain = !noCache && !noStore && !onlyIfCached && maxAgeMs === undefined
    if (isPlain && (rule.tools || !offersTools(body))) return fly(visit)

    const found = noCache || !visit.seeks ? undefined : await search.look(key)
    if (found !== undefined && isWanted(found)) {
      near.set(key, found)
      return hit(found, visit, time)
    }
    if (onlyIfCached) return withStatus(context.refuse(NOT_CACHED), NOT_CACHED_STATUS)
    return visit.keeps ? flyAlone(visit) : passOn(visit)
  }

  /** What is asked, under which rule and for whom; or why the cache is passed by. */
  function askedOf({ routed, consumer, bodyDigest }: Cacheable): Asking | { readonly bypass: string } {
    const { cache: rule, route, target, transforms, body } = routed
    if (rule === undefined) return { bypass: 'off' }
    if (!rule.sampled && body.temperature !== 0) return { bypass: 'sampled' }
    const scope = scopeOf(rule, consumer)
    const question = digestOf({ route, target: target.identity, transforms, body }, scope, bodyDigest)
    return question === undefined ? { bypass: 'no-key' } : { rule, scope, question }
  }

  function willDo(entry: CacheEntry, rule: CacheRule, maxAgeMs: number | undefined): boolean {
    const now = time.wallClock()
    return now < freshUntil(entry, rule) && (maxAgeMs === undefined || now - entry.storedAt <= maxAgeMs)
  }

  async function fly(visit: Visit): Promise<Response> {
    const boarded = await board(departures.of(visit), visit, ask, time)
    return boarded === 'again alone' ? flyAlone(visit) : boarded
  }

  async function flyAlone(visit: Visit): Promise<Response> {
    const boarded = await board(departures.alone(), visit, ask, time)
    if (boarded === 'again alone') throw new Error('Nobody asked for a request that is alone')
    return boarded
  }

  /** Nobody else is answered by this call, and nothing of it is kept. */
  async function passOn({ context, next, forwardedAs: fwd }: Visit): Promise<Response> {
    context.record.cache = 'miss'
    return withStatus(await next({ refuse: context.refuse }), forwardedStatus({ fwd }))
  }
}

/** Stands for the generation where it can't be told: such requests share calls, and nothing is stored under it. */
const UNKNOWN = '?'

/** An answer may then be a call of a tool, which has an effect in the world each time. */
function offersTools({ tools, functions }: ChatBody): boolean {
  return tools !== undefined || functions !== undefined
}

function refuseAgain(refusal: Refusal, ttl: number, { record, refuse }: BaseContext): Response {
  record.cache = 'hit'
  if (refusal.upstream !== undefined) record.upstream = refusal.upstream
  return withStatus(refuse(refusal), hitStatus(ttl, 'refused'))
}

const NOT_CACHED: Refusal = {
  code: 'not_cached',
  status: 504,
  message: "Nothing is cached for this request, and its 'Cache-Control: only-if-cached' asks for nothing else.",
}

function withStatus(response: Response, status: string): Response {
  response.headers.set('cache-status', status)
  return response
}
