import type { CacheEntry } from './entry.ts'

/**
 * Keeps completions by key, for all instances. What it gives back is what was put in, to the byte, or nothing: an entry
 * that is damaged, torn or of an unknown version is `undefined`, and removed. Expired entries may be given back: their
 * expiry is the caller's to check.
 *
 * What a method rejects with is a miss, and logged as a store that fails if `isOutage` holds for it: an SDK's or a
 * system's error, a timeout, any error class of the store's own, or `StoreUnavailable`, which says it beyond doubt. An
 * error of the JavaScript engine (`TypeError` …) or an assertion is logged as a fault, and is a miss too.
 *
 * A key can also be claimed, by whoever is about to ask the model, so that other instances wait for the answer.
 */
export interface CacheStore {
  /** `claimed` where somebody has claimed the key, though the claim may have expired. */
  get(key: string, signal: AbortSignal): Promise<CacheEntry | 'claimed' | undefined>
  /** `false` if the entry is too large for this store. Whatever stood under the key, a claim too, is replaced. */
  set(key: string, entry: CacheEntry, signal: AbortSignal): Promise<boolean>
  /** Claims a key that has no fresh entry, and that nobody holds: by one step, so that of many instances one succeeds. */
  claim(key: string, times: ClaimTimes, signal: AbortSignal): Promise<ClaimOutcome>
}

/** Milliseconds since 1970. */
export interface ClaimTimes {
  /** What has expired by then may be taken over, an entry or another's claim. */
  readonly now: number
  readonly expiresAt: number
}

export type ClaimOutcome =
  | { readonly kind: 'claimed'; readonly claim: Claim }
  /** There is a fresh entry. */
  | { readonly kind: 'found'; readonly entry: CacheEntry }
  /** Somebody else holds it. */
  | { readonly kind: 'held' }

/** A key that is held. Each call is carried out only if nobody has taken the key over (fencing). */
export interface Claim {
  /** Puts the entry in the claim's place. `false` if it is too large, or the claim was lost: then nothing is stored. */
  store(entry: CacheEntry, signal: AbortSignal): Promise<boolean>
  /** @param expiresAt milliseconds since 1970; `false` if the claim was lost. */
  renew(expiresAt: number, signal: AbortSignal): Promise<boolean>
  /** Gives the key free, with nothing under it. A claim that was lost is none of our business any more. */
  release(signal: AbortSignal): Promise<void>
}
