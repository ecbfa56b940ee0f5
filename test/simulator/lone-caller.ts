import type { BudgetLimit, ConcurrencyLimit, Decision, Limit, RateLimit, Subject } from '@tollgate/middleware'
import { type Versions, versionOf } from './limits-under-test.ts'
import { machine } from './machine.ts'
import { type Random, random } from './random.ts'
import { sharedStore } from './shared-store.ts'
import { world } from './world.ts'

/** What one caller asks for, who sends one request after the other with no other caller beside. */
export interface LoneLoad {
  readonly name: string
  readonly limit: Limit
  /** Units that a request reserves. */
  reserved(dice: Random): number
  /** Units that it has used when it ends, at most what it reserved. */
  used(reserved: number, dice: Random): number
  /** How long a request is in flight, in milliseconds. */
  readonly callMs: number
}

const tokens = (capacity: number, periodMs = 60_000): RateLimit => ({
  kind: 'rate',
  key: `tokens:${periodMs}`,
  name: 'tokens',
  measure: 'tokens',
  model: undefined,
  quota: capacity,
  burst: 0,
  capacity,
  refill: capacity,
  periodMs,
})
const REQUESTS: RateLimit = { ...tokens(15), key: 'requests:60000', name: 'requests', measure: 'requests', refill: 10 }
const MONEY: BudgetLimit = {
  kind: 'budget',
  key: 'money:month',
  name: 'usd',
  measure: 'money',
  model: undefined,
  quota: 10_000_000,
  per: 'month',
}
const ONE_AT_ONCE: ConcurrencyLimit = {
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  model: undefined,
  quota: 1,
}
const all = (reserved: number) => reserved
const some = (reserved: number, dice: Random) => dice.whole(0, reserved)

export const LONE_LOADS: readonly LoneLoad[] = [
  {
    name: 'a third of the bucket, a fifth used',
    limit: tokens(3_000),
    reserved: () => 1_000,
    used: () => 200,
    callMs: 20,
  },
  { name: 'a third of the bucket, all used', limit: tokens(3_000), reserved: () => 1_000, used: all, callMs: 20 },
  { name: 'a tenth, in longer calls', limit: tokens(3_000), reserved: () => 300, used: some, callMs: 1_500 },
  { name: 'any share', limit: tokens(3_000), reserved: (dice) => dice.whole(20, 1_500), used: some, callMs: 50 },
  { name: 'an hour’s bucket', limit: tokens(20_000, 3_600_000), reserved: () => 2_000, used: some, callMs: 200 },
  { name: 'money', limit: MONEY, reserved: () => 1_000_000, used: some, callMs: 20 },
  { name: 'one at once', limit: ONE_AT_ONCE, reserved: () => 1, used: () => 0, callMs: 20 },
  { name: 'requests', limit: REQUESTS, reserved: () => 1, used: all, callMs: 20 },
]

export const LONE_INSTANCES = [1, 2, 3, 8] as const

const REQUESTS_SENT = 36
/** A request that waits longer than this ends the load: a month is not waited out. */
const LONGEST_WAIT_MS = 600_000
/** What a `Date` header of one second and a few round trips may hide of a refill. */
const UNKNOWN_MS = 2_500

/**
 * A caller alone, one request after the other, each to another instance: it must be admitted whenever what it has used
 * leaves room, told a true wait otherwise, and admitted when it comes back then, wherever it comes.
 *
 * @returns what did not hold
 */
export async function loneCaller(
  versions: Versions,
  load: LoneLoad,
  instances: number,
  seed: number,
): Promise<string[]> {
  const { limit, callMs } = load
  const here = world(Date.UTC(2026, 0, 10))
  const dice = random(seed)
  const store = sharedStore(here, dice, { onWrite: () => {} })
  const subject: Subject = { id: 'consumer:alone', limits: [limit] }
  const gates = Array.from({ length: instances }, (_, index) => {
    const its = machine(here, dice)
    return versionOf(versions, index).limiter({
      store: store.from(its),
      deadlineMs: 2_000,
      time: its.time,
      random: dice.next,
    })
  })
  const faults: string[] = []
  const largest = limit.kind === 'rate' ? limit.capacity : limit.quota
  /** What is certainly left: refill counts only while no request is in flight, and as late as it may be known. */
  let left = largest

  async function ask(index: number, units: number): Promise<Decision | undefined> {
    let decision: Decision | undefined
    gates[index % instances]?.admit([{ subject, limit, units }]).then(
      (made) => {
        decision = made
      },
      (error) => faults.push(`request ${index}: ${error}`),
    )
    for (let waited = 0; decision === undefined && waited < 2_500; waited += 10)
      await here.runUntil(here.now() + 10, () => {})
    if (decision === undefined) faults.push(`request ${index} got no decision`)
    return decision
  }

  for (let index = 0; index < REQUESTS_SENT && faults.length === 0; index += 1) {
    const units = load.reserved(dice)
    let decision = await ask(index, units)
    if (decision?.admitted === false) {
      if (left >= units) faults.push(`request ${index} of ${units} was refused though ${left} were left`)
      const told = decision.retryAfterMs
      const needed = limit.kind === 'rate' ? ((units - left) * limit.periodMs) / limit.refill : told
      if (told > needed + UNKNOWN_MS) faults.push(`request ${index} was told ${told} ms, and needs ${needed}`)
      if (told > LONGEST_WAIT_MS) break
      const waited = Math.max(1, Math.ceil(told / 1_000)) * 1_000
      await here.runUntil(here.now() + waited, () => {})
      if (limit.kind === 'rate')
        left = Math.min(largest, left + ((waited - UNKNOWN_MS) * limit.refill) / limit.periodMs)
      decision = await ask(index + dice.whole(0, instances), units)
      if (decision?.admitted === false) {
        faults.push(`request ${index} came back after ${waited} ms, and was told ${decision.retryAfterMs} ms more`)
      }
    }
    if (!decision?.admitted) break
    await here.runUntil(here.now() + callMs, () => {})
    const used = load.used(units, dice)
    decision.settle(() => used)
    if (limit.kind !== 'concurrency') left = Math.max(0, left - used)
  }
  return faults.map((fault) => `${load.name}, ${instances} instances: ${fault}`)
}
