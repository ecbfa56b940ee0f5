import { type Authenticated, clientNetwork, type Scope } from '../auth/index.ts'
import type { LocalLimiter } from '../limits/index.ts'
import { isRefusal, type Middleware, type Refusal, type RefusalCode, tooManyRequests } from '../pipeline/index.ts'

const TOO_MANY_TRIES = {
  message: 'Too many requests with credentials that may not do this. Please try again later.',
}

const FAILED: readonly RefusalCode[] = ['invalid_api_key', 'insufficient_scope']

/** Who sent nothing has tried nothing: of that, RFC 6750 names no error. */
function isTry({ code, headers }: Refusal): boolean {
  return FAILED.includes(code) && headers?.['www-authenticate']?.includes('error=') === true
}

/**
 * Bounds how often a client network may try credentials that don't let it in: a wrong secret for an id that there is, a key of another
 * scope, one that has expired. Beyond that it is refused with 429. What lets in is let in all the same: a key has too many bits to be
 * guessed, so it is its owner's, who must not be shut out by others of the same network, least of all while they attack.
 *
 * @param authenticating lets in or refuses
 */
export function limitedTries<Needs extends object, Held extends Scope>(
  authenticating: Middleware<Needs, Authenticated<Held>>,
  guard: LocalLimiter,
): Middleware<Needs, Authenticated<Held>> {
  return async function limitedTries(request, context, next) {
    let isLetIn = false
    const reply = await authenticating(request, context, (added, other) => {
      isLetIn = true
      return next(added, other)
    })
    if (isLetIn || !isRefusal(reply) || !isTry(reply)) return reply
    const room = guard.reserve(clientNetwork(request.clientAddress))
    if ('retryAfterMs' in room) return tooManyRequests(room.retryAfterMs, TOO_MANY_TRIES)
    room.charge()
    return reply
  }
}
