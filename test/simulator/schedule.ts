import { boot, type Instance } from './instance.ts'
import { type LimiterSource, type Limits, versionOf } from './limits-under-test.ts'
import { random } from './random.ts'
import { inspectRow } from './row-invariants.ts'
import { type Phase, scenario } from './scenario.ts'
import { NO_FAULTS, sharedStore } from './shared-store.ts'
import { traffic } from './traffic.ts'
import { watch } from './watch.ts'
import { world } from './world.ts'

export interface Outcome {
  readonly seed: number
  /** What did not hold, if anything; the first is where to look. */
  readonly violations: readonly string[]
  readonly admitted: number
  readonly refused: number
  readonly unavailable: number
  readonly storeCalls: number
  /** Rows that were lost. */
  readonly losses: number
}

export interface ScheduleOptions {
  /** A mutant of the store: writes whether or not the row has changed. */
  readonly unconditional?: boolean
  /** Another version of the limiter, by which every second instance is started. */
  readonly beside?: LimiterSource | undefined
  /** Whether rows are lost. Default: in every third schedule. */
  readonly losses?: boolean
}

/** Longer than any lease lives. */
const QUIET_MS = 60_000
const MAX_VIOLATIONS = 20
/** A row that has not changed for so long is known to all. */
const SETTLED_MS = 400
/** Of all requests, so many may find a row contended when nothing is wrong. */
const CONTENDED = 0.01
/**
 * How old the knowledge may be that a refusal is based on: a quarter of a second, the second that a `Date` hides, and the
 * reply's way; that is longer where replies are slow, and where a machine stalls while one is on its way.
 */
const KNOWLEDGE_MS = { healthy: 1_400, faulty: 4_500, stalling: 15_000 }

