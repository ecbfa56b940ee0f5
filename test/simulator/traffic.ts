import type { Admission, Claim, Decision, Denial, Limit, LimiterUnavailable, Subject } from '@tollgate/middleware'
import { countRunning, type Instance, leaseOf } from './instance.ts'
import type { Limits } from './limits-under-test.ts'
import type { Random } from './random.ts'
import type { Phase } from './scenario.ts'
import type { Watch } from './watch.ts'
import type { World } from './world.ts'

/** A caller that was refused, and told when to come back. */
export interface TurnedAway {
  readonly claims: readonly Claim[]
  readonly at: number
  readonly denial: Denial
}

export interface Traffic {
  /** One request, as the gateway makes it: requests and slots first, then tokens and money. */
  request(instance: Instance, phase: Phase): Promise<void>
  /** The same claims again, to no end. */
  retry(instance: Instance, claims: readonly Claim[]): Promise<Decision>
  counts(): Readonly<Record<'admitted' | 'refused' | 'unavailable', number>>
  lastTurnedAway(): TurnedAway | undefined
  /** When the last request ends, but for what a stall adds. */
  lastEnd(): number
}

export interface TrafficOptions {
  readonly world: World
  readonly random: Random
  readonly limits: Limits
  readonly watch: Watch
  /** Whether a request may find the limiter unavailable. */
  readonly mayFail: boolean
  readonly violate: (what: string) => void
}

/** Longer than two leases live. */
const LONGEST_FLIGHT_MS = 100_000
const NANO_USD_A_TOKEN = 150
/** Of so many requests one brings limits of a policy that was resolved again, unchanged: that must make no difference. */
const RESOLVED_EVERY = 8

export function traffic({ world, random, limits, watch, mayFail, violate }: TrafficOptions): Traffic {
  const counts = { admitted: 0, refused: 0, unavailable: 0 }
  let turnedAway: TurnedAway | undefined
  let lastEnd = 0
  let requests = 0

  /**
   * What is admitted is spent at once. What comes back is known by the leases, which alone decide whether it does.
   *
   * @returns to be called with what ends the admission, and what each claim has used
   */
  function spend(instance: Instance, claims: readonly Claim[]) {
    for (const claim of claims) watch.auditOf(claim)?.spend(claim.units, world.now())
    const started = world.now()
    const leases = claims.map((claim) => leaseOf(instance, claim))
    return (end: () => void, used: (claim: Claim) => number) => {
      const before = leases.map((lease) => lease?.held ?? 0)
      end()
      claims.forEach((claim, index) => {
        const lease = leases[index]
        // Of a limiter that was closed meanwhile nobody can tell: then all of it may have come back.
        const back = lease === undefined ? claim.units - used(claim) : lease.held - (before[index] ?? 0)
        if (claim.limit.kind === 'concurrency' || back === 0) return
        if (back < 0 || back > claim.units - used(claim)) violate(`a settlement changed ${claim.limit.name} by ${back}`)
        // Of a window that is over, what comes back can't be spent any more.
        if (sameWindow(claim.limit, started)) watch.auditOf(claim)?.spend(-back, world.now())
      })
    }
  }

  function sameWindow(limit: Limit, started: number): boolean {
    if (limit.kind !== 'budget') return true
    return limits.epochAt(limit.per, started).start === limits.epochAt(limit.per, world.now()).start
  }

  async function admit(instance: Instance, claims: readonly Claim[]): Promise<Admission | undefined> {
    watch.asking(claims, 1)
    let decision: Decision
    try {
      decision = await instance.limiter.admit(claims).finally(() => watch.asking(claims, -1))
    } catch (error) {
      const { name, code } = error as LimiterUnavailable
      if (name !== 'LimiterUnavailable') violate(`admit threw ${(error as Error).stack}`)
      else if (!mayFail && code !== 'contention') violate(`unavailable without a fault: ${code}`)
      counts.unavailable += 1
      return undefined
    }
    if (decision.admitted) {
      counts.admitted += 1
      return decision
    }
    counts.refused += 1
    const { subject, limit } = decision
    const claim = claims.find((each) => each.limit === limit && each.subject.id === subject.id)
    if (claim !== undefined) watch.refused(instance, claim)
    turnedAway = { claims, at: world.now(), denial: decision }
    return undefined
  }

  return {
    async request(instance, phase) {
      requests += 1
      // An earlier version goes by the array of a policy's limits, and resolves a policy once.
      const resolves = instance.version === limits && requests % RESOLVED_EVERY === 0
      const [one, other, global] = instance.subjects
      const subjects = [random.chance(0.5) ? one : other, global]
        .filter((subject) => subject !== undefined)
        .map((subject) => (resolves ? resolvedAgain(subject) : subject))
      const tokens = random.whole(1, phase.tokens)
      const used = random.next()
      const flight = Math.min(LONGEST_FLIGHT_MS, random.interval(phase.flightMs))
      lastEnd = Math.max(lastEnd, world.now() + flight)
      const first = claimsOf(subjects, ({ measure }) =>
        measure === 'requests' || measure === 'concurrency' ? 1 : undefined,
      )
      const second = claimsOf(subjects, ({ measure }) => tokensOf(measure, tokens))

      const gate = await admit(instance, first)
      if (gate === undefined) return
      const endGate = spend(instance, first)
      countRunning(instance, first, 1)
      let runs = true
      const leave = () => {
        if (runs) countRunning(instance, first, -1)
        runs = false
      }
      gate.lost?.addEventListener('abort', leave)
      const budget = second.length === 0 ? undefined : await admit(instance, second)
      if (second.length > 0 && budget === undefined) {
        leave()
        instance.cancelledAt = world.now()
        endGate(
          () => gate.cancel(),
          () => 0,
        )
        return
      }
      const endBudget = spend(instance, budget === undefined ? [] : second)
      instance.machine.time.after(flight, () => {
        const actual = ({ measure }: Limit) => Math.floor(used * (tokensOf(measure, tokens) ?? 0))
        endBudget(
          () => budget?.settle(actual),
          ({ limit }) => actual(limit),
        )
        leave()
        endGate(
          () => gate.settle(() => 0),
          ({ units }) => units,
        )
      })
    },

    async retry(instance, claims) {
      const decision = await instance.limiter.admit(claims)
      if (decision.admitted) {
        spend(instance, claims)(
          () => decision.settle(() => 0),
          ({ units }) => units,
        )
      }
      return decision
    },

    counts: () => counts,
    lastTurnedAway: () => turnedAway,
    lastEnd: () => lastEnd,
  }
}

function resolvedAgain({ id, limits }: Subject): Subject {
  return { id, limits: limits.map((limit) => ({ ...limit })) }
}

function tokensOf(measure: Limit['measure'], tokens: number): number | undefined {
  return measure === 'tokens' ? tokens : measure === 'money' ? tokens * NANO_USD_A_TOKEN : undefined
}

function claimsOf(subjects: readonly Subject[], units: (limit: Limit) => number | undefined): Claim[] {
  return subjects.flatMap((subject) =>
    subject.limits.flatMap((limit) => {
      const wanted = units(limit)
      return wanted === undefined ? [] : [{ subject, limit, units: wanted }]
    }),
  )
}
