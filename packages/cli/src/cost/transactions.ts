import type { Inputs } from './inputs.ts'

/** Seconds of a month of 730 hours. */
export const MONTH_SECONDS = 730 * 3_600

const KEY_SECONDS = 30
const PURGE_SECONDS = 2
const CLAIM_SECONDS = 1.5
/** Runs of the timer `sweep` in a month, whether anybody asks or not. */
export const SWEEPS = MONTH_SECONDS / 600
/** Runs of the timer `usage`, likewise. */
export const ROLL_UPS = MONTH_SECONDS / 600
/** Minutes of a month: for each of those with requests, an instance has a row in the ledger, and sends metrics once. */
const MINUTES = MONTH_SECONDS / 60
const HOURS = MONTH_SECONDS / 3_600
/** Six flushes a minute; one of them also writes the last of the minute before. */
const FLUSHES_A_MINUTE = 7
/** A minute's row that is full has at least so many requests, and the next ones are in another. */
const LEAST_ROWS = 500
/** Calls of a run that finds no hour to sum up, and what an hour adds: its own, its share of a day's, its removal. */
const CALLS_A_ROLL_UP = 10
const CALLS_AN_HOUR = 5
/** Rows of the ledger are read by pages, to be summed up and to be removed, and are removed by batches. */
const PAGE = 250
const BATCH = 100

/**
 * Calls of Table Storage in a month, by what they are for; docs/cache.md and docs/limits-benchmark.md say where each
 * figure is from. They are upper bounds for completions of up to 704 KiB, where the store does not fail.
 */
export function tableTransactions(
  inputs: Inputs,
): Readonly<Record<'keys' | 'limits' | 'cache' | 'purges' | 'sweep' | 'usage', number>> {
  const { requests, hitRatio, modelSeconds, instances, farHits, claimedMisses } = inputs
  const hits = requests * hitRatio
  const misses = requests - hits
  // A read of the key and one of its consumer; a miss is decided on twice, for requests and for tokens.
  const decisions = (requests + misses) * inputs.limitRows
  // A look and a write; a claim is a write, is renewed while the model writes, and may look once more.
  const claim = 2 + Math.floor(modelSeconds / CLAIM_SECONDS)
  return {
    keys: 2 * keyLookups(inputs),
    limits: (decisions * inputs.limitTransactions) / 1_000,
    cache: hits * farHits + misses * (2 + claimedMisses * claim),
    purges: Math.min(requests, (instances * MONTH_SECONDS) / PURGE_SECONDS),
    // Each completion is removed once, and by itself at the worst; a sweep that finds nothing is two looks.
    sweep: misses + 2 * SWEEPS,
    usage: ledgerWrites(inputs) + rollUps(inputs),
  }
}

/** Requests whose key is not known to the instance any more. */
function keyLookups({ requests, keys, instances }: Inputs): number {
  return Math.min(requests, (keys * instances * MONTH_SECONDS) / KEY_SECONDS)
}

/** A write is one call: it reads nothing before. */
function ledgerWrites({ requests, instances }: Inputs): number {
  return Math.min(requests, FLUSHES_A_MINUTE * MINUTES * instances + requests / LEAST_ROWS)
}

function rollUps({ requests, instances }: Inputs): number {
  const rows = Math.min(requests, MINUTES * instances + requests / LEAST_ROWS)
  return CALLS_A_ROLL_UP * ROLL_UPS + CALLS_AN_HOUR * HOURS + rows * (2 / PAGE + 1 / BATCH)
}

/**
 * Steps of requests that wait for a store, each of which is a span: of the key, of the limits, of the budget, and of a
 * completion that is looked for or stored. Limits are waited for as often as their rows are called at all.
 */
export function waitsForStores(inputs: Inputs): number {
  const { requests, hitRatio, farHits, limitRows, limitTransactions } = inputs
  const hits = requests * hitRatio
  const misses = requests - hits
  const limits = Math.min(1, (limitRows * limitTransactions) / 1_000)
  return keyLookups(inputs) + (requests + misses) * limits + hits * farHits + 2 * misses
}

/** Minutes of instances for which metrics are sent: those with requests. */
export function minutesWithRequests({ requests, instances }: Inputs): number {
  return Math.min(requests, MINUTES * instances)
}