/** Runs one schedule of instances, faults and time, all drawn from the seed, and checks every invariant after each event. */
export async function runSchedule(seed: number, limits: Limits, options: ScheduleOptions = {}): Promise<Outcome> {
  const dice = random(seed)
  const plan = scenario(dice, options.losses ?? seed % 3 === 0)
  const here = world(plan.start)
  const violations: string[] = []
  const violate = (what: string) => {
    if (violations.length < MAX_VIOLATIONS) violations.push(`${Math.round(here.now() - plan.start)} ms: ${what}`)
  }
  const mayFail = plan.faults !== NO_FAULTS || plan.stalls > 0 || plan.partitions > 0
  const lastWrite = new Map<string, number>()
  const rows = inspectRow(new Map(plan.subjects.map(({ id, limits }) => [id, limits])), here.now)
  const store = sharedStore(here, dice, {
    ...options,
    onWrite(subject, text) {
      lastWrite.set(subject, here.now())
      for (const fault of rows.inspect(subject, text)) violate(fault)
    },
  })
  let losses = 0
  /** Where nothing was lost, nothing may be taken for lost: a rebuilt row would count twice. */
  const onRowLost = (subject: string) => {
    if (losses === 0) violate(`the row of ${subject} is said to be lost`)
  }
  const versions = options.beside === undefined ? ([limits] as const) : ([limits, options.beside] as const)
  let started = 0
  const start = (subjects: Instance['subjects']) => {
    const version = versionOf(versions, started)
    started += 1
    return boot({ world: here, random: dice, store, version, subjects, onDefect: violate, mayFail, onRowLost })
  }
  const instances = Array.from({ length: plan.instances }, () => start(plan.subjects))
  const watched = watch({
    world: here,
    store,
    limits,
    instances,
    subjects: plan.subjects,
    lastWrite,
    knowledgeMs: KNOWLEDGE_MS[plan.stalls > 0 ? 'stalling' : mayFail ? 'faulty' : 'healthy'],
    violate,
  })
  const callers = traffic({ world: here, random: dice, limits, watch: watched, mayFail, violate })
  let crashes = 0

  function crash({ machine }: Instance): void {
    if (machine.crashed()) return
    machine.crash()
    crashes += 1
    instances.push(start(plan.laterSubjects))
  }

  /** Spends what an instance has hoarded; where instances crash, often right before it could tell. */
  function burst(instance: Instance, phase: Phase): void {
    const { machine } = instance
    for (let count = 0; count < phase.burst; count += 1) machine.deliver(() => void callers.request(instance, phase))
    if (plan.crashes > 0 && dice.chance(0.3)) here.after(dice.between(1, 100), () => crash(instance))
  }

  function disturb(instance: Instance): void {
    const { machine, limiter } = instance
    // Set back while asleep, a wall clock hides that it slept, and there is no other that would tell.
    if (dice.chance(plan.wallSteps)) machine.setWallClock(dice.between(plan.stalls > 0 ? 0 : -3_000, 3_000))
    if (dice.chance(plan.stalls)) {
      const ms = dice.between(100, 12_000)
      machine.stall(ms, dice.chance(0.5))
      instance.stalledUntil = Math.max(instance.stalledUntil, here.now() + ms)
    }
    if (dice.chance(plan.partitions)) store.cutOff(machine, dice.between(1_000, 60_000), dice.next())
    if (!dice.chance(plan.crashes)) return
    const isAnnounced = dice.chance(0.5)
    // Then it gives back what it holds, and goes on with what is in flight for a moment.
    if (isAnnounced) machine.deliver(() => void limiter.close())
    here.after(isAnnounced ? dice.between(1, 3_000) : 0, () => crash(instance))
  }

  function lose(): void {
    const ids = plan.subjects.map(({ id }) => id)
    const how = dice.pick(['removed', 'restored', 'emptied'] as const)
    for (const id of how === 'emptied' ? ids : [dice.pick(ids)]) {
      if (!store.lose(id, how === 'restored' ? 'restored' : 'removed')) continue
      losses += 1
      lastWrite.set(id, here.now())
      rows.lose(id)
      watched.lost(id)
    }
  }

  function arrivals(phase: Phase, end: number): void {
    const mean = 1_000 / phase.perSecond
    const arrive = () => {
      if (here.now() >= end) return
      const instance = dice.pick(instances)
      if (!instance.machine.crashed()) instance.machine.deliver(() => void callers.request(instance, phase))
      here.after(dice.interval(mean), arrive)
    }
    if (phase.perSecond > 0) here.after(dice.interval(mean), arrive)
  }

  async function run(phase: Phase): Promise<void> {
    const end = here.now() + phase.ms
    arrivals(phase, end)
    for (let second = 0; second < phase.ms; second += 1_000) {
      here.after(second, () => {
        if (plan.losses > 0 && dice.chance(plan.losses)) lose()
        if (dice.chance(phase.bursts)) burst(dice.pick(instances), phase)
        for (const instance of [...instances]) if (!instance.machine.crashed()) disturb(instance)
      })
    }
    await here.runUntil(end, watched.check)
  }

  /** A caller comes back when it was told to, to another instance, while nobody else calls. */
  function comeBack(): void {
    const told = callers.lastTurnedAway()
    if (told === undefined || mayFail || losses > 0 || plan.laterSubjects !== plan.subjects) return
    // What others took since it was last looked came first. What is in flight holds tokens and slots as long as it likes.
    if (told.claims.some(({ subject }) => (lastWrite.get(subject.id) ?? 0) > told.at - SETTLED_MS)) return
    if (told.claims.some(({ limit }) => limit.measure !== 'requests')) return
    const back = told.at + Math.ceil(told.denial.retryAfterMs / 1_000) * 1_000
    if (!(back > here.now() + 1_000 && back < here.now() + 90_000)) return
    here.after(back - here.now(), () => {
      // Whoever wrote meanwhile may have put the refill off by what its clock doesn't know: a second at the most.
      if (told.claims.some(({ subject }) => (lastWrite.get(subject.id) ?? 0) > told.at)) return
      const instance = dice.pick(instances.filter(({ machine }) => !machine.crashed()))
      callers.retry(instance, told.claims).then(
        (decision) => {
          if (decision.admitted) return
          violate(`refused again after Retry-After, by ${decision.limit.name} for ${decision.retryAfterMs} ms`)
        },
        (error) => violate(`after Retry-After: ${error}`),
      )
    })
  }

  store.setFaults(plan.faults)
  for (const phase of plan.phases) await run(phase)
  store.setFaults(NO_FAULTS)
  for (const { machine } of instances) store.cutOff(machine, 0, 0)
  comeBack()
  await here.runUntil(Math.max(here.now(), callers.lastEnd()) + QUIET_MS, watched.check)
  const { admitted, refused, unavailable } = callers.counts()
  if (!mayFail && unavailable > 1 + CONTENDED * (admitted + refused)) {
    violate(`${unavailable} requests found the limiter unavailable, and nothing was wrong`)
  }
  const unchanged = plan.laterSubjects === plan.subjects
  watched.checkRest({ subjects: unchanged ? plan.subjects : [], accountable: !mayFail && crashes + losses === 0 })
  return { seed, violations, ...callers.counts(), storeCalls: store.calls(), losses }
}
