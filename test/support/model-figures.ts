import {
  type Histogram,
  LATENCY_BOUNDS_MS,
  type ModelFigures,
  type UsageSums,
  type UsageTotals,
} from '@tollgate/middleware'

/* Figures of the ledger, for what is tested without one. */

export const NO_TIMES: Histogram = { counts: LATENCY_BOUNDS_MS.map(() => 0).concat(0), sumMs: 0 }

export const NO_SUMS: UsageSums = {
  requests: 0,
  answered: 0,
  hits: 0,
  collapsed: 0,
  refused: 0,
  failed: 0,
  tokens: { input: 0, cachedInput: 0, output: 0 },
  costNanoUsd: 0,
  savedNanoUsd: 0,
  unpriced: 0,
  uncertain: 0,
}

/** @param given what is not 0 */
export function modelFigures(
  model: string,
  given: Partial<Omit<ModelFigures, 'sums'>> & { readonly sums?: Partial<UsageSums> } = {},
): ModelFigures {
  const sums = { ...NO_SUMS, ...given.sums }
  return { model, duration: NO_TIMES, firstToken: NO_TIMES, refusedBy: {}, targets: {}, ...given, sums }
}

/** Totals of which every metric has a sample. */
export const SOME_TOTALS: UsageTotals = {
  models: [
    modelFigures('small', {
      sums: { requests: 3, answered: 2, refused: 1, tokens: { input: 7, cachedInput: 2, output: 5 } },
      refusedBy: { requests: 1 },
      targets: { eu: { sums: { ...NO_SUMS, requests: 2 }, failed: 1 } },
    }),
  ],
  asOf: 1_764_000_000_500,
  unattributed: [
    { subject: 'global', limit: 'global-usd', measure: 'money', windowStart: 0, units: 1_000 },
    { subject: 'consumer:alice', limit: 'tokens', measure: 'tokens', windowStart: 0, units: 9 },
  ],
  unreadable: ['s-2026112720/05-0123456789ab-000001'],
  targets: [{ instance: '0123456789ab', target: 'eu', state: 'blocked', since: 0, until: 1 }],
}
