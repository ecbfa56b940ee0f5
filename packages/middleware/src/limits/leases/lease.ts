import type { Limit } from '../../policy/index.ts'
import type { Claim } from './decision.ts'
import { type Demand, demand } from './demand.ts'
import { type OptimisticBucket, optimisticBucket } from './optimistic-bucket.ts'

/**
 * What an instance holds of one limit: units that the shared counter has handed out to it, to be spent without asking.
 *
 * `booked` units are counted as handed out in the row. The units held, in flight, frozen, and spent since the last write
 * make up exactly that many, but for what a crash or a lost reply has taken away: `assertLease` states it.
 */
export interface Lease {
  readonly limit: Limit
  /** Rises when the lease is closed: what was debited under an earlier generation is never given back. */
  generation: number
  /** Rises with each write: what was spent under an earlier term has been written off. */
  term: number
  /** The slot in which it is booked; `undefined` where nothing is. */
  slot: number | undefined
  /** The id of the row in which it is booked. */
  row: string | undefined
  /** The window that a budget's units belong to. */
  epoch: number | undefined
  /** Store time, in milliseconds, from which on it must not be spent. */
  endsAt: number
  booked: number
  held: number
  inFlight: number
  /** Units used beyond what was reserved, to be paid out of what is handed out next. */
  debt: number
  /** Given back by writes whose outcome is unknown: they can't be spent, and are not spent. */
  frozen: number
  /** The largest recent claim, in units: what the next request may need at once. */
  largest: number
  /** When units were last taken or came back, by our monotonic clock. */
  usedAt: number
  /** One for each request that uses its slots, aborted when the slots can't be kept: the request must end. */
  readonly alarms: Set<AbortController>
  readonly demand: Demand
  /** Of a rate of requests: a request for which the row has no room may lack certainty alone. */
  readonly optimistic: OptimisticBucket | undefined
}

export function emptyLease(limit: Limit, now: number): Lease {
  const isRequestRate = limit.kind === 'rate' && limit.measure === 'requests'
  return {
    limit,
    generation: 0,
    term: 0,
    slot: undefined,
    row: undefined,
    epoch: undefined,
    endsAt: Number.NEGATIVE_INFINITY,
    booked: 0,
    held: 0,
    inFlight: 0,
    debt: 0,
    frozen: 0,
    largest: 0,
    usedAt: now,
    alarms: new Set(),
    demand: demand(now),
    optimistic: isRequestRate ? optimisticBucket(limit, now) : undefined,
  }
}

/**
 * Units that can be spent now.
 *
 * @param latest the latest that the store's time may be, in milliseconds
 */
export function spendable(lease: Lease, latest: number): number {
  return latest < lease.endsAt ? Math.max(0, lease.held - lease.debt) : 0
}

/** Units spent since the last write, and not yet written off. */
export function spentOf({ booked, held, inFlight, frozen }: Lease): number {
  return Math.max(0, booked - held - inFlight - frozen)
}

/** Slots in use that the row doesn't count any more, which only a concurrency lease has: they must be booked again. */
export function unbookedOf({ booked, held, inFlight }: Lease): number {
  return Math.max(0, held + inFlight - booked)
}

/** What one request took from a lease. */
export interface Debit {
  readonly lease: Lease
  /** As the request claimed it: equal to the lease's, but perhaps resolved from the policy later. */
  readonly limit: Limit
  readonly units: number
  readonly generation: number
  readonly term: number
  /** Units of requests are spent at once; of tokens, money and concurrency they are in flight until settled. */
  readonly reserved: boolean
}

export function debit(lease: Lease, { limit, units }: Pick<Claim, 'limit' | 'units'>, now: number): Debit {
  const reserved = lease.limit.measure !== 'requests'
  lease.held -= units
  if (reserved) lease.inFlight += units
  lease.demand.add(units, now)
  lease.optimistic?.use(units, now)
  lease.largest = Math.max(units, 0.9 * lease.largest)
  lease.usedAt = now
  return { lease, limit, units, generation: lease.generation, term: lease.term, reserved }
}

/**
 * Settles a debit at what was used: the rest goes back to the lease that it came from, if that still lives. More than
 * was reserved is a debt.
 */
export function settle({ lease, units, generation, term, reserved }: Debit, used: number, now: number): void {
  const current = lease.generation === generation
  lease.usedAt = now
  if (reserved && current) lease.inFlight -= units
  if (used > units) owe(lease, used - units, current)
  // Units that were spent can't come back after the next write has written them off. Those in flight it carries on.
  else if (current && (reserved || lease.term === term)) {
    // Never more than is booked: a slot that isn't booked any more is not kept when it is free.
    lease.held = Math.max(lease.held, Math.min(lease.held + units - used, lease.booked - lease.inFlight - lease.frozen))
    lease.demand.add(used - units, now)
    lease.optimistic?.use(used - units, now)
  }
}

function owe(lease: Lease, units: number, current: boolean): void {
  // A debt of a window that is over can't be paid out of another one.
  if (lease.limit.kind === 'budget' && !current) return
  lease.debt += units
}

/** Ends the lease. Its debits settle into nothing. */
export function close(lease: Lease): void {
  for (const alarm of lease.alarms)
    alarm.abort(new DOMException('The concurrency slot could not be kept', 'AbortError'))
  lease.alarms.clear()
  lease.generation += 1
  lease.slot = undefined
  lease.endsAt = Number.NEGATIVE_INFINITY
  lease.booked = 0
  lease.held = 0
  lease.inFlight = 0
  lease.frozen = 0
  if (lease.limit.kind === 'budget') lease.debt = 0
}

/**
 * What must hold of every lease at every moment: it never has more than is booked. Only slots in use may exceed that, of a
 * concurrency lease whose row was lost; until they are booked again, it holds no free ones.
 *
 * @throws RangeError that names the limit and what does not hold
 */
export function assertLease(lease: Readonly<Omit<Lease, 'alarms' | 'demand' | 'optimistic'>>): void {
  const fault = faultOf(lease)
  if (fault !== undefined) throw new RangeError(`The lease of '${lease.limit.key}' ${fault}`)
}

function faultOf(lease: Readonly<Omit<Lease, 'alarms' | 'demand' | 'optimistic'>>): string | undefined {
  const { limit, slot, booked, held, inFlight, frozen, debt } = lease
  const counts = { booked, held, inFlight, frozen, debt }
  for (const name in counts) {
    const units = counts[name as keyof typeof counts]
    if (!Number.isSafeInteger(units) || units < 0) return `has ${name} = ${units}`
  }
  if (slot === undefined && booked > 0) return `books ${booked} in no slot`
  const inUse = limit.kind === 'concurrency' ? 0 : inFlight
  if (held + frozen + inUse > booked)
    return `holds ${held}, froze ${frozen}, has ${inFlight} in flight, booked ${booked}`
  return undefined
}
