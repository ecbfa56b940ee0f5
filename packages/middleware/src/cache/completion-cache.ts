import { type ChatAnswer, type ChatBody, type Digest, parseAnswer } from '../completion/index.ts'
import { type BaseContext, describeFault, type Middleware, withDeadline } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'
import { cacheKey } from './cache-key.ts'
import { bypassStatus, hitStatus, missStatus } from './cache-status.ts'
import type { CacheEntry, CacheStore } from './store.ts'

/** How long a write may go on after the caller was answered, in milliseconds. */
const WRITE_TIMEOUT_MS = 5_000

export interface CompletionCacheOptions {
  readonly store: CacheStore
  readonly digest: Digest
  /** A store that takes longer is a miss, in milliseconds. */
  readonly deadlineMs: number
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
}

/** What the rooms before must have settled. */
export interface Cacheable {
  readonly consumer: { readonly id: string }
  readonly routed: {
    readonly route: string
    readonly cache: CacheRule | undefined
    readonly body: ChatBody
    readonly target: { readonly identity: string }
  }
}

/**
 * Answers from the cache, or goes on and stores the answer if it is complete. Scope: the consumer, so that nobody can
 * get, or learn of, another's completions. A store that is slow, down or damaged is a miss, never an error.
 */
export function completionCache(options: CompletionCacheOptions): Middleware<Cacheable> {
  const { store, digest, deadlineMs, wallClock } = options

  return async function completionCache(_request, context, next) {
    const { routed, consumer, record } = context
    const { cache } = routed
    const off = whyNot(routed)
    const key = off === undefined ? keyOf(routed, consumer.id) : undefined
    if (cache === undefined || key === undefined) {
      record.cache = 'bypass'
      return withStatus(await next(), bypassStatus(off ?? 'no-key'))
    }

    const entry = await lookUp(key, context)
    const now = wallClock()
    // The route's rule may have become shorter since the entry was stored.
    const freshUntil = entry && Math.min(entry.expiresAt, entry.storedAt + cache.ttlMs)
    if (entry !== undefined && freshUntil !== undefined && now < freshUntil) {
      record.cache = 'hit'
      return replay(entry, now, freshUntil)
    }
    record.cache = 'miss'
    const response = await next()
    if (response.status !== 200) return withStatus(response, missStatus(false))

    const body = new Uint8Array(await response.arrayBuffer())
    // A clamped answer is not the one that this key stands for.
    const stored = !record.clamped && isStorable(body) && (await keep(key, body, cache.ttlMs, context))
    return withStatus(new Response(body, { status: 200, headers: response.headers }), missStatus(stored))
  }

  function keyOf({ route, target, body }: Cacheable['routed'], scope: string): string | undefined {
    try {
      return cacheKey({ scope, route, target: target.identity, body }, digest)
    } catch {
      return undefined
    }
  }

  async function lookUp(key: string, { log }: BaseContext): Promise<CacheEntry | undefined> {
    try {
      return await withDeadline(deadlineMs, (signal) => store.get(key, signal))
    } catch (error) {
      log('warn', 'cache lookup failed', describeFault(error))
      return undefined
    }
  }

  /** Waits for the write only up to the deadline; a slower one goes on after the caller was answered. */
  async function keep(key: string, body: Uint8Array, ttlMs: number, { log }: BaseContext): Promise<boolean> {
    const storedAt = wallClock()
    const entry = { body, storedAt, expiresAt: storedAt + ttlMs }
    const written = withDeadline(WRITE_TIMEOUT_MS, (signal) => store.set(key, entry, signal)).catch((error) => {
      log('warn', 'cache write failed', describeFault(error))
      return false
    })
    return withDeadline(deadlineMs, () => written).catch(() => {
      log('info', 'cache write is slow')
      return false
    })
  }
}

/** Why a request is not looked up, nor its answer stored. */
function whyNot({ cache, body }: Cacheable['routed']): string | undefined {
  if (cache === undefined) return 'off'
  if (body.stream === true) return 'stream'
  return !cache.sampled && body.temperature !== 0 ? 'sampled' : undefined
}

/** Whole answers only: every choice has ended by itself or at its length, and none was filtered or calls a tool. */
function isStorable(body: Uint8Array): boolean {
  const answer: ChatAnswer | undefined = parseAnswer(Buffer.from(body).toString('utf8'))
  return answer?.choices.every(({ finish_reason }) => finish_reason === 'stop' || finish_reason === 'length') ?? false
}

function replay(entry: CacheEntry, now: number, freshUntil: number): Response {
  const age = Math.max(0, Math.floor((now - entry.storedAt) / 1000))
  const ttl = Math.floor((freshUntil - now) / 1000)
  return new Response(Buffer.from(entry.body), {
    status: 200,
    headers: { 'content-type': 'application/json', age: String(age), 'cache-status': hitStatus(ttl) },
  })
}

function withStatus(response: Response, status: string): Response {
  response.headers.set('cache-status', status)
  return response
}
