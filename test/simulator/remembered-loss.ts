import type { BudgetLimit, Limiter, Subject } from '@tollgate/middleware'
import { type Limits, type Versions, versionOf } from './limits-under-test.ts'
import { machine } from './machine.ts'
import { random } from './random.ts'
import { sharedStore } from './shared-store.ts'
import { world } from './world.ts'

const LIMIT: BudgetLimit = {
  kind: 'budget',
  key: 'money:month',
  name: 'usd',
  measure: 'money',
  model: undefined,
  quota: 1_000_000,
  per: 'month',
}
const UNITS = 10_000
/** Longer than any instance goes by what it has seen. */
const UNSEEN_MS = 12_000

/** How a spent budget's row is lost while those that have seen it live on. */
export const REMEMBERED_LOSSES = ['removed', 'restored', 'begun anew'] as const

/**
 * A budget is spent, its row is lost, and the instances that have seen it are asked again: they rebuild it, also where a
 * newcomer has begun it anew meanwhile.
 *
 * @returns units that were admitted though they remember; 0 where none were, but for what the newcomer took
 */
export async function rememberedLoss(versions: Versions, how: (typeof REMEMBERED_LOSSES)[number]): Promise<number> {
  const here = world(Date.UTC(2026, 0, 10))
  const dice = random(11)
  const store = sharedStore(here, dice, { onWrite: () => {} })
  const subject: Subject = { id: 'consumer:a', limits: [LIMIT] }
  const boot = (index: number): Limiter => {
    const its = machine(here, dice)
    return versionOf(versions, index).limiter({
      store: store.from(its),
      deadlineMs: 2_000,
      time: its.time,
      random: dice.next,
    })
  }
  const instances = [boot(0), boot(1), boot(2)]
  let admitted = 0
  const ask = async (limiter: Limiter | undefined) => {
    limiter?.admit([{ subject, limit: LIMIT, units: UNITS }]).then(
      (decision) => {
        if (!decision.admitted) return
        admitted += UNITS
        decision.settle(() => UNITS)
      },
      () => {},
    )
    await here.runUntil(here.now() + 500, () => {})
  }
  for (let turn = 0; turn < 130; turn += 1) await ask(instances[turn % 3])
  await here.runUntil(here.now() + UNSEEN_MS, () => {})
  store.lose(subject.id, how === 'restored' ? 'restored' : 'removed')
  if (how === 'begun anew') {
    const newcomer = boot(3)
    for (let turn = 0; turn < 30; turn += 1) await ask(newcomer)
    await here.runUntil(here.now() + UNSEEN_MS, () => {})
  }
  admitted = 0
  for (let turn = 0; turn < 60; turn += 1) await ask(instances[turn % 3])
  return admitted
}

/**
 * Most of a budget is reserved, and its limits are reset on purpose: what was reserved before gives nothing back to the
 * row that never handed it out.
 *
 * @returns what did not hold
 */
export async function resetWhileReserved(limits: Pick<Limits, 'resetLimits'>, versions: Versions): Promise<string[]> {
  const here = world(Date.UTC(2026, 0, 10))
  const dice = random(12)
  const store = sharedStore(here, dice, { onWrite: () => {} })
  const subject: Subject = { id: 'consumer:a', limits: [LIMIT] }
  const faults: string[] = []
  const tell = (id: string, fault: unknown) => faults.push(`${id}: ${fault}`)
  const boot = (index: number): Limiter => {
    const its = machine(here, dice)
    const events = { rowFailed: tell, fault: tell }
    return versionOf(versions, index).limiter({
      store: store.from(its),
      deadlineMs: 2_000,
      time: its.time,
      random: dice.next,
      events,
    })
  }
  const operator = machine(here, dice)
  const pass = (ms: number) => here.runUntil(here.now() + ms, () => {})
  let admitted = 0
  const settlements: (() => void)[] = []
  const ask = async (limiter: Limiter | undefined, units: number, used: number) => {
    limiter?.admit([{ subject, limit: LIMIT, units }]).then(
      (decision) => {
        if (!decision.admitted) return
        admitted += used
        settlements.push(() => decision.settle(() => used))
      },
      (error) => tell('admit', error),
    )
    await pass(500)
  }
  const instances = [boot(0), boot(1), boot(2)]
  for (const each of instances) await ask(each, 300_000, 0)
  const reset = limits.resetLimits({
    store: store.from(operator),
    subject: subject.id,
    limit: undefined,
    signal: new AbortController().signal,
  })
  await pass(500)
  await reset
  const newcomer = boot(3)
  for (let turn = 0; turn < 60; turn += 1) await ask(newcomer, UNITS, UNITS)
  for (const settle of settlements) settle()
  await pass(UNSEEN_MS)
  for (let turn = 0; turn < 120; turn += 1) await ask(instances[turn % 3], UNITS, UNITS)
  if (admitted > LIMIT.quota) faults.push(`${admitted} were admitted after a reset`)
  if (admitted < 0.9 * LIMIT.quota) faults.push(`only ${admitted} were admitted after a reset`)
  return faults
}
