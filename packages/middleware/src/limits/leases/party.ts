import type { StoreInterval } from '../stores/store-clock.ts'
import type { Admission } from './decision.ts'
import type { Holding } from './holding.ts'
import { type Debit, debit, type Lease, settle, spendable } from './lease.ts'
import { type Standing, standingOf } from './standing.ts'
import type { Claim, Subject } from './subject.ts'

/** What a request claims of one subject, and what this instance holds of it. */
export interface Party {
  readonly held: Holding
  readonly claims: readonly Claim[]
}

/** The claims by subject, in their order. */
export function partiesOf(claims: readonly Claim[], holdingOf: (subject: Subject) => Holding): Party[] {
  const parties: { readonly held: Holding; readonly claims: Claim[] }[] = []
  for (const claim of claims) {
    const held = holdingOf(claim.subject)
    const party = parties.find((each) => each.held === held)
    if (party === undefined) parties.push({ held, claims: [claim] })
    else party.claims.push(claim)
  }
  return parties
}

function leaseOf({ held }: Party, { limit }: Claim): Lease {
  const lease = held.leases.get(limit.key)
  if (lease === undefined) throw new Error(`'${held.subject.id}' has no limit '${limit.key}'`)
  return lease
}

/** Whether the leases can't cover a party's claims. */
export function lacks(party: Party, { latest }: StoreInterval): boolean {
  return party.claims.some((claim) => spendable(leaseOf(party, claim), latest) < claim.units)
}

export function standingsOf(parties: readonly Party[], interval: StoreInterval | undefined): Standing[] {
  if (interval === undefined) return []
  return parties.flatMap((party) => {
    const row = party.held.view(interval)
    return party.claims.map((claim) => standingOf(leaseOf(party, claim), row, interval))
  })
}

/**
 * Debits all claims if every lease covers its own, else none. Between the check and the debit nothing else can run: that
 * they are one step is what makes a lease exact.
 *
 * @param now our monotonic clock, milliseconds
 */
export function take(parties: readonly Party[], interval: StoreInterval, now: () => number): Admission | undefined {
  if (parties.some((party) => lacks(party, interval))) return undefined
  const at = now()
  const debits = parties.flatMap((party) => party.claims.map((claim) => debit(leaseOf(party, claim), claim.units, at)))
  for (const { held } of parties) held.touched()
  return admissionOf(parties, debits, standingsOf(parties, interval), now)
}

function admissionOf(
  parties: readonly Party[],
  debits: readonly Debit[],
  standings: readonly Standing[],
  now: () => number,
): Admission {
  const slots = debits.filter(({ lease }) => lease.limit.kind === 'concurrency')
  const alarm = slots.length === 0 ? undefined : new AbortController()
  if (alarm !== undefined) for (const { lease } of slots) lease.alarms.add(alarm)
  let open = true
  const end = (used: (each: Debit) => number) => {
    if (!open) return
    open = false
    if (alarm !== undefined) for (const { lease } of slots) lease.alarms.delete(alarm)
    let moved = false
    for (const each of debits) {
      const units = used(each)
      settle(each, units, now())
      moved ||= each.reserved || units !== each.units
    }
    if (moved) for (const { held } of parties) held.touched()
  }
  return {
    admitted: true,
    checked: true,
    standings,
    lost: alarm?.signal,
    settle: (used) =>
      end(({ lease: { limit }, units, reserved }) => {
        if (limit.kind === 'concurrency') return 0
        return reserved ? used(limit) : units
      }),
    cancel: () => end(() => 0),
  }
}

/** Nothing was taken: there was nothing to claim, or the store is down and the policy says to go on. */
export function freeAdmission(checked: boolean, standings: readonly Standing[] = []): Admission {
  return { admitted: true, checked, standings, lost: undefined, settle: () => {}, cancel: () => {} }
}
