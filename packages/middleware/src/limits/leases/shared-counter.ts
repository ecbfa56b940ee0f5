import { type Limit, largestClaim } from '../../policy/index.ts'
import {
  type Account,
  free,
  hasUnits,
  isBooked,
  leasedIn,
  rollAccount,
  withoutLeases,
  withoutSpent,
  withReturned,
} from '../accounts/account.ts'
import { epochAt } from '../accounts/budget.ts'
import { freeOfRate } from '../accounts/rate.ts'
import { isSet, type StoreInterval } from '../stores/store-clock.ts'
import type { Claim, LimitStatus, Subject } from './decision.ts'
import { type Lease, spendable, spentOf, unbookedOf } from './lease.ts'
import type { LeaseSync } from './lease-sync.ts'
import { accountIn, renewable } from './lease-write.ts'
import { type Row, rollRow } from './row.ts'
import type { Runtime } from './runtime.ts'
import { holdsBackRefill, type Situation } from './sizing.ts'

/** What the shared counter, as it was last seen, says of claims that the leases can't cover. */
export type Estimate =
  /** It has enough (`hasRoom`), or that is not known, or perhaps out of date: the store must be asked. */
  | { readonly kind: 'ask'; readonly hasRoom: boolean }
  /** It has perhaps enough (`wait`), or not enough (`refuse`); for certain from `at` on: store time, milliseconds. */
  | { readonly kind: 'wait' | 'refuse'; readonly at: number; readonly claim: Claim }
  /** It has not enough, but for what others hold and may be about to return: the store is to be asked again after `ms`. */
  | { readonly kind: 'look again'; readonly ms: number; readonly at: number; readonly claim: Claim }

/** From when on there is room: store time, milliseconds; 0 where there always was. */
export interface Room {
  readonly at: number
  readonly claim: Claim
}

/** What an instance knows of a subject's shared counter: the row in the store, as it was last seen. */
export interface SharedCounter {
  /**
   * To be called whenever the row is seen, and with `undefined` when what was seen may no longer hold.
   *
   * @param isOwnWrite whether this instance has just written it, over the version that was seen last
   */
  saw(row: Row | undefined, isOwnWrite?: boolean): void
  /** The row brought forward; `undefined` where it was never seen. */
  rowAt(time: StoreInterval): Row | undefined
  /** A lease beside its account in the row; `undefined` where that was never seen. */
  situationOf(lease: Lease, time: StoreInterval): Situation | undefined
  /** When there is room for all claims, and the claim that waits longest; `undefined` where the row was never seen. */
  room(claims: readonly Claim[], time: StoreInterval): Room | undefined
  /** To be called when a request begins to wait for a decision on these claims; what it returns, when it has one. */
  await(claims: readonly Claim[]): () => void
  /**
   * @param since when the request came, by our monotonic clock: what was seen after that holds for it
   * @param looks how often the request has looked again for what others hold
   */
  estimate(claims: readonly Claim[], time: StoreInterval, since: number, looks: number): Estimate
  /**
   * Puts claims in the queue of those that wait for the store's clock to be certain: later ones are estimated behind them.
   *
   * @returns takes them out again
   */
  enqueue(claims: readonly Claim[]): () => void
  isQueueEmpty(): boolean
}

/** A wait that is no longer than this serves a caller better than a refusal; milliseconds. */
export const NEAR_MS = 50
/**
 * How long a counter that was seen empty is taken for empty: while others could return units, and while none can. The first
 * bounds how long a request may be refused for want of units that came back meanwhile.
 */
export const SHARED_CERTAINTY_MS = 250
const SOLE_CERTAINTY_MS = 10_000
/**
 * How long a request that lacks what others hold waits before the store is asked again, each time; milliseconds. What a
 * request that has ended elsewhere did not use is returned within two round trips: what is not back after the last look is
 * in flight.
 */
const LOOK_AGAIN_MS = [40, 70, 140]
/** Told waits that differ by less are the same for a caller. */
const TELLING_MS = 1_000
/** What was spent is written off this much later, so that a burst is written off once. */
export const WRITE_OFF_MS = 25
/** What a read and a write take when the store is slow. */
const ROUND_TRIPS_MS = 75
/**
 * How far behind the truth the row may be: a second that its clock hides, and what it takes to write off what was spent. A
 * request does not wait longer for what the row should have.
 */
const UNCERTAIN_MS = 1_000 + WRITE_OFF_MS + ROUND_TRIPS_MS
/** Slots come back when requests end, which can't be foretold: a second is as good a guess as any. */
const SLOT_WAIT_MS = 1_000

