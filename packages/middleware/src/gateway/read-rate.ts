import type { LocalLimiter } from '../limits/index.ts'
import type { Middleware } from '../pipeline/index.ts'
import { beyondOwnRate } from './own-rate.ts'

/** Reads of usage and metrics, of each consumer and of all, in each process: each may read many rows. */
export const READS = {
  each: { capacity: 60, refill: 1, periodMs: 1_000 },
  total: { capacity: 600, refill: 20, periodMs: 1_000 },
}

/** Bounds how often what `what` names is read. What a plan limits is the calls: none of them is counted here. */
export function readRate(
  guard: LocalLimiter,
  what = 'usage and metrics',
): Middleware<{ readonly consumer: { readonly id: string } }> {
  return function readRate(_request, { consumer }, next) {
    const tooMany = beyondOwnRate(guard, consumer.id, (seconds) => ({
      message: `Too many reads of ${what}: 60 at once, and one a second. Come back in ${seconds} s.`,
    }))
    return tooMany ?? next()
  }
}
