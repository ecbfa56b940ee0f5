import type { Narrowing } from '../policy/index.ts'

/** Who calls. Limits, budgets and the cache hang on the id, never on a key. */
export interface Consumer {
  /** 1 to 128 characters of `A-Z a-z 0-9 . _ @ : -`, beginning with a letter or digit. */
  readonly id: string
  /** The policy's name of the consumer's plan. */
  readonly plan: string
  readonly disabled: boolean
}

/** One of a consumer's keys. The secret itself is never stored. */
export interface KeyRecord {
  readonly publicId: string
  readonly consumer: string
  /** SHA-256 of the whole key, base64url. */
  readonly digest: string
  /** What it may do, in words (`SCOPES`). One that this version doesn't know gives no right. */
  readonly scopes: readonly string[]
  readonly disabled: boolean
  /** Milliseconds since 1970, UTC. */
  readonly createdAt: number
  /** Milliseconds since 1970, UTC; the key is refused from then on. */
  readonly expiresAt?: number
  /** What it may, of what the consumer's plan allows; left out where that is all. */
  readonly grant?: Narrowing
  /** The groups that its requests are in, by their names in the policy; left out for none. */
  readonly groups?: Readonly<Record<string, string>>
  /** Of a key that took another's place: see `familyOf`. */
  readonly family?: string
  /** The public id of the key that took this one's place. */
  readonly replacedBy?: string
  /** When it was used last, within the hour after this: milliseconds since 1970, UTC. Left out where nobody saw it used. */
  readonly usedAt?: number
}

/** The public id of the first of the keys that took each other's place: what they may spend together is counted by it. */
export function familyOf({ family, publicId }: Pick<KeyRecord, 'family' | 'publicId'>): string {
  return family ?? publicId
}

const CONSUMER_ID = /^[A-Za-z0-9][A-Za-z0-9._@:-]{0,127}$/

export function isConsumerId(text: string): boolean {
  return CONSUMER_ID.test(text)
}
