import type { BudgetLimit } from '../policy/index.ts'
import { epochAt, rollBudget } from './accounts/budget.ts'
import { unitsIn } from './accounts/slots.ts'
import { parseRow } from './leases/row.ts'
import type { CounterStore } from './stores/counter-store.ts'

/** What budgets have charged in their present windows, as their row says it. */
export interface Charged {
  readonly limits: readonly {
    readonly limit: BudgetLimit
    /** Milliseconds since 1970. */
    readonly windowStart: number
    /** Spent for certain, or held by an instance that was not heard of since its lease's end: not what leases hold. */
    readonly units: number
  }[]
  /** Which write made the row, and when, by the store's clock; left out where the store doesn't tell. */
  readonly nonce: string
  readonly writtenAt: number | undefined
  /** The store's clock, at most a second late. */
  readonly at: number
}

export interface ChargedOptions {
  readonly store: CounterStore
  /** The subject's id, such as `consumer:alice`. */
  readonly subject: string
  readonly limits: readonly BudgetLimit[]
  readonly signal: AbortSignal
}

/** `undefined` where nothing was ever counted. Changes nothing. @throws the store's own error; RowUnreadable */
export async function chargedTo({ store, subject, limits, signal }: ChargedOptions): Promise<Charged | undefined> {
  const { row, time, writtenAt } = await store.read(subject, signal)
  if (row === undefined || time === undefined) return undefined
  const { accounts, nonce } = parseRow(row.text)
  const at = time.date
  const charged = limits.flatMap((limit) => {
    const account = accounts[limit.key]
    if (account?.kind !== 'budget' || account.epoch !== epochAt(limit.per, at).start) return []
    const { granted, out } = rollBudget(account, { earliest: at, latest: at })
    return [{ limit, windowStart: account.epoch, units: granted - unitsIn(out) }]
  })
  return { limits: charged, nonce, writtenAt, at }
}
