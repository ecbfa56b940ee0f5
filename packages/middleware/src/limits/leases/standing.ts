import { type Limit, largestClaim } from '../../policy/index.ts'
import { free, hasUnits, withoutLeases } from '../accounts/account.ts'
import { epochAt } from '../accounts/epoch.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { type Lease, spendable } from './lease.ts'
import { accountIn } from './plan.ts'
import type { Row } from './row.ts'

/** Where one limit stands after a decision. */
export interface Standing {
  readonly limit: Limit
  /** Units left: those that this instance holds and those in the centre, as it was last seen. */
  readonly remaining: number
  /** Milliseconds until more come back; 0 when none is missing. */
  readonly nextMs: number
}

/** Units that come back so soon are waited for: that serves a caller better than to be sent away for a moment. */
export const NEAR_MS = 50

/** Slots come back when requests end, which nobody can foretell: a second is as good a guess as any. */
const SLOT_WAIT_MS = 1_000

/** @param row the subject's row, brought forward; `undefined` where it was never seen */
export function standingOf(lease: Lease, row: Row | undefined, time: StoreInterval): Standing {
  const { limit } = lease
  const held = spendable(lease, time.latest)
  if (row === undefined) return { limit, remaining: held, nextMs: 0 }
  const account = accountIn(row, lease)
  const centre = free(account, limit, time)
  // What was used beyond a reservation is owed out of the centre.
  const owed = Math.max(0, lease.debt - lease.held)
  const remaining = Math.max(0, Math.floor(held + centre - owed))
  const full = largestClaim(limit)
  if (remaining >= full) return { limit, remaining: full, nextMs: 0 }
  if (limit.kind === 'concurrency') return { limit, remaining, nextMs: SLOT_WAIT_MS }
  if (limit.kind === 'budget')
    return { limit, remaining, nextMs: epochAt(limit.per, time.earliest).end - time.earliest }
  // What is leased is counted as spent: whether a request in flight, or another instance, gives some of it back before
  // the bucket brings more, cannot be foretold.
  const at = hasUnits(withoutLeases(account), limit, centre + 1, time)
  const nextMs = Number.isFinite(at) ? until(at, time) : Math.ceil(limit.periodMs / limit.refill)
  return { limit, remaining, nextMs }
}

/** Whoever comes a moment too early is let wait, and so need not be told to come later. */
function until(at: number, { earliest }: StoreInterval): number {
  return Math.max(1, at - earliest - NEAR_MS)
}
