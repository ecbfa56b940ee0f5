import { hash } from 'node:crypto'
import { LRUCache } from 'lru-cache'
import { type Log, type Refusal, type Time, tooManyRequests } from '../../pipeline/index.ts'
import type { Issuer } from '../../policy/index.ts'
import { callerOf, isAccessToken, type KnownToken, type TokenPolicy } from './claims.ts'
import { type IssuerKey, type IssuerKeys, issuerKeys, type ReadDocument } from './issuer-keys.ts'
import { type JsonObject, own } from './json.ts'
import { principalClaims } from './principal.ts'
import { ALGORITHMS, readToken, type SentToken } from './token.ts'

/** What became of a token: a caller, or why it is none. One of no issuer in the policy may be meant for a proxy on the way. */
export type FoundToken = { readonly known: KnownToken } | { readonly refusal: Refusal; readonly isForeign: boolean }

/** Finds out whose a token is. The same token gives the same objects, for as long as it counts and the policy says the same of it. */
export interface TokenDirectory {
  /** At once where it was seen before. @param network of the client, which bad signatures are counted by until the caller is known */
  find(token: string, network: string, policy: TokenPolicy): FoundToken | Promise<FoundToken>
  /** The caller that the platform has let in, by its header. Whether that is believed is for who asks to know. */
  ofPrincipal(header: string, policy: TokenPolicy): FoundToken
}

/** One check of a signature, reserved before it is made. Exactly one of the two is called, once. */
interface Reservation {
  charge(): void
  giveBack(): void
}

export interface TokenDirectoryOptions {
  readonly read: ReadDocument
  /** Limits what checks of signatures that turn out to be wrong may cost, for each client network. */
  readonly guard: {
    reserve(
      network: string,
    ): Reservation | { readonly retryAfterMs: number; readonly settled: Promise<void> | undefined }
  }
  readonly time: Time
  readonly log: Log
}

interface Remembered {
  readonly found: { readonly known: KnownToken }
  readonly policy: TokenPolicy
  /** Milliseconds since 1970. */
  readonly until: number
  readonly key: IssuerKey | undefined
  readonly keys: IssuerKeys | undefined
}

/** By how much clocks may differ, in seconds. */
const TOLERANCE_S = 60
const MOST_TOKENS = 10_000
const MOST_ISSUERS = 64
/** For so long a platform's word is remembered: it says itself, with each request, whether its session still counts. */
const PRINCIPAL_MS = 5 * 60_000

const loadJose = () => import('./jose.ts')

/**
 * Checks tokens by their issuers' keys, and remembers those that are good by their digest, bounded in number, until they expire, their
 * issuer has their key no longer, or the policy says something else of issuers or groups.
 */
