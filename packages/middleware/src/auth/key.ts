import { hash, randomBytes, timingSafeEqual } from 'node:crypto'
import { crc32 } from './crc32.ts'

/**
 * An API key: `tg_<public id>_<secret><checksum>`, all base 62.
 *
 * - public id, 12 characters: finds its row; may be shown and logged.
 * - secret, 43 characters: 32 random bytes. Only a SHA-256 of the whole key is stored; the secret's 256 bits of
 *   entropy are what make a slow password hash unnecessary.
 * - checksum, 6 characters: CRC-32 of all before it, so that a typo, or a secret scanner's false match, is told
 *   from a key without asking the store.
 */
export interface ParsedKey {
  readonly publicId: string
  /** SHA-256 of the whole key, base64url. */
  readonly digest: string
}

const SHAPE = /^tg_([0-9A-Za-z]{12})_[0-9A-Za-z]{43}([0-9A-Za-z]{6})$/
const ALPHABET = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
const CHECKSUM_LENGTH = 6

/** A new key, in clear. It can't be had again. */
export function generateKey(): string {
  const body = `tg_${base62(randomBytes(16), 12)}_${base62(randomBytes(32), 43)}`
  return body + checksum(body)
}

/** Whether a text is meant to be a key of ours, be it well formed or not. */
export function looksLikeKey(text: string): boolean {
  return text.startsWith('tg_')
}

/** The parts of a well-formed key; `undefined` for anything that can't be one. Costs no lookup. */
export function parseKey(text: string): ParsedKey | undefined {
  const match = SHAPE.exec(text)
  if (match?.[1] === undefined || match[2] !== checksum(text.slice(0, -CHECKSUM_LENGTH))) return undefined
  return { publicId: match[1], digest: hash('sha256', text, 'base64url') }
}

/** Compares two digests in constant time. */
export function sameDigest(a: string, b: string): boolean {
  const left = Buffer.from(a)
  const right = Buffer.from(b)
  return left.length === right.length && timingSafeEqual(left, right)
}

/** By whole numbers: each request with a key comes by here, and they take a fifth of the time that big ones do. */
function checksum(body: string): string {
  let digits = ''
  for (let rest = crc32(body); digits.length < CHECKSUM_LENGTH; rest = Math.floor(rest / 62)) {
    digits = ALPHABET.charAt(rest % 62) + digits
  }
  return digits
}

function base62(bytes: Buffer, length: number): string {
  return encode(BigInt(`0x${bytes.toString('hex')}`), length)
}

/** The low `length` base-62 digits; 43 digits hold 32 bytes whole. */
function encode(value: bigint, length: number): string {
  let digits = ''
  for (let rest = value; digits.length < length; rest /= 62n) digits = ALPHABET[Number(rest % 62n)] + digits
  return digits
}
