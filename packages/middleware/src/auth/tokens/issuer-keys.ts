import { describeFault, type Log, OperatorError, type Time, withDeadline } from '../../pipeline/index.ts'
import type { Issuer } from '../../policy/index.ts'
import type * as Jose from './jose.ts'
import { isObject, type JsonObject, jsonObject, own } from './json.ts'
import { ALGORITHMS, type Algorithm, type SentToken } from './token.ts'

/*
 * The keys that an issuer signs by: read when the first token comes, again in the background, and kept while the issuer can't be
 * read, so that its outage refuses no caller whose key was known.
 */

/** Reads a document of an issuer's. Rejects for every answer but a plain 200 within its bounds. */
export type ReadDocument = (url: string, signal: AbortSignal) => Promise<string>

/** A key by which a token can be checked. The same object for as long as the issuer has it. */
export type IssuerKey = Jose.JWK

/** The keys could not be read, and whether this one is among them is not known. */
export interface KeysUnread {
  /** Milliseconds until they may be looked for again. */
  readonly retryAfterMs: number
}

export interface IssuerKeys {
  /** The keys that may have signed such a token: none where the issuer has no such key. Waits a moment for one that is not known. */
  find(token: Pick<SentToken, 'keyId' | 'algorithm'>): readonly IssuerKey[] | Promise<readonly IssuerKey[] | KeysUnread>
  /** Whether the issuer still has this key, as far as is known. */
  has(key: IssuerKey): boolean
}

export interface IssuerKeysOptions {
  readonly issuer: Pick<Issuer, 'name' | 'issuers' | 'keys' | 'tenant'>
  readonly read: ReadDocument
  readonly jose: () => Promise<Pick<typeof Jose, 'importJWK'>>
  readonly time: Time
  readonly log: Log
}

/** Keys that are older are read anew, while those that are known count. */
const FRESH_MS = 10 * 60_000
/** For so long keys count while the issuer can't be read. */
const KEPT_MS = 24 * 60 * 60_000
/** From one look at the keys to the next: two a minute at most, and what was changed is seen within one. */
const COOL_MS = 35_000
/** The same while there are none: an issuer that comes back is not to be waited for. */
const COOL_EMPTY_MS = 5_000
/** A look takes no longer, whoever waits for it. */
const LOOK_MS = 10_000
/** A request waits no longer for a look. */
const WAIT_MS = 3_000
/** Requests that wait for one look. */
const MOST_WAITING = 1_000

const MOST_KEYS = 100
const LONGEST_KEY_ID = 256
/** Of several keys of one name each is tried. */
const MOST_TRIED = 4

interface KeySet {
  readonly keys: ReadonlySet<IssuerKey>
  /** Monotonic milliseconds, from before they were asked for. */
  readonly readAt: number
}

export function issuerKeys({ issuer, read, jose, time, log }: IssuerKeysOptions): IssuerKeys {
  const { now } = time
  let set: KeySet | undefined
  let jwks = 'jwks' in issuer.keys ? issuer.keys.jwks : undefined
  let looking: Promise<void> | undefined
  let waiting = 0
  let last: { readonly at: number; failed: boolean } | undefined

  function present(): KeySet | undefined {
    return set !== undefined && now() - set.readAt < KEPT_MS ? set : undefined
  }

  function untilNextLook(): number {
    if (last === undefined) return 0
    return Math.max(0, last.at + (present() === undefined ? COOL_EMPTY_MS : COOL_MS) - now())
  }

  /** The look that is under way, or a new one; `undefined` where the last was a moment ago. */
  function look(): Promise<void> | undefined {
    if (looking !== undefined) return looking
    if (untilNextLook() > 0) return undefined
    const attempt = { at: now(), failed: false }
    last = attempt
    looking = withDeadline(LOOK_MS, (signal) => readKeys(signal), time)
      .then((keys) => {
        set = { keys, readAt: attempt.at }
      })
      .catch((error) => {
        attempt.failed = true
        // It may have moved.
        if ('discovery' in issuer.keys) jwks = undefined
        log('warn', 'issuer keys not read', {
          issuer: issuer.name,
          kept: present() !== undefined,
          ...describeFault(error),
        })
      })
      .finally(() => {
        looking = undefined
      })
    return looking
  }

  async function readKeys(signal: AbortSignal): Promise<ReadonlySet<IssuerKey>> {
    jwks ??= await discovered(signal)
    const document = jsonObject(await read(jwks, signal))
    return usableKeys(document, issuer.tenant, set?.keys ?? new Set(), await jose())
  }

  async function discovered(signal: AbortSignal): Promise<string> {
    if (!('discovery' in issuer.keys)) throw new Error('Its keys have an address of their own')
    const document = jsonObject(await read(issuer.keys.discovery, signal))
    if (document === undefined) throw new OperatorError("The issuer's discovery document is no JSON object.")
    const [said, uri] = [own(document, 'issuer'), own(document, 'jwks_uri')]
    if (typeof said !== 'string' || !issuer.issuers.includes(said)) {
      throw new OperatorError(
        "The issuer's discovery document is another issuer's: write oidc.issuer as its 'issuer' says.",
      )
    }
    if (typeof uri !== 'string') throw new OperatorError("The issuer's discovery document has no jwks_uri.")
    return uri
  }

  function matching({ keyId, algorithm }: Pick<SentToken, 'keyId' | 'algorithm'>): readonly IssuerKey[] {
    const found: IssuerKey[] = []
    for (const key of present()?.keys ?? []) {
      if (fits(key, algorithm) && (keyId === undefined || key.kid === keyId)) found.push(key)
    }
    // A token that names no key is of the only one.
    return found.length > (keyId === undefined ? 1 : MOST_TRIED) ? [] : found
  }

  /** Reads the keys anew where they are old, while they count. */
  function renew(): void {
    if (set !== undefined && now() - set.readAt > FRESH_MS) void look()
  }

  async function findAnew(token: Pick<SentToken, 'keyId' | 'algorithm'>): Promise<readonly IssuerKey[] | KeysUnread> {
    const isWaitedFor = waiting < MOST_WAITING
    const underWay = look()
    if (underWay !== undefined && isWaitedFor) {
      waiting += 1
      try {
        await withDeadline(WAIT_MS, () => underWay, time)
      } catch {
        return { retryAfterMs: 1_000 }
      } finally {
        waiting -= 1
      }
    } else if (underWay !== undefined) return { retryAfterMs: 1_000 }
    const found = matching(token)
    // Nobody knows whether the issuer has it.
    if (found.length === 0 && (last?.failed || present() === undefined)) {
      return { retryAfterMs: Math.max(1_000, untilNextLook()) }
    }
    return found
  }

  return {
    find(token) {
      const found = matching(token)
      if (found.length === 0) return findAnew(token)
      renew()
      return found
    },
    has(key) {
      renew()
      return present()?.keys.has(key) === true
    },
  }
}

