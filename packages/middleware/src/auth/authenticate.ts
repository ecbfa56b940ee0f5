import {
  describeFault,
  type GatewayRequest,
  isOutage,
  type Log,
  type Middleware,
  type Refusal,
  refusalOfEnded,
  tooManyRequests,
  unlessEnded,
} from '../pipeline/index.ts'
import { type Group, type Issuer, listText, MANAGING_ROLES } from '../policy/index.ts'
import type { Caller } from './caller.ts'
import { clientNetwork } from './client-network.ts'
import type { KeyRecord } from './consumer.ts'
import { credentialsFrom, tokensFrom } from './credential.ts'
import { looksLikeKey, type ParsedKey, parseKey, sameDigest } from './key.ts'
import type { KeyDirectory, KnownKey } from './key-directory.ts'
import { METADATA_PATH } from './protected-resource.ts'
import type { Scope } from './scope.ts'
import {
  type FoundToken,
  type KnownToken,
  looksLikeToken,
  PRINCIPAL_HEADER,
  type TokenDirectory,
  type TokenPolicy,
} from './tokens/index.ts'

export interface AuthenticateOptions<Needed extends Scope> {
  /** One for all ways into a process, so that a key is looked up once. */
  readonly keys: KeyDirectory
  /** The same of tokens. Left out: keys alone let callers in, whatever the policy says of issuers. */
  readonly tokens?: TokenDirectory | undefined
  /** Whether App Service's own authentication stands before the app, so that its word of who calls can be believed. */
  readonly trustEasyAuth?: boolean | undefined
  /** What the key or token must be allowed to do: one of these. */
  readonly scope: Needed | readonly [Needed, ...Needed[]]
  /** Milliseconds since 1970, for the expiry of keys. */
  readonly wallClock: () => number
  /** Told of each key that let a request in. */
  readonly onUse?: ((key: KeyRecord) => void) | undefined
}

/** As much of the policy as says who may call. */
export interface Admitting extends TokenPolicy {
  readonly groups?: readonly Pick<Group, 'name' | 'claim' | 'required'>[]
}

/** Who calls, by a key or token that may. */
export interface Authenticated<Held extends Scope> {
  readonly consumer: Caller
  /** Of those that were asked for, the first that it has. */
  readonly scope: Held
}

/**
 * Lets a request in if it carries a valid API key, or a token of an issuer in the policy, and adds its consumer. Reads headers only.
 * Where it carries several, all must be the same consumer's, and one of the scope. Refuses with 401 (`invalid_api_key`,
 * `invalid_token`), with 403 a key or token of another scope (`insufficient_scope`) and a caller without a group that the policy
 * requires (`group_required`), with 429 when a network tries too many unknown keys or forged tokens, and with 503 when the key can't
 * be looked up or the token's issuer not be read: an unreachable store never lets anyone in. Throws what is no outage of the store.
 *
 * Stands behind `pinPolicy`, since a policy says who callers may be.
 *
 * @example
 * pipeline().use(pinPolicy(source)).use(authenticate({ keys: keyDirectory({ … }), scope: 'call', wallClock: Date.now }))
 */
export function authenticate<Needed extends Scope>({
  keys: find,
  tokens,
  trustEasyAuth = false,
  scope,
  wallClock,
  onUse,
}: AuthenticateOptions<Needed>): Middleware<{ readonly policy: Admitting }, Authenticated<Needed>> {
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
    if ('retryAfterMs' in found) return tooManyRequests(found.retryAfterMs)

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

  /** What a token comes to; one that is meant for a proxy on the way is no refusal where there is something else. */
  async function validToken(
    token: string,
    { clientAddress, signal }: GatewayRequest,
    policy: Admitting,
    directory: TokenDirectory,
  ): Promise<FoundToken> {
    const finding = directory.find(token, clientNetwork(clientAddress), policy)
    const found = finding instanceof Promise ? await unlessEnded(finding, signal) : finding
    return found === 'ended' ? { refusal: refusalOfEnded(signal), isForeign: false } : found
  }

  /** What the request carries beside keys, by a token or by the platform's word; `undefined` where that is nothing. */
  async function callersByToken(
    sent: readonly string[],
    request: GatewayRequest,
    policy: Admitting,
    hasKeys: boolean,
  ): Promise<readonly Held<Needed>[] | Refusal> {
    if (tokens === undefined) return NONE
    const found: FoundToken[] = []
    if (sent.length > 1) return SEVERAL_TOKENS
    for (const token of sent) found.push(await validToken(token, request, policy, tokens))
    const principal = trustEasyAuth ? request.headers.get(PRINCIPAL_HEADER) : null
    if (principal !== null && sent.length === 0 && isOfAnotherSite(request)) return ANOTHER_SITE
    if (principal !== null) found.push(tokens.ofPrincipal(principal, policy))
    const held: Held<Needed>[] = []
    for (const each of found) {
      if ('known' in each) held.push(heldByToken(each.known, wanted, policy))
      else if (!each.isForeign || (!hasKeys && principal === null)) return each.refusal
    }
    return held
  }

  async function callerOf(request: GatewayRequest, policy: Admitting, log: Log): Promise<Held<Needed> | Refusal> {
    const credentials = credentialsFrom(request.headers)
    if (credentials === undefined) return TOO_MANY
    const takesTokens = tokens !== undefined && policy.identity !== undefined
    if (credentials.length === 0 && !(takesTokens && trustEasyAuth)) return MISSING
    const sent = takesTokens && credentials.some(looksLikeToken) ? tokensFrom(request.headers) : NONE
    const others = sent.length === 0 ? credentials : credentials.filter((each) => !sent.includes(each))
    // What is no key of ours may be meant for a proxy on the way.
    const keys = credentials.length === 1 ? others : others.filter(looksLikeKey)
    if (keys.length > MOST_KEYS) return INVALID

    let found: Held<Needed> | undefined
    if (takesTokens && (sent.length > 0 || trustEasyAuth)) {
      const held = await callersByToken(sent, request, policy, keys.length > 0)
      if ('kind' in held) return held
      for (const each of held) {
        if (found !== undefined && found.caller.id !== each.caller.id) return DIFFERENT
        if (found?.refusal !== undefined || found === undefined) found = each
      }
    }
    for (const key of keys) {
      const presented = parseKey(key)
      const known = presented === undefined ? INVALID : await valid(presented, request, log)
      if ('kind' in known) return known
      const { caller, key: record } = known
      if (found !== undefined && found.caller.id !== caller.id) return DIFFERENT
      const held = wanted.find((each) => record.scopes.includes(each))
      // Of several keys, the first that may.
      if (found === undefined || (found.refusal !== undefined && held !== undefined)) {
        found = held === undefined ? { caller, refusal: insufficient } : heldByKey(caller, held, policy)
      }
    }
    return found ?? (credentials.length === 0 ? MISSING : INVALID)
  }

  return async function authenticate(request, context, next) {
    const found = await callerOf(request, context.policy, context.log)
    if ('kind' in found) {
      context.step('key', found.code)
      return challenged(found, request, context.policy)
    }
    const { caller } = found
    context.tell(caller.plan === '' ? { consumer: caller.id } : { consumer: caller.id, plan: caller.plan })
    context.step('key', found.refusal?.code ?? 'known')
    if (found.refusal !== undefined) return challenged(found.refusal, request, context.policy)
    return next({ consumer: caller, scope: found.scope })
  }
}

