import type { Account, Transfer } from '../accounts/account.ts'
import { free, isBooked, leaseEnd, transfer } from '../accounts/account.ts'
import { bookBeside } from '../accounts/siblings.ts'
import { change, slotFrom, unitsIn } from '../accounts/slots.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import type { Claim } from './decision.ts'
import { close, type Lease, unbookedOf } from './lease.ts'
import { assertRow, type Row } from './row.ts'
import { lifetime, type Situation, surplus } from './sizing.ts'

/** What one write changes about one lease. */
export interface LeaseChange extends Transfer {
  readonly lease: Lease
  readonly generation: number
  readonly endsAt: number
  readonly epoch: number | undefined
  /** Of the units granted, those that requests wait for. */
  readonly due: number
  /** The surplus has run so low that it is worth a write of its own. */
  readonly low: boolean
  /** Of the units returned, those that were returned before, by writes which this one keeps from being applied. */
  readonly again: number
}

/** One write: the row as it shall be, and what it means for this instance's leases once it is applied. */
export interface LeaseWrite {
  readonly row: Row
  readonly changes: readonly LeaseChange[]
  /** The slot in which this instance is counted among the holders from then on. */
  readonly holder: number | undefined
}

export interface LeaseWriteOptions {
  readonly leases: ReadonlyMap<string, Lease>
  /** The row as it was read, brought forward. */
  readonly row: Row
  readonly nonce: string
  readonly time: StoreInterval
  /** Our monotonic clock, milliseconds. */
  readonly now: number
  /** Requests that wait for units, the first first. */
  readonly waiting: readonly { readonly claims: readonly Claim[] }[]
  /** The slot in which this instance is counted among the holders. */
  readonly holder: number | undefined
  /** Write though no request waits: to renew what is in flight, or to write off what was spent. */
  readonly renew: boolean
  /** Write what the row was brought forward to: it says what a crash has cost, or was rebuilt. */
  readonly tells: boolean
  /** How many units a lease may keep beyond those that requests wait for: the rest goes back. Infinity: any number. */
  readonly keep: (lease: Lease) => number
}

/** The account of a lease's limit. A row that was rolled for the subject's limits has all of them. */
export function accountIn(row: Row, { limit }: Lease): Account {
  const account = row.accounts[limit.key]
  if (account === undefined) throw new Error(`The row has no account of '${limit.key}'`)
  return account
}

/** Instances that hold a lease by this row, this one included. */
export function instancesIn({ holders }: Row, holder: number | undefined): number {
  const others = unitsIn(holders) - (holder !== undefined && (holders[holder] ?? 0) > 0 ? 1 : 0)
  return others + 1
}

/**
 * One write that grants what requests wait for and a surplus, returns what is not needed, carries on what is held and in
 * flight, and writes off what was spent. `undefined` where it would change nothing worth a write.
 */
export function planWrite(options: LeaseWriteOptions): LeaseWrite | undefined {
  const { leases, row, nonce, time, now, holder, renew, tells, keep } = options
  const instances = instancesIn(row, holder)
  const needs = needed(options)
  const changes: LeaseChange[] = []
  let worth = tells
  for (const lease of leases.values()) {
    const account = accountIn(row, lease)
    const need = needs.get(lease.limit.key) ?? 0
    const next = changeOf({ lease, account, instances, time, now }, need, keep(lease))
    const revives = need > 0 && time.latest >= lease.endsAt && next.carried > 0
    worth ||= next.due > 0 || next.low || next.returned > 0 || revives || (renew && next.booked > 0)
    changes.push(next)
  }
  if (!worth) return undefined
  const booked = changes.filter(({ carried, granted }) => carried + granted > 0)
  const slot = booked.length === 0 ? undefined : Math.max(...booked.map(({ to }) => to))
  const own = changes.map((each) => [each.lease.limit.key, transfer(accountIn(row, each.lease), each)] as const)
  const moves = new Map(changes.map((each) => [each.lease.limit.key, each]))
  const limits = changes.map(({ lease }) => lease.limit)
  const next: Row = {
    v: 2,
    id: row.id ?? nonce,
    seq: row.seq + 1,
    replaces: row.replaces,
    nonce,
    holders: recount(row, holder, slot),
    accounts: bookBeside({ ...row.accounts, ...Object.fromEntries(own) }, limits, ({ key }) => moves.get(key)),
  }
  assertRow(next)
  return { row: next, changes, holder: slot }
}

function recount({ holders }: Row, from: number | undefined, to: number | undefined): Row['holders'] {
  const without = from === undefined || holders[from] === undefined ? holders : change(holders, from, -1)
  return to === undefined ? without : change(without, to, 1)
}

/**
 * What the waiting requests need of each limit: of as many of them, in their order, as can be served whole. A request that
 * can't be served whole is granted nothing.
 */
