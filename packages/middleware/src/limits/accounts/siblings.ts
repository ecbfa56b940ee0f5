import type { Limit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { type Account, accountOf, isVoid, rollAccount } from './account.ts'
import { type BudgetAccount, epochAt } from './budget.ts'
import { levelOf, type RateAccount, withLevel } from './rate.ts'
import { change, NO_SLOTS, type Slots, slotFrom, together, unitsIn } from './slots.ts'

/*
 * While a policy changes, instances go by several of its revisions, and a limit whose period has changed has an account for each.
 * These are siblings: they count the same units. What is handed out of the one counts in the others too, so that several
 * revisions let through together what the larger alone would, once, and a revision that comes back finds all that was spent.
 */

type Accounts = Readonly<Record<string, Account>>

/** Accounts that no limit of the present policy has, beyond the newest so many, are forgotten once nothing of them is leased. */
const MOST_FOREIGN = 24

function withinOf(account: Account | undefined): readonly string[] {
  return account === undefined || account.kind === 'concurrency' ? NONE : (account.within ?? NONE)
}

const NONE: readonly string[] = []

/** Notes in the accounts of one revision that each of them has what the others lease, unless another revision leases of it too. */
function withinEachOther(accounts: Record<string, Account>, limits: readonly Limit[]): Accounts {
  for (const { key, kind } of limits) {
    const account = accounts[key]
    if (account === undefined || account.kind === 'concurrency' || kind === 'concurrency') continue
    const counted = countedBy(key)
    const others = limits.filter((limit) => limit.key !== key && countedBy(limit.key) === counted)
    if (others.length === 0 && account.within === undefined) continue
    const isLeased = unitsIn(account.out) > 0
    const within = others.map((limit) => limit.key).filter((each) => !isLeased || withinOf(account).includes(each))
    accounts[key] = { ...account, within }
  }
  return accounts
}

/** What a limit counts, as its key tells it: siblings differ in the period alone. */
function countedBy(key: string): string {
  const [counted = '', ...model] = key.split('@')
  return [counted.split(':')[0], ...model].join('@')
}

/** The limit whose account stands for all of this revision, which siblings of other revisions go by: each counts every unit. */
function sourceOf(limits: readonly Limit[], counted: string): Limit | undefined {
  let source: Limit | undefined
  for (const limit of limits) {
    if (countedBy(limit.key) === counted && (source === undefined || limit.key < source.key)) source = limit
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
  const ownOf = (limit: Limit, beside?: Slots) => {
    const account = stored[limit.key]
    return isRetired && account?.kind === limit.kind
      ? rollAccount(account, time, beside)
      : accountOf(account, limit, time, beside)
  }
  const foreign = Object.keys(stored).filter((key) => !limits.some((limit) => limit.key === key))
  if (foreign.length === 0) {
    for (const limit of limits) accounts[limit.key] = ownOf(limit)
    return withinEachOther(accounts, limits)
  }
  const leased = new Map(foreign.map((key) => [key, leasedOf(stored[key], time)]))
  /** What instances hold that go by no limit of this key. */
  const besideOf = (counted: string, of: string): Slots =>
    foreign.reduce<Slots>((sum, key) => {
      const isBeside = key !== of && countedBy(key) === counted && !withinOf(stored[key]).includes(of)
      return isBeside ? together(sum, leased.get(key) ?? NO_SLOTS) : sum
    }, NO_SLOTS)
  for (const limit of limits) {
    const counted = countedBy(limit.key)
    const beside = besideOf(counted, limit.key)
    const own = ownOf(limit, beside)
    const opens = stored[limit.key] === undefined
    accounts[limit.key] = foreign
      .filter((key) => countedBy(key) === counted)
      // A quota that grows has room that its account was not opened for: what others still hold tells of what they have spent.
      .filter((key) => opens || (isRaised(stored[limit.key], limit) && unitsIn(leased.get(key) ?? NO_SLOTS) > 0))
      .reduce((account, key) => openedBeside(account, limit, rollAccount(stored[key] as Account, time), beside), own)
  }
  withinEachOther(accounts, limits)
  let kept = 0
  for (const key of foreign) {
    const counted = countedBy(key)
    const source = sourceOf(limits, counted)
    const own = source === undefined ? NO_SLOTS : leasedOf(stored[source.key], time)
    const account = rollAccount(stored[key] as Account, time, together(besideOf(counted, key), own))
    if (isVoid(account, time) || (kept >= MOST_FOREIGN && unitsIn(account.out) === 0)) continue
    accounts[key] = account
    kept += 1
  }
  return accounts
}

/**
 * The accounts after a write, with what it handed out counted in the siblings of other revisions.
 *
 * @param netOf units that the write handed out of a limit, less those that it gave back
 */
export function countBeside(accounts: Accounts, limits: readonly Limit[], netOf: (limit: Limit) => number): Accounts {
  const counted: Record<string, Account> = { ...accounts }
  for (const key in accounts) {
    if (limits.some((limit) => limit.key === key)) continue
    const source = sourceOf(limits, countedBy(key))
    const net = source === undefined ? 0 : netOf(source)
    if (net !== 0) counted[key] = counting(accounts[key] as Account, net)
  }
  return counted
}

function counting(account: Account, units: number): Account {
  switch (account.kind) {
    case 'rate': {
      // While others hold more than the bucket, what they give back doesn't all find room in it.
      return withLevel(account, Math.min(levelOf(account) - units * account.periodMs, roomOf(account)))
    }
    case 'budget': {
      const least = account.lost + unitsIn(account.out)
      return { ...account, granted: Math.max(least, account.granted + units) }
    }
    case 'concurrency':
      return account
  }
}

/** The highest level beside what is leased of the account itself. */
function roomOf({ capacity, periodMs, out }: RateAccount): number {
  return Math.max(0, capacity - unitsIn(out)) * periodMs
}

/** What others may still spend of an account. A budget's holder that is not heard of may spend until the window ends. */
function leasedOf(stored: Account | undefined, time: StoreInterval): Slots {
  if (stored === undefined) return NO_SLOTS
  const account = rollAccount(stored, time)
  if (account.kind !== 'budget' || account.lost === 0) return account.out
  return change(account.out, slotFrom(epochAt(account.per, account.epoch).end), account.lost)
}

/**
 * An account that is opened beside a sibling of another revision: it has what the larger of both would have left, but no more
 * than it holds itself, less what others hold: that may come back to it.
 */
function openedBeside(opened: Account, limit: Limit, sibling: Account, beside: Slots): Account {
  if (limit.kind === 'concurrency' || sibling.kind === 'concurrency') return opened
  const { most, used } = standingOf(sibling)
  const size = limit.kind === 'rate' ? limit.capacity : limit.quota
  const left = Math.max(0, Math.min(size - unitsIn(beside), Math.max(most, size) - used))
  if (opened.kind === 'rate') return withLevel(opened, Math.min(levelOf(opened), left * opened.periodMs))
  if (opened.kind !== 'budget') return opened
  return { ...opened, granted: Math.max(opened.granted, size - left, unitsIn(beside)) }
}

/** Whether a quota is larger than it was since its window began. */
function isRaised(stored: Account | undefined, limit: Limit): boolean {
  return stored?.kind === 'budget' && limit.quota > (stored.quota ?? limit.quota)
}

/** The most that an account ever has, and how much of that is gone. */
function standingOf(account: RateAccount | BudgetAccount): { readonly most: number; readonly used: number } {
  if (account.kind === 'budget') return { most: account.quota ?? account.granted, used: account.granted }
  const { capacity, periodMs } = account
  return { most: capacity, used: capacity - Math.floor(levelOf(account) / periodMs) }
}
