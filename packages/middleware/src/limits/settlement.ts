import { atMost, billed, costOf, highest, isUsualTier, type Surcharges } from '../operations/index.ts'
import {
  type Attempt,
  type AttemptFacts,
  addCounts,
  type Facts,
  type Log,
  NOTHING_SPENT,
  type Price,
  type Tokens,
  tokensRead,
  tokensWritten,
  toldUsage,
  type Usage,
} from '../pipeline/index.ts'
import type { Limit } from '../policy/index.ts'
import { type Reservation, unitsOf } from './reservation.ts'

/** What a limit and the log must know of a call to a model. */
export type Spent = Pick<Attempt, 'price' | 'spend'> & Partial<Attempt>

/** A usage, and at what price. */
interface Priced {
  readonly usage: Usage
  readonly price: Price | undefined
}

/** What a call to a model counts as. */
export interface Charge {
  /** What it took; where nobody knows, each that it may have taken: a limit is charged the most of these. */
  readonly usages: readonly Priced[]
  /** What the log says; `undefined` where the call certainly generated nothing, and where there is nothing to say. */
  readonly told: Usage | undefined
  readonly isCertain: boolean
  readonly spillover: string | undefined
}

/**
 * As many times what was reserved is believed of what a model tells. Chosen, not measured: it leaves room for models that
 * think beyond `max_tokens` and for services that add prompts of their own. What tells of a thousand times as much is broken,
 * and one such answer must not spend a month's budget.
 */
const BELIEVED = 16
/**
 * So much is believed in any case, in tokens of each side: as long as the longest answers and prompts of today's models are. The
 * bound that a caller chooses must not decide how little of its answers is charged, where a model goes beyond it.
 */
const BELIEVED_ALWAYS = 131_072

/**
 * What a call counts as for which this was reserved: what its model has told. Where nobody knows, all that was reserved
 * counts as spent, or what was told, where that is more: who leaves early doesn't get away without paying. A prompt that was
 * read, and not answered, counts as all of the input that was reserved.
 */
export function chargeOf({ spend, price, tier, spillover }: Spent, reserved: Reservation, log: Log): Charge {
  const told = spend.usage && believed(spend.usage, reserved.usage.tokens, log)
  const common = { isCertain: spend.isCertain, spillover }
  // What no model has worked on has called none of the tools either that were asked for.
  if (spend === NOTHING_SPENT) {
    return { ...common, usages: [{ usage: NO_USAGE, price: price ?? reserved.listed }], told: undefined }
  }
  const surcharges = tier === undefined ? reserved.extras : { ...reserved.extras, tier }
  const toldUsages = told === undefined ? [] : pricedBy(told, surcharges, price ?? reserved.listed)
  if (told !== undefined && spend.isCertain) return { ...common, usages: toldUsages, told: toldUsages[0]?.usage }
  const { tokens } = reserved.usage
  const most = spend.promptOnly ? { tokens: { ...tokens, output: 0 } } : reserved.usage
  return { ...common, usages: [{ usage: most, price: reserved.price }, ...toldUsages], told: undivided(told, most) }
}

function pricedBy(usage: Usage, surcharges: Surcharges, price: Price | undefined): readonly Priced[] {
  return billed(usage, surcharges).map((each) => ({ usage: each, price }))
}

/** The most of both, of which nobody knows what was cached. */
function undivided(told: Usage | undefined, most: Usage): Usage {
  const { tokens } = highest(told, most)
  return { ...told, tokens: { input: tokensRead(tokens), output: tokensWritten(tokens) } }
}

function believed(told: Usage, reserved: Tokens, log: Log): Usage {
  const [read, written] = [tokensRead(reserved), tokensWritten(reserved)]
  const tokens = atMost(told.tokens, {
    // Where nobody could bound the input, none is reserved, for no limit counts it.
    read: read === 0 ? Number.MAX_SAFE_INTEGER : Math.max(BELIEVED_ALWAYS, read * BELIEVED),
    written: Math.max(BELIEVED_ALWAYS, written * BELIEVED),
  })
  if (tokens === told.tokens) return told
  const capped = { ...told, tokens }
  log('warn', 'usage capped', {
    told: toldUsage(told),
    capped: toldUsage(capped),
    reserved: toldUsage({ tokens: reserved }),
  })
  return capped
}

/**
 * What the log says of a call that no limit counts: what its model has told. Where it has told nothing, and has failed or was
 * ended before its end, the most that it can have taken.
 *
 * @param isWhole whether the call was answered, and to the end
 */
