import type { Inputs } from './inputs.ts'

/** Seconds of a month of 730 hours. */
export const MONTH_SECONDS = 730 * 3_600

const KEY_SECONDS = 30
const PURGE_SECONDS = 2
const CLAIM_SECONDS = 1.5
/** Runs of the timer `sweep` in a month, whether anybody asks or not. */
export const SWEEPS = MONTH_SECONDS / 600

/**
 * Calls of Table Storage in a month, by what they are for; docs/cache.md and docs/limits-benchmark.md say where each
 * figure is from. They are upper bounds for completions of up to 704 KiB, where the store does not fail.
 */
export function tableTransactions(
  inputs: Inputs,
): Readonly<Record<'keys' | 'limits' | 'cache' | 'purges' | 'sweep', number>> {
  const { requests, hitRatio, modelSeconds, instances, keys, farHits, claimedMisses } = inputs
  const hits = requests * hitRatio
  const misses = requests - hits
  // A read of the key and one of its consumer; a miss is decided on twice, for requests and for tokens.
  const lookups = Math.min(requests, (keys * instances * MONTH_SECONDS) / KEY_SECONDS)
  const decisions = (requests + misses) * inputs.limitRows
  // A look and a write; a claim is a write, is renewed while the model writes, and may look once more.
  const claim = 2 + Math.floor(modelSeconds / CLAIM_SECONDS)
  return {
    keys: 2 * lookups,
    limits: (decisions * inputs.limitTransactions) / 1_000,
    cache: hits * farHits + misses * (2 + claimedMisses * claim),
    purges: Math.min(requests, (instances * MONTH_SECONDS) / PURGE_SECONDS),
    // Each completion is removed once, and by itself at the worst; a sweep that finds nothing is two looks.
    sweep: misses + 2 * SWEEPS,
  }
}
