import type { BudgetLimit, ConcurrencyLimit, Limit, RateLimit, Subject } from '@tollgate/middleware'
import type { Random } from './random.ts'
import { type Faults, NO_FAULTS } from './shared-store.ts'

/** The limits of a policy, as one revision has them. */
export type Revision = readonly Subject[]

/** A schedule in which the policy changes under load, all drawn from its seed. */
export interface RevisedScenario {
  readonly start: number
  readonly instances: number
  /** Those that the policy changes between; the first is in force at the start. */
  readonly revisions: readonly Revision[]
  /** Mean time from one change to the next, in milliseconds. */
  readonly changeMs: number
  readonly ms: number
  /** Requests a second, of all instances together. */
  readonly perSecond: number
  readonly flightMs: number
  /** Tokens that a request reserves at most. */
  readonly tokens: number
  readonly faults: Faults
  /** How likely each second is to see one, on each machine. */
  readonly crashes: number
  readonly stalls: number
  readonly partitions: number
}

type Measure = Limit['measure']

const rate = (measure: Measure, capacity: number, refill: number, periodMs: number): RateLimit => ({
  kind: 'rate',
  key: `${measure}:${periodMs}`,
  name: `${measure}-${periodMs}`,
  measure,
  model: undefined,
  quota: refill,
  burst: Math.max(0, capacity - refill),
  capacity,
  refill,
  periodMs,
})
const budget = (measure: Measure, quota: number, per: BudgetLimit['per']): BudgetLimit => ({
  kind: 'budget',
  key: `${measure}:${per}`,
  name: `${measure}-${per}`,
  measure,
  model: undefined,
  quota,
  per,
})
const concurrency = (quota: number): ConcurrencyLimit => ({
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  model: undefined,
  quota,
})

/** What the limits of one measure may be changed to: the number alone, burst and strictness, the period, or to a window and back. */
const CHANGES: readonly ((measure: Measure, unit: number) => readonly (readonly Limit[])[])[] = [
  (measure, unit) => [5, 20, 60, 300].map((units) => [rate(measure, units * unit, units * unit, 60_000)]),
  (measure, unit) => [20, 100].map((units) => [rate(measure, units * unit, units * unit, 1_000)]),
  (measure, unit) => [
    [rate(measure, 50 * unit, 50 * unit, 10_000)],
    [rate(measure, 5 * unit, 45 * unit, 10_000)],
    [rate(measure, 150 * unit, 50 * unit, 10_000)],
    [rate(measure, 10 * unit, 90 * unit, 10_000)],
  ],
  (measure, unit) => [
    [rate(measure, 100 * unit, 100 * unit, 60_000)],
    [rate(measure, 50 * unit, 50 * unit, 120_000)],
    [rate(measure, 20 * unit, 20 * unit, 10_000)],
    [rate(measure, 10 * unit, 10 * unit, 60_000), rate(measure, 100 * unit, 100 * unit, 3_600_000)],
  ],
  (measure, unit) => [100, 40, 10].map((units) => [budget(measure, units * unit, 'minute')]),
  (measure, unit) => [
    [budget(measure, 50 * unit, 'minute')],
    [budget(measure, 100 * unit, 'hour')],
    [budget(measure, 70 * unit, 'day')],
    [budget(measure, 20 * unit, 'minute'), budget(measure, 200 * unit, 'month')],
  ],
  (measure, unit) => [
    [rate(measure, 60 * unit, 60 * unit, 60_000)],
    [budget(measure, 60 * unit, 'minute')],
    [budget(measure, 150 * unit, 'hour')],
  ],
  (measure, unit) => [
    [rate(measure, 60 * unit, 60 * unit, 60_000), budget(measure, 200 * unit, 'hour')],
    [rate(measure, 60 * unit, 60 * unit, 60_000)],
    [budget(measure, 200 * unit, 'hour')],
  ],
]
const MONEY_CHANGES = [...CHANGES.slice(4, 6)]

/** Shortly before a minute, an hour, a day and a month end. */
const STARTS = [Date.UTC(2028, 1, 29, 23, 59, 20), Date.UTC(2026, 2, 29, 0, 59, 30)]

export function revisedScenario(random: Random): RevisedScenario {
  const family = (measure: Measure, changes: typeof CHANGES, chance: number): ((index: number) => readonly Limit[]) => {
    if (!random.chance(chance)) return () => []
    const unit = measure === 'requests' ? 1 : measure === 'tokens' ? 100 : 10_000
    const all = random.pick(changes)(measure, unit)
    const isRemoved = random.chance(0.2)
    const some = random.chance(0.5) ? all : [random.pick(all), random.pick(all)]
    const drawn = Array.from({ length: 4 }, () => (isRemoved && random.chance(0.3) ? [] : random.pick(some)))
    return (index) => drawn[index] ?? []
  }
  const subject = (id: string, share: number) => {
    const slots = random.chance(0.3) ? [1, 3, 10, 40].map((quota) => concurrency(quota)) : []
    const families = [
      family('requests', CHANGES, 0.8 * share),
      family('tokens', CHANGES, 0.4 * share),
      family('money', MONEY_CHANGES, 0.4 * share),
    ]
    return (index: number): Subject => ({
      id,
      limits: [...families.flatMap((of) => of(index)), ...(slots.length > 0 ? [random.pick(slots)] : [])],
    })
  }
  const subjects = [subject('consumer:a', 1), subject('consumer:b', 1), subject('global', 0.5)]
  const mayFail = random.chance(0.4)
  return {
    start: random.chance(0.5) ? random.pick(STARTS) : Date.UTC(2026, 0, 1) + random.whole(0, 3e10),
    instances: random.pick([1, 2, 3, 5]),
    revisions: Array.from({ length: random.pick([2, 2, 3, 4]) }, (_, index) => subjects.map((of) => of(index))),
    changeMs: random.pick([300, 1_500, 5_000, 12_000]),
    ms: random.whole(20_000, 150_000),
    perSecond: random.pick([3, 10, 20]),
    flightMs: random.pick([0, 200, 4_000, 20_000]),
    tokens: random.pick([50, 300, 1_500]),
    faults: mayFail
      ? { lostRequest: 0.03, lostReply: 0.05, late: 0.03, refused: 0.03, unavailable: 0.02, slow: 0.03, hang: 0.01 }
      : NO_FAULTS,
    crashes: random.chance(0.4) ? 0.02 : 0,
    stalls: random.chance(0.4) ? 0.02 : 0,
    partitions: random.chance(0.3) ? 0.02 : 0,
  }
}