/** Who was found, and either what it may, of what is asked for, or why it may not. */
type Held<Needed extends Scope> =
  | { readonly caller: Caller; readonly scope: Needed; readonly refusal?: undefined }
  | { readonly caller: Caller; readonly scope?: undefined; readonly refusal: Refusal }

const NONE: readonly never[] = []

/**
 * Whether a page of another site makes the browser ask: the browser says so itself (`Sec-Fetch-Site`), and sends the cookie along by which
 * the platform knows the caller, who wants nothing of it. What only looks can't be read by such a page.
 */
function isOfAnotherSite({ method, headers }: GatewayRequest): boolean {
  const site = headers.get('sec-fetch-site')
  return method !== 'GET' && method !== 'HEAD' && site !== null && site !== 'same-origin' && site !== 'none'
}

function heldByKey<Needed extends Scope>(caller: Caller, scope: Needed, policy: Admitting): Held<Needed> {
  const missing = scope === 'call' ? missingGroup(caller, policy) : undefined
  if (missing === undefined) return { caller, scope }
  return {
    caller,
    refusal: groupRequired(
      `Each caller must be in the group '${missing.name}', and this key is not. It is put in with --group ${missing.name}=<value>.`,
    ),
  }
}

function heldByToken<Needed extends Scope>(
  { caller, scopes, issuer, unclear }: KnownToken,
  wanted: readonly Needed[],
  policy: Admitting,
): Held<Needed> {
  const scope = wanted.find((each) => scopes.includes(each))
  if (scope === undefined) return { caller, refusal: rolesMissing(wanted[0] as Needed, issuer) }
  if (scope !== 'call') return { caller, scope }
  if (unclear !== undefined) return { caller, refusal: groupRequired(unclear) }
  const missing = missingGroup(caller, policy)
  if (missing === undefined) return { caller, scope }
  const claim = missing.claim === undefined ? '' : `: it has no claim '${missing.claim}'`
  return {
    caller,
    refusal: groupRequired(`Each caller must be in the group '${missing.name}', and the token says of none${claim}.`),
  }
}

function missingGroup({ groups }: Caller, policy: Admitting) {
  return policy.groups?.find(({ name, required }) => required && !(groups !== undefined && Object.hasOwn(groups, name)))
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
const TOO_MANY = unauthorized('The request carries more credentials than are read. Send one.', 'invalid_token')
const ANOTHER_SITE = unauthorized(
  'A page of another site asks by the session of who looks at it (Sec-Fetch-Site). Send a token or a key.',
  'invalid_token',
)
const SEVERAL_TOKENS = unauthorized('The request carries several tokens. Send one.', 'invalid_token')

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

/** What a token of this issuer lacks. */
function rolesMissing(scope: Scope, { name, roles, rolesClaim, manages }: Issuer): Refusal {
  const refusal = insufficientScope(scope)
  const giving =
    scope === 'call'
      ? roles.map(({ role }) => role)
      : manages
        ? [...(scope === 'read' ? [MANAGING_ROLES.read] : []), MANAGING_ROLES.admin]
        : []
  const fix =
    giving.length === 0
      ? `The policy gives none of the issuer '${name}' a role for that.`
      : `Have one of these assigned, which the token tells in '${rolesClaim}': ${listText(giving, 'or')}.`
  return { ...refusal, message: `The token has no role that gives the scope '${scope}'. ${fix}` }
}

function groupRequired(message: string): Refusal {
  return { kind: 'refusal', code: 'group_required', status: 403, message }
}

/** The same refusal, telling where clients learn who signs callers in (RFC 9728, section 5.1), where tokens let them in. */
function challenged(refusal: Refusal, { url }: GatewayRequest, { identity }: Admitting): Refusal {
  const challenge = refusal.headers?.['www-authenticate']
  if (challenge === undefined || identity === undefined) return refusal
  const metadata = `${challenge}, resource_metadata="${url.origin}${METADATA_PATH}"`
  return { ...refusal, headers: { ...refusal.headers, 'www-authenticate': metadata } }
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
