import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import { withDeadline } from '../pipeline/index.ts'
import { clientNetwork } from './client-network.ts'
import type { Consumer, KeyRecord } from './consumer.ts'
import type { ConsumerStore } from './store.ts'

/** A key and whose it is. */
export interface KnownKey {
  readonly key: KeyRecord
  readonly consumer: Consumer
}

/** A guarded lookup is one that was not made: `retryAfterMs` says when it may be. */
export type Lookup = { readonly known: KnownKey | undefined } | { readonly retryAfterMs: number }

/** Limits what lookups of ids that turn out to be made up may cost, for each client network. */
export interface LookupGuard {
  /** Milliseconds until the network may look up another unknown id; 0 if it may now. */
  waitFor(network: string): number
  /** Counts a lookup that found nothing. */
  charge(network: string): void
}

interface Answer {
  readonly known: KnownKey | undefined
  /** Monotonic milliseconds. */
  readonly until: number
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
/** So many lookups of ids that this instance has never seen are under way at most: what the guard may be late by. */
const MAX_NEW_LOOKUPS = 32

/**
 * Finds keys by public id and remembers what it found, bounded in number and age. Concurrent lookups of one id share
 * one call. Only ids that turn out to be unknown count against the guard, by the client's network. An id that was seen
 * valid before is exempt from it, and so is a network that was not charged lately: a flood of made-up keys can't shut
 * out anyone else, and many new valid keys only wait their turn.
 */
export function keyDirectory(options: KeyDirectoryOptions): (publicId: string, address: string) => Promise<Lookup> {
  const { store, guard, maxAgeMs, deadlineMs, now } = options
  const answers = new LRUCache<string, Answer>({ max: MAX_KEYS })
  const lookups = new Map<string, Promise<KnownKey | undefined>>()
  const takingTurns = pLimit(MAX_NEW_LOOKUPS)

  function freshAnswer(publicId: string): Answer | undefined {
    const answer = answers.get(publicId)
    return answer !== undefined && now() < answer.until ? answer : undefined
  }

  async function ask(publicId: string): Promise<KnownKey | undefined> {
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

  function askOnce(publicId: string): Promise<KnownKey | undefined> {
    const underWay = lookups.get(publicId)
    if (underWay !== undefined) return underWay
    const lookup = ask(publicId).finally(() => lookups.delete(publicId))
    lookups.set(publicId, lookup)
    return lookup
  }

  async function askGuarded(publicId: string, network: string, signal: AbortSignal): Promise<Lookup> {
    signal.throwIfAborted()
    const answer = freshAnswer(publicId)
    if (answer !== undefined) return answer
    const retryAfterMs = guard.waitFor(network)
    if (retryAfterMs > 0) return { retryAfterMs }
    const mine = !lookups.has(publicId)
    const known = await askOnce(publicId)
    if (mine && known === undefined) guard.charge(network)
    return { known }
  }

  return async function find(publicId, address) {
    const answer = freshAnswer(publicId)
    if (answer !== undefined) return answer
    if (answers.get(publicId)?.known !== undefined) return { known: await askOnce(publicId) }
    const network = clientNetwork(address)
    // A deadline of its own, for waiting in turn counts too.
    return withDeadline(deadlineMs, (signal) => takingTurns(() => askGuarded(publicId, network, signal)))
  }
}
