import type { BudgetLimit } from '../policy/index.ts'
import { type StandingsOptions, standingsOf } from './standings.ts'

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

export interface ChargedOptions extends Pick<StandingsOptions, 'store' | 'signal'> {
  /** The subject's id, such as `consumer:alice`. */
  readonly subject: string
  readonly limits: readonly BudgetLimit[]
}

/** `undefined` where nothing was ever counted. Changes nothing. @throws the store's own error; RowUnreadable */
export async function chargedTo({ store, subject, limits, signal }: ChargedOptions): Promise<Charged | undefined> {
  const {
    limits: standings,
    nonce,
    writtenAt,
    at,
  } = await standingsOf({
    store,
    subject: { id: subject, limits },
    signal,
  })
  if (nonce === undefined) return undefined
  const charged = standings.flatMap(({ limit, window, used }) =>
    limit.kind === 'budget' && window !== undefined ? [{ limit, windowStart: window.start, units: used }] : [],
  )
  return { limits: charged, nonce, writtenAt, at }
}
