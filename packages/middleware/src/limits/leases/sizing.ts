import { largestClaim } from '../../policy/index.ts'
import { type Account, free } from '../accounts/account.ts'
import { unitsIn } from '../accounts/slots.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import type { Lease } from './lease.ts'

/** Lease lives, in milliseconds: where demand is far below the limit, and where units are scarce. */
const AMPLE_LIFE_MS = 45_000
const SCARCE_LIFE_MS = 8_000
/** Where nothing is held beyond what requests wait for: just long enough to be spent. */
const BARE_LIFE_MS = 2_000
/** While something is in flight: long enough to be renewed twice, short enough to be missed when its holder has died. */
const IN_FLIGHT_LIFE_MS = 30_000
/** More than demand says, because it comes unevenly. */
const MARGIN = 1.25
/** How much demand a lease of a budget holds: what is lost with a crash. */
const BUDGET_HORIZON_MS = 10_000
/** The share of a quota or budget that one lease may hold as a surplus: what is lost with a crash. */
export const BUDGET_SURPLUS_SHARE = 0.002
/** A surplus below this saves too few round trips for what it strands. */
export const LEAST_SURPLUS = 8
/** Before there is any demand to go by. */
const FIRST_SURPLUS = 64
/** The share of a limit that all instances' spent units may keep from refilling before they are written off. */
const SPENT_SHARE = 1 / 8

/**
 * How many more requests should find room in the shared counter for each instance before units that came back may lie idle in a
 * lease: fewer, and the next request elsewhere may be refused for want of them. Chosen so that in a bucket of 16 requests
 * nothing ever lies idle.
 */
const SPARE_REQUESTS = 16
/**
 * From this share of a limit on tokens or money a request is a real share of it. Chosen so that the round trips which such
 * requests then cost are few: a limit that is refilled in a minute admits four of them a second at most.
 */
const REAL_SHARE = 1 / 256
/** From this many requests a second an instance soon uses what lies idle in its lease. */
const BUSY_PER_SECOND = 5

export interface Situation {
  readonly lease: Lease
  readonly account: Account
  /** Instances that hold a lease of this subject, this one among them. */
  readonly instances: number
  readonly time: StoreInterval
  /** Our monotonic clock. */
  readonly now: number
}

/** Whether demand comes near what the limit gives, or the shared counter is low. */
function isScarce({ lease: { limit, demand }, account, instances, time, now }: Situation): boolean {
  if (free(account, limit, time) < largestClaim(limit) / 4) return true
  return limit.kind === 'rate' && demand.rate(now) * instances > (0.8 * limit.refill) / limit.periodMs
}

/**
 * Whether nothing may lie idle in a lease of tokens or money: requests are a real share of the limit, or of what
 * the shared counter has left. A request elsewhere, perhaps a larger one, must find what this one did not use.
 *
 * @param need units that requests wait for
 */
export function mustNotIdle({ lease, account, instances, time, now }: Situation, need = 0): boolean {
  const { limit, demand } = lease
  if (limit.measure === 'requests' || limit.kind === 'concurrency') return false
  const largest = Math.max(need, lease.largest)
  if (free(account, limit, time) < SPARE_REQUESTS * instances * largest) return true
  const isBusy = demand.rate(now) * 1_000 >= BUSY_PER_SECOND * largest
  return largest >= largestClaim(limit) * REAL_SHARE && !isBusy
}

/**
 * How many units a lease should hold beyond what waits for them, so that the next requests need not ask: by recent
 * demand, and never more than leaves enough for other instances. Small limits have none: they lease exactly what requests wait for.
 *
 * @param need units that requests wait for
 */
export function surplus(situation: Situation, need: number): number {
  const { lease, account, instances, time, now } = situation
  const { limit } = lease
  const demand = lease.demand.rate(now) * MARGIN
  if (mustNotIdle(situation, need)) return 0
  if (need === 0 && demand * AMPLE_LIFE_MS < LEAST_SURPLUS) return 0
  const left = free(account, limit, time)
  // Half, even of one that seems to be alone: others may be on their way.
  const share = left / (2 * instances)
  const most = Math.min(share, largestClaim(limit) / 2)
  const units = Math.floor(Math.min(most, wanted(situation, demand)))
  return units < LEAST_SURPLUS ? 0 : units
}

function wanted(situation: Situation, demand: number): number {
  const { lease, instances } = situation
  const { limit } = lease
  switch (limit.kind) {
    case 'rate': {
      const first = Math.min(FIRST_SURPLUS, limit.capacity / (32 * instances))
      return Math.max(first, demand * (isScarce(situation) ? SCARCE_LIFE_MS : AMPLE_LIFE_MS))
    }
    case 'budget':
      return Math.min(BUDGET_SURPLUS_SHARE * limit.quota, demand * BUDGET_HORIZON_MS)
    case 'concurrency':
      return limit.quota / (8 * instances)
  }
}

/** How long a lease should live, in milliseconds. */
export function lifetime(situation: Situation, held: number): number {
  const { lease } = situation
  if (lease.inFlight > 0 || lease.limit.measure !== 'requests') return IN_FLIGHT_LIFE_MS
  if (lease.limit.kind === 'budget') return AMPLE_LIFE_MS
  if (held < LEAST_SURPLUS) return BARE_LIFE_MS
  return isScarce(situation) ? SCARCE_LIFE_MS : AMPLE_LIFE_MS
}

/**
 * Whether what was spent should be written off before the lease is used up: it still stands in the row, and
 * leaves no room there for refill.
 *
 * @param spent units that are not yet written off
 */
export function holdsBackRefill(
  { lease, account, instances }: Pick<Situation, 'lease' | 'account' | 'instances'>,
  spent: number,
): boolean {
  const { limit } = lease
  if (limit.kind !== 'rate' || spent === 0) return false
  const isMuchOut = unitsIn(account.out) >= limit.capacity / 2
  return isMuchOut || spent >= Math.max(2, (limit.capacity * SPENT_SHARE) / instances)
}
