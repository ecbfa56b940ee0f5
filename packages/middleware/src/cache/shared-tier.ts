import { LRUCache } from 'lru-cache'
import type { Answer, Operation } from '../operations/index.ts'
import { pause, type Time, withDeadline } from '../pipeline/index.ts'
import type { CacheEntry } from './entry.ts'
import { CLAIM_MS, type HeldClaim, holdClaim } from './held-claim.ts'
import type { CacheStore, ClaimOutcome } from './store.ts'
import type { StoreHealth } from './store-health.ts'

/** How often somebody who waits looks, in milliseconds: at random between these, so that instances don't look together. */
const POLL_MS = { least: 100, most: 250 }
/**
 * How long to wait for another instance's answer at most, in milliseconds. A stream's first words are worth more than the
 * call that is spared; and after either wait an own call must fit into the 230 s that the platform gives an answer to begin.
 */
const MAX_WAIT_MS = { whole: 25_000, stream: 3_000 }
/** How many keys that it has missed a process remembers. */
const MAX_MISSED = 10_000

/** An entry that can be served, and its answer as it was parsed to know that. */
export interface Found {
  readonly entry: CacheEntry
  readonly answer: Answer
}

/** What was found, or the right to ask the model; without a claim where none is worth its write, or the store fails. */
export type Finding =
  | { readonly found: Found; readonly claim?: undefined }
  | { readonly found: undefined; readonly claim: HeldClaim | undefined }

/** What is looked for. */
export interface Wanted {
  readonly operation: Operation
  readonly streamed: boolean
}

export interface SharedTier {
  /** @param signal aborts when nobody waits for the answer any more */
  find(key: string, wanted: Wanted, signal: AbortSignal): Promise<Finding>
  /** Looks without claiming. */
  look(key: string, wanted: Wanted): Promise<Found | undefined>
}

export interface SharedTierOptions {
  readonly store: CacheStore
  readonly health: StoreHealth
  /** A store that takes longer is a miss, in milliseconds. */
  readonly deadlineMs: number
  readonly time: Time
  /** From 0 to 1. */
  readonly random: () => number
}

/**
 * Looks a key up in the store that all instances share. A key that this process has missed before, that has expired, or
 * that another has claimed, is one that is asked for again and again: it is claimed before the model is asked, which costs
 * a write, so that of all instances one asks and the others wait for its answer. Never rejects: a store that fails is a
 * miss.
 */
export function sharedTier({ store, health, deadlineMs, time, random }: SharedTierOptions): SharedTier {
  const missed = new LRUCache<string, true>({ maxSize: MAX_MISSED, sizeCalculation: () => 1 })

  function fresh(got: CacheEntry | 'claimed' | undefined, { operation }: Wanted): Found | undefined {
    return typeof got === 'object' && time.wallClock() < got.expiresAt ? readable(got, operation) : undefined
  }

  /** `undefined` where the store fails, or is not worth asking. */
  async function attempt<T>(
    ms: number,
    work: (late: AbortSignal) => Promise<T>,
  ): Promise<{ readonly got: T } | undefined> {
    if (!health.allows()) return undefined
    try {
      const got = await withDeadline(ms, work, time)
      health.succeeded()
      return { got }
    } catch (error) {
      health.failed(error)
      return undefined
    }
  }

  const get = (key: string) => attempt(deadlineMs, async (late) => checkedFound(await store.get(key, late)))

  async function find(key: string, wanted: Wanted, signal: AbortSignal): Promise<Finding> {
    if (missed.get(key) === undefined) {
      const looked = await get(key)
      if (looked === undefined) return NOTHING
      const found = fresh(looked.got, wanted)
      if (found !== undefined) return { found }
      missed.set(key, true)
      if (looked.got === undefined) return NOTHING
    }
    return claim(key, wanted, signal)
  }

  async function claim(key: string, { operation, streamed }: Wanted, signal: AbortSignal): Promise<Finding> {
    const waitUntil = time.now() + (streamed ? MAX_WAIT_MS.stream : MAX_WAIT_MS.whole)
    while (!signal.aborted && time.now() < waitUntil) {
      const now = time.wallClock()
      const times = { now, expiresAt: now + CLAIM_MS }
      // A look and a write, one after the other.
      const outcome = await attempt(2 * deadlineMs, async (late) => checkedOutcome(await store.claim(key, times, late)))
      if (outcome === undefined) return NOTHING
      const { got } = outcome
      if (got.kind === 'found') {
        const found = readable(got.entry, operation)
        return found === undefined ? NOTHING : { found }
      }
      if (got.kind === 'claimed') return { found: undefined, claim: holdClaim(got.claim, { health, time }) }
      await pause(POLL_MS.least + random() * (POLL_MS.most - POLL_MS.least), time)
    }
    return NOTHING
  }

  return {
    find,
    async look(key, wanted) {
      const looked = await get(key)
      return looked && fresh(looked.got, wanted)
    },
  }
}

const NOTHING: Finding = { found: undefined, claim: undefined }

/**
 * An entry, if it can be served in both of its forms: one that another version stored, or anybody who may write the store, is
 * a miss where it can't, and not a fault of each request until it expires. Parses its answer, and its events, once each.
 */
function readable(entry: CacheEntry, operation: Operation): Found | undefined {
  const parsed = operation.parse(entry.answer)
  if (parsed.kind !== 'answer') return undefined
  if (entry.events !== undefined && !isWhole(entry.events, operation)) return undefined
  return { entry, answer: parsed.answer }
}

function isWhole(events: Uint8Array, operation: Operation): boolean {
  const parser = operation.stream()
  parser.feed(events)
  parser.close()
  return parser.ended === 'whole'
}

/** What a store of one's own gave, in its right form. @throws TypeError for what is none of it: a fault of that store's */
function checkedFound(found: CacheEntry | 'claimed' | null | undefined): CacheEntry | 'claimed' | undefined {
  if (found === undefined || found === null) return undefined
  if (found === 'claimed' || isEntry(found)) return found
  throw new TypeError('The cache store must give an entry, the word claimed, or undefined')
}

function checkedOutcome(outcome: ClaimOutcome): ClaimOutcome {
  const { kind, entry, claim } = (outcome ?? {}) as { kind?: unknown; entry?: unknown; claim?: unknown }
  if (kind === 'held' || (kind === 'found' && isEntry(entry)) || (kind === 'claimed' && typeof claim === 'object')) {
    return outcome
  }
  throw new TypeError('The cache store must tell of a claim that it is claimed, found or held')
}

function isEntry(found: unknown): found is CacheEntry {
  if (typeof found !== 'object' || found === null) return false
  const { answer, events, storedAt, expiresAt } = found as Partial<Record<keyof CacheEntry, unknown>>
  const isBytes = (value: unknown) => value instanceof Uint8Array
  return (
    isBytes(answer) &&
    (events === undefined || isBytes(events)) &&
    Number.isFinite(storedAt) &&
    Number.isFinite(expiresAt)
  )
}
