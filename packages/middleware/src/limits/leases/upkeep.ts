import type { Limit } from '../../policy/index.ts'
import { free } from '../accounts/account.ts'
import { slotEnd } from '../accounts/slots.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { type Lease, unbookedOf } from './lease.ts'
import { BUDGET_SURPLUS_SHARE, LEAST_SURPLUS, mustNotIdle, type Situation, surplus } from './sizing.ts'

/*
 * What a lease needs while no request waits for it: when it is renewed, what it returns, and when it is given up.
 */

/** A lease that requests will use up within this time is renewed ahead. */
const AHEAD_MS = 500
/** Units that were not used for this long are returned. */
const IDLE_MS = 5_000
/** Units that were granted to one request, and were not taken or came back unused, are returned after this long. */
const LEFT_OVER_MS = 400
/** A lease that holds nothing is forgotten after this long. */
const FORGET_MS = 60_000
/** Units in flight are renewed this long before their lease ends: time for more than 20 tries by the timer. */
const RENEW_MS = 12_000
/** Slots in use are given up this long before other instances may take them for free. */
const GIVE_UP_MS = 1_000
/** A lease whose units would be missed is renewed this long before its end. */
const LOSS_MS = 1_500
/** Of at most 8 slots each is returned as soon as it is free; of fewer than 64, where half of them are in use. */
const FEW_SLOTS = 8
const MANY_SLOTS = 64

/** Whether requests will use the lease up within a moment: it `ends`, or runs `low`. */
export function runsOut(situation: Situation): 'ends' | 'low' | undefined {
  const { lease, time, now } = situation
  const soon = lease.demand.rate(now) * AHEAD_MS
  if (soon < 1) return undefined
  if (lease.limit.kind !== 'budget' && time.latest + AHEAD_MS >= lease.endsAt) return 'ends'
  return lease.held < soon && surplus(situation, 0) > 0 ? 'low' : undefined
}

/** Whether the lease must be written again before it ends. */
export function needsRenewal(lease: Lease, { latest }: StoreInterval): boolean {
  const { limit, slot, inFlight, booked, endsAt } = lease
  if (unbookedOf(lease) > 0) return true
  if (slot === undefined) return false
  // A budget's holder that is not heard of is taken for dead; a rate's lease takes along what it holds.
  if (inFlight > 0 || (limit.kind === 'budget' && booked > 0)) return latest + RENEW_MS >= slotEnd(slot)
  return limit.kind === 'rate' && isMissed(lease) && lease.held > 0 && latest + LOSS_MS >= endsAt
}

/** Whether slots in use could not be renewed, and others may take them in a moment. */
export function mustGiveUp({ limit, inFlight, endsAt }: Lease, { latest }: StoreInterval): boolean {
  return limit.kind === 'concurrency' && inFlight > 0 && latest + GIVE_UP_MS >= endsAt
}

/** Whether what the lease holds beyond what requests come for is to be returned at once. */
export function isOwedBack(situation: Situation): boolean {
  return areSlotsFew(situation) || mustNotIdle(situation)
}

/**
 * How many units a lease may keep: none of those that lie idle, and of those that came back unused as many as requests need
 * at once. Infinity: any number.
 *
 * @param idleMs how long ago units were last taken or came back
 */
export function keepable(lease: Lease, situation: Situation | undefined, idleMs: number): number {
  const { limit, held, largest, slot } = lease
  if (held <= 0 || slot === undefined) return Number.POSITIVE_INFINITY
  if (idleMs >= LEFT_OVER_MS && situation !== undefined && isOwedBack(situation)) return 0
  // A small limit hands out no surplus: what is held was granted to a request that was then turned away further in.
  const isLeftOver = isSmall(limit) && held < LEAST_SURPLUS && idleMs >= LEFT_OVER_MS
  if (isMissed(lease) && (isLeftOver || idleMs >= IDLE_MS)) return 0
  if (limit.measure === 'requests' || limit.kind === 'concurrency') return Number.POSITIVE_INFINITY
  const share = limit.kind === 'rate' ? limit.capacity / 16 : limit.quota / 250
  return held > Math.max(4 * largest, share) ? Math.ceil(2 * largest) : Number.POSITIVE_INFINITY
}

/** Whether nothing would be missed if the lease were forgotten. */
export function isForgettable({ inFlight, debt, held, endsAt }: Lease, latest: number, idleMs: number): boolean {
  return idleMs >= FORGET_MS && inFlight === 0 && debt === 0 && (held === 0 || latest >= endsAt)
}

/** Whether others could miss what a lease holds: of a budget all of it, since it never comes back; else a real share. */
function isMissed({ limit, held }: Lease): boolean {
  if (limit.kind !== 'rate') return true
  const refillMs = (held * limit.periodMs) / limit.refill
  return held > limit.capacity / 16 || refillMs > IDLE_MS
}

/** Whether so few units are handed out that none of them is a surplus. A bucket's surplus is never so small. */
function isSmall(limit: Limit): boolean {
  return limit.kind === 'rate' || (limit.kind === 'budget' && limit.quota * BUDGET_SURPLUS_SHARE < LEAST_SURPLUS)
}

/** Whether slots are so few that one that is free must be returned at once. */
function areSlotsFew({ lease: { limit }, account, time }: Situation): boolean {
  if (limit.kind !== 'concurrency' || limit.quota >= MANY_SLOTS) return false
  return limit.quota <= FEW_SLOTS || free(account, limit, time) <= limit.quota / 2
}
