import type { Usage } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'

/** A whole completion, in both of its forms. Times are milliseconds since 1970, UTC. */
export interface CacheEntry {
  /** The answer's JSON, UTF-8: as it came, or put together from `events`. */
  readonly answer: Buffer
  /** The stream of events, byte for byte, with its last one; `undefined` where the answer came whole. */
  readonly events: Buffer | undefined
  /** What the model told that it took, for those who are told what a hit spared. */
  readonly usage: Usage | undefined
  /** Which of the candidates of its key has answered, from 0; `undefined` where nobody said. */
  readonly candidate?: number | undefined
  readonly storedAt: number
  /** From then on the entry must not be served. */
  readonly expiresAt: number
}

/** Bytes that an entry takes, by what it holds. */
export function sizeOf({ answer, events }: CacheEntry): number {
  return answer.byteLength + (events?.byteLength ?? 0)
}

/**
 * The same bytes in memory of their own. Small buffers are slices of a common one, and whoever keeps a slice keeps all of
 * that: many times what it counts.
 */
export function ownBytes(bytes: Uint8Array): Buffer {
  const own = bytes.buffer.byteLength === bytes.byteLength ? bytes : new Uint8Array(bytes)
  return own instanceof Buffer ? own : Buffer.from(own.buffer)
}

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
