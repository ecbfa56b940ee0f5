import { setTimeout as sleep } from 'node:timers/promises'
import { type BudgetLimit, type CounterStore, LimiterUnavailable, type RateLimit } from '@tollgate/middleware'
import { monotonic } from '../monotonic.ts'
import { DEADLINE_MS, type Gate } from './gate.ts'

const BACKOFF_MS = 12

interface Bucket {
  /** Requests, and parts of them. */
  readonly level: number
  /** Milliseconds by this machine's clock: there is but one machine here, so that it can't be wrong. */
  readonly at: number
}

/** What one would write first: each request reads its subject's row, takes one and writes it back if nobody else has. */
export function compareAndSwap(store: CounterStore): Gate {
  const { signal } = new AbortController()
  return {
    async admit(subject, limit: RateLimit | BudgetLimit) {
      if (limit.kind !== 'rate') throw new TypeError('Compare-and-swap was written for rates alone')
      const { capacity, refill, periodMs } = limit
      const until = monotonic() + DEADLINE_MS
      for (let tries = 0; monotonic() < until; tries += 1) {
        if (tries > 0) await sleep(Math.random() * BACKOFF_MS * 2 ** Math.min(tries, 5))
        const { row } = await store.read(subject, signal)
        const now = Date.now()
        const { level, at }: Bucket = row === undefined ? { level: capacity, at: now } : JSON.parse(row.text)
        const full = Math.min(capacity, level + (Math.max(0, now - at) * refill) / periodMs)
        if (full < 1) return { admitted: false, retryAfterMs: ((1 - full) * periodMs) / refill }
        const text = JSON.stringify({ level: full - 1, at: Math.max(now, at) } satisfies Bucket)
        const { etag } = await store.writeIfMatch(subject, text, row?.etag, signal)
        if (etag !== undefined) return { admitted: true }
      }
      throw new LimiterUnavailable('contention')
    },
    held: () => 0,
  }
}
