import type { Facts } from './facts.ts'
import type { Log } from './log.ts'
import type { StepName, Story } from './story.ts'
import type { TraceContext } from './trace-context.ts'

/** What every middleware may rely on. The middleware before it adds the rest, typed. */
export interface BaseContext {
  /** Visible ASCII, 1 to 128 characters. */
  readonly requestId: string
  readonly log: Log
  /** The trace that the request is a part of; left out where it is in none. */
  readonly trace?: TraceContext | undefined
  /**
   * Says what is to be logged and measured of the request. Write-only: only the outermost, which made it, reads it, so that
   * nothing can be decided by what another middleware told. What decides is the reply.
   */
  readonly tell: (facts: Facts) => void
  /**
   * Says that a step on the request's way has ended, and how: for the request's story, not for its line. Write-only too. It took
   * what has passed since the step before ended. A step is taken once for each time that the request comes to it.
   *
   * @param decision a word, or a code: `known`, `hit`, `rate_limit_exceeded`
   */
  readonly step: (name: StepName, decision: string, story?: Story) => void
}
