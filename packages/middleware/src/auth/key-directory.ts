import { LRUCache } from 'lru-cache'
import { withDeadline } from '../pipeline/index.ts'
import type { Consumer, KeyRecord } from './consumer.ts'
import type { ConsumerStore } from './store.ts'

/** A key and whose it is. */
export interface KnownKey {
  readonly key: KeyRecord
  readonly consumer: Consumer
}

export type Lookup = { readonly known: KnownKey | undefined } | { readonly retryAfterMs: number }

/** Limits what lookups of ids that turn out to be made up may cost, for each client address. */
export interface LookupGuard {
  /** Takes one lookup; the milliseconds to wait where none is left, else 0. */
  take(address: string): number
  /** Returns a lookup that found its key. */
  giveBack(address: string): void
}

export interface KeyDirectoryOptions {
  readonly store: ConsumerStore
  readonly guard: LookupGuard
  /** How long an answer of the store is used, in milliseconds; so long may a revoked key still work. At most 30,000. */
  readonly maxAgeMs: number
  /** A lookup that takes longer fails, in milliseconds. */
  readonly deadlineMs: number
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

const MAX_KEYS = 10_000

/**
 * Finds keys by public id and remembers what it found, bounded in number and age. Concurrent lookups of one id share
 * one call. An id seen valid before is exempt from the guard, so a flood of made-up keys can't shut out known callers.
 */
export function keyDirectory(options: KeyDirectoryOptions): (publicId: string, address: string) => Promise<Lookup> {
  const { store, guard, maxAgeMs, deadlineMs, now } = options
  const answers = new LRUCache<string, { readonly known: KnownKey | undefined; readonly until: number }>({
    max: MAX_KEYS,
  })
  const lookups = new Map<string, Promise<KnownKey | undefined>>()

  async function fetchKey(publicId: string): Promise<KnownKey | undefined> {
    const asked = now()
    const known = await withDeadline(deadlineMs, async (signal) => {
      const key = await store.findKey(publicId, signal)
      const consumer = key && (await store.findConsumer(key.consumer, signal))
      return key && consumer && { key, consumer }
    })
    // Aged from before the read, so that a slow reply doesn't stretch how long a revoked key works.
    answers.set(publicId, { known, until: asked + maxAgeMs })
    return known
  }

  function shared(publicId: string): Promise<KnownKey | undefined> {
    let lookup = lookups.get(publicId)
    if (lookup === undefined) {
      lookup = fetchKey(publicId).finally(() => lookups.delete(publicId))
      lookups.set(publicId, lookup)
    }
    return lookup
  }

  return async function find(publicId, address) {
    const answer = answers.get(publicId)
    if (answer !== undefined && now() < answer.until) return { known: answer.known }
    if (answer?.known !== undefined || lookups.has(publicId)) return { known: await shared(publicId) }
    const retryAfterMs = guard.take(address)
    if (retryAfterMs > 0) return { retryAfterMs }
    const known = await shared(publicId)
    if (known !== undefined) guard.giveBack(address)
    return { known }
  }
}
