import type { BudgetLimit, RateLimit } from '@tollgate/middleware'

/** When requests come, all processes together. They come whether or not earlier ones were answered. */
export type Arrivals =
  | {
      readonly kind: 'poisson' | 'even'
      readonly perSecond: number
      /** For so long they become more, from none on, in proportion. Default: 0. */
      readonly rampSeconds?: number
    }
  /** At these moments, in milliseconds since the start, so many at once. */
  | { readonly kind: 'bursts'; readonly bursts: readonly { readonly atMs: number; readonly requests: number }[] }

/** Requests over some subjects, which all have the same limit. */
export interface Stream {
  readonly name: string
  readonly subjects: number
  readonly limit: RateLimit | BudgetLimit
  readonly arrivals: Arrivals
}

/** One process's share of a stream. */
export interface Share {
  readonly index: number
  readonly of: number
}

/** When one process's requests come, in milliseconds since the start; without end, but for bursts. */
export function* arrivalTimes(arrivals: Arrivals, { index, of }: Share, random: () => number): Generator<number> {
  if (arrivals.kind === 'bursts') {
    for (const { atMs, requests } of arrivals.bursts) {
      const mine = Math.floor(requests / of) + (index < requests % of ? 1 : 0)
      for (let request = 0; request < mine; request += 1) yield atMs
    }
    return
  }
  const rampMs = (arrivals.rampSeconds ?? 0) * 1000
  const gapMs = (1000 * of) / arrivals.perSecond
  // Evenly paced ones interleave over the processes.
  let at = arrivals.kind === 'even' ? (gapMs * index) / of : 0
  for (;;) {
    if (arrivals.kind === 'poisson') at += -Math.log(1 - random()) * gapMs
    if (random() * rampMs <= at) yield at
    if (arrivals.kind === 'even') at += gapMs
  }
}

/** Numbers in [0, 1), the same for the same seed (mulberry32). */
export function seeded(seed: number): () => number {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let mixed = Math.imul(state ^ (state >>> 15), state | 1)
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61)
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32
  }
}
