import type { CacheRule } from '../policy/index.ts'
import type { CacheEntry } from './entry.ts'

/** By how much a lifetime may differ from the rule's, so that what was stored together doesn't expire together. */
const JITTER = 0.1

/**
 * When an entry that is stored now expires, in milliseconds since 1970.
 *
 * @param random from 0 to 1
 */
export function expiryOf({ ttlMs }: Pick<CacheRule, 'ttlMs'>, storedAt: number, random: number): number {
  return storedAt + Math.round(ttlMs * (1 - JITTER + 2 * JITTER * random))
}

/** Until when an entry is fresh, in milliseconds since 1970. The rule may have become shorter since it was stored. */
export function freshUntil({ storedAt, expiresAt }: CacheEntry, { ttlMs }: Pick<CacheRule, 'ttlMs'>): number {
  return Math.min(expiresAt, storedAt + Math.round(ttlMs * (1 + JITTER)))
}
