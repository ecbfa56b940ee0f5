import { LRUCache } from 'lru-cache'
import type { Refusal } from '../pipeline/index.ts'

const MAX_REFUSALS = 1_000
/** For how long at least, and at most, in milliseconds: long enough for a client that tries again and again. */
const TTL_MS = { least: 30_000, most: 60_000 }

export interface RefusedBefore {
  /** The refusal, and for how many more seconds it holds. */
  find(key: string): { readonly refusal: Refusal; readonly ttl: number } | undefined
  note(key: string, refusal: Refusal): void
}

/**
 * Requests that a model has turned away for what they are (400), in this process: asking again would change nothing. Not
 * what is true for the moment only (401, 403, 429, 5xx, or whatever says when to come back), nor what a content filter says,
 * which may judge anew.
 */
export function refusedBefore(random: () => number): RefusedBefore {
  const refusals = new LRUCache<string, Refusal>({ max: MAX_REFUSALS, ttl: TTL_MS.most })
  return {
    find(key) {
      const refusal = refusals.get(key)
      return refusal && { refusal, ttl: Math.floor(refusals.getRemainingTTL(key) / 1_000) }
    },
    note(key, refusal) {
      if (!isDeterministic(refusal)) return
      refusals.set(key, refusal, { ttl: TTL_MS.least + random() * (TTL_MS.most - TTL_MS.least) })
    },
  }
}

function isDeterministic({ code, upstream }: Refusal): boolean {
  if (code !== 'upstream_failed' || upstream?.status !== 400 || upstream.retryAfterMs !== undefined) return false
  return !/content|policy|filter/i.test(upstream.code ?? '')
}
