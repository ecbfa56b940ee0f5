/** What a limit counts. `input`, `output` and `tokens` (both together) are tokens; money is counted in nano-dollars. */
export type Measure = 'requests' | 'tokens' | 'input' | 'output' | 'money' | 'concurrency'

/** A window of a quota or budget, in UTC. */
export type Epoch = 'minute' | 'hour' | 'day' | 'month'

interface Common {
  /** Its identity in the counters' rows, the same for as long as what it counts and over which period is the same. */
  readonly key: string
  /** Its name in `RateLimit` headers and in refusals; unique among the limits of one plan and the global ones. */
  readonly name: string
  readonly measure: Measure
  /** For this model's requests alone, by the policy's name; `undefined` for all. */
  readonly model: string | undefined
  /** The number that the policy states, in whole units of the measure. */
  readonly quota: number
}

/** A bucket: at most `capacity + refill · W / periodMs` units in any interval W. */
export interface RateLimit extends Common {
  readonly kind: 'rate'
  readonly periodMs: number
  /** Units that may come beyond the quota's steady rate. */
  readonly burst: number
  /** The most units that may come at once. */
  readonly capacity: number
  /** Units that come back in each period. */
  readonly refill: number
}

/** At most `quota` units in each window, and none of them comes back before the next. */
export interface BudgetLimit extends Common {
  readonly kind: 'budget'
  readonly per: Epoch
}

/** At most `quota` requests in flight. */
export interface ConcurrencyLimit extends Common {
  readonly kind: 'concurrency'
}

export type Limit = RateLimit | BudgetLimit | ConcurrencyLimit

/** The most units that a limit could ever grant to one request. */
export function largestClaim(limit: Limit): number {
  return limit.kind === 'rate' ? limit.capacity : limit.quota
}