/** The keys of a set that a token may be signed by. One that stays in it stays the same object. @throws OperatorError where there is none */
async function usableKeys(
  document: JsonObject | undefined,
  tenant: string | undefined,
  before: ReadonlySet<IssuerKey>,
  { importJWK }: Pick<typeof Jose, 'importJWK'>,
): Promise<ReadonlySet<IssuerKey>> {
  const listed = document && own(document, 'keys')
  if (!Array.isArray(listed)) throw new OperatorError("The issuer's keys are no JSON Web Key Set.")
  if (listed.length > MOST_KEYS) throw new OperatorError(`The issuer has more than ${MOST_KEYS} keys.`)
  const known = new Map(Array.from(before, (key) => [JSON.stringify(key), key]))
  const keys = new Set<IssuerKey>()
  for (const each of listed) {
    const key = publicKey(each, tenant)
    if (key === undefined) continue
    const same = known.get(JSON.stringify(key))
    if (same === undefined && !(await canBeImported(key, importJWK))) continue
    keys.add(same ?? key)
  }
  if (keys.size === 0) throw new OperatorError('The issuer has no key that a token could be checked by.')
  return keys
}

async function canBeImported(key: IssuerKey, importJWK: typeof Jose.importJWK): Promise<boolean> {
  try {
    await importJWK(
      { ...key },
      ALGORITHMS.find((algorithm) => fits(key, algorithm)),
    )
    return true
  } catch {
    return false
  }
}

/** Base64url digits of an RSA key's modulus: from 2,048 bits, which is the least that is safe, to 8,192, for the time that a check takes. */
const MODULUS_DIGITS = { least: 342, most: 1_366 }

/** The public part of a key that checks signatures; `undefined` for any other, and for one of another tenant. */
function publicKey(value: unknown, tenant: string | undefined): IssuerKey | undefined {
  if (!isObject(value)) return undefined
  const { kty, use, key_ops: operations, alg, kid, issuer, n, e, crv, x, y } = value
  if (use !== undefined && use !== 'sig') return undefined
  if (operations !== undefined && !(Array.isArray(operations) && operations.includes('verify'))) return undefined
  if (alg !== undefined && !(ALGORITHMS as readonly unknown[]).includes(alg)) return undefined
  if (kid !== undefined && (typeof kid !== 'string' || kid.length > LONGEST_KEY_ID)) return undefined
  // Entra's set also has keys that sign for other tenants alone.
  if (tenant !== undefined && typeof issuer === 'string' && !isOfTenant(issuer, tenant)) return undefined
  const named = { ...(kid !== undefined && { kid }), ...(alg !== undefined && { alg: alg as Algorithm }) }
  if (kty === 'RSA' && typeof n === 'string' && typeof e === 'string') {
    const isSafe = n.length >= MODULUS_DIGITS.least && n.length <= MODULUS_DIGITS.most && e.length <= 6
    return isSafe ? { kty, n, e, ...named } : undefined
  }
  if (kty === 'EC' && typeof crv === 'string' && typeof x === 'string' && typeof y === 'string') {
    return { kty, crv, x, y, ...named }
  }
  return kty === 'OKP' && crv === 'Ed25519' && typeof x === 'string' ? { kty, crv, x, ...named } : undefined
}

function isOfTenant(issuer: string, tenant: string): boolean {
  return issuer.includes('{tenantid}') || issuer.toLowerCase().includes(`/${tenant}/`)
}

const CURVES: Readonly<Record<string, string>> = { ES256: 'P-256', ES384: 'P-384', ES512: 'P-521' }

/** Whether a key can have made a signature of this kind. */
function fits({ kty, crv, alg }: IssuerKey, algorithm: Algorithm): boolean {
  if (alg !== undefined && alg !== algorithm) return false
  if (kty === 'RSA') return /^[RP]S/.test(algorithm)
  if (kty === 'EC') return crv === CURVES[algorithm]
  return algorithm === 'EdDSA' || algorithm === 'Ed25519'
}