function needed({ leases, row, time, waiting }: LeaseWriteOptions): ReadonlyMap<string, number> {
  const left = new Map<string, number>()
  const needs = new Map<string, number>()
  for (const [key, lease] of leases) {
    const account = accountIn(row, lease)
    const held = renewable(lease, account, time)
    left.set(key, held - lease.debt - unbookedOf(lease) + free(account, lease.limit, time))
  }
  for (const { claims } of waiting) {
    if (!claims.every(({ limit, units }) => units <= (left.get(limit.key) ?? 0))) continue
    for (const { limit, units } of claims) {
      left.set(limit.key, (left.get(limit.key) ?? 0) - units)
      needs.set(limit.key, (needs.get(limit.key) ?? 0) + units)
    }
  }
  return needs
}

/** Units held that can be spent once the lease is renewed: none of a budget whose window is over. */
export function renewable(lease: Lease, account: Account, { latest }: StoreInterval): number {
  const { limit, slot, booked, epoch, held, endsAt } = lease
  if (slot === undefined || !isBooked(account, slot, booked, epoch)) return 0
  return limit.kind === 'budget' && latest >= endsAt ? 0 : held
}

function changeOf(situation: Situation, need: number, keep: number): LeaseChange {
  const { lease, account, time } = situation
  const { slot: from, booked, inFlight, generation } = lease
  const held = renewable(lease, account, time)
  const unbooked = unbookedOf(lease)
  const shared = free(account, lease.limit, time)
  // Slots in use are booked again all at once or not at all: the row could not tell a part of them from all.
  const owed = unbooked > shared ? 0 : need + lease.debt + unbooked
  const due = Math.min(Math.max(0, owed - held), shared)
  const spare = held + due - owed
  const target = unbooked > shared ? 0 : Math.min(keep, surplus(situation, need))
  const granted = due + Math.max(0, Math.min(target - Math.max(0, spare), shared - due))
  const most = Math.min(keep, lease.limit.kind === 'concurrency' ? target : Number.POSITIVE_INFINITY)
  const returned = granted === 0 ? Math.max(0, Math.min(spare - most, booked - inFlight - lease.frozen)) : 0
  const carried = Math.min(booked, lease.held + inFlight) - returned
  // A write never makes a lease end sooner: until its reply is here, this instance goes by the old end.
  const to = Math.max(from ?? 0, slotFrom(time.latest + lifetime(situation, held + granted - returned)))
  return {
    lease,
    generation,
    from,
    booked,
    returned: returned + lease.frozen,
    carried,
    granted,
    to,
    endsAt: leaseEnd(account, to),
    epoch: account.kind === 'budget' ? account.epoch : undefined,
    due,
    low: granted - due > target / 2,
    again: lease.frozen,
  }
}

/**
 * To be called before the write is sent: from now on the units returned can't be spent, and those spent can't be taken back.
 */
export function beginWrite({ changes }: LeaseWrite): void {
  for (const { lease, returned, again } of changes) {
    lease.held -= returned - again
    lease.frozen += returned - again
    lease.term += 1
  }
}

/** To be called when the write was certainly not applied. */
export function rollback({ changes }: LeaseWrite): void {
  for (const { lease, generation, returned, again } of changes) {
    if (lease.generation !== generation) continue
    lease.held += returned - again
    lease.frozen -= returned - again
  }
}

/** To be called when the write was certainly applied. */
export function commit({ row, changes }: LeaseWrite): void {
  for (const { lease, generation, returned, carried, granted, to, endsAt, epoch } of changes) {
    if (lease.generation !== generation) continue
    lease.row = row.id
    lease.frozen = Math.max(0, lease.frozen - returned)
    lease.booked = carried + granted
    lease.epoch = epoch
    if (lease.booked > 0) {
      lease.slot = to
      lease.endsAt = endsAt
    } else if (unbookedOf(lease) === 0) {
      lease.slot = undefined
      lease.endsAt = Number.NEGATIVE_INFINITY
    }
    lease.held += granted - unbooked(lease, granted)
    const paid = Math.min(lease.debt, lease.held)
    lease.debt -= paid
    lease.held -= paid
  }
}

/** Of the units granted, those that book slots which are in use already. */
function unbooked(lease: Lease, granted: number): number {
  return Math.min(granted, Math.max(0, lease.held + lease.inFlight + granted - lease.booked))
}

/** To be called when it can't be known any more whether a write was applied: the leases that it changed are given up. */
export function abandon(leases: Iterable<Lease>): void {
  for (const lease of leases) {
    // Slots in use stay in use. The row counts them until the lease's end, whatever became of the write; by then they must
    // have been booked again.
    if (lease.limit.kind === 'concurrency') keepInFlight(lease)
    else close(lease)
  }
}

/** Keeps of a concurrency lease that the row may not count any more the slots in use, to be booked again; the others are gone. */
export function keepInFlight(lease: Lease): void {
  if (lease.inFlight === 0) {
    close(lease)
    return
  }
  lease.slot = undefined
  lease.booked = 0
  lease.held = 0
  lease.frozen = 0
}
