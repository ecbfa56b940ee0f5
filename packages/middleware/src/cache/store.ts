/** A stored completion. Times are milliseconds since 1970, UTC. */
export interface CacheEntry {
  /** The answer's JSON, UTF-8, as it came. */
  readonly body: Uint8Array
  readonly storedAt: number
  /** From then on the entry must not be served. */
  readonly expiresAt: number
}

/**
 * Keeps completions by key. What it gives back is byte for byte what was put in, or nothing:
 * a damaged or unknown entry is `undefined`. Expiry is the caller's to check.
 */
export interface CacheStore {
  get(key: string, signal: AbortSignal): Promise<CacheEntry | undefined>
  /** `false` if the entry is too large for this store. */
  set(key: string, entry: CacheEntry, signal: AbortSignal): Promise<boolean>
}
