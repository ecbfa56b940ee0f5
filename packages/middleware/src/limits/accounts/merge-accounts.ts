import { type Account, leasedIn, roomOf } from './account.ts'
import type { BudgetAccount } from './budget.ts'
import { levelOf, type RateAccount, withLevel } from './rate.ts'
import { mergeSlots, NO_SLOTS, type Slots, withBeside } from './slots.ts'

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
  const merged = withBeside(
    { ...found, out: mergeSlots(known.out, found.out, combine(overlap)), at: Math.max(known.at, found.at) },
    besideOf(known, found, overlap),
  )
  // What is missing from both buckets adds up where they are separate.
  const level =
    overlap === 'separate'
      ? levelOf(known) + levelOf(found) - capacity * periodMs
      : Math.min(levelOf(known), levelOf(found))
  return withLevel(merged, Math.min(level, roomOf(merged)))
}

function besideOf(known: { readonly beside?: Slots }, found: { readonly beside?: Slots }, overlap: Overlap): Slots {
  if (known.beside === undefined) return found.beside ?? NO_SLOTS
  return mergeSlots(known.beside, found.beside ?? NO_SLOTS, combine(overlap))
}

function mergeBudgets(known: BudgetAccount, found: BudgetAccount, overlap: Overlap): BudgetAccount {
  if (known.epoch !== found.epoch) return known.epoch > found.epoch ? known : found
  const both = combine(overlap)
  const out = mergeSlots(known.out, found.out, both)
  const lost = both(known.lost, found.lost)
  const merged = withBeside({ ...found, out, lost }, besideOf(known, found, overlap))
  return { ...merged, granted: Math.max(both(known.granted, found.granted), lost + leasedIn(merged)) }
}
