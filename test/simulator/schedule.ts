import type { Admission, Claim, Decision, Limit, Limiter, LimiterUnavailable, Subject } from '@tollgate/middleware'
import { type Audit, audit } from './audit.ts'
import type { Limits } from './limits-under-test.ts'
import { type Machine, machine } from './machine.ts'
import { random } from './random.ts'
import { inspectRow } from './row-invariants.ts'
import { type Scenario, scenario } from './scenario.ts'
import { NO_FAULTS, SimulatedFault, sharedStore } from './shared-store.ts'
import { world } from './world.ts'

export interface Outcome {
  readonly seed: number
  /** What did not hold, if anything; the first is where to look. */
  readonly violations: readonly string[]
  readonly admitted: number
  readonly refused: number
  readonly unavailable: number
  readonly storeCalls: number
}

export interface ScheduleOptions {
  /** A mutant of the store: writes whether or not the row has changed. */
  readonly unconditional?: boolean
}

interface Instance {
  readonly machine: Machine
  readonly limiter: Limiter
  readonly subjects: readonly Subject[]
  stalledUntil: number
  /** When units last came back from a request that was turned away further in. */
  cancelledAt: number
  running: Map<string, number>
}

const DEADLINE_MS = 2_000
/** Longer than two leases live. */
const LONGEST_FLIGHT_MS = 100_000
/** Longer than any lease lives. */
const QUIET_MS = 60_000
/** In which every bucket is full again. */
const REFILL_MS = 120_000
/** By so much an instance may lag: the store's clock by a second and a reply's way, its knowledge by a quarter. */
const CLOCK_MS = 1_400
/** After a stall an instance needs a moment to see what has ended meanwhile. */
const AFTER_STALL_MS = 700