export function uncountedCharge(
  { spend, price, tier, failure, spillover }: Spent,
  {
    listed,
    most,
    surcharges,
    isWhole,
  }: {
    readonly listed: Price | undefined
    readonly most: () => Reservation | undefined
    readonly surcharges: () => Surcharges
    readonly isWhole: boolean
  },
): Charge {
  const common = { isCertain: spend.isCertain, spillover }
  if (spend === NOTHING_SPENT) return { ...common, usages: [], told: undefined }
  if (spend.usage !== undefined) {
    const asked = tier === undefined ? surcharges() : { ...surcharges(), tier }
    const usages = pricedBy(spend.usage, asked, price ?? listed)
    return { ...common, usages, told: usages[0]?.usage }
  }
  const reserved = failure !== undefined || !isWhole ? most() : undefined
  if (reserved === undefined) return { ...common, usages: [], told: undefined }
  const { tokens } = reserved.usage
  const usage = spend.promptOnly ? { tokens: { ...tokens, output: 0 } } : { tokens }
  return { ...common, usages: [{ usage, price: reserved.price }], told: usage }
}

/** Whole units of a limit that these calls take together. */
export function unitsCharged(limit: Limit, charges: readonly Charge[]): number {
  return sum(charges, ({ usages }) => Math.max(...usages.map(({ usage, price }) => unitsOf(limit, usage, price))))
}

/** What is told of these calls: each by itself, and what they took together and cost, where there is something to say. */
export function factsOf(charges: readonly Charge[], spents: readonly Spent[]): Facts {
  const attempts = spents.flatMap((spent, index) => attemptFacts(spent, charges[index]) ?? [])
  const told = charges.filter((charge) => charge.told !== undefined)
  if (told.length === 0) return attempts.length === 0 ? {} : { attempts }
  const usage: Record<string, number> = {}
  const toolCalls: Record<string, number> = {}
  let tier: string | undefined
  let spillover: string | undefined
  for (const charge of told) {
    addCounts(usage, toldUsage(charge.told ?? NO_USAGE))
    addCounts(toolCalls, charge.told?.toolCalls)
    if (!isUsualTier(charge.told?.tier)) tier = charge.told?.tier
    spillover = charge.spillover ?? spillover
  }
  return {
    attempts,
    usage: usage as Facts['usage'] & object,
    ...(told.every(isPriced) ? { costNanoUsd: sum(told, costOfCharge) } : {}),
    ...(told.every(({ isCertain }) => isCertain) ? {} : { uncertain: true }),
    ...(tier === undefined ? {} : { tier }),
    ...(Object.keys(toolCalls).length === 0 ? {} : { toolCalls }),
    ...(spillover === undefined ? {} : { spillover }),
  }
}

function attemptFacts({ model, target, ms, ...spent }: Spent, charge: Charge | undefined): AttemptFacts | undefined {
  // Of what a fault broke off, nothing is known but that it may have cost something.
  if (model === undefined || target === undefined || ms === undefined) return undefined
  const { failure, spillover, startedAt, asked, firstTokenMs } = spent
  const { told } = charge ?? {}
  const price = charge?.usages[0]?.price
  return {
    model,
    target,
    ...(startedAt === undefined ? {} : { startedAt }),
    ms,
    ...(asked === undefined ? {} : { asked }),
    ...(firstTokenMs === undefined ? {} : { firstTokenMs }),
    ...(failure === undefined ? {} : { failure }),
    ...(spillover === undefined ? {} : { spillover }),
    ...(told === undefined ? {} : { usage: toldUsage(told) }),
    ...(told?.tier === undefined ? {} : { tier: told.tier }),
    ...(price === undefined ? {} : { price }),
    ...(told !== undefined && charge !== undefined && isPriced(charge) ? { costNanoUsd: costOfCharge(charge) } : {}),
  }
}

const NO_USAGE: Usage = { tokens: {} }

function isPriced({ usages }: Charge): boolean {
  return usages.every(({ price }) => price !== undefined)
}

/** As a limit on money is charged: the highest of each count can cost more than the one or the other. */
function costOfCharge({ usages }: Charge): number {
  return Math.max(...usages.map(({ usage, price }) => (price === undefined ? 0 : costOf(usage, price))))
}

function sum(charges: readonly Charge[], of: (charge: Charge) => number): number {
  return Math.min(
    Number.MAX_SAFE_INTEGER,
    charges.reduce((total, charge) => total + of(charge), 0),
  )
}
