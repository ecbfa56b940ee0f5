import {
  describeFault,
  type GatewayRequest,
  isOutage,
  type Log,
  type Middleware,
  type Refusal,
  refusalOfEnded,
  unlessEnded,
} from '../pipeline/index.ts'
import type { Consumer } from './consumer.ts'
import { credentialsFrom } from './credential.ts'
import { looksLikeKey, type ParsedKey, parseKey, sameDigest } from './key.ts'
import { type KeyDirectoryOptions, keyDirectory } from './key-directory.ts'

export interface AuthenticateOptions extends KeyDirectoryOptions {
  /** Milliseconds since 1970, for the expiry of keys. */
  readonly wallClock: () => number
}

/**
 * Lets a request in if it carries a valid API key, and adds its consumer. Reads headers only. Where it carries several, all must
 * be the same consumer's. Refuses with 401 (`invalid_api_key`), with 429 when a network tries too many unknown keys, and with 503 when the
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

  /** Whose a key is. */
  async function owner(presented: ParsedKey, request: GatewayRequest, log: Log): Promise<Consumer | Refusal> {
    let found: Awaited<ReturnType<typeof find>> | 'ended'
    try {
      const finding = find(presented.publicId, request.clientAddress)
      found = finding instanceof Promise ? await unlessEnded(finding, request.signal) : finding
    } catch (error) {
      if (!isOutage(error)) throw error
      log('error', 'key lookup failed', describeFault(error))
      return lookupFailed()
    }
    if (found === 'ended') return refusalOfEnded(request.signal)
    if ('retryAfterMs' in found) return tooManyUnknownKeys(found.retryAfterMs)

    const { known } = found
    if (known === undefined || !sameDigest(known.key.digest, presented.digest)) return INVALID
    const { key, consumer } = known
    if (key.disabled || consumer.disabled) return unauthorized('This API key is disabled.', 'invalid_token')
    if (key.expiresAt !== undefined && options.wallClock() >= key.expiresAt) {
      return unauthorized('This API key has expired.', 'invalid_token')
    }
    return consumer
  }

  async function callerOf(request: GatewayRequest, log: Log): Promise<Consumer | Refusal> {
    const credentials = credentialsFrom(request.headers)
    if (credentials.length === 0) return MISSING
    // What is no key of ours may be meant for a proxy on the way.
    const keys = credentials.length === 1 ? credentials : credentials.filter(looksLikeKey)
    if (keys.length === 0 || keys.length > MOST_KEYS) return INVALID

    let consumer: Consumer | undefined
    for (const key of keys) {
      const presented = parseKey(key)
      const found = presented === undefined ? INVALID : await owner(presented, request, log)
      if ('kind' in found) return found
      if (consumer !== undefined && consumer.id !== found.id) return DIFFERENT
      consumer = found
    }
    return consumer ?? MISSING
  }

  return async function authenticate(request, context, next) {
    const consumer = await callerOf(request, context.log)
    if ('kind' in consumer) {
      context.step('key', consumer.code)
      return consumer
    }
    context.tell({ consumer: consumer.id, plan: consumer.plan })
    context.step('key', 'known')
    return next({ consumer })
  }
}

/** There are four headers for one; each key costs a lookup. */
const MOST_KEYS = 4

/** RFC 6750, section 3: no error code where no credential was sent. */
function unauthorized(message: string, error?: 'invalid_token'): Refusal {
  const challenge = `Bearer realm="tollgate"${error === undefined ? '' : `, error="${error}"`}`
  return { kind: 'refusal', code: 'invalid_api_key', status: 401, message, headers: { 'www-authenticate': challenge } }
}

const MISSING = unauthorized(
  "Missing API key. Send it as 'Authorization: Bearer', 'api-key', 'X-API-KEY' or 'Ocp-Apim-Subscription-Key'.",
)
const INVALID = unauthorized('Invalid API key.', 'invalid_token')
const DIFFERENT = unauthorized('The request carries keys of different consumers. Send one.', 'invalid_token')

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
