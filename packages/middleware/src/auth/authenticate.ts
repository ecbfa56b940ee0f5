import {
  describeFault,
  isOutage,
  type Middleware,
  type Refusal,
  refusalOfEnded,
  unlessEnded,
} from '../pipeline/index.ts'
import type { Consumer } from './consumer.ts'
import { credentialFrom } from './credential.ts'
import { parseKey, sameDigest } from './key.ts'
import { type KeyDirectoryOptions, keyDirectory } from './key-directory.ts'

export interface AuthenticateOptions extends KeyDirectoryOptions {
  /** Milliseconds since 1970, for the expiry of keys. */
  readonly wallClock: () => number
}

/**
 * Lets a request in if it carries a valid API key, and adds its consumer. Reads headers only.
 * Refuses with 401 (`invalid_api_key`), with 429 when a network tries too many unknown keys, and with 503 when the
 * key can't be looked up: an unreachable store never lets anyone in. Throws what is no outage of the store.
 *
 * Stands behind `pinPolicy`, since a policy says who callers may be.
 *
 * @example
 * pipeline().use(pinPolicy(source)).use(authenticate({ store, guard, maxAgeMs: 30_000, deadlineMs: 2_000, now, wallClock: Date.now }))
 */
export function authenticate(
  options: AuthenticateOptions,
): Middleware<{ readonly policy: object }, { readonly consumer: Consumer }> {
  const find = keyDirectory(options)

  return async function authenticate(request, context, next) {
    const credential = credentialFrom(request.headers)
    if (credential === undefined) {
      return unauthorized("Missing API key. Send it as 'X-API-KEY', 'api-key' or 'Authorization: Bearer'.")
    }
    const presented = parseKey(credential)
    if (presented === undefined) return unauthorized('Invalid API key.', 'invalid_token')

    let found: Awaited<ReturnType<typeof find>> | 'ended'
    try {
      const finding = find(presented.publicId, request.clientAddress)
      found = finding instanceof Promise ? await unlessEnded(finding, request.signal) : finding
    } catch (error) {
      if (!isOutage(error)) throw error
      context.log('error', 'key lookup failed', describeFault(error))
      return lookupFailed()
    }
    if (found === 'ended') return refusalOfEnded(request.signal)
    if ('retryAfterMs' in found) return tooManyUnknownKeys(found.retryAfterMs)

    const { known } = found
    if (known === undefined || !sameDigest(known.key.digest, presented.digest)) {
      return unauthorized('Invalid API key.', 'invalid_token')
    }
    const { key, consumer } = known
    if (key.disabled || consumer.disabled) {
      return unauthorized('This API key is disabled.', 'invalid_token')
    }
    if (key.expiresAt !== undefined && options.wallClock() >= key.expiresAt) {
      return unauthorized('This API key has expired.', 'invalid_token')
    }
    context.tell({ consumer: consumer.id, plan: consumer.plan })
    return next({ consumer })
  }
}

/** RFC 6750, section 3: no error code where no credential was sent. */
function unauthorized(message: string, error?: 'invalid_token'): Refusal {
  const challenge = `Bearer realm="tollgate"${error === undefined ? '' : `, error="${error}"`}`
  return { kind: 'refusal', code: 'invalid_api_key', status: 401, message, headers: { 'www-authenticate': challenge } }
}

function tooManyUnknownKeys(retryAfterMs: number): Refusal {
  return {
    kind: 'refusal',
    code: 'rate_limit_exceeded',
    status: 429,
    message: 'Too many requests. Please try again later.',
    headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1000)) },
  }
}

function lookupFailed(): Refusal {
  return {
    kind: 'refusal',
    code: 'store_unavailable',
    status: 503,
    message: 'The API key could not be checked. Please try again.',
    headers: { 'retry-after': '1' },
  }
}
