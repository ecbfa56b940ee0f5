import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import { isTimeout, withDeadline } from '../pipeline/index.ts'
import { type Caller, callerOfKey } from './caller.ts'
import { clientNetwork } from './client-network.ts'
import type { Consumer, KeyRecord } from './consumer.ts'
import type { ConsumerStore } from './store.ts'

/** A key and whose it is. */
export interface KnownKey {
  readonly key: KeyRecord
  readonly consumer: Consumer
  /** Made once, with the answer. */
  readonly caller: Caller
}

/** A guarded lookup is one that was not made: `retryAfterMs` says when it may be. */
export type Lookup = { readonly known: KnownKey | undefined } | { readonly retryAfterMs: number }

/** Finds a key by its public id, for a client at this address. */
export type KeyDirectory = (publicId: string, address: string) => Lookup | Promise<Lookup>

/** One lookup, reserved before it is made. Exactly one of the two is called, once. */
export interface LookupReservation {
  /** The lookup found nothing. */
  charge(): void
  /** It found a key, or told nothing: it failed, or was not made. */
  giveBack(): void
}

/** Limits what lookups of ids that turn out to be made up may cost, for each client network. */
export interface LookupGuard {
  /**
   * Reserves a lookup, so that no more are ever under way than may be charged. Where there is no room: milliseconds until
   * there is, and, if the network has lookups under way, a promise that resolves when one of them has left room, or all
   * are settled.
   */
  reserve(
    network: string,
  ): LookupReservation | { readonly retryAfterMs: number; readonly settled: Promise<void> | undefined }
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

/** A lookup that waits for its turn or is under way, for all that ask for its id meanwhile. */
interface SharedLookup {
  readonly known: Promise<KnownKey | undefined>
  /** Requests that still wait for it. */
  requests: number
}

/** For whom a key is looked up. */
interface Looking {
  readonly network: string
  /** Aborts when the request waits no longer. */
  readonly signal: AbortSignal
  /** Told how long the guard would have it wait, while it waits for others' lookups to leave room. */
  readonly waits: (retryAfterMs: number | undefined) => void
}

const MAX_KEYS = 10_000
/** Lookups of ids that this instance has not seen valid, under way at the same time. */
const MAX_NEW_LOOKUPS = 32

/**
 * Finds keys by public id and remembers what it found, bounded in number and age. Concurrent lookups of one id share
 * one call. A lookup of an id that this instance has not seen valid is reserved with the guard, by the client's network,
 * before it is made: it is charged if the id turns out to be unknown, and else given back. A request that finds no room
 * because of reservations waits for what becomes of them, so that many new valid keys only wait their turn.
 */
export function keyDirectory(options: KeyDirectoryOptions): KeyDirectory {
  const { store, guard, maxAgeMs, deadlineMs, now } = options
  const answers = new LRUCache<string, Answer>({ max: MAX_KEYS })
  const lookups = new Map<string, SharedLookup>()
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
      return key && consumer && { key, consumer, caller: callerOfKey(key, consumer) }
    })
    // Aged from before the read, so that a slow reply doesn't stretch how long a revoked key works.
    answers.set(publicId, { known, until: asked + maxAgeMs })
    return known
  }

  async function askReserved(publicId: string, reservation: LookupReservation): Promise<KnownKey | undefined> {
    let isUnknown = false
    try {
      if (lookups.get(publicId)?.requests === 0) throw new DOMException('No request waits any more', 'AbortError')
      const known = await ask(publicId)
      isUnknown = known === undefined
      return known
    } finally {
      if (isUnknown) reservation.charge()
      else reservation.giveBack()
    }
  }

  function share(publicId: string, lookup: Promise<KnownKey | undefined>): SharedLookup {
    const shared = { known: lookup.finally(() => lookups.delete(publicId)), requests: 0 }
    lookups.set(publicId, shared)
    return shared
  }

  async function outcomeOf(shared: SharedLookup, signal: AbortSignal): Promise<Lookup> {
    shared.requests += 1
    signal.addEventListener('abort', () => {
      shared.requests -= 1
    })
    return { known: await shared.known }
  }

  async function lookUp(publicId: string, { network, signal, waits }: Looking): Promise<Lookup> {
    for (;;) {
      signal.throwIfAborted()
      const answer = freshAnswer(publicId)
      if (answer !== undefined) return answer
      const underWay = lookups.get(publicId)
      if (underWay !== undefined) return outcomeOf(underWay, signal)
      if (answers.get(publicId)?.known !== undefined) return outcomeOf(share(publicId, ask(publicId)), signal)
      const reserved = guard.reserve(network)
      if ('charge' in reserved) {
        const lookup = takingTurns(() => askReserved(publicId, reserved))
        return outcomeOf(share(publicId, lookup), signal)
      }
      if (reserved.settled === undefined) return { retryAfterMs: reserved.retryAfterMs }
      waits(reserved.retryAfterMs)
      await reserved.settled
      waits(undefined)
    }
  }

  async function findAnew(publicId: string, address: string): Promise<Lookup> {
    const network = clientNetwork(address)
    let waitsMs: number | undefined
    const waits = (retryAfterMs: number | undefined) => {
      waitsMs = retryAfterMs
    }
    try {
      // Around all of it, for waiting in turn counts too.
      return await withDeadline(deadlineMs, (signal) => lookUp(publicId, { network, signal, waits }))
    } catch (error) {
      // No store was asked for it.
      if (waitsMs !== undefined && isTimeout(error)) return { retryAfterMs: waitsMs }
      throw error
    }
  }
  // At once where it is known: most requests bear a key that was looked up before.
  return (publicId, address) => freshAnswer(publicId) ?? findAnew(publicId, address)
}
