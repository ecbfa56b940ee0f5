import type { Limit } from '../../policy/index.ts'
import type { Standing } from './standing.ts'
import type { Subject } from './subject.ts'

/** A request was admitted: what it took is spent, or in flight until it is settled. */
export interface Admission {
  readonly admitted: true
  /** Whether the limits were checked. They weren't where the store is down, and the policy says to go on. */
  readonly checked: boolean
  readonly standings: readonly Standing[]
  /** Aborts when its concurrency slot can't be kept any longer: the request must end. `undefined` where it has none. */
  readonly lost: AbortSignal | undefined
  /** Once, at the end: gives back what was reserved and not used. Units of requests stay spent. Costs no call. */
  settle(used: (limit: Limit) => number): void
  /** Instead: the request was turned away further in, and takes nothing. */
  cancel(): void
}

/** A request was refused, and nothing was taken for it. */
export interface Denial {
  readonly admitted: false
  /** Whose limit it was, and which: the one that takes longest to have room. */
  readonly subject: Subject
  readonly limit: Limit
  readonly units: number
  /** Milliseconds until it has room, if nobody else takes it; infinity where it never could. */
  readonly retryAfterMs: number
  readonly standings: readonly Standing[]
}

export type Decision = Admission | Denial