export function sharedCounter(
  subject: Subject,
  leases: ReadonlyMap<string, Lease>,
  { instances, isAlone }: Pick<LeaseSync, 'instances' | 'isAlone'>,
  { time, random }: Pick<Runtime, 'time' | 'random'>,
): SharedCounter {
  let seen:
    | { readonly row: Row; readonly instances: number; readonly at: number; readonly certainMs: number }
    | undefined
  let rolled: { readonly seen: Row; readonly at: number; readonly row: Row } | undefined
  /** Units that requests wait for until the store's clock is certain, by limit. */
  const queued = new Map<string, number>()
  /** The last refusal by each limit: when, and of how many units. */
  const refused = new Map<string, { readonly at: number; readonly units: number }>()

  function rowAt({ earliest }: StoreInterval): Row | undefined {
    if (seen === undefined) return undefined
    // When a burst is refused, many requests ask in the same moment: the row is rolled once for them.
    if (rolled?.seen !== seen.row || rolled.at !== earliest) {
      // Refill that the clock's uncertainty forbids is skipped when the row is written, and not when it is looked at.
      const row = rollRow(seen.row, subject.limits, { earliest, latest: earliest })
      rolled = { seen: seen.row, at: earliest, row }
    }
    return rolled.row
  }

  /**
   * The store time, in milliseconds, at which there is room for a claim, behind those that wait already.
   *
   * @param isReturned as if all units that others hold had been returned
   */
  function roomAt({ limit, units }: Claim, row: Row, interval: StoreInterval, isReturned = false): number {
    const lease = leases.get(limit.key)
    if (lease === undefined) return 0
    const leased = accountIn(row, lease)
    const account = isReturned ? withReturned(leased, lease.slot, lease.booked) : leased
    const spent = spentOf(lease)
    const counter = holdsBackRefill({ lease, account, instances: instances(row) }, spent)
      ? withoutSpent(writtenOffBy(account, interval), lease.slot, spent)
      : account
    // A lease that has perhaps ended, and still stands in the row, can be renewed.
    const debt = limit.kind === 'budget' && interval.latest >= lease.endsAt ? 0 : lease.debt
    const own = units + debt + unbookedOf(lease) - renewable(lease, account, interval)
    const missing = Math.min(own, largestClaim(limit))
    const ahead = queued.get(limit.key) ?? 0
    const behind = hasUnits(counter, limit, missing + ahead, interval)
    if (Number.isFinite(behind)) return behind
    // All of them together are more than the limit ever has at once.
    return hasUnits(counter, limit, missing, interval) + refillMs(limit, ahead)
  }

  function lastRoom(claims: readonly Claim[], row: Row, interval: StoreInterval): Room | undefined {
    let last: Room | undefined
    for (const claim of claims) {
      const at = roomAt(claim, row, interval)
      if (last === undefined || at > last.at) last = { at, claim }
    }
    return last
  }

  /**
   * How long to wait before the store is asked again, in milliseconds; `undefined` where that could not help. It can while
   * others hold what is missing: what had come back elsewhere when the request came may not be returned yet.
   */
  function lookAgainMs(claim: Claim, at: number, row: Row, interval: StoreInterval, looks: number): number | undefined {
    if (claim.limit.measure === 'requests') return undefined
    const unlessHeld = roomAt(claim, row, interval, true)
    const isHeld = unlessHeld <= interval.latest + NEAR_MS || unlessHeld + TELLING_MS <= at
    return isHeld && !wasRefused(claim) ? LOOK_AGAIN_MS[looks] : undefined
  }

  /**
   * Whether what was seen before the request came is too old to refuse it: another instance may have taken some of a
   * bucket meanwhile for smaller requests, and then the told wait would be too short.
   */
  function isStale(claim: Claim, since: number): boolean {
    const { kind, measure } = claim.limit
    return kind === 'rate' && measure !== 'requests' && (seen?.at ?? 0) < since && !wasRefused(claim)
  }

  /** Whether as many units were refused a moment ago: of a flood only one request in that time has the store asked. */
  function wasRefused({ limit, units }: Claim): boolean {
    const last = refused.get(limit.key)
    return last !== undefined && units >= last.units && time.now() - last.at < SHARED_CERTAINTY_MS
  }

  /** Tells the optimistic buckets what the row says. */
  function compare(row: Row, isOwn: boolean): void {
    for (const { limit, slot, booked, epoch, held, optimistic } of leases.values()) {
      const account = row.accounts[limit.key]
      if (optimistic === undefined || account?.kind !== 'rate') continue
      const isMine = slot !== undefined && isBooked(account, slot, booked, epoch)
      const units = freeOfRate(account) + (isMine ? held : 0)
      const others = leasedIn(account) - (isMine ? booked : 0)
      optimistic.saw({ units, others, isOwn }, time.now())
    }
  }

  /** Whether a claim for which the row soon has room would find it now, beside all others that wait, if all were certain. */
  function lacksCertainty({ claim, at }: Room, { latest }: StoreInterval): boolean {
    const optimistic = leases.get(claim.limit.key)?.optimistic
    return optimistic !== undefined && at <= latest + UNCERTAIN_MS && optimistic.waitMs(time.now()) <= NEAR_MS
  }

  return {
    saw(row, isOwnWrite = false) {
      if (row === undefined) {
        if (seen !== undefined) seen = { ...seen, at: Number.NEGATIVE_INFINITY }
        return
      }
      compare(row, isOwnWrite || row.nonce === seen?.row.nonce)
      const certainMs = isAlone(row) ? SOLE_CERTAINTY_MS : SHARED_CERTAINTY_MS * (0.75 + 0.25 * random())
      seen = { row, instances: instances(row), at: time.now(), certainMs }
    },

    rowAt,

    situationOf(lease, interval) {
      const account = seen?.row.accounts[lease.limit.key]
      if (seen === undefined || account === undefined) return undefined
      return { lease, account, instances: seen.instances, time: interval, now: time.now() }
    },

    room(claims, interval) {
      const row = rowAt(interval)
      return row && lastRoom(claims, row, interval)
    },

    await(claims) {
      const add = (sign: 1 | -1) => {
        for (const { limit, units } of claims) leases.get(limit.key)?.optimistic?.await(sign * units, time.now())
      }
      add(1)
      return () => add(-1)
    },

    estimate(claims, interval, since, looks) {
      const { earliest, latest } = interval
      const row = rowAt(interval)
      const isFresh = seen !== undefined && (seen.at >= since || time.now() - seen.at < seen.certainMs)
      if (row === undefined || !isFresh || !isSet(interval)) return { kind: 'ask', hasRoom: false }
      const last = lastRoom(claims, row, interval)
      if (last === undefined || last.at <= earliest) return { kind: 'ask', hasRoom: true }
      const { claim } = last
      if (last.at <= latest + NEAR_MS) return { kind: 'wait', ...last }
      // By then what was spent is written off: the row is looked at again.
      if (lacksCertainty(last, interval)) return { kind: 'wait', claim, at: Math.min(last.at, writtenOffAt(interval)) }
      if (isStale(claim, since)) return { kind: 'ask', hasRoom: false }
      const ms = lookAgainMs(claim, last.at, row, interval, looks)
      if (ms !== undefined) return { kind: 'look again', ms, ...last }
      if (!wasRefused(claim)) refused.set(claim.limit.key, { at: time.now(), units: claim.units })
      return { kind: 'refuse', ...last }
    },

    enqueue(claims) {
      for (const { limit, units } of claims) queued.set(limit.key, (queued.get(limit.key) ?? 0) + units)
      return () => {
        for (const { limit, units } of claims) queued.set(limit.key, (queued.get(limit.key) ?? 0) - units)
      }
    },

    isQueueEmpty: () => [...queued.values()].every((units) => units === 0),
  }
}

