import { describeFault, type Log, type Time, withDeadline } from '../pipeline/index.ts'
import { type CacheEntry, sizeOf } from './entry.ts'
import type { NearCache } from './near-cache.ts'
import type { HeldClaim } from './search.ts'
import type { CacheStore } from './store.ts'

/** How long a write may go on after the caller was answered, in milliseconds. */
const WRITE_TIMEOUT_MS = 5_000
/** The longest completion that is kept, in bytes of both of its forms. */
export const MAX_ENTRY_BYTES = 8 * 1024 * 1024

export interface KeeperOptions {
  readonly near: NearCache
  readonly far: CacheStore
  /** How long the caller waits for a write, in milliseconds; a slower one goes on after it was answered. */
  readonly deadlineMs: number
  readonly time: Time
}

export type Keep = (key: string, entry: CacheEntry, claim: HeldClaim | undefined, log: Log) => Promise<boolean>

/** Stores entries, near by and for all instances. Never rejects; `false` where neither took it. */
export function keeper({ near, far, deadlineMs, time }: KeeperOptions): Keep {
  return async function keep(key, entry, claim, log) {
    if (sizeOf(entry) > MAX_ENTRY_BYTES) {
      log('info', 'completion too large to store', { bytes: sizeOf(entry) })
      claim?.release()
      return false
    }
    const isNear = near.set(key, entry)
    const write = async (late: AbortSignal) => (claim ?? farAt(key)).store(entry, late)
    const written = withDeadline(WRITE_TIMEOUT_MS, write, time).then(
      (stored) => {
        if (!stored) log('info', 'completion not stored', { bytes: sizeOf(entry) })
        return stored
      },
      (error: unknown) => {
        log('warn', 'cache write failed', describeFault(error))
        return false
      },
    )
    const isFar = await withDeadline(deadlineMs, () => written, time).catch(() => {
      log('info', 'cache write is slow')
      return false
    })
    return isNear || isFar
  }

  function farAt(key: string): Pick<HeldClaim, 'store'> {
    return { store: (entry, late) => far.set(key, entry, late) }
  }
}
