import type { Limit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { type Account, accountOf, isVoid, leasedIn, rollAccount, roomOf, type Transfer } from './account.ts'
import { type BudgetAccount, epochAt } from './budget.ts'
import { levelOf, type RateAccount, withLevel } from './rate.ts'
import { change, mergeSlots, NO_SLOTS, type Slots, slotFrom, together, withBeside } from './slots.ts'

/*
 * While a policy changes, instances go by several of its revisions, and a limit whose period has changed has an account for each.
 * Accounts that count the same are siblings, and three rules hold of them:
 *
 * 1. What is leased, returned or spent of one is booked in all, at once: in `out` by those who go by that limit, in `beside` by
 *    those who don't. So each account, by itself, knows all that was let through.
 * 2. A grant finds room in each account of the revision that it is made under. An account of another revision may fall below zero.
 *    That much is forgiven but for what others may still give back: its own limit could not have let it through.
 * 3. An account that opens, or a quota that grows, has no more than each sibling leaves of the larger of both.
 *
 * So in any interval, what came before its last grant under a revision is bounded by that revision's own accounts (1, 2), and where
 * one of them opened within the interval, by the siblings that were there before (3): by the larger of them, once.
 */

type Accounts = Readonly<Record<string, Account>>
type Counting = RateAccount | BudgetAccount

/** Accounts that no limit of the present policy has, beyond the newest so many, are forgotten once nothing of them is leased. */
const MOST_FOREIGN = 24

/**
 * The holder of a budget's lease may spend it to the window's end, though the store has not heard of it. For this long after it
 * should have, a sibling keeps room for what it holds: a month's would block a bucket for a month. Seconds, as slots are.
 */
const UNHEARD_SLOTS = 900
/** Such slots are rounded up, so that a row has few of them. */
const UNHEARD_STEP = 60

/** What a limit counts, as its key tells it: siblings differ in the period alone. */
function countedBy(key: string): string {
  let counted = known.get(key)
  if (counted === undefined) {
    const [measure = '', ...model] = key.split('@')
    counted = [measure.split(':')[0], ...model].join('@')
    if (known.size > MOST_KNOWN) known.clear()
    known.set(key, counted)
  }
  return counted
}

/** A row is rolled for nearly each request. Keys are those of limits of policies. */
const known = new Map<string, string>()
const MOST_KNOWN = 10_000

function isSibling(key: string, other: string): boolean {
  return key !== other && countedBy(key) === countedBy(other)
}

/** The limit whose leases stand for all of this revision in siblings of other ones: each counts every unit. */
function sourceOf(limits: readonly Limit[], key: string): Limit | undefined {
  let source: Limit | undefined
  for (const limit of limits) {
    if (isSibling(limit.key, key) && (source === undefined || limit.key < source.key)) source = limit
  }
  return source
}

/**
 * The accounts of these limits, brought forward, and those of other revisions for as long as they say anything: an instance with
 * an older or newer policy must not reset what another one counts. The present policy's come first, then the newest.
 */
export function rollAccounts(
  stored: Accounts,
  limits: readonly Limit[],
  time: StoreInterval,
  isRetired: boolean,
): Accounts {
  const accounts: Record<string, Account> = {}
  for (const limit of limits) {
    const account = stored[limit.key]
    const own = isRetired && account?.kind === limit.kind ? rollAccount(account, time) : accountOf(account, limit, time)
    accounts[limit.key] = account === undefined || isRaised(account, own) ? openBeside(own, limit, stored, time) : own
  }
  let kept = 0
  for (const key in stored) {
    if (accounts[key] !== undefined) continue
    const account = rollAccount(stored[key] as Account, time)
    if (isVoid(account, time) || (kept >= MOST_FOREIGN && leasedIn(account) === 0)) continue
    accounts[key] = account
    kept += 1
  }
  return accounts
}

/** Whether a quota is larger than it was since its window began: its account may have been opened for less. */
function isRaised(stored: Account, own: Account): boolean {
  if (stored.kind !== 'budget' || own.kind !== 'budget') return false
  return stored.quota !== undefined && own.quota !== stored.quota && own.epoch === stored.epoch
}

/** An account with no more than each of its siblings leaves of the larger of both, and what others may spend booked in it. */
function openBeside(own: Account, limit: Limit, stored: Accounts, time: StoreInterval): Account {
  if (own.kind === 'concurrency' || limit.kind === 'concurrency') return own
  const siblings: Counting[] = []
  for (const key in stored) {
    if (!isSibling(key, limit.key)) continue
    const sibling = rollAccount(stored[key] as Account, time)
    if (sibling.kind !== 'concurrency') siblings.push(sibling)
  }
  let opened: Counting = own
  if (stored[limit.key] === undefined) {
    // Of siblings that tell of the same holders, the larger counts: their leases may differ, and the smallest bounds what is spent.
    const held = siblings.map((sibling) => heldOf(sibling, time))
    opened = withBeside(
      opened,
      held.reduce((most, each) => mergeSlots(most, each, Math.max), NO_SLOTS),
    )
  }
  const size = limit.kind === 'rate' ? limit.capacity : limit.quota
  for (const sibling of siblings) opened = withAtMost(opened, size, sibling)
  return opened
}

/** The account with no more, once all that is leased of both has come back, than the sibling leaves of the larger of both. */
function withAtMost(account: Counting, size: number, sibling: Counting): Counting {
  const { most, used } = standingOf(sibling)
  const leased = leasedIn(account)
  const left = Math.max(most, size) - used + leasedIn(sibling) - leased
  if (account.kind === 'rate') {
    return withLevel(account, Math.min(levelOf(account), left * account.periodMs, roomOf(account)))
  }
  return { ...account, granted: Math.max(account.granted, size - left, account.lost + leased) }
}

/** The most that an account ever has, and how much of that is gone. */
function standingOf(account: Counting): { readonly most: number; readonly used: number } {
  if (account.kind === 'budget') return { most: account.quota ?? account.granted, used: account.granted }
  const { capacity, periodMs } = account
  return { most: capacity, used: capacity - Math.floor(levelOf(account) / periodMs) }
}

/** What others may still spend of an account, by the slots that siblings book it in. */
function heldOf(account: Counting, { earliest }: StoreInterval): Slots {
  let held: Slots = NO_SLOTS
  for (const slot in account.out) {
    held = change(held, besideSlot(account, Number(slot)), account.out[slot] ?? 0)
  }
  if (account.kind === 'budget' && account.lost > 0) {
    held = change(held, besideSlot(account, slotFrom(earliest)), account.lost)
  }
  return together(held, account.beside ?? NO_SLOTS)
}

/**
 * The accounts after a write, with what it booked and wrote off booked in the siblings of other revisions too.
 *
 * @param moveOf what the write changes about its lease of a limit
 */
export function bookBeside(
  accounts: Accounts,
  limits: readonly Limit[],
  moveOf: (limit: Limit) => Transfer | undefined,
): Accounts {
  const booked: Record<string, Account> = { ...accounts }
  for (const key in accounts) {
    if (limits.some((limit) => limit.key === key)) continue
    const source = sourceOf(limits, key)
    const [move, account] = [source && moveOf(source), accounts[key]]
    const from = source && accounts[source.key]
    if (move === undefined || account === undefined || account.kind === 'concurrency') continue
    if (from === undefined || from.kind === 'concurrency') continue
    booked[key] = withMoved(account, from, move)
  }
  return booked
}

/** @param source the account that the lease is of */
function withMoved(account: Counting, source: Counting, move: Transfer): Counting {
  const { from, booked, returned, carried, granted, to } = move
  let beside = account.beside ?? NO_SLOTS
  /** What was leased before this account knew of it: it counts from now on. */
  let missing = 0
  if (from !== undefined && booked > 0) {
    const slot = besideSlot(source, from)
    const present = Math.min(booked, beside[slot] ?? 0)
    missing = booked - present
    beside = change(beside, slot, -present)
  }
  if (carried + granted > 0) beside = change(beside, besideSlot(source, to), carried + granted)
  const moved = withBeside(account, beside)
  const units = missing + granted - returned
  if (moved.kind === 'budget') return { ...moved, granted: moved.granted + units }
  return withLevel(moved, Math.min(levelOf(moved) - units * moved.periodMs, roomOf(moved)))
}

/** Where siblings book a lease of this account that ends in this slot. */
function besideSlot(account: Counting, slot: number): number {
  if (account.kind === 'rate') return slot
  const unheard = Math.ceil((slot + UNHEARD_SLOTS) / UNHEARD_STEP) * UNHEARD_STEP
  return Math.min(slotFrom(epochAt(account.per, account.epoch).end), unheard)
}
