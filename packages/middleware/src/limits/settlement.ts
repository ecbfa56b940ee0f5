import { costOf, highest, noteUsage } from '../operations/index.ts'
import type { BaseContext, TokenUsage } from '../pipeline/index.ts'
import type { Admission } from './leases/decision.ts'
import { type Reservation, unitsOf } from './reservation.ts'

/** How a reservation ends: one of these, once. */
export interface Settlement {
  /** The model has told what it took. */
  used(usage: TokenUsage): void
  /** Certainly nothing was generated. */
  unspent(): void
  /**
   * Nobody knows: all that was reserved counts as spent, or what was told, where that is more. Who leaves early doesn't get
   * away without paying.
   */
  uncertain(told: TokenUsage | undefined): void
}

/**
 * As many times what was reserved is believed of what a model tells. Chosen, not measured: it leaves room for models that
 * think beyond `max_tokens` and for services that add prompts of their own. What tells of a thousand times as much is broken,
 * and one such answer must not spend a month's budget.
 */
const BELIEVED = 16

export function settlement(
  admission: Admission,
  { usage: reserved, price }: Reservation,
  { record, log }: Pick<BaseContext, 'record' | 'log'>,
): Settlement {
  const settle = (...usages: readonly TokenUsage[]) =>
    admission.settle((limit) => Math.max(...usages.map((usage) => unitsOf(limit, usage, price))))

  function believed(told: TokenUsage): TokenUsage {
    // Where nobody could bound the input, none is reserved, for no limit counts it.
    const input = reserved.input === 0 ? told.input : Math.min(told.input, reserved.input * BELIEVED)
    const output = Math.min(told.output, reserved.output * BELIEVED)
    if (input === told.input && output === told.output) return told
    const capped = { input, cachedInput: Math.min(told.cachedInput, input), output }
    log('warn', 'usage capped', { told, capped, reserved })
    return capped
  }

  return {
    used(told) {
      const usage = believed(told)
      settle(usage)
      noteUsage(record, usage)
    },
    unspent: () => settle(NOTHING),
    uncertain(told) {
      record.uncertain = true
      const least = told === undefined ? undefined : believed(told)
      const either = least === undefined ? [reserved] : [reserved, least]
      settle(...either)
      noteUsage(record, { ...highest(least, reserved), cachedInput: 0 })
      // The highest of each count can cost more than the one or the other, which is what a limit on money is charged.
      if (record.price !== undefined && price !== undefined) {
        record.costNanoUsd = Math.max(...either.map((usage) => costOf(usage, price)))
      }
    },
  }
}

const NOTHING: TokenUsage = { input: 0, cachedInput: 0, output: 0 }
