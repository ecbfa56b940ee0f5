import type { BudgetLimit, Epoch } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { NO_SLOTS, type Slots, unexpired, unitsIn, withBeside } from './slots.ts'

const LENGTH_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const

/** When the window that holds this moment began, and when it ends; milliseconds since 1970, UTC. */
export function epochAt(per: Epoch, now: number): { readonly start: number; readonly end: number } {
  if (per === 'month') {
    if (!(month.start <= now && now < month.end)) month = monthAt(new Date(now))
    return month
  }
  const start = Math.floor(now / LENGTH_MS[per]) * LENGTH_MS[per]
  return { start, end: start + LENGTH_MS[per] }
}

/** The month that was asked for last: each request asks for the present one several times. */
let month = monthAt(new Date(0))

function monthAt(date: Date): { readonly start: number; readonly end: number } {
  const [year, index] = [date.getUTCFullYear(), date.getUTCMonth()]
  return { start: Date.UTC(year, index, 1), end: Date.UTC(year, index + 1, 1) }
}

/** What was handed out of a quota or budget in its present window. */
export interface BudgetAccount {
  readonly kind: 'budget'
  readonly per: Epoch
  /** When the window began: milliseconds since 1970, UTC. */
  readonly epoch: number
  /** Units handed out and not given back: spent, or held. */
  readonly granted: number
  /**
   * Units whose holder has not been heard of since its lease's end. They stay granted, because they may have been
   * spent: this is what a crash costs, until the window ends.
   */
  readonly lost: number
  readonly out: Slots
  /** The largest that its quota was in this window; `undefined` in a row of a release before. */
  readonly quota?: number
  /** Of what was granted, what instances hold that go by no limit of this key; absent for nothing. */
  readonly beside?: Slots
}

export function openBudget({ per }: BudgetLimit, { earliest }: StoreInterval): BudgetAccount {
  return { kind: 'budget', per, epoch: epochAt(per, earliest).start, granted: 0, lost: 0, out: NO_SLOTS }
}

/** A window opens once it has begun for certain. What instances of other revisions hold they may spend in it. */
export function rollBudget(account: BudgetAccount, { earliest }: StoreInterval): BudgetAccount {
  const { kind, per } = account
  const { start } = epochAt(per, earliest)
  const beside = unexpired(account.beside ?? NO_SLOTS, earliest)
  if (start > account.epoch) {
    return withBeside<BudgetAccount>(
      { kind, per, epoch: start, granted: unitsIn(beside), lost: 0, out: NO_SLOTS },
      beside,
    )
  }
  const out = unexpired(account.out, earliest)
  return withBeside({ ...account, out, lost: account.lost + unitsIn(account.out) - unitsIn(out) }, beside)
}

/** The same account, and the largest quota that its window has seen. */
export function resizeBudget(account: BudgetAccount, { quota }: BudgetLimit): BudgetAccount {
  return (account.quota ?? 0) >= quota ? account : { ...account, quota }
}

/** None in the moments in which the window may be over: a lease of it could no longer be spent. */
export function freeOfBudget({ per, epoch, granted }: BudgetAccount, { quota }: BudgetLimit, latest: number): number {
  return latest < epochAt(per, epoch).end ? Math.max(0, quota - granted) : 0
}

/** The store time, in milliseconds, at which the account has this many units if no instance takes or returns any. */
export function budgetHas(account: BudgetAccount, limit: BudgetLimit, units: number, latest: number): number {
  if (freeOfBudget(account, limit, latest) >= units) return 0
  return units <= limit.quota ? epochAt(account.per, account.epoch).end : Number.POSITIVE_INFINITY
}