/**
 * What is left of a limit, for headers and refusals.
 *
 * @param limit as it was claimed
 * @param row the subject's row, brought forward; `undefined` where it was never seen
 */
export function limitStatus(limit: Limit, lease: Lease, row: Row | undefined, time: StoreInterval): LimitStatus {
  const held = spendable(lease, time.latest)
  if (row === undefined) return { limit, remaining: held, nextMs: 0 }
  const account = accountIn(row, lease)
  const shared = free(account, limit, time)
  // What was used beyond a reservation is owed to the shared counter.
  const owed = Math.max(0, lease.debt - lease.held)
  const remaining = Math.max(0, Math.floor(held + shared - owed))
  const full = largestClaim(limit)
  if (remaining >= full) return { limit, remaining: full, nextMs: 0 }
  if (limit.kind === 'concurrency') return { limit, remaining, nextMs: SLOT_WAIT_MS }
  if (limit.kind === 'budget') {
    return { limit, remaining, nextMs: epochAt(limit.per, time.earliest).end - time.earliest }
  }
  // Leased units are counted as spent: whether a request in flight, or another instance, returns some of them before the
  // bucket brings more can't be foretold.
  const at = hasUnits(withoutLeases(account), limit, shared + 1, time)
  const nextMs = Number.isFinite(at) ? untilNear(at, time) : Math.ceil(limit.periodMs / limit.refill)
  return { limit, remaining, nextMs }
}

/** Milliseconds to tell a caller. One that comes `NEAR_MS` too early is let wait, and so need not be told to come later. */
function untilNear(at: number, { earliest }: StoreInterval): number {
  return Math.max(1, at - earliest - NEAR_MS)
}

/** About how long a limit takes to bring this many units, in milliseconds. */
function refillMs(limit: Limit, units: number): number {
  if (limit.kind === 'rate') return Math.ceil((units * limit.periodMs) / limit.refill)
  return limit.kind === 'budget' ? 60_000 : 1_000
}

/** The account once what was spent is written off, a moment from now: until then that leaves no room for refill. */
function writtenOffBy(account: Account, interval: StoreInterval): Account {
  return rollAccount(account, { earliest: interval.earliest, latest: writtenOffAt(interval) })
}

function writtenOffAt({ latest }: StoreInterval): number {
  return latest + WRITE_OFF_MS + ROUND_TRIPS_MS
}
