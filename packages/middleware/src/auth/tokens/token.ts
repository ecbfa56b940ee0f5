import { type JsonObject, jsonObject, own } from './json.ts'

/*
 * A JSON Web Token as it was sent (RFC 7519, signed as RFC 7515 has it), before anything of it is believed: whose it says that it
 * is, and which key it says that it was signed by.
 */

/** Signatures that count. What has no key of its own (`none`), or one that whoever checks it could sign by (`HS…`), is none of them. */
export const ALGORITHMS = [
  'RS256',
  'RS384',
  'RS512',
  'PS256',
  'PS384',
  'PS512',
  'ES256',
  'ES384',
  'ES512',
  'EdDSA',
  'Ed25519',
] as const
export type Algorithm = (typeof ALGORITHMS)[number]

export interface SentToken {
  readonly text: string
  readonly algorithm: Algorithm
  /** The name of its key; `undefined` where it names none. */
  readonly keyId: string | undefined
  /** Not believed yet. */
  readonly claims: JsonObject
}

/** Characters, above what Entra's largest have. */
const LONGEST_TOKEN = 16 * 1024
const LONGEST_KEY_ID = 256

const SHAPE = /^[\w-]+\.[\w-]+\.[\w-]*$/
/** Tokens say in `typ` that they are tokens (RFC 7519, RFC 9068), or nothing. What was signed for another use says something else. */
const TYPES: ReadonlySet<unknown> = new Set([undefined, 'jwt', 'at+jwt', 'application/jwt', 'application/at+jwt'])

/** Whether a text has the form of a signed token, whatever stands in it. */
export function looksLikeToken(text: string): boolean {
  return text.startsWith('eyJ') && SHAPE.test(text)
}

/** What a token says of itself; a text where it can't be one that counts, which says why. Verifies nothing. */
export function readToken(text: string): SentToken | string {
  if (text.length > LONGEST_TOKEN) return 'The token is longer than 16 KiB.'
  const [head = '', body = ''] = text.split('.')
  const header = jsonObject(decoded(head))
  const claims = jsonObject(decoded(body))
  if (header === undefined || claims === undefined) return 'The token can’t be read.'
  const [algorithm, type, keyId] = [own(header, 'alg'), own(header, 'typ'), own(header, 'kid')]
  if (!isAlgorithm(algorithm)) return `The token's algorithm does not count. Those that do: ${ALGORITHMS.join(', ')}.`
  if (!TYPES.has(typeof type === 'string' ? type.toLowerCase() : type))
    return 'What was sent is no access token, by its typ.'
  if (Object.hasOwn(header, 'crit') || Object.hasOwn(header, 'b64'))
    return 'The token asks for what is not understood (crit).'
  if (keyId !== undefined && (typeof keyId !== 'string' || keyId.length > LONGEST_KEY_ID))
    return 'The token can’t be read.'
  return { text, algorithm, keyId, claims }
}

function decoded(part: string): string {
  return Buffer.from(part, 'base64url').toString('utf8')
}

function isAlgorithm(value: unknown): value is Algorithm {
  return (ALGORITHMS as readonly unknown[]).includes(value)
}
