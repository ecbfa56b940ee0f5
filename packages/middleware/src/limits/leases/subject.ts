import type { Limit } from '../../policy/index.ts'

/** Whose counters a request takes from: a consumer, a plan's consumers together, or all. */
export interface Subject {
  /** Unique among all subjects, e.g. `consumer:alice`. */
  readonly id: string
  /** All its limits: they share a row. The same array object for as long as the limits stand. */
  readonly limits: readonly Limit[]
}

/** What a request takes from one limit of a subject. */
export interface Claim {
  readonly subject: Subject
  readonly limit: Limit
  /** Whole units of the limit's measure; at least 0. */
  readonly units: number
}
