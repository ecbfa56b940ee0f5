import type { Claim, Limit, Subject } from '@tollgate/middleware'
import { type Audit, audit } from './audit.ts'
import type { Instance } from './instance.ts'
import type { Limits } from './limits-under-test.ts'
import type { SharedStore } from './shared-store.ts'
import type { World } from './world.ts'

/** What must hold, checked as things happen. */
export interface Watch {
  auditOf(claim: Pick<Claim, 'subject' | 'limit'>): Audit | undefined
  /** Told that a request asks for units, or has its answer. */
  asking(claims: readonly Claim[], by: 1 | -1): void
  /** Checks a refusal: it is wrong where the row, that has long been seen by everybody, and the lease cover the claim. */
  refused(instance: Instance, claim: Claim): void
  /** A subject's row was lost. */
  lost(subject: string): void
  /** After each event: leases are sound and never hold more than is booked, nor do more requests run at once than may. */
  check(): void
  /** In the end, when nothing has happened for long: all has come back, but for what was spent. */
  checkRest(options: RestOptions): void
}

export interface RestOptions {
  readonly subjects: readonly Subject[]
  /** Whether each unit of a budget must be accounted for: nothing has crashed, and nothing was lost. */
  readonly accountable: boolean
}

export interface WatchOptions {
  readonly world: World
  readonly store: SharedStore
  readonly limits: Limits
  readonly instances: readonly Instance[]
  /** With the larger limits, of two policies. */
  readonly subjects: readonly Subject[]
  readonly lastWrite: ReadonlyMap<string, number>
  /** How old the knowledge may be that a refusal is based on. */
  readonly knowledgeMs: number
  readonly violate: (what: string) => void
}

/** After a stall an instance needs a moment to see what has ended meanwhile. */
const AFTER_STALL_MS = 700
/** In which every bucket is full again. */
const REFILL_MS = 120_000
/** So long after a loss instances may still go by what they saw before it, and requests run that others were let in beside. */
const AFTER_LOSS_MS = 15_000
const RUNNING_AFTER_LOSS_MS = 160_000
/** How far ahead an instance may take the store's clock to be. */
const AHEAD_MS = 1_100

