import type { Attempt, TargetState } from '../../pipeline/index.ts'

/** What may be picked: a target, and a service tier where it is asked for by name. */
export interface Balanced {
  readonly target: { readonly id: string; readonly weight: number }
  readonly tier: string | undefined
  readonly rank: number
}

/** What a pick may go by. */
export interface Picking {
  /** Those that this request has made before. */
  readonly attempts: readonly Attempt[]
  /** The conversation, whose prompt cache is on one target; `undefined` where there is one target alone. */
  readonly sticky: string | undefined
  /** One of them is asked in any case: where all are to be left alone, the one whose wait is the least. */
  readonly insists?: boolean | undefined
}

/** That nothing may be asked: each candidate is to be left alone for a while. */
export interface AllBlocked {
  /** The least of their waits, in milliseconds. */
  readonly blockedForMs: number
}

/** How long it is until something may be asked, in milliseconds: 0 for now, infinity where there is nothing of the kind. */
export interface Waits {
  /** Where this request has not failed yet. */
  readonly elsewhereMs: number
  readonly anywhereMs: number
}

/** Picks among the targets that may be asked. One serves all requests of a process, and learns from how its picks did. */
export interface Balancer {
  /** @param candidates one at the least, by rank */
  pick<Candidate extends Balanced>(
    candidates: readonly [Candidate, ...Candidate[]],
    picking: Picking,
  ): Candidate | AllBlocked
  /** The same without a pick. Left out where each candidate may always be asked. */
  waits?(candidates: readonly Balanced[], attempts: readonly Attempt[]): Waits
  /** Told of each pick whose answer has begun; a stream's end may be long after. */
  began?(candidate: Balanced): void
  /** Told once of each pick, when its call has ended. */
  report(candidate: Balanced, attempt: Attempt): void
  /** The targets that are not asked now. */
  states(): readonly TargetState[]
}

const ASKABLE: Waits = { elsewhereMs: 0, anywhereMs: 0 }

export function waitsOf(balancer: Balancer, candidates: readonly Balanced[], attempts: readonly Attempt[]): Waits {
  return balancer.waits?.(candidates, attempts) ?? ASKABLE
}
