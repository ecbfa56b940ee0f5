import { costOf, highest } from '../operations/index.ts'
import {
  type Attempt,
  type Facts,
  type Log,
  NOTHING_SPENT,
  type TokenPrice,
  type TokenUsage,
} from '../pipeline/index.ts'
import type { Limit } from '../policy/index.ts'
import { type Reservation, unitsOf } from './reservation.ts'

/** What a limit and the log must know of a call to a model. */
export type Spent = Pick<Attempt, 'price' | 'spend' | 'failure'>

/** What a call to a model counts as. */
export interface Charge {
  /** What it took; where nobody knows, each that it may have taken: a limit is charged the most of these. */
  readonly usages: readonly TokenUsage[]
  /** What the log says; `undefined` where the call certainly generated nothing, and where there is nothing to say. */
  readonly told: TokenUsage | undefined
  readonly isCertain: boolean
  readonly price: TokenPrice | undefined
}

/**
 * As many times what was reserved is believed of what a model tells. Chosen, not measured: it leaves room for models that
 * think beyond `max_tokens` and for services that add prompts of their own. What tells of a thousand times as much is broken,
 * and one such answer must not spend a month's budget.
 */
const BELIEVED = 16

/**
 * What a call counts as for which this was reserved: what its model has told. Where nobody knows, all that was reserved
 * counts as spent, or what was told, where that is more: who leaves early doesn't get away without paying.
 */
export function chargeOf({ spend, price }: Spent, { usage: reserved, price: listed }: Reservation, log: Log): Charge {
  const told = spend.usage && believed(spend.usage, reserved, log)
  const common = { isCertain: spend.isCertain, price: price ?? listed }
  if (told !== undefined && spend.isCertain) {
    return { ...common, usages: [told], told: spend === NOTHING_SPENT ? undefined : told }
  }
  return {
    ...common,
    usages: told === undefined ? [reserved] : [reserved, told],
    told: { ...highest(told, reserved), cachedInput: 0 },
  }
}

function believed(told: TokenUsage, reserved: TokenUsage, log: Log): TokenUsage {
  // Where nobody could bound the input, none is reserved, for no limit counts it.
  const input = reserved.input === 0 ? told.input : Math.min(told.input, reserved.input * BELIEVED)
  const output = Math.min(told.output, reserved.output * BELIEVED)
  if (input === told.input && output === told.output) return told
  const capped = { input, cachedInput: Math.min(told.cachedInput, input), output }
  log('warn', 'usage capped', { told, capped, reserved })
  return capped
}

/**
 * What the log says of a call that no limit counts: what its model has told. Where it has told nothing, and has failed or was
 * ended before its end, the most that it can have taken.
 *
 * @param isWhole whether the call was answered, and to the end
 */
export function uncountedCharge(
  { spend, price, failure }: Spent,
  {
    listed,
    most,
    isWhole,
  }: {
    readonly listed: TokenPrice | undefined
    readonly most: () => TokenUsage | undefined
    readonly isWhole: boolean
  },
): Charge {
  const isUnknown = spend.usage === undefined && (failure !== undefined || !isWhole)
  const told = spend === NOTHING_SPENT ? undefined : isUnknown ? most() : spend.usage
  return { usages: told === undefined ? [] : [told], told, isCertain: spend.isCertain, price: price ?? listed }
}

/** Whole units of a limit that these calls take together. */
export function unitsCharged(limit: Limit, charges: readonly Charge[]): number {
  return sum(charges, ({ usages, price }) => Math.max(...usages.map((usage) => unitsOf(limit, usage, price))))
}

/** What the log says that these calls took together, and cost. Nothing where there is nothing to say. */
export function factsOf(charges: readonly Charge[]): Facts {
  const told = charges.filter((charge) => charge.told !== undefined)
  if (told.length === 0) return {}
  const count = (kind: keyof TokenUsage) => sum(told, (charge) => charge.told?.[kind] ?? 0)
  return {
    usage: { input: count('input'), cachedInput: count('cachedInput'), output: count('output') },
    ...(told.every(({ price }) => price !== undefined) ? { costNanoUsd: sum(told, costOfCharge) } : {}),
    ...(told.every(({ isCertain }) => isCertain) ? {} : { uncertain: true }),
  }
}

/** As a limit on money is charged: the highest of each count can cost more than the one or the other. */
function costOfCharge({ usages, price }: Charge): number {
  return price === undefined ? 0 : Math.max(...usages.map((usage) => costOf(usage, price)))
}

function sum(charges: readonly Charge[], of: (charge: Charge) => number): number {
  return Math.min(
    Number.MAX_SAFE_INTEGER,
    charges.reduce((total, charge) => total + of(charge), 0),
  )
}
