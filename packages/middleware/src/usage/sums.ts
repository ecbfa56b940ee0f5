import type { UsageSums } from './figures.ts'

/** Sums that are still added to. */
export type Adding = { -readonly [Figure in keyof UsageSums]: UsageSums[Figure] } & { tokens: Record<string, number> }

export function noSums(): Adding {
  return {
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
}

/** Kinds of tokens of a sum that have a name of their own: prices and answers know a dozen, and answers may make up any. */
const MOST_KINDS = 32
const OTHER_KINDS = 'other'

/** Adds tokens by kind. Kinds beyond the bound are one together. */
export function addTokens(to: Adding['tokens'], more: Readonly<Partial<Record<string, number>>> = {}): void {
  for (const kind in more) {
    const isKnown = to[kind] !== undefined || Object.keys(to).length < MOST_KINDS
    const name = isKnown ? kind : OTHER_KINDS
    to[name] = (to[name] ?? 0) + (more[kind] ?? 0)
  }
}

/** Adds what is there; what is left out is 0. */
export function addSums(to: Adding, more: Partial<UsageSums>): void {
  for (const figure of FIGURES) to[figure] += more[figure] ?? 0
  addTokens(to.tokens, more.tokens)
}

/** All of these together: the total of a report is the one of its rows. */
export function totalOf(all: Iterable<UsageSums>): UsageSums {
  const total = noSums()
  for (const sums of all) addSums(total, sums)
  return total
}

const FIGURES = [
  'requests',
  'answered',
  'hits',
  'collapsed',
  'refused',
  'failed',
  'costNanoUsd',
  'savedNanoUsd',
  'unpriced',
  'uncertain',
] as const satisfies readonly (keyof UsageSums)[]

/** Whether there is anything in them: of a consumer whose requests were dry runs alone there is not. */
export function isNothing(sums: UsageSums): boolean {
  return Object.keys(storedSums(sums)).length === 0
}

/** What is not 0, as it is stored. */
export function storedSums(sums: UsageSums): Partial<UsageSums> {
  const stored: Partial<Adding> = {}
  for (const figure of FIGURES) if (sums[figure] !== 0) stored[figure] = sums[figure]
  const tokens = Object.entries(sums.tokens).filter(([, count]) => count !== 0)
  if (tokens.length > 0) stored.tokens = Object.fromEntries(tokens) as Adding['tokens']
  return stored
}
