import { LRUCache } from 'lru-cache'
import { describeFault, type Log, pause, type Time, withDeadline } from '../pipeline/index.ts'
import type { CacheEntry } from './entry.ts'
import type { CacheStore, Claim } from './store.ts'

/** How long a claim holds that nobody renews, in milliseconds: so long do others wait for an instance that died. */
const CLAIM_MS = 10_000
const RENEW_MS = 3_000
/** How often somebody who waits looks, in milliseconds: at random between these, so that instances don't look together. */
const POLL_MS = { least: 100, most: 250 }
/** How long to wait for other instances at most, in milliseconds. */
const MAX_WAIT_MS = 60_000
/** Keys that this process has missed: 100 bytes or so each. */
const MAX_MISSED = 10_000

/** A claim of this process, kept up until it is stored or given back. */
export interface HeldClaim extends Pick<Claim, 'store'> {
  /** Gives the key free, if it is still ours and nothing was stored. */
  release(): void
}

/** What was found, or the right to ask the model; without a claim where none is worth its write, or the store fails. */
export type Finding =
  | { readonly entry: CacheEntry; readonly claim?: undefined }
  | { readonly entry: undefined; readonly claim: HeldClaim | undefined }

export interface Search {
  /** @param signal aborts when nobody waits for the answer any more */
  (key: string, signal: AbortSignal, log: Log): Promise<Finding>
  /** Looks without claiming. */
  look(key: string, log: Log): Promise<CacheEntry | undefined>
}

export interface SearchOptions {
  readonly store: CacheStore
  /** A store that takes longer is a miss, in milliseconds. */
  readonly deadlineMs: number
  readonly time: Time
  /** From 0 to 1. */
  readonly random: () => number
}

/**
 * Looks a key up in the store that all instances share. A key that this process has missed before, that has expired, or
 * that another has claimed, is one that is asked for again and again: it is claimed before the model is asked, which costs a write, so that of all
 * instances one asks and the others wait for its answer. Never rejects: a store that fails is a miss, and is logged.
 */
export function farSearch({ store, deadlineMs, time, random }: SearchOptions): Search {
  const missed = new LRUCache<string, true>({ max: MAX_MISSED })

  const isFresh = (found: CacheEntry | 'claimed' | undefined): found is CacheEntry =>
    typeof found === 'object' && time.wallClock() < found.expiresAt
  const get = (key: string) => withDeadline(deadlineMs, (late) => store.get(key, late), time)
  const failed = (log: Log, error: unknown) => log('warn', 'cache lookup failed', describeFault(error))

  async function search(key: string, signal: AbortSignal, log: Log): Promise<Finding> {
    try {
      if (missed.get(key) === undefined) {
        const found = await get(key)
        if (isFresh(found)) return { entry: found }
        missed.set(key, true)
        if (found === undefined) return NOTHING
      }
      return await claim(key, signal, log)
    } catch (error) {
      failed(log, error)
      return NOTHING
    }
  }

  async function look(key: string, log: Log): Promise<CacheEntry | undefined> {
    try {
      const found = await get(key)
      return isFresh(found) ? found : undefined
    } catch (error) {
      failed(log, error)
      return undefined
    }
  }

  async function claim(key: string, signal: AbortSignal, log: Log): Promise<Finding> {
    const began = time.now()
    while (!signal.aborted && time.now() - began < MAX_WAIT_MS) {
      const now = time.wallClock()
      const times = { now, expiresAt: now + CLAIM_MS }
      // A look and a write, one after the other.
      const outcome = await withDeadline(2 * deadlineMs, (late) => store.claim(key, times, late), time)
      if (outcome.kind === 'found') return { entry: outcome.entry }
      if (outcome.kind === 'claimed') return { entry: undefined, claim: keepUp(outcome.claim, log) }
      await pause(POLL_MS.least + random() * (POLL_MS.most - POLL_MS.least), time)
    }
    return NOTHING
  }

  function keepUp(claim: Claim, log: Log): HeldClaim {
    const failed = (error: unknown) => log('warn', 'cache claim failed', describeFault(error))
    let settled = false
    // One call at a time: each needs to know what the one before it has written.
    let last: Promise<unknown> = Promise.resolve()
    const stop = time.every(RENEW_MS, () => {
      const renew = () => withDeadline(RENEW_MS, (late) => claim.renew(time.wallClock() + CLAIM_MS, late), time)
      last = last.then(renew).catch(failed)
    })
    const settle = () => {
      settled = true
      stop()
    }
    return {
      async store(entry, late) {
        settle()
        await last
        return claim.store(entry, late)
      },
      release() {
        if (settled) return
        settle()
        const release = () => withDeadline(RENEW_MS, (late) => claim.release(late), time)
        last.then(release).catch(failed)
      },
    }
  }

  return Object.assign(search, { look })
}

const NOTHING: Finding = { entry: undefined, claim: undefined }
