import type { Admission, Claim, Decision, Limit, LimiterUnavailable, Subject } from '@tollgate/middleware'
import { revisionsAudit, type Spent } from './audit-of-revisions.ts'
import { boot, type Instance } from './instance.ts'
import type { Limits } from './limits-under-test.ts'
import { random } from './random.ts'
import { type RevisedScenario, type Revision, revisedScenario } from './scenario-of-revisions.ts'
import type { Outcome } from './schedule.ts'
import { NO_FAULTS, sharedStore } from './shared-store.ts'
import { world } from './world.ts'

/** An instance goes by a changed policy this much later at most, while the store answers; milliseconds. */
const ADOPTED_MS = 5_000
/** Where its look at the store fails: how likely that is, and how much later then. */
const MISSED = 0.05
const MISSED_MS = 30_000
/** Longer than any lease lives. */
const QUIET_MS = 60_000
/** The longest that a lease lives without being renewed. */
const LEASE_MS = 45_000
/** After a stall an instance needs a moment to see what has ended meanwhile. */
const AFTER_STALL_MS = 700
const LENGTH_MS = { minute: 60_000, hour: 3_600_000, day: 86_400_000 } as const
const MAX_VIOLATIONS = 20

/** An instance, and the revision that it goes by. */
interface Adopter {
  readonly instance: Instance
  revision: number
}

/**
 * Runs one schedule in which the policy changes under load, and each instance goes by the change at a time of its own. No
 * interval may see more than the larger of the revisions in force in it allows, once.
 */
