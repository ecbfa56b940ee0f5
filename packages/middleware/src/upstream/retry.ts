import type { Attempt, Time } from '../pipeline/index.ts'
import { DEFAULT_RETRY, type RetryRule } from '../policy/index.ts'
import { outcomeOf, type Waits } from './balancers/index.ts'

/** A model, as far as its calls are made again. The same object for as long as it is the same model. */
export interface RetriedModel {
  readonly name: string
  readonly retry?: RetryRule | undefined
}

/** A model whose failures are all left to its callers is asked by each of them. */
export function insists({ retry }: RetriedModel): boolean {
  return retry?.attempts === 1
}

/** What is left to a request. */
export interface Left {
  readonly model: RetriedModel
  /** How many more calls are covered by what was reserved, before more is. */
  readonly coveredAttempts: number
  /** Until its deadline, in milliseconds. */
  readonly ms: number
  readonly waits: Waits
}

/** Whether a call that failed before a byte of its answer is made again, at the same target or another. */
export interface RetryPolicy {
  /** Told of each request before its first call. */
  began?(model: RetriedModel): void
  /**
   * @param attempts those that were made, the last of them just now
   * @returns `undefined` where it stays with the failure
   */
  next(attempts: readonly Attempt[], left: Left): { readonly afterMs: number } | undefined
}

export const neverRetry: RetryPolicy = { next: () => undefined }

export interface RetryWithinBudgetOptions {
  readonly time: Pick<Time, 'now'>
  /** From 0 to below 1. */
  readonly random: () => number
}

/** Full jitter: a retry waits any time up to this, in milliseconds, doubled for each that was before it. */
export const BACKOFF_MS = { first: 250, most: 2_000 } as const
/** The longest that a busy service is waited for where there is nowhere else, in milliseconds: a caller knows better what it has. */
export const LONGEST_BUSY_MS = 2_000
/** How far those who wait for a busy service come back apart, in milliseconds. */
const APART_MS = 250
/**
 * Beside its share of the requests, a model may be asked again once a second, so that a quiet one is retried at all. What isn't
 * used is saved up, to so many.
 */
export const RETRY_FLOOR = { perSecond: 1, most: 10 } as const

/** Retries that may still be made. */
interface RetryBudget {
  saved: number
  at: number
}

/**
 * Retries a failing service with full jitter, within a budget for each model of the process: a share of its requests, so that a
 * service that fails is not asked twice as often for it. Where a target is busy or misconfigured, or never has room for so
 * large a request, and another may be asked, that is asked at once: it costs no budget, for nobody is asked twice. A busy service is waited for, within the budget, where it said
 * so itself and there is nowhere else.
 *
 * Never after a byte of an answer: its model has worked, and the call is paid for.
 */
export function retryWithinBudget({ time, random }: RetryWithinBudgetOptions): RetryPolicy {
  const budgets = new WeakMap<RetriedModel, RetryBudget>()

  function budgetOf(model: RetriedModel): RetryBudget {
    let budget = budgets.get(model)
    if (budget === undefined) {
      budget = { saved: RETRY_FLOOR.most, at: time.now() }
      budgets.set(model, budget)
    }
    return budget
  }
  function takes(model: RetriedModel, { budget: share }: RetryRule): boolean {
    if (share <= 0) return false
    const budget = budgetOf(model)
    const now = time.now()
    budget.saved = Math.min(RETRY_FLOOR.most, budget.saved + ((now - budget.at) / 1_000) * RETRY_FLOOR.perSecond)
    budget.at = now
    if (budget.saved < 1) return false
    budget.saved -= 1
    return true
  }

  return {
    began(model) {
      const budget = budgetOf(model)
      budget.saved = Math.min(RETRY_FLOOR.most, budget.saved + (model.retry ?? DEFAULT_RETRY).budget)
    },

    next(attempts, { model, ms, waits }) {
      const rule = model.retry ?? DEFAULT_RETRY
      const last = attempts.at(-1)
      if (last === undefined || last.begun || attempts.length >= rule.attempts || ms <= 0) return undefined
      const outcome = outcomeOf(last)
      const within = (afterMs: number) => (afterMs < ms && takes(model, rule) ? { afterMs } : undefined)
      switch (outcome) {
        case 'busy':
          if (waits.elsewhereMs === 0) return AT_ONCE
          if (waits.anywhereMs > LONGEST_BUSY_MS) return undefined
          // A timer may fire a fraction of a millisecond early.
          return within(Math.ceil(waits.anywhereMs) + 1 + random() * APART_MS)
        case 'misconfigured':
        case 'oversized':
          return waits.elsewhereMs === 0 ? AT_ONCE : undefined
        case 'failing':
          if (waits.anywhereMs > 0) return undefined
          return within(random() * Math.min(BACKOFF_MS.most, BACKOFF_MS.first * 2 ** (attempts.length - 1)))
        default:
          return undefined
      }
    },
  }
}

const AT_ONCE = { afterMs: 0 } as const
