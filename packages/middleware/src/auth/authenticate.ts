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
import type { Caller } from './caller.ts'
import type { KeyRecord } from './consumer.ts'
import { credentialsFrom } from './credential.ts'
import { looksLikeKey, type ParsedKey, parseKey, sameDigest } from './key.ts'
import type { KeyDirectory, KnownKey } from './key-directory.ts'
import type { Scope } from './scope.ts'

export interface AuthenticateOptions<Needed extends Scope> {
  /** One for all ways into a process, so that a key is looked up once. */
  readonly keys: KeyDirectory
  /** What the key must be allowed to do: one of these. */
  readonly scope: Needed | readonly [Needed, ...Needed[]]
  /** Milliseconds since 1970, for the expiry of keys. */
  readonly wallClock: () => number
  /** Told of each key that let a request in. */
  readonly onUse?: ((key: KeyRecord) => void) | undefined
}

/** Who calls, by a key that may. */
export interface Authenticated<Held extends Scope> {
  readonly consumer: Caller
  /** Of those that were asked for, the first that it has. */
  readonly scope: Held
}

/**
 * Lets a request in if it carries a valid API key, and adds its consumer. Reads headers only. Where it carries several, all must
 * be the same consumer's, and one of the scope. Refuses with 401 (`invalid_api_key`), with 403 a key of another scope
 * (`insufficient_scope`), with 429 when a network tries too many unknown keys, and with 503 when the
 * key can't be looked up: an unreachable store never lets anyone in. Throws what is no outage of the store.
 *
 * Stands behind `pinPolicy`, since a policy says who callers may be.
 *
 * @example
 * pipeline().use(pinPolicy(source)).use(authenticate({ keys: keyDirectory({ … }), scope: 'call', wallClock: Date.now }))
 */
export function authenticate<Needed extends Scope>({
  keys: find,
  scope,
  wallClock,
  onUse,
}: AuthenticateOptions<Needed>): Middleware<{ readonly policy: object }, Authenticated<Needed>> {
  const wanted: readonly Needed[] = typeof scope === 'string' ? [scope] : scope
  const insufficient = insufficientScope(wanted[0] as Needed)

  /** A key that is good, whatever it may do. */
  async function valid(presented: ParsedKey, request: GatewayRequest, log: Log): Promise<KnownKey | Refusal> {
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
    if (key.expiresAt !== undefined && wallClock() >= key.expiresAt) {
      return unauthorized('This API key has expired.', 'invalid_token')
    }
    onUse?.(key)
    return known
  }

  async function callerOf(request: GatewayRequest, log: Log): Promise<Found<Needed> | Refusal> {
    const credentials = credentialsFrom(request.headers)
    if (credentials.length === 0) return MISSING
    // What is no key of ours may be meant for a proxy on the way.
    const keys = credentials.length === 1 ? credentials : credentials.filter(looksLikeKey)
    if (keys.length === 0 || keys.length > MOST_KEYS) return INVALID

    let found: Found<Needed> | undefined
    for (const key of keys) {
      const presented = parseKey(key)
      const known = presented === undefined ? INVALID : await valid(presented, request, log)
      if ('kind' in known) return known
      const { caller, key: record } = known
      if (found !== undefined && found.caller.id !== caller.id) return DIFFERENT
      const held = wanted.find((each) => record.scopes.includes(each))
      // Of several keys, the first that may.
      if (found?.scope === undefined)
        found = { caller: held === undefined ? (found?.caller ?? caller) : caller, scope: held }
    }
    return found ?? MISSING
  }

  return async function authenticate(request, context, next) {
    const found = await callerOf(request, context.log)
    if ('kind' in found) {
      context.step('key', found.code)
      return found
    }
    const { caller, scope: held } = found
    context.tell({ consumer: caller.id, plan: caller.plan })
    context.step('key', held === undefined ? insufficient.code : 'known')
    return held === undefined ? insufficient : next({ consumer: caller, scope: held })
  }
}

interface Found<Needed extends Scope> {
  readonly caller: Caller
  /** What one of its keys may, of what is asked for. */
  readonly scope: Needed | undefined
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

const NEEDED: Readonly<Record<Scope, string>> = {
  call: "This API key may not ask models: it is not of scope 'call'. Use a key that was made without --scope.",
  read: "This API key may not see usage and metrics: it is not of scope 'read'. Use a key that was made with --scope read.",
  admin: "This API key may change nothing: it is not of scope 'admin'. Use a key that was made with --scope admin.",
}

/** RFC 6750, section 3.1. */
function insufficientScope(scope: Scope): Refusal {
  const challenge = `Bearer realm="tollgate", error="insufficient_scope", scope="${scope}"`
  const headers = { 'www-authenticate': challenge }
  return { kind: 'refusal', code: 'insufficient_scope', status: 403, message: NEEDED[scope], headers }
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
