import type { StoreInterval } from '../stores/store-clock.ts'
import type { Admission, Claim, LimitStatus, Subject } from './decision.ts'
import { type Debit, debit, type Lease, settle, spendable } from './lease.ts'
import type { LeaseManager } from './lease-manager.ts'
import { limitStatus } from './shared-counter.ts'

/** What a request claims of one subject, and the leases that this instance holds of it. */
export interface SubjectClaims {
  readonly manager: LeaseManager
  readonly claims: readonly Claim[]
}

/** The claims by subject, in their order. */
export function bySubject(claims: readonly Claim[], managerOf: (subject: Subject) => LeaseManager): SubjectClaims[] {
  const groups: { readonly manager: LeaseManager; readonly claims: Claim[] }[] = []
  for (const claim of claims) {
    const manager = managerOf(claim.subject)
    const group = groups.find((each) => each.manager === manager)
    if (group === undefined) groups.push({ manager, claims: [claim] })
    else group.claims.push(claim)
  }
  return groups
}

function leaseOf({ manager }: SubjectClaims, { limit }: Claim): Lease {
  const lease = manager.leases.get(limit.key)
  if (lease === undefined) throw new Error(`'${manager.subject.id}' has no limit '${limit.key}'`)
  return lease
}

/** Whether the leases can't cover the claims on one subject. */
export function isShort(group: SubjectClaims, { latest }: StoreInterval): boolean {
  return group.claims.some((claim) => spendable(leaseOf(group, claim), latest) < claim.units)
}

export function statusesOf(groups: readonly SubjectClaims[], interval: StoreInterval | undefined): LimitStatus[] {
  if (interval === undefined) return []
  return groups.flatMap((group) => {
    const row = group.manager.counter.rowAt(interval)
    return group.claims.map((claim) => limitStatus(claim.limit, leaseOf(group, claim), row, interval))
  })
}

/**
 * Debits all claims if every lease covers its own, else none. Between the check and the debit no other code can run: that
 * they are one step is what makes a lease exact.
 *
 * @param now our monotonic clock, milliseconds
 */
export function tryDebit(
  groups: readonly SubjectClaims[],
  interval: StoreInterval,
  now: () => number,
): Admission | undefined {
  if (groups.some((group) => isShort(group, interval))) return undefined
  const at = now()
  const debits = groups.flatMap((group) => group.claims.map((claim) => debit(leaseOf(group, claim), claim, at)))
  for (const { manager } of groups) manager.touched(interval)
  return admissionOf(groups, debits, statusesOf(groups, interval), now)
}

function admissionOf(
  groups: readonly SubjectClaims[],
  debits: readonly Debit[],
  standings: readonly LimitStatus[],
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
    if (moved) for (const { manager } of groups) manager.touched()
  }
  return {
    admitted: true,
    checked: true,
    standings,
    lost: alarm?.signal,
    settle: (used) =>
      end(({ limit, units, reserved }) => {
        if (limit.kind === 'concurrency') return 0
        return reserved ? used(limit) : units
      }),
    cancel: () => end(() => 0),
  }
}

/** An admission that took nothing: there was nothing to claim, or the store is down and the policy says to go on. */
export function freeAdmission(checked: boolean, standings: readonly LimitStatus[] = []): Admission {
  return { admitted: true, checked, standings, lost: undefined, settle: () => {}, cancel: () => {} }
}
