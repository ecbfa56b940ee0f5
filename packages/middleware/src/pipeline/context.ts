import type { Facts } from './facts.ts'
import type { Log } from './log.ts'

/** What every middleware may rely on. The middleware before it adds the rest, typed. */
export interface BaseContext {
  /** Visible ASCII, 1 to 128 characters. */
  readonly requestId: string
  readonly log: Log
  /**
   * Says what is to be logged and measured of the request. Write-only: only the outermost, which made it, reads it, so that
   * nothing can be decided by what another middleware told. What decides is the reply.
   */
  readonly tell: (facts: Facts) => void
}
