import { isTimeout, type Log, type Time, withDeadline } from '../pipeline/index.ts'
import { type CacheEntry, sizeOf } from './entry.ts'
import type { HeldClaim } from './held-claim.ts'
import type { LocalTier } from './local-tier.ts'
import type { CacheStore } from './store.ts'
import type { StoreHealth } from './store-health.ts'

/** How long a write may go on after the caller was answered, in milliseconds. */
const WRITE_TIMEOUT_MS = 5_000
/** The longest completion that is kept, in bytes of both of its forms. */
export const MAX_ENTRY_BYTES = 8 * 1024 * 1024

export interface CacheWriterOptions {
  readonly local: LocalTier
  readonly shared: CacheStore
  readonly health: StoreHealth
  /** How long the caller waits for a write, in milliseconds; a slower one goes on after it was answered. */
  readonly deadlineMs: number
  readonly time: Time
}

export type WriteEntry = (key: string, entry: CacheEntry, claim: HeldClaim | undefined, log: Log) => Promise<boolean>

/** Stores entries, in this process and for all instances. Never rejects; `false` where neither took it. */
export function cacheWriter({ local, shared, health, deadlineMs, time }: CacheWriterOptions): WriteEntry {
  return async function writeEntry(key, entry, claim, log) {
    if (sizeOf(entry) > MAX_ENTRY_BYTES) {
      log('info', 'completion too large to store', { bytes: sizeOf(entry) })
      claim?.release()
      return false
    }
    const isLocal = local.set(key, entry)
    const isShared = await withDeadline(deadlineMs, () => writeShared(key, entry, claim, log), time).catch((error) => {
      if (!isTimeout(error)) health.failed(error)
      return false
    })
    return isLocal || isShared
  }

  async function writeShared(key: string, entry: CacheEntry, claim: HeldClaim | undefined, log: Log): Promise<boolean> {
    if (!health.allows()) {
      claim?.release()
      return false
    }
    const store = (late: AbortSignal) => (claim === undefined ? shared.set(key, entry, late) : claim.store(entry, late))
    try {
      const stored = await withDeadline(WRITE_TIMEOUT_MS, store, time)
      health.succeeded()
      if (!stored) log('info', 'completion not stored', { bytes: sizeOf(entry) })
      return stored
    } catch (error) {
      health.failed(error)
      return false
    }
  }
}
