import type { Attempt } from '../../pipeline/index.ts'

/** Picks among the targets that may be asked. One serves all requests of a process, and learns from how its picks did. */
export interface Balancer {
  /**
   * @param candidates one at the least, best first
   * @param attempts those that this request has made before
   */
  pick<Candidate extends object>(
    candidates: readonly [Candidate, ...Candidate[]],
    attempts: readonly Attempt[],
  ): Candidate
  /** Told once of each call, when it has ended. */
  report(candidate: object, attempt: Attempt): void
}