/** Runs one schedule of instances, faults and time, all drawn from the seed, and checks every invariant after each event. */
export async function runSchedule(seed: number, limits: Limits, options: ScheduleOptions = {}): Promise<Outcome> {
  const dice = random(seed)
  const plan: Scenario = scenario(dice)
  const here = world(plan.start)
  const violations: string[] = []
  const violate = (what: string) => {
    if (violations.length < 20) violations.push(`${Math.round(here.now() - plan.start)} ms: ${what}`)
  }
  const store = sharedStore(here, dice, {
    ...options,
    onWrite: (subject, text) => {
      lastWrite.set(subject, here.now())
      for (const fault of inspect(subject, text)) violate(fault)
    },
  })
  const lastWrite = new Map<string, number>()
  const inspect = inspectRow(limitsOf(plan), here.now)
  const audits = new Map<string, Audit>()
  for (const { id, limits: its } of largest(plan)) {
    for (const limit of its) {
      audits.set(
        `${id} ${limit.key}`,
        audit(limit, (now) => (limit.kind === 'budget' ? limits.epochAt(limit.per, now).start : 0)),
      )
    }
  }
  const auditOf = (subject: Subject, limit: Limit) => audits.get(`${subject.id} ${limit.key}`)
  const counts = { admitted: 0, refused: 0, unavailable: 0 }
  let crashes = 0
  /** When the last request ends, but for what a stall adds. */
  let lastEnd = 0
  let faulty = plan.faults !== NO_FAULTS
  const wasFaulty = faulty || plan.stalls > 0 || plan.partitions > 0

  function boot(subjects: readonly Subject[]): Instance {
    const its = machine(here, dice)
    const limiter = limits.limiter({
      store: store.from(its),
      deadlineMs: DEADLINE_MS,
      time: its.time,
      random: dice.next,
      events: {
        storeFailed(cause) {
          const expected =
            cause instanceof SimulatedFault || (cause instanceof DOMException && cause.name === 'TimeoutError')
          if (!expected || !wasFaulty)
            violate(`the store is said to fail: ${(cause as Error | undefined)?.stack ?? cause}`)
        },
      },
    })
    return { machine: its, limiter, subjects, stalledUntil: 0, cancelledAt: 0, running: new Map() }
  }
  const instances = Array.from({ length: plan.instances }, () => boot(plan.subjects))

  /** What is admitted is spent at once; what comes back is known by the leases, which alone decide whether it does. */
  function spend(instance: Instance, claims: readonly Claim[], admission: Admission) {
    for (const { subject, limit, units } of claims) auditOf(subject, limit)?.spend(units, here.now())
    const started = here.now()
    return (end: () => void, used: (claim: Claim) => number) => {
      const before = claims.map((claim) => heldBy(instance, claim))
      end()
      claims.forEach((claim, index) => {
        const back = heldBy(instance, claim) - (before[index] ?? 0)
        if (claim.limit.kind === 'concurrency' || back === 0) return
        if (back < 0 || back > claim.units - used(claim)) violate(`a settlement changed ${claim.limit.name} by ${back}`)
        const audited = auditOf(claim.subject, claim.limit)
        const sameWindow =
          claim.limit.kind !== 'budget' ||
          limits.epochAt(claim.limit.per, started).start === limits.epochAt(claim.limit.per, here.now()).start
        // Of a window that is over, what comes back can't be spent any more.
        if (sameWindow) audited?.spend(-back, here.now())
      })
      void admission
    }
  }

  async function request(instance: Instance, phase: Scenario['phases'][number]): Promise<void> {
    const consumer = dice.pick(instance.subjects.slice(0, 2))
    const global = instance.subjects[2]
    const subjects = [consumer, ...(global === undefined ? [] : [global])]
    const first = claimsOf(subjects, (limit) =>
      limit.measure === 'requests' || limit.measure === 'concurrency' ? 1 : undefined,
    )
    const tokens = dice.whole(1, phase.tokens)
    const second = claimsOf(subjects, (limit) =>
      limit.measure === 'tokens' ? tokens : limit.measure === 'money' ? tokens * 150 : undefined,
    )
    const used = dice.next()
    const flight = Math.min(LONGEST_FLIGHT_MS, dice.interval(phase.flightMs))
    lastEnd = Math.max(lastEnd, here.now() + flight)

    const gate = await admit(instance, first)
    if (gate === undefined) return
    const settleGate = spend(instance, first, gate)
    enter(instance, first)
    let gone = false
    const leave = () => {
      if (!gone) exit(instance, first)
      gone = true
    }
    gate.lost?.addEventListener('abort', leave)
    const budget = second.length === 0 ? undefined : await admit(instance, second)
    if (second.length > 0 && budget === undefined) {
      leave()
      instance.cancelledAt = here.now()
      settleGate(
        () => gate.cancel(),
        () => 0,
      )
      return
    }
    const settleBudget = budget && spend(instance, second, budget)
    instance.machine.time.after(flight, () => {
      if (budget !== undefined && settleBudget !== undefined) {
        const actual = (limit: Limit) => Math.floor(used * (limit.measure === 'money' ? tokens * 150 : tokens))
        settleBudget(
          () => budget.settle(actual),
          ({ limit }) => actual(limit),
        )
      }
      leave()
      settleGate(
        () => gate.settle(() => 0),
        ({ units }) => units,
      )
    })
  }

  async function admit(instance: Instance, claims: readonly Claim[]): Promise<Admission | undefined> {
    let decision: Decision
    const pend = (sign: 1 | -1) => {
      for (const { subject, limit, units } of claims) {
        const name = `${subject.id} ${limit.key}`
        pending.set(name, (pending.get(name) ?? 0) + sign * units)
      }
    }
    pend(1)
    try {
      decision = await instance.limiter.admit(claims).finally(() => pend(-1))
    } catch (error) {
      if ((error as Error).name !== 'LimiterUnavailable') {
        violate(`admit threw ${(error as Error).stack}`)
      } else if (!wasFaulty) violate(`unavailable without a fault: ${(error as LimiterUnavailable).code}`)
      counts.unavailable += 1
      return undefined
    }
    if (decision.admitted) {
      counts.admitted += 1
      return decision
    }
    counts.refused += 1
    const { subject, limit, units } = decision
    const claim = claims.find((each) => each.limit === limit && each.subject.id === subject.id)
    if (claim !== undefined && units <= largestOf(limit)) {
      const covered = coverage(instance, claim)
      if (covered !== undefined) violate(`refused ${units} of ${claim.subject.id} ${limit.name} though ${covered}`)
    }
    lastDenial = { instance, claims, at: here.now(), retryAfterMs: decision.retryAfterMs }
    return undefined
  }
  /** Units that requests are just asking for: a refused one may stand behind them. */
  const pending = new Map<string, number>()
  let lastDenial: { instance: Instance; claims: readonly Claim[]; at: number; retryAfterMs: number } | undefined

  /** Why a refusal was wrong: the row has long been seen by everybody, and with the lease it covers the claim. */
  function coverage(instance: Instance, { subject, limit, units }: Claim): string | undefined {
    const row = store.row(subject.id)
    const ahead = pending.get(`${subject.id} ${limit.key}`) ?? 0
    if (row === undefined) return ahead === 0 ? 'there is no row' : undefined
    const settled = here.now() - (lastWrite.get(subject.id) ?? 0)
    if (settled < CLOCK_MS || limit.kind === 'concurrency') return undefined
    const seen = here.now() - CLOCK_MS
    const centre = limits.freeIn(row.text, subject.limits, limit, { earliest: seen, latest: here.now() + 1_100 })
    const lease = instance.limiter.leases(subject.id).find((each) => each.limit === limit)
    // What came back in this very moment came after the decision.
    const known = lease !== undefined && here.now() + 1_100 < lease.endsAt && instance.cancelledAt !== here.now()
    const held = known ? lease.held - lease.debt : 0
    return centre + held >= units + ahead ? `centre ${centre} and lease ${held} cover it` : undefined
  }

  function enter(instance: Instance, claims: readonly Claim[]): void {
    for (const { subject, limit } of claims) {
      if (limit.kind !== 'concurrency') continue
      instance.running.set(subject.id, (instance.running.get(subject.id) ?? 0) + 1)
    }
  }
  function exit(instance: Instance, claims: readonly Claim[]): void {
    for (const { subject, limit } of claims) {
      if (limit.kind !== 'concurrency') continue
      instance.running.set(subject.id, (instance.running.get(subject.id) ?? 0) - 1)
    }
  }

  const watched = largest(plan)
  function afterEach(): void {
    for (const subject of watched) {
      const row = store.row(subject.id)
      const live = instances.filter(({ machine }) => !machine.crashed())
      for (const limit of subject.limits) {
        if (limit.kind === 'concurrency') {
          const running = live
            .filter(({ stalledUntil }) => here.now() > stalledUntil + AFTER_STALL_MS)
            .reduce((sum, each) => sum + (each.running.get(subject.id) ?? 0), 0)
          if (running > limit.quota) violate(`${running} of ${limit.quota} in flight for ${subject.id}`)
        }
        if (row === undefined) continue
        const held = live.reduce((sum, each) => {
          const lease = each.limiter.leases(subject.id).find((its) => its.limit.key === limit.key)
          if (lease === undefined || lease.slot === undefined || here.now() >= lease.endsAt) return sum
          return sum + lease.held + (lease.limit.kind === 'concurrency' ? 0 : lease.inFlight)
        }, 0)
        const booked = limits.bookedIn(row.text, limit.key, here.now())
        if (booked !== undefined && held > booked)
          violate(`leases hold ${held} of ${subject.id} ${limit.name}, booked are ${booked}`)
      }
    }
  }

  function crash(instance: Instance): void {
    if (instance.machine.crashed()) return
    instance.machine.crash()
    crashes += 1
    instances.push(boot(plan.laterSubjects))
  }

  /** Spends what an instance has hoarded; where instances crash, often right before it could tell. */
  function burst(instance: Instance, phase: Scenario['phases'][number]): void {
    for (let count = 0; count < phase.burst; count += 1) instance.machine.deliver(() => void request(instance, phase))
    if (plan.crashes > 0 && dice.chance(0.3)) here.after(dice.between(1, 100), () => crash(instance))
  }

  store.setFaults(plan.faults)
  for (const phase of plan.phases) {
    const end = here.now() + phase.ms
    const mean = phase.perSecond === 0 ? Number.POSITIVE_INFINITY : 1_000 / phase.perSecond
    const arrive = () => {
      if (here.now() >= end) return
      const instance = dice.pick(instances)
      if (!instance.machine.crashed()) instance.machine.deliver(() => void request(instance, phase))
      here.after(dice.interval(mean), arrive)
    }
    if (Number.isFinite(mean)) here.after(dice.interval(mean), arrive)
    for (let second = 0; second < phase.ms; second += 1_000) {
      here.after(second, () => {
        if (dice.chance(phase.bursts)) burst(dice.pick(instances), phase)
        for (const instance of [...instances]) {
          if (instance.machine.crashed()) continue
          // Set back while asleep, a wall clock hides that it slept, and there is no other that would tell.
          if (dice.chance(plan.wallSteps))
            instance.machine.setWallClock(dice.between(plan.stalls > 0 ? 0 : -3_000, 3_000))
          if (dice.chance(plan.stalls)) {
            const ms = dice.between(100, 12_000)
            instance.machine.stall(ms, dice.chance(0.5))
            instance.stalledUntil = Math.max(instance.stalledUntil, here.now() + ms)
          }
          if (dice.chance(plan.partitions)) store.cutOff(instance.machine, dice.between(1_000, 60_000), dice.next())
          if (dice.chance(plan.crashes)) crash(instance)
        }
      })
    }
    await here.runUntil(end, afterEach)
  }

  faulty = false
  store.setFaults(NO_FAULTS)
  for (const { machine } of instances) store.cutOff(machine, 0, 0)
  // A caller that comes back when it was told to, to another instance, while nobody else calls.
  const told = lastDenial
  const unchanged = plan.laterSubjects === plan.subjects
  if (
    told !== undefined &&
    unchanged &&
    Number.isFinite(told.retryAfterMs) &&
    told.at > here.now() - 5_000 &&
    told.retryAfterMs < 90_000
  ) {
    const slots = told.claims.some(({ limit }) => limit.measure !== 'requests')
    const back = told.at + Math.ceil(told.retryAfterMs / 1_000) * 1_000
    if (back > here.now() + 1_000 && !slots && plan.stalls === 0 && !wasFaulty) {
      here.after(back - here.now(), () => {
        const instance = dice.pick(instances.filter(({ machine }) => !machine.crashed()))
        void instance.limiter.admit(told.claims).then(
          (decision) => {
            if (decision.admitted) {
              const done = spend(instance, told.claims, decision)
              done(
                () => decision.settle(() => 0),
                ({ limit, units }) => (limit.measure === 'requests' ? units : 0),
              )
            } else violate(`refused again after Retry-After, by ${decision.limit.name} for ${decision.retryAfterMs} ms`)
          },
          (error) => violate(`after Retry-After: ${error}`),
        )
      })
    }
  }
  await here.runUntil(Math.max(here.now(), lastEnd) + QUIET_MS, afterEach)
  for (const [name, its] of audits) if (its.excess() > 0) violate(`${name} was exceeded by ${its.excess()}`)
  // Nothing else will happen: what time alone brings back can be told ahead.
  const at = (ms: number) => ({ earliest: here.now() + ms, latest: here.now() + ms })
  for (const subject of unchanged ? plan.subjects : []) {
    const row = store.row(subject.id)
    if (row === undefined) continue
    for (const limit of subject.limits) {
      const centre = limits.freeIn(row.text, subject.limits, limit, at(limit.kind === 'budget' ? 0 : REFILL_MS))
      if (limit.kind !== 'budget' && centre !== largestOf(limit))
        violate(`${limit.name} has come back to ${centre} only`)
      const spent = auditOf(subject, limit)?.spentIn(here.now()) ?? 0
      if (limit.kind === 'budget' && !wasFaulty && crashes === 0 && limit.quota - centre !== spent) {
        violate(`of ${limit.name} ${limit.quota - centre} are granted, ${spent} were spent`)
      }
    }
  }
  return { seed, violations, ...counts, storeCalls: store.calls() }
}

function claimsOf(subjects: readonly Subject[], units: (limit: Limit) => number | undefined): Claim[] {
  return subjects.flatMap((subject) =>
    subject.limits.flatMap((limit) => {
      const wanted = units(limit)
      return wanted === undefined ? [] : [{ subject, limit, units: wanted }]
    }),
  )
}

function heldBy(instance: Instance, { subject, limit }: Claim): number {
  return instance.limiter.leases(subject.id).find((lease) => lease.limit === limit)?.held ?? 0
}

const largestOf = (limit: Limit) => (limit.kind === 'rate' ? limit.capacity : limit.quota)

/** By the larger of two policies. The earlier one is never smaller. */
function largest(plan: Scenario): readonly Subject[] {
  return plan.subjects
}

function limitsOf(plan: Scenario): ReadonlyMap<string, readonly Limit[]> {
  return new Map(largest(plan).map(({ id, limits }) => [id, limits]))
}