export async function runRevisedSchedule(
  seed: number,
  limits: Limits,
): Promise<Outcome & { readonly changes: number }> {
  const dice = random(seed)
  const plan: RevisedScenario = revisedScenario(dice)
  const here = world(plan.start)
  const violations: string[] = []
  const violate = (what: string) => {
    if (violations.length < MAX_VIOLATIONS) violations.push(`${Math.round(here.now() - plan.start)} ms: ${what}`)
  }
  const mayFail = plan.faults !== NO_FAULTS || plan.stalls > 0 || plan.partitions > 0
  const store = sharedStore(here, dice, { onWrite: () => {} })
  const audit = revisionsAudit(plan.revisions.length, limitsOf, windowsIn)
  /** Requests in flight that hold a slot, by subject, of instances that have not crashed. */
  const running = new Map<string, Map<Instance, number>>()
  const counts = { admitted: 0, refused: 0, unavailable: 0 }
  let newest = 0
  let changes = 0

  function limitsOf(revision: number, subject: string, measure: Limit['measure']): readonly Limit[] {
    const its = plan.revisions[revision]?.find(({ id }) => id === subject)
    return its?.limits.filter((limit) => limit.measure === measure) ?? []
  }

  function windowsIn(per: 'minute' | 'hour' | 'day' | 'month', from: number, to: number): number {
    if (per !== 'month') return Math.floor(to / LENGTH_MS[per]) - Math.floor(from / LENGTH_MS[per]) + 1
    const [first, last] = [new Date(from), new Date(to)]
    return 12 * (last.getUTCFullYear() - first.getUTCFullYear()) + last.getUTCMonth() - first.getUTCMonth() + 1
  }

  function start(): Adopter {
    const instance = boot({
      world: here,
      random: dice,
      store,
      version: limits,
      subjects: [],
      onDefect: violate,
      mayFail,
      onRowLost: (subject) => violate(`the row of ${subject} is said to be lost`),
    })
    audit.hold(newest, 1, here.now())
    return { instance, revision: newest }
  }
  const adopters = Array.from({ length: plan.instances }, start)

  function adopt(adopter: Adopter, revision: number): void {
    if (adopter.instance.machine.crashed() || revision < 0) return
    audit.hold(adopter.revision, -1, here.now())
    endedAt[adopter.revision] = here.now()
    adopter.revision = revision
    audit.hold(revision, 1, here.now())
  }

  function change(): void {
    const next = (newest + dice.whole(1, plan.revisions.length)) % plan.revisions.length
    if (next !== newest) changes += 1
    newest = next
    for (const adopter of adopters) {
      const late = dice.between(0, ADOPTED_MS) + (dice.chance(MISSED) ? MISSED_MS : 0)
      // By then another may be in force: what it reads is the newest.
      here.after(late, () => adopter.instance.machine.deliver(() => adopt(adopter, newest)))
    }
  }

  function crash(adopter: Adopter): void {
    const { instance } = adopter
    if (instance.machine.crashed()) return
    instance.machine.crash()
    audit.hold(adopter.revision, -1, here.now())
    endedAt[adopter.revision] = here.now()
    for (const each of running.values()) each.delete(instance)
    adopters.splice(adopters.indexOf(adopter), 1, start())
  }

  async function admit({ limiter }: Instance, claims: readonly Claim[]): Promise<Admission | undefined> {
    let decision: Decision
    try {
      decision = await limiter.admit(claims)
    } catch (error) {
      const { name, code } = error as LimiterUnavailable
      if (name !== 'LimiterUnavailable') violate(`admit threw ${(error as Error).stack}`)
      else if (!mayFail && code !== 'contention') violate(`unavailable without a fault: ${code}`)
      counts.unavailable += 1
      return undefined
    }
    if (!decision.admitted) {
      counts.refused += 1
      return undefined
    }
    counts.admitted += 1
    return decision
  }

  /** All subjects of one measure are told of the same units, whether or not this revision limits them. */
  function spend(claims: readonly Claim[]): ReadonlyMap<Claim, Spent> {
    const spent = claims
      .filter(({ limit }) => limit.kind !== 'concurrency')
      // Two limits of one measure are taken from for one and the same unit.
      .filter(
        ({ subject, limit }, index, all) =>
          all.findIndex((each) => each.subject.id === subject.id && each.limit.measure === limit.measure) === index,
      )
    return new Map(
      spent.map((claim) => [claim, audit.spend(claim.subject.id, claim.limit.measure, claim.units, here.now())]),
    )
  }

  function run({ instance, revision }: Adopter, claims: readonly Claim[], by: 1 | -1): void {
    for (const { subject, limit } of claims) {
      if (limit.kind !== 'concurrency') continue
      const its = running.get(subject.id) ?? new Map<Instance, number>()
      running.set(subject.id, its)
      its.set(instance, (its.get(instance) ?? 0) + by)
      if (by < 0) continue
      // A machine that stands still past its lease can't end what it has in flight.
      const awake = [...its].filter(([each]) => here.now() > each.stalledUntil + AFTER_STALL_MS)
      const sum = awake.reduce((total, [, count]) => total + count, 0)
      const quotas = plan.revisions.flatMap((_, each) =>
        each === revision || isInForce(each) ? quotaOf(each, subject) : [],
      )
      if (sum > Math.max(...quotas)) violate(`${sum} of ${Math.max(...quotas)} in flight for ${subject.id}`)
    }
  }

  const pins = plan.revisions.map(() => 0)
  /** Slots that were handed out under a revision stay handed out for a lease's life. */
  const endedAt = plan.revisions.map(() => Number.NEGATIVE_INFINITY)
  const isInForce = (revision: number) =>
    (pins[revision] ?? 0) > 0 ||
    here.now() - (endedAt[revision] ?? 0) < LEASE_MS ||
    adopters.some((adopter) => adopter.revision === revision)
  const quotaOf = (revision: number, { id }: Subject) => {
    const slots = limitsOf(revision, id, 'concurrency')
    return slots.length === 0 ? [Number.POSITIVE_INFINITY] : slots.map(({ quota }) => quota)
  }

  /** One request, as the gateway makes it: it keeps the revision that was in force when it came. */
  async function request(adopter: Adopter): Promise<void> {
    const { instance, revision } = adopter
    const pinned: Adopter = { instance, revision }
    const own = (plan.revisions[revision] as Revision).filter(({ id }) => id !== 'consumer:b' && id !== 'consumer:a')
    const consumer = plan.revisions[revision]?.find(({ id }) => id === dice.pick(['consumer:a', 'consumer:b']))
    const subjects = consumer === undefined ? own : [consumer, ...own]
    const tokens = dice.whole(1, plan.tokens)
    const used = dice.chance(0.5) ? 1 : dice.next()
    const flight = Math.min(100_000, dice.interval(plan.flightMs))
    lastEnd = Math.max(lastEnd, here.now() + flight)
    const claims = subjects.flatMap((subject) =>
      subject.limits.map((limit) => ({ subject, limit, units: unitsOf(limit, tokens) })),
    )
    const isFirst = ({ limit }: Claim) => limit.measure === 'requests' || limit.kind === 'concurrency'
    const [first, second] = [claims.filter(isFirst), claims.filter((claim) => !isFirst(claim))]
    const pin = (by: 1 | -1) => {
      pins[revision] = (pins[revision] ?? 0) + by
      audit.hold(revision, by, here.now())
    }
    pin(1)
    const gate = await admit(instance, first)
    if (gate === undefined) return pin(-1)
    const spentFirst = spend(first)
    run(pinned, first, 1)
    let runs = true
    const leave = () => {
      if (runs && !instance.machine.crashed()) run(pinned, first, -1)
      runs = false
    }
    gate.lost?.addEventListener('abort', leave)
    const money = second.length === 0 ? undefined : await admit(instance, second)
    if (second.length > 0 && money === undefined) {
      leave()
      // It may come back in full or not at all: nothing of it was used.
      for (const each of spentFirst.values()) each.units = 0
      gate.cancel()
      return pin(-1)
    }
    const spentSecond = spend(money === undefined ? [] : second)
    pin(-1)
    instance.machine.time.after(flight, () => {
      const actual = (limit: Limit) => Math.floor(used * unitsOf(limit, tokens))
      money?.settle(actual)
      for (const [{ limit }, each] of spentSecond) each.units = actual(limit)
      leave()
      gate.settle(() => 0)
    })
  }

  function disturb(adopter: Adopter): void {
    const { instance } = adopter
    const { machine, limiter } = instance
    if (dice.chance(plan.stalls)) {
      const ms = dice.between(100, 12_000)
      machine.stall(ms, dice.chance(0.5))
      instance.stalledUntil = Math.max(instance.stalledUntil, here.now() + ms)
    }
    if (dice.chance(plan.partitions)) store.cutOff(machine, dice.between(1_000, 30_000), dice.next())
    if (!dice.chance(plan.crashes)) return
    const isAnnounced = dice.chance(0.5)
    if (isAnnounced) machine.deliver(() => void limiter.close())
    here.after(isAnnounced ? dice.between(1, 3_000) : 0, () => crash(adopter))
  }

  let lastEnd = here.now()
  const end = here.now() + plan.ms
  const arrive = () => {
    if (here.now() >= end) return
    const adopter = dice.pick(adopters)
    const count = dice.chance(0.02) ? 60 : 1
    for (let index = 0; index < count; index += 1) adopter.instance.machine.deliver(() => void request(adopter))
    here.after(dice.interval(1_000 / plan.perSecond), arrive)
  }
  const changeAgain = () => {
    if (here.now() >= end) return
    change()
    here.after(dice.interval(plan.changeMs), changeAgain)
  }
  store.setFaults(plan.faults)
  arrive()
  here.after(dice.interval(plan.changeMs), changeAgain)
  for (let second = 0; second < plan.ms; second += 1_000) {
    here.after(second, () => {
      for (const adopter of [...adopters]) disturb(adopter)
    })
  }
  const check = () => {
    for (const { instance } of adopters) {
      for (const id of ['consumer:a', 'consumer:b', 'global']) {
        for (const lease of instance.limiter.leases(id)) {
          try {
            limits.assertLease(lease)
          } catch (fault) {
            violate(`for ${id}: ${(fault as Error).message}`)
          }
        }
      }
    }
  }
  await here.runUntil(end, check)
  store.setFaults(NO_FAULTS)
  for (const { instance } of adopters) store.cutOff(instance.machine, 0, 0)
  await here.runUntil(Math.max(here.now(), lastEnd) + QUIET_MS, check)
  for (const fault of audit.faults()) violate(fault)
  return { seed, violations, ...counts, storeCalls: store.calls(), losses: 0, changes }
}

const NANO_USD_A_TOKEN = 150

function unitsOf({ measure }: Limit, tokens: number): number {
  if (measure === 'tokens') return tokens
  return measure === 'money' ? tokens * NANO_USD_A_TOKEN : 1
}
