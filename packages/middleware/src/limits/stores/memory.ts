import type { CounterStore, StoreTime } from './counter-store.ts'

export interface MemoryCounterOptions {
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** Counters of one process, gone with it. */
export function memoryCounterStore({ wallClock, now }: MemoryCounterOptions): CounterStore {
  const rows = new Map<string, { text: string; etag: string; writtenAt: number }>()
  let writes = 0
  const time = (): StoreTime => {
    const at = now()
    return { date: Math.floor(wallClock()), resolutionMs: 1, sent: at, received: at }
  }
  return {
    async read(subject, signal) {
      signal.throwIfAborted()
      const row = rows.get(subject)
      if (row === undefined) return { row, time: time() }
      const { writtenAt, ...found } = row
      return { row: found, time: time(), writtenAt }
    },
    async writeIfMatch(subject, text, etag, signal) {
      signal.throwIfAborted()
      if (rows.get(subject)?.etag !== etag) return { etag: undefined, time: time() }
      writes += 1
      rows.set(subject, { text, etag: String(writes), writtenAt: Math.floor(wallClock()) })
      return { etag: String(writes), time: time() }
    },
  }
}