export function watch({
  world,
  store,
  limits,
  instances,
  subjects,
  lastWrite,
  knowledgeMs,
  violate,
}: WatchOptions): Watch {
  const name = ({ subject, limit }: Pick<Claim, 'subject' | 'limit'>) => `${subject.id} ${limit.key}`
  const all = subjects.flatMap((subject) => subject.limits.map((limit) => ({ subject, limit })))
  const audits = new Map(all.map((claim) => [name(claim), audit(claim.limit, windowOf(claim.limit))]))
  const asked = new Map<string, number>()
  /** When each row was lost, by subject. */
  const losses = new Map<string, number[]>()
  const lossesSince = (subject: string, from: number) => (losses.get(subject) ?? []).filter((at) => at >= from).length

  function windowOf(limit: Limit): (now: number) => number {
    return (now) => (limit.kind === 'budget' ? limits.epochAt(limit.per, now).start : 0)
  }

  function coverage(instance: Instance, claim: Claim): string | undefined {
    const { subject, limit, units } = claim
    if (lossesSince(subject.id, world.now() - AFTER_LOSS_MS) > 0) return undefined
    const row = store.row(subject.id)
    const ahead = asked.get(name(claim)) ?? 0
    if (row === undefined) return ahead === 0 ? 'there is no row' : undefined
    const now = world.now()
    if (now - (lastWrite.get(subject.id) ?? 0) < knowledgeMs || limit.kind === 'concurrency') return undefined
    const time = { earliest: now - knowledgeMs, latest: now + AHEAD_MS }
    const shared = limits.freeIn(row.text, subject.limits, limit, time)
    const lease = instance.limiter.leases(subject.id).find((each) => each.limit.key === limit.key)
    // What came back in this very moment came after the decision.
    const known = lease !== undefined && now + AHEAD_MS < lease.endsAt && instance.cancelledAt !== now
    const held = known ? lease.held - lease.debt : 0
    return shared + held >= units + ahead
      ? `the shared counter's ${shared} and the lease's ${held} cover it`
      : undefined
  }

  function checkRunning(subject: Subject, limit: Limit, live: readonly Instance[]): void {
    const running = live
      .filter(({ stalledUntil }) => world.now() > stalledUntil + AFTER_STALL_MS)
      .reduce((sum, each) => sum + (each.running.get(subject.id) ?? 0), 0)
    const further = lossesSince(subject.id, world.now() - RUNNING_AFTER_LOSS_MS)
    if (running > limit.quota * (1 + further)) violate(`${running} of ${limit.quota} in flight for ${subject.id}`)
  }

  function checkLeases(subject: Subject, live: readonly Instance[]): void {
    for (const { limiter } of live) {
      for (const lease of limiter.leases(subject.id)) {
        try {
          limits.assertLease(lease)
        } catch (fault) {
          violate(`for ${subject.id}: ${(fault as Error).message}`)
        }
      }
    }
  }

  function checkBooked(subject: Subject, limit: Limit, row: string, live: readonly Instance[]): void {
    // Leases of a row that was lost end in their own time; what they spend is audited.
    if (losses.has(subject.id)) return
    const held = live.reduce((sum, each) => {
      const lease = each.limiter.leases(subject.id).find((its) => its.limit.key === limit.key)
      if (lease === undefined || lease.slot === undefined || world.now() >= lease.endsAt) return sum
      return sum + lease.held + (limit.kind === 'concurrency' ? 0 : lease.inFlight)
    }, 0)
    if (held === 0) return
    const booked = limits.bookedIn(row, limit.key, world.now())
    if (booked === undefined || held <= booked) return
    violate(`leases hold ${held} of ${subject.id} ${limit.name}, booked are ${booked}`)
  }

  return {
    auditOf: (claim) => audits.get(name(claim)),

    asking(claims, by) {
      for (const claim of claims) asked.set(name(claim), (asked.get(name(claim)) ?? 0) + by * claim.units)
    },

    refused(instance, claim) {
      if (claim.units > largest(claim.limit)) return
      const covered = coverage(instance, claim)
      if (covered !== undefined) violate(`refused ${claim.units} of ${name(claim)} though ${covered}`)
    },

    lost(subject) {
      losses.set(subject, [...(losses.get(subject) ?? []), world.now()])
      for (const [key, its] of audits) if (key.startsWith(`${subject} `)) its.lose(world.now())
    },

    check() {
      const live = instances.filter(({ machine }) => !machine.crashed())
      for (const subject of subjects) checkLeases(subject, live)
      for (const { subject, limit } of all) {
        if (limit.kind === 'concurrency') checkRunning(subject, limit, live)
        const row = store.row(subject.id)
        if (row !== undefined) checkBooked(subject, limit, row.text, live)
      }
    },

    checkRest({ subjects, accountable }) {
      for (const [name, its] of audits) if (its.excess() > 0) violate(`${name} was exceeded by ${its.excess()}`)
      for (const subject of subjects) {
        const row = store.row(subject.id)
        if (row === undefined) continue
        for (const limit of subject.limits) {
          // Nothing else will happen: what time alone brings back can be told ahead.
          const at = world.now() + (limit.kind === 'budget' ? 0 : REFILL_MS)
          const shared = limits.freeIn(row.text, subject.limits, limit, { earliest: at, latest: at })
          if (limit.kind !== 'budget') {
            if (shared !== largest(limit)) violate(`${limit.name} has come back to ${shared} only`)
            continue
          }
          const spent = audits.get(name({ subject, limit }))?.spentIn(world.now()) ?? 0
          const granted = limit.quota - shared
          if (accountable && granted !== spent) violate(`of ${limit.name} ${granted} are granted, ${spent} were spent`)
        }
      }
    },
  }
}

function largest(limit: Limit): number {
  return limit.kind === 'rate' ? limit.capacity : limit.quota
}
