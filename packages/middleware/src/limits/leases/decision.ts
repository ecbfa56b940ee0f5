import type { Limit } from '../../policy/index.ts'

/** Whose counters a request takes from: one consumer, all consumers of a plan together, or everybody. */
export interface Subject {
  /** Unique among all subjects, e.g. `consumer:alice`. */
  readonly id: string
  /**
   * All its limits: they share a row. Another array of equal limits means the same ones; the same array is told apart fastest.
   */
  readonly limits: readonly Limit[]
}

/** What a request takes from one limit of a subject. */
export interface Claim {
  readonly subject: Subject
  readonly limit: Limit
  /** Whole units of the limit's measure; at least 0. */
  readonly units: number
}

/** What is left of one limit after a decision. */
export interface LimitStatus {
  readonly limit: Limit
  /** Units left: those that this instance holds, and those of the shared counter as it was last seen. */
  readonly remaining: number
  /** Milliseconds until more come back; 0 when none is missing. */
  readonly nextMs: number
}

/** The request was admitted: what it took is spent, or in flight until it is settled. */
export interface Admission {
  readonly admitted: true
  /** Whether the limits were checked. They weren't where the store is down, and the policy says to go on. */
  readonly checked: boolean
  readonly standings: readonly LimitStatus[]
  /** Aborts when its concurrency slot can't be kept any longer: the request must end. `undefined` where it has none. */
  readonly lost: AbortSignal | undefined
  /** Once, at the end: gives back what was reserved and not used. Units of requests stay spent. Costs no store call. */
  settle(used: (limit: Limit) => number): void
  /** Instead: the request was turned away further in, and takes nothing. */
  cancel(): void
}

/** The request was refused, and nothing was taken for it. */
export interface Denial {
  readonly admitted: false
  /** Whose limit refused it, and which: of several the one that takes longest to have room. */
  readonly subject: Subject
  readonly limit: Limit
  readonly units: number
  /** Milliseconds until it has room, if no other request takes any; infinity where it never could. */
  readonly retryAfterMs: number
  readonly standings: readonly LimitStatus[]
}

export type Decision = Admission | Denial

/**
 * No decision: the store could not be reached (`store_failed`), or other instances kept changing the row (`contention`),
 * until the deadline; or the row can't be read (`row_failed`). Not a limit: try again.
 */
export class LimiterUnavailable extends Error {
  override readonly name = 'LimiterUnavailable'
  readonly code: 'contention' | 'store_failed' | 'row_failed'
  /** @param cause what the store threw last, if it did */
  constructor(code: LimiterUnavailable['code'], cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}