export function tokenDirectory({ read, guard, time, log }: TokenDirectoryOptions): TokenDirectory {
  const { wallClock } = time
  const remembered = new LRUCache<string, Remembered>({ max: MOST_TOKENS })
  /** The ids of callers by good tokens. */
  const letIn = new LRUCache<string, true>({ max: MOST_TOKENS })
  const checks = new Map<string, { readonly policy: TokenPolicy; readonly found: Promise<FoundToken> }>()
  const keysOf = new LRUCache<string, IssuerKeys>({ max: MOST_ISSUERS })

  function keysOfIssuer(issuer: Issuer): IssuerKeys {
    const place = JSON.stringify([issuer.keys, issuer.issuers])
    let keys = keysOf.get(place)
    if (keys === undefined) {
      keys = issuerKeys({ issuer, read, jose: loadJose, time, log })
      keysOf.set(place, keys)
    }
    return keys
  }

  function recall(digest: string, policy: TokenPolicy): Remembered['found'] | undefined {
    const kept = remembered.get(digest)
    if (kept === undefined || !saysTheSame(kept.policy, policy) || wallClock() >= kept.until) return undefined
    if (kept.keys !== undefined && kept.key !== undefined && !kept.keys.has(kept.key)) return undefined
    return kept.found
  }

  async function check(text: string, digest: string, network: string, policy: TokenPolicy): Promise<FoundToken> {
    const token = readToken(text)
    if (typeof token === 'string') return foreign(token)
    const issuer = issuerOf(token.claims, policy)
    if (typeof issuer === 'string') return foreign(issuer)
    const expiry = own(token.claims, 'exp')
    if (typeof expiry !== 'number') return refused('The token has no expiry (exp).')
    // Before its signature: a client that goes on with an old token costs no more than its reading.
    if (isOver(expiry)) return refused('The token has expired. Get a new one.')
    const keys = keysOfIssuer(issuer)
    const found = await keys.find(token)
    if ('retryAfterMs' in found) return { refusal: keysUnread(found.retryAfterMs), isForeign: false }
    if (found.length === 0) return refused('The token is signed by no key of its issuer.')

    const reserved = await reserve(guardedBy(network, token.claims, issuer, policy))
    if ('retryAfterMs' in reserved) return { refusal: tooManyRequests(reserved.retryAfterMs), isForeign: false }
    let checked: Checked
    try {
      checked = await verify(token, issuer, found)
    } catch (fault) {
      reserved.giveBack()
      throw fault
    }
    if (checked.isForged) reserved.charge()
    else reserved.giveBack()
    if ('fault' in checked) return refused(checked.fault)

    if (!isAccessToken(checked.claims, issuer)) return refused('What was sent is an ID token. Send an access token.')
    const known = callerOf(checked.claims, issuer, policy)
    if (typeof known === 'string') return refused(known)
    const { key } = checked
    const kept = { found: { known }, policy, until: (expiry + TOLERANCE_S) * 1_000, key, keys }
    remembered.set(digest, kept)
    letIn.set(known.caller.id, true)
    return kept.found
  }

  /**
   * By what checks are counted: by the network, or, of who was let in here before, by itself there. Its next token must not be refused
   * because others of the network send forged ones, who would have to know whose name to put in.
   */
  function guardedBy(network: string, claims: JsonObject, issuer: Issuer, policy: TokenPolicy): string {
    const claimed = callerOf(claims, issuer, policy)
    return typeof claimed === 'object' && letIn.has(claimed.caller.id) ? `${network} ${claimed.caller.id}` : network
  }

  function isOver(expiry: number): boolean {
    return wallClock() / 1_000 >= expiry + TOLERANCE_S
  }

  async function reserve(network: string): Promise<Reservation | { readonly retryAfterMs: number }> {
    for (;;) {
      const reserved = guard.reserve(network)
      if ('charge' in reserved || reserved.settled === undefined) return reserved
      await reserved.settled
    }
  }

  async function verify(token: SentToken, issuer: Issuer, keys: readonly IssuerKey[]): Promise<Checked> {
    const { errors, jwtVerify } = await loadJose()
    const rules = {
      algorithms: [...ALGORITHMS],
      issuer: [...issuer.issuers],
      audience: [...issuer.audiences],
      clockTolerance: TOLERANCE_S,
      currentDate: new Date(wallClock()),
      requiredClaims: ['exp'],
    }
    for (const key of keys) {
      try {
        const { payload } = await jwtVerify(token.text, key, rules)
        return { claims: payload, key, isForged: false }
      } catch (error) {
        if (error instanceof errors.JWSSignatureVerificationFailed) continue
        if (error instanceof errors.JWTExpired)
          return { fault: 'The token has expired. Get a new one.', isForged: false }
        if (error instanceof errors.JWTClaimValidationFailed) {
          const fault =
            error.claim === 'nbf'
              ? 'The token does not count yet (nbf).'
              : `The token's claim '${error.claim}' is wrong.`
          return { fault, isForged: false }
        }
        if (error instanceof errors.JOSEError) return { fault: 'The token can’t be read.', isForged: true }
        throw error
      }
    }
    return { fault: "The token's signature is wrong.", isForged: true }
  }

  return {
    find(token, network, policy) {
      const digest = hash('sha256', token, 'base64url')
      const known = recall(digest, policy)
      if (known !== undefined) return known
      const underWay = checks.get(digest)
      if (underWay !== undefined && saysTheSame(underWay.policy, policy)) return underWay.found
      const found = check(token, digest, network, policy).finally(() => checks.delete(digest))
      checks.set(digest, { policy, found })
      return found
    },
    ofPrincipal(header, policy) {
      const digest = `principal ${hash('sha256', header, 'base64url')}`
      const before = recall(digest, policy)
      if (before !== undefined) return before
      const claims = principalClaims(header)
      if (claims === undefined) return refused('What the platform says of the caller can’t be read.')
      const issuer = issuerOf(claims, policy)
      if (typeof issuer === 'string') return refused(issuer)
      const known = callerOf(claims, issuer, policy)
      if (typeof known === 'string') return refused(known)
      const found = { known }
      remembered.set(digest, { found, policy, until: wallClock() + PRINCIPAL_MS, key: undefined, keys: undefined })
      return found
    },
  }
}

type Checked =
  | { readonly claims: JsonObject; readonly key: IssuerKey; readonly isForged: false }
  | { readonly fault: string; readonly isForged: boolean }

/** Whether two policies say the same of tokens: what is equal in both is one object. */
function saysTheSame(a: TokenPolicy, b: TokenPolicy): boolean {
  return a.identity === b.identity && a.groups === b.groups
}

/** The issuer that the policy has for these claims; a text where it has none, which says why. */
function issuerOf(claims: JsonObject, { identity }: TokenPolicy): Issuer | string {
  const [iss, aud] = [own(claims, 'iss'), own(claims, 'aud')]
  const issuers = identity?.issuers.filter(({ issuers }) => issuers.includes(iss as string)) ?? []
  if (issuers.length === 0) return 'The token is of no issuer that may call (iss).'
  const audiences: readonly unknown[] = Array.isArray(aud) ? aud : [aud]
  const issuer = issuers.find((each) => audiences.some((audience) => each.audiences.includes(audience as string)))
  return issuer ?? 'The token is not for this gateway: its aud is no audience of its issuer in the policy.'
}

function refused(message: string): FoundToken {
  return { refusal: invalid(message), isForeign: false }
}

function foreign(message: string): FoundToken {
  return { refusal: invalid(message), isForeign: true }
}

function invalid(message: string): Refusal {
  const challenge = 'Bearer realm="tollgate", error="invalid_token"'
  return { kind: 'refusal', code: 'invalid_token', status: 401, message, headers: { 'www-authenticate': challenge } }
}

function keysUnread(retryAfterMs: number): Refusal {
  return {
    kind: 'refusal',
    code: 'issuer_unavailable',
    status: 503,
    message: "The token could not be checked, since its issuer's keys could not be read. Please try again.",
    headers: { 'retry-after': String(Math.ceil(retryAfterMs / 1_000)) },
  }
}
