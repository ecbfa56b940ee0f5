import type { Limit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { type BudgetAccount, budgetHas, epochAt, freeOfBudget, openBudget, resizeBudget, rollBudget } from './budget.ts'
import {
  type ConcurrencyAccount,
  concurrencyHas,
  freeOfConcurrency,
  openConcurrency,
  rollConcurrency,
} from './concurrency.ts'
import {
  freeOfRate,
  levelOf,
  openRate,
  type RateAccount,
  rateHas,
  resizeRate,
  rollRate,
  takenOf,
  withLevel,
} from './rate.ts'
import { change, NO_SLOTS, slotEnd, unitsIn, withBeside } from './slots.ts'

/** What the store knows of one limit: what is left of it, and what instances hold under leases. */
export type Account = RateAccount | BudgetAccount | ConcurrencyAccount

/** The account of a limit, brought forward, and resized where the policy has changed; a new one where there is none. */
export function accountOf(stored: Account | undefined, limit: Limit, time: StoreInterval): Account {
  const account = stored === undefined ? undefined : rollAccount(stored, time)
  switch (limit.kind) {
    case 'rate':
      return account?.kind === 'rate' ? resizeRate(account, limit) : openAccount(limit, time)
    case 'budget':
      return account?.kind === 'budget' ? resizeBudget(account, limit) : openAccount(limit, time)
    case 'concurrency':
      return account?.kind === 'concurrency' ? account : openAccount(limit, time)
  }
}

/** A full bucket, or an unspent budget. */
export function openAccount(limit: Limit, time: StoreInterval): Account {
  switch (limit.kind) {
    case 'rate':
      return openRate(limit, time)
    case 'budget':
      return resizeBudget(openBudget(limit, time), limit)
    case 'concurrency':
      return openConcurrency()
  }
}

export function rollAccount(account: Account, time: StoreInterval): Account {
  switch (account.kind) {
    case 'rate':
      return rollRate(account, time)
    case 'budget':
      return rollBudget(account, time)
    case 'concurrency':
      return rollConcurrency(account, time)
  }
}

/** Units that instances hold, whatever revision of the policy they go by. */
export function leasedIn(account: Account): number {
  const beside = account.kind === 'concurrency' ? undefined : account.beside
  return unitsIn(account.out) + (beside === undefined ? 0 : unitsIn(beside))
}

/** Whether an account says no more than a missing one would. */
export function isVoid(account: Account, { earliest }: StoreInterval): boolean {
  if (leasedIn(account) > 0) return false
  switch (account.kind) {
    case 'rate':
      return freeOfRate(account) >= account.capacity && account.at <= earliest
    case 'budget':
      return account.granted === 0
    case 'concurrency':
      return true
  }
}

/** Whole units that the account can hand out now. */
export function free(account: Account, limit: Limit, { latest }: StoreInterval): number {
  if (account.kind === 'rate') return freeOfRate(account)
  if (account.kind === 'budget' && limit.kind === 'budget') return freeOfBudget(account, limit, latest)
  if (account.kind === 'concurrency' && limit.kind === 'concurrency') return freeOfConcurrency(account, limit)
  throw new TypeError(`The account of '${limit.key}' is of another kind`)
}

/** The store time, in milliseconds, at which the account has this many units; 0 for now, infinity for never. */
export function hasUnits(account: Account, limit: Limit, units: number, { latest }: StoreInterval): number {
  if (units <= 0) return 0
  if (account.kind === 'rate') return rateHas(account, units)
  if (account.kind === 'budget' && limit.kind === 'budget') return budgetHas(account, limit, units, latest)
  if (account.kind === 'concurrency' && limit.kind === 'concurrency') return concurrencyHas(account, limit, units)
  throw new TypeError(`The account of '${limit.key}' is of another kind`)
}

/** What an instance changes about its lease in one write. */
export interface Transfer {
  /** Where its units are booked until now, and how many: those it holds, those in flight and those that were spent. */
  readonly from: number | undefined
  readonly booked: number
  /** Held units that go back to the account. */
  readonly returned: number
  /** Units in flight or held that stay leased. What of `booked` is neither returned nor carried was spent. */
  readonly carried: number
  /** Units that the account hands out. */
  readonly granted: number
  /** The slot that the carried and the granted are booked in from now on. */
  readonly to: number
}

/** Whether an instance's units are still booked where it believes: its lease has not ended, and the row knows of it. */
export function isBooked(account: Account, slot: number, units: number, epoch: number | undefined): boolean {
  const booked = account.out[slot] ?? 0
  // Of a holder that was not heard of for a lease's time a budget's units are counted as lost, until it is heard of again.
  return account.kind === 'budget' ? account.epoch === epoch && booked + account.lost >= units : booked >= units
}

/** Whether a lease is over: its time, or its window. */
export function hasEnded(
  account: Account,
  slot: number,
  epoch: number | undefined,
  { earliest }: StoreInterval,
): boolean {
  return account.kind === 'budget' ? account.epoch !== epoch : slotEnd(slot) <= earliest
}

/**
 * The account with a lease booked that it ought to know of and doesn't, because the row was lost: what is missing of it
 * counts as handed out.
 */
export function rebook(account: Account, slot: number, booked: number, { earliest }: StoreInterval): Account {
  const known = (account.out[slot] ?? 0) + (account.kind === 'budget' ? account.lost : 0)
  const units = Math.max(0, booked - known)
  const isOver = slotEnd(slot) <= earliest
  const out = isOver ? account.out : change(account.out, slot, units)
  switch (account.kind) {
    case 'rate':
      return { ...account, out, level: Math.min(account.level, roomOf({ ...account, out })) }
    case 'budget':
      return { ...account, out, granted: account.granted + units, lost: account.lost + (isOver ? units : 0) }
    case 'concurrency':
      return { ...account, out }
  }
}

export function transfer(account: Account, move: Transfer): Account {
  const { from, booked, returned, carried, granted, to } = move
  const left = from === undefined || booked === 0 ? account : unbook(account, from, booked)
  const out = carried + granted === 0 ? left.out : change(left.out, to, carried + granted)
  switch (left.kind) {
    case 'rate': {
      // Where more is leased than the bucket holds, since its policy or its row has changed, what comes back is missing.
      const level = Math.min(levelOf(left) + (returned - granted) * left.periodMs, roomOf({ ...left, out }))
      return { ...withLevel(left, level), out }
    }
    case 'budget':
      return { ...left, out, granted: left.granted + granted - returned }
    case 'concurrency':
      return { ...left, out }
  }
}

function unbook(account: Account, slot: number, units: number): Account {
  if (account.kind !== 'budget') return { ...account, out: change(account.out, slot, -units) }
  // A holder that was not heard of for a lease's time, and is now.
  const known = Math.min(units, account.out[slot] ?? 0)
  return { ...account, out: change(account.out, slot, -known), lost: account.lost - (units - known) }
}

/** The highest level of a bucket beside what is leased of it. */
export function roomOf(account: RateAccount): number {
  return Math.max(0, account.capacity - unitsIn(takenOf(account))) * account.periodMs
}

/** When a lease that is booked in this slot must no longer be spent: store time, milliseconds. */
export function leaseEnd(account: Account, slot: number): number {
  return account.kind === 'budget' ? epochAt(account.per, account.epoch).end : slotEnd(slot)
}

/** The account as it would be if all that is leased came back unused, but for this many units in this slot. */
export function withReturned(account: Account, slot: number | undefined, units: number): Account {
  const kept = slot === undefined ? 0 : Math.min(units, account.out[slot] ?? 0)
  const out = slot === undefined || kept === 0 ? {} : { [slot]: kept }
  const returned = leasedIn(account) - kept
  switch (account.kind) {
    case 'rate': {
      const alone = withBeside({ ...account, out }, NO_SLOTS)
      return withLevel(alone, Math.min(levelOf(account) + returned * account.periodMs, roomOf(alone)))
    }
    case 'budget':
      return { ...withBeside(account, NO_SLOTS), out, granted: account.granted - returned }
    case 'concurrency':
      return { ...account, out }
  }
}

/** The account without what is leased: as if all of that had been spent, and written off. */
export function withoutLeases(account: Account): Account {
  if (account.kind === 'concurrency') return { ...account, out: NO_SLOTS }
  const alone: Account = withBeside(account, NO_SLOTS)
  return { ...alone, out: NO_SLOTS }
}

/** The account as it will be once the units that were spent are written off. */
export function withoutSpent(account: Account, slot: number | undefined, spent: number): Account {
  if (account.kind !== 'rate' || slot === undefined || (account.out[slot] ?? 0) < spent) return account
  return { ...account, out: change(account.out, slot, -spent) }
}
