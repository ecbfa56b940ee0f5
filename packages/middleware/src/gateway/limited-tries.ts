import { LRUCache } from 'lru-cache'
import { type Authenticated, type Caller, clientNetwork, type Scope } from '../auth/index.ts'
import type { LocalLimiter } from '../limits/index.ts'
import { isRefusal, type Middleware, type Refusal, type RefusalCode } from '../pipeline/index.ts'

/** Credentials that were let in here before. */
const MOST_KNOWN = 1_000
const FAILED: readonly RefusalCode[] = ['invalid_api_key', 'insufficient_scope']

/** Who sent nothing has tried nothing: of that, RFC 6750 names no error. */
function isTry({ code, headers }: Refusal): boolean {
  return FAILED.includes(code) && headers?.['www-authenticate']?.includes('error=') === true
}

/**
 * Bounds how often a client network may try credentials that don't let it in: a wrong secret for an id that there is, a key of another
 * scope, one that has expired. Beyond that it is refused with 429, whatever it tries, but for what was let in here before: a flood
 * shuts nobody out who is at work.
 *
 * @param authenticating lets in or refuses
 */
export function limitedTries<Needs extends object, Held extends Scope>(
  authenticating: Middleware<Needs, Authenticated<Held>>,
  guard: LocalLimiter,
): Middleware<Needs, Authenticated<Held>> {
  const known = new LRUCache<string, true>({ max: MOST_KNOWN })

  return async function limitedTries(request, context, next) {
    const network = clientNetwork(request.clientAddress)
    let isLetIn = false
    const reply = await authenticating(request, context, (added, other) => {
      isLetIn = true
      const id = idOf(added.consumer)
      if (!known.has(id)) {
        const room = guard.reserve(network)
        if ('retryAfterMs' in room) return Promise.resolve(tooManyTries(room.retryAfterMs))
        room.giveBack()
        known.set(id, true)
      }
      return next(added, other)
    })
    if (isLetIn || !isRefusal(reply) || !isTry(reply)) return reply
    const room = guard.reserve(network)
    if ('retryAfterMs' in room) return tooManyTries(room.retryAfterMs)
    room.charge()
    return reply
  }
}

function idOf({ id, key = '' }: Caller): string {
  return `${key} ${id}`
}

function tooManyTries(retryAfterMs: number): Refusal {
  return {
    kind: 'refusal',
    code: 'rate_limit_exceeded',
    status: 429,
    message: 'Too many requests with credentials that may not do this. Please try again later.',
    headers: { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1_000))) },
  }
}
