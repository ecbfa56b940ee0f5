import { LRUCache } from 'lru-cache'
import pLimit from 'p-limit'
import { describeFault, type Log, withDeadline } from '../pipeline/index.ts'
import type { KeyRecord } from './consumer.ts'
import type { ConsumerStore } from './store.ts'

export interface KeyUsesOptions {
  readonly store: Pick<ConsumerStore, 'updateKey'>
  /** A write that takes longer is given up, in milliseconds. */
  readonly deadlineMs: number
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  readonly log: Log
}

/** When keys were used last, to the hour. */
export interface KeyUses {
  /** A request came by this key. Costs no time that a request would notice, and fails none. */
  noteUse(key: KeyRecord): void
  /** Waits for the few writes under way, and begins no more. To be called when the process ends. */
  close(): Promise<void>
}

/** So long after a use was written down another one is not, by whichever instance. */
const HOUR_MS = 3_600_000
const MAX_KEYS = 10_000
const WRITES_AT_ONCE = 4
/** Those beyond are written down with a later use. */
const MOST_WAITING = 1_000

/**
 * Writes down that a key was used: when it is, and not again within an hour. So the last use is at most an hour after what the store
 * says. Each instance goes by what the others wrote too, which it sees with the key as it is looked up.
 */
export function keyUses({ store, deadlineMs, wallClock, log }: KeyUsesOptions): KeyUses {
  /** When this instance has last tried, by public ids. */
  const tried = new LRUCache<string, number>({ max: MAX_KEYS })
  const inTurn = pLimit(WRITES_AT_ONCE)
  const waiting = new Set<Promise<void>>()
  let [hasFailed, isClosed] = [false, false]

  async function write(publicId: string, usedAt: number): Promise<void> {
    if (isClosed) return
    try {
      await withDeadline(deadlineMs, (signal) => store.updateKey(publicId, { usedAt }, signal))
      hasFailed = false
    } catch (error) {
      // A store that is down fails each of them: the first is told.
      if (!hasFailed) log('warn', 'last use of a key not written', describeFault(error))
      hasFailed = true
    }
  }

  return {
    noteUse({ publicId, usedAt = Number.NEGATIVE_INFINITY }) {
      const now = wallClock()
      if (now - usedAt < HOUR_MS || now - (tried.get(publicId) ?? Number.NEGATIVE_INFINITY) < HOUR_MS) return
      if (waiting.size >= MOST_WAITING) return
      tried.set(publicId, now)
      const writing = inTurn(() => write(publicId, now))
      waiting.add(writing)
      void writing.finally(() => waiting.delete(writing))
    },
    async close() {
      isClosed = true
      await Promise.all(waiting)
    },
  }
}
