import { isTimeout, type Log, type Time, withDeadline } from '../pipeline/index.ts'
import type { HeldClaim } from './claims/held-claim.ts'
import type { StoreHealth } from './claims/store-health.ts'
import { type CacheEntry, sizeOf } from './entry.ts'
import type { NearCache } from './near-cache.ts'
import type { CacheStore } from './store.ts'

/** How long a write may go on after the caller was answered, in milliseconds. */
const WRITE_TIMEOUT_MS = 5_000
/** The longest completion that is kept, in bytes of both of its forms. */
export const MAX_ENTRY_BYTES = 8 * 1024 * 1024

export interface KeeperOptions {
  readonly near: NearCache
  readonly far: CacheStore
  readonly health: StoreHealth
  /** How long the caller waits for a write, in milliseconds; a slower one goes on after it was answered. */
  readonly deadlineMs: number
  readonly time: Time
}

export type Keep = (key: string, entry: CacheEntry, claim: HeldClaim | undefined, log: Log) => Promise<boolean>

/** Stores entries, near by and for all instances. Never rejects; `false` where neither took it. */
export function keeper({ near, far, health, deadlineMs, time }: KeeperOptions): Keep {
  return async function keep(key, entry, claim, log) {
    if (sizeOf(entry) > MAX_ENTRY_BYTES) {
      log('info', 'completion too large to store', { bytes: sizeOf(entry) })
      claim?.release()
      return false
    }
    const isNear = near.set(key, entry)
    const isFar = await withDeadline(deadlineMs, () => write(key, entry, claim, log), time).catch((error) => {
      if (!isTimeout(error)) health.failed(error)
      return false
    })
    return isNear || isFar
  }

  async function write(key: string, entry: CacheEntry, claim: HeldClaim | undefined, log: Log): Promise<boolean> {
    if (!health.mayAsk()) {
      claim?.release()
      return false
    }
    const store = (late: AbortSignal) => (claim === undefined ? far.set(key, entry, late) : claim.store(entry, late))
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
