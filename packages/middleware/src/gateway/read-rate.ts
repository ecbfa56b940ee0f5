import type { LocalLimiter } from '../limits/index.ts'
import type { Middleware, Refusal } from '../pipeline/index.ts'

/** Reads of usage and metrics, of each consumer and of all, in each process: each may read many rows. */
export const READS = {
  each: { capacity: 60, refill: 1, periodMs: 1_000 },
  total: { capacity: 600, refill: 20, periodMs: 1_000 },
}

/** Bounds how often usage and metrics are read. What a plan limits is the calls: none of them is counted here. */
export function readRate(guard: LocalLimiter): Middleware<{ readonly consumer: { readonly id: string } }> {
  return function readRate(_request, { consumer }, next) {
    const room = guard.reserve(consumer.id)
    if ('retryAfterMs' in room) return tooMany(room.retryAfterMs)
    room.charge()
    return next()
  }
}

function tooMany(retryAfterMs: number): Refusal {
  const seconds = Math.max(1, Math.ceil(retryAfterMs / 1_000))
  return {
    kind: 'refusal',
    code: 'rate_limit_exceeded',
    status: 429,
    message: `Too many reads of usage and metrics: 60 at once, and one a second. Come back in ${seconds} s.`,
    headers: { 'retry-after': String(seconds) },
  }
}
