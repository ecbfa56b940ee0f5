import type { Account } from './account.ts'
import type { BudgetAccount } from './budget.ts'
import type { RateAccount } from './rate.ts'
import { mergeSlots, unitsIn } from './slots.ts'

/**
 * How two accounts of one limit are related: `overlapping` ones count partly the same units, because one is an older
 * version of the other; `separate` ones count different units, because one began from zero beside the other.
 */
export type Overlap = 'overlapping' | 'separate'

/** One account that has handed out all that either has, as far as that can be told. Both are brought forward. */
export function mergeAccounts(known: Account, found: Account, overlap: Overlap): Account {
  if (known.kind === 'rate' && found.kind === 'rate') return mergeRates(known, found, overlap)
  if (known.kind === 'budget' && found.kind === 'budget') return mergeBudgets(known, found, overlap)
  if (known.kind === 'concurrency' && found.kind === 'concurrency') {
    return { ...found, out: mergeSlots(known.out, found.out, combine(overlap)) }
  }
  return found
}

function combine(overlap: Overlap): (a: number, b: number) => number {
  return overlap === 'separate' ? (a, b) => a + b : Math.max
}

function mergeRates(known: RateAccount, found: RateAccount, overlap: Overlap): RateAccount {
  const { capacity, periodMs } = found
  const out = mergeSlots(known.out, found.out, combine(overlap))
  // What is missing from both buckets adds up where they are separate.
  const level =
    overlap === 'separate' ? known.level + found.level - capacity * periodMs : Math.min(known.level, found.level)
  const room = Math.max(0, capacity - unitsIn(out)) * periodMs
  return { ...found, out, level: Math.max(0, Math.min(level, room)), at: Math.max(known.at, found.at) }
}

function mergeBudgets(known: BudgetAccount, found: BudgetAccount, overlap: Overlap): BudgetAccount {
  if (known.epoch !== found.epoch) return known.epoch > found.epoch ? known : found
  const both = combine(overlap)
  const out = mergeSlots(known.out, found.out, both)
  const lost = both(known.lost, found.lost)
  return { ...found, out, lost, granted: Math.max(both(known.granted, found.granted), lost + unitsIn(out)) }
}
