import type { CounterStore } from '../store.ts'

export interface MemoryCounterOptions {
  /** Milliseconds since 1970. */
  readonly wallClock: () => number
  /** Milliseconds on a monotonic clock. */
  readonly now: () => number
}

/** Counters of one process, gone with it. */
export function memoryCounterStore({ wallClock, now }: MemoryCounterOptions): CounterStore {
  const rows = new Map<string, { text: string; etag: string }>()
  let writes = 0
  return {
    async read(subject) {
      const at = now()
      return { row: rows.get(subject), time: { date: wallClock(), sent: at, received: at } }
    },
    async writeIfMatch(subject, text, etag) {
      if (rows.get(subject)?.etag !== etag) return false
      writes += 1
      rows.set(subject, { text, etag: String(writes) })
      return true
    },
  }
}
