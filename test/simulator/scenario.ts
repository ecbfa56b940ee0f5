import type { BudgetLimit, ConcurrencyLimit, Limit, RateLimit, Subject } from '@tollgate/middleware'
import type { Random } from './random.ts'
import { type Faults, NO_FAULTS } from './shared-store.ts'

/** What one schedule is made of, all drawn from its seed. */
export interface Scenario {
  /** True time, milliseconds since 1970. */
  readonly start: number
  readonly instances: number
  readonly subjects: readonly Subject[]
  /** The same subjects by another policy, which instances that start late go by. */
  readonly laterSubjects: readonly Subject[]
  readonly phases: readonly Phase[]
  readonly faults: Faults
  /** How likely each second is to see one, on each machine. */
  readonly crashes: number
  readonly stalls: number
  /** Cut off from the store, for up to a minute. */
  readonly partitions: number
  readonly wallSteps: number
  /** Rows that are lost: how likely each second is to see one removed, restored from before, or all of them gone. */
  readonly losses: number
}

export interface Phase {
  readonly ms: number
  /** Requests a second, of all instances together. */
  readonly perSecond: number
  /** How likely each second is to see so many requests at once, on one instance. */
  readonly bursts: number
  readonly burst: number
  /** How long a request is in flight, in milliseconds: mean. */
  readonly flightMs: number
  /** Tokens that a request reserves at most. */
  readonly tokens: number
}

const rate = (measure: Limit['measure'], capacity: number, refill: number, periodMs: number): RateLimit => ({
  kind: 'rate',
  key: `${measure}:${periodMs}`,
  name: `${measure}-${periodMs}`,
  measure,
  model: undefined,
  quota: capacity,
  burst: 0,
  capacity,
  refill,
  periodMs,
})
const budget = (measure: Limit['measure'], quota: number, per: BudgetLimit['per']): BudgetLimit => ({
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

const REQUESTS: readonly RateLimit[] = [
  rate('requests', 1, 1, 1_000),
  rate('requests', 5, 5, 10_000),
  rate('requests', 15, 10, 60_000),
  rate('requests', 300, 100, 1_000),
  rate('requests', 100, 2, 1_000),
  rate('requests', 600, 10, 1_000),
  rate('requests', 60_000, 60_000, 60_000),
  // Strict, with a bucket far smaller than a second's refill.
  rate('requests', 100, 900, 1_000),
]
const TOKENS = [
  rate('tokens', 2_000, 2_000, 60_000),
  rate('tokens', 3_000, 3_000, 60_000),
  rate('tokens', 100_000, 100_000, 60_000),
]
const QUOTAS = [
  budget('requests', 1, 'minute'),
  budget('requests', 7, 'minute'),
  budget('requests', 150, 'hour'),
  budget('requests', 2_000, 'day'),
]
const MONEY = [budget('money', 2_000_000, 'minute'), budget('money', 50_000_000, 'month')]
const SLOTS = [concurrency(1), concurrency(3), concurrency(40)]

/** Just before a month ends, in a leap year's February, and any time. */
const STARTS = [Date.UTC(2028, 1, 29, 23, 59, 20), Date.UTC(2026, 11, 31, 23, 59, 40), Date.UTC(2026, 2, 29, 0, 59, 30)]

const FLIGHTS_MS = [0, 200, 4_000, 20_000, 60_000]

/** @param losses whether rows are lost, beside all the rest */
export function scenario(random: Random, losses = false): Scenario {
  const maybe = <T>(chance: number, from: readonly T[]): T[] => (random.chance(chance) ? [random.pick(from)] : [])
  const limits = (): Limit[] => [
    ...maybe(0.8, REQUESTS),
    ...maybe(0.3, QUOTAS),
    ...maybe(0.4, SLOTS),
    ...maybe(0.4, TOKENS),
    ...maybe(0.4, MONEY),
  ]
  const subjects: Subject[] = [
    { id: 'consumer:a', limits: limits() },
    { id: 'consumer:b', limits: limits() },
    { id: 'global', limits: random.chance(0.5) ? maybe(1, REQUESTS) : [] },
  ]
  const changes = random.chance(0.2)
  return {
    start: random.chance(0.5) ? random.pick(STARTS) : Date.UTC(2026, 0, 1) + random.whole(0, 3e10),
    instances: random.pick([1, 1, 2, 3, 5, 8]),
    subjects,
    laterSubjects: changes ? subjects.map((subject) => ({ ...subject, limits: subject.limits.map(halved) })) : subjects,
    phases: Array.from({ length: random.whole(2, 5) }, () => phase(random)),
    faults: random.chance(0.4) ? NO_FAULTS : faults(random),
    crashes: random.chance(0.4) ? 0.02 : 0,
    stalls: random.chance(0.4) ? 0.03 : 0,
    partitions: random.chance(0.3) ? 0.03 : 0,
    wallSteps: random.chance(0.5) ? 0.05 : 0,
    // Drawn last, so that a seed makes the same schedule otherwise.
    losses: losses ? random.pick([0.02, 0.05, 0.15]) : 0,
  }
}

function phase(random: Random): Phase {
  return {
    ms: random.whole(2_000, 25_000),
    perSecond: random.pick([0, 0.5, 3, 12, 25]),
    bursts: random.pick([0, 0, 0.1, 0.4]),
    burst: random.pick([5, 20, 150]),
    flightMs: random.pick(FLIGHTS_MS),
    tokens: random.pick([10, 300, 1_500]),
  }
}

function faults(random: Random): Faults {
  const some = () => (random.chance(0.5) ? random.between(0, 0.12) : 0)
  return {
    lostRequest: some(),
    lostReply: some(),
    late: some(),
    refused: some(),
    unavailable: some(),
    slow: some(),
    hang: some() / 4,
  }
}

function halved(limit: Limit): Limit {
  const quota = Math.max(1, Math.floor(limit.quota / 2))
  return limit.kind === 'rate' ? { ...limit, quota, capacity: quota } : { ...limit, quota }
}
