import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemTime, type Time } from '../../pipeline/index.ts'
import type { BudgetLimit, ConcurrencyLimit, Limit, RateLimit } from '../../policy/index.ts'
import { type Claim, type CounterStore, type Decision, type Limiter, limiter, resetLimits } from '../index.ts'

const START = Date.UTC(2026, 0, 1)
const common = { model: undefined, burst: 0 }
const MONEY: BudgetLimit = {
  ...common,
  kind: 'budget',
  key: 'money:day',
  name: 'usd',
  measure: 'money',
  quota: 500_000,
  per: 'day',
}
const QUOTA: BudgetLimit = { ...MONEY, key: 'requests:day', name: 'requests', measure: 'requests', quota: 20 }
const TOKENS: RateLimit = {
  ...common,
  kind: 'rate',
  key: 'tokens:3600000',
  name: 'tokens',
  measure: 'tokens',
  quota: 500_000,
  capacity: 500_000,
  refill: 1,
  periodMs: 3_600_000,
}
const SLOTS: ConcurrencyLimit = {
  ...common,
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  quota: 3,
}

let now: number
beforeEach(() => {
  now = 5_000
})
/** It stands still but for what a test advances; what waits is called back in a tenth of the time. */
const clock: Time = {
  ...systemTime,
  now: () => now,
  wallClock: () => START + now,
  after: (ms, callback) => systemTime.after(ms / 10, callback),
}

interface StoredAccount {
  readonly granted?: number
  readonly lost?: number
  readonly level?: number
  readonly out: Readonly<Record<string, number>>
}

/** Of each store of a test, so that none works on while the next test moves the clock. */
const opened: Limiter[][] = []
afterEach(async () => {
  await Promise.all(
    opened
      .splice(0)
      .flat()
      .map((each) => each.close()),
  )
})

/** Rows that can be lost: removed, or put back as they were. Each version that is written is checked. */
function fragileStore() {
  const rows = new Map<string, { text: string; etag: string }>()
  let versions = 0
  const time = () => ({ date: START + now, resolutionMs: 1, sent: now, received: now })
  const put = (subject: string, text: string) => {
    versions += 1
    rows.set(subject, { text, etag: `${versions}` })
    return `${versions}`
  }
  const store: CounterStore = {
    read: async (subject) => ({ row: rows.get(subject), time: time() }),
    writeIfMatch: async (subject, text, etag) => {
      if (rows.get(subject)?.etag !== etag) return { etag: undefined, time: time() }
      const { accounts } = JSON.parse(text) as { accounts: Record<string, StoredAccount> }
      for (const { granted = 0, lost = 0, level = 0, out } of Object.values(accounts)) {
        expect(Math.min(lost, level, ...Object.values(out))).toBeGreaterThanOrEqual(0)
        expect(lost).toBeLessThanOrEqual(granted)
      }
      return { etag: put(subject, text), time: time() }
    },
  }
  const text = (subject = 'alice') => rows.get(subject)?.text ?? ''
  const losses: string[] = []
  const limiters: Limiter[] = []
  opened.push(limiters)
  return {
    losses,
    reset: (limit?: Limit) => resetLimits({ store, subject: 'alice', limit, signal: new AbortController().signal }),
    instance() {
      const events = { rowLost: (_subject: string, loss: string) => losses.push(loss) }
      const made = limiter({ store, deadlineMs: 60_000, time: clock, events })
      limiters.push(made)
      return made
    },
    text,
    account: (key: string) => JSON.parse(text()).accounts[key] as StoredAccount,
    remove: () => rows.delete('alice'),
    restore: (old: string) => put('alice', old),
  }
}

const subjects = new Map<string, { id: string; limits: readonly Limit[] }>()
function claim(limit: Limit, units: number): Claim[] {
  const subject = subjects.get(limit.key) ?? { id: 'alice', limits: [limit] }
  subjects.set(limit.key, subject)
  return [{ subject, limit, units }]
}
const admissions = (decisions: readonly Decision[]) => decisions.filter((each) => each.admitted)
/** Lets background writes land. */
const settled = () => new Promise<void>((resolve) => void clock.after(60, resolve))

/** Asks until there is nothing left, round all instances; the units that were admitted and spent. */
async function drain(instances: readonly Limiter[], limit: Limit, units: number, mayWait = true): Promise<number> {
  let spent = 0
  let refusals = 0
  for (let turn = 0; refusals < 3 * instances.length && turn < 200; turn += 1) {
    const decision = await instances[turn % instances.length]?.admit(claim(limit, units))
    if (decision?.admitted) {
      decision.settle(() => units)
      spent += units
      refusals = 0
    } else {
      refusals += 1
      if (mayWait) now += 11_000
      await settled()
    }
  }
  return spent
}

describe('G1: a row that is lost while reservations are in flight', () => {
  for (const limit of [MONEY, TOKENS]) {
    for (const how of ['removed', 'restored from an older version'] as const) {
      test(`${limit.name}, ${how}: never more than one further quota, and no count below zero`, async () => {
        const { text, remove, restore, instance, losses } = fragileStore()
        const [one, two, three] = [instance(), instance(), instance()]
        let spent = 0
        const [first] = admissions([await one.admit(claim(limit, 20_000))])
        first?.settle(() => 20_000)
        spent += 20_000
        const old = text()
        const reserved = admissions(
          await Promise.all([one, two, three].flatMap((gate) => [1, 2, 3].map(() => gate.admit(claim(limit, 50_000))))),
        )
        expect(reserved).toHaveLength(9)
        if (how === 'removed') remove()
        else restore(old)
        // One that has seen nothing of it comes first.
        const newcomer = instance()
        spent += await drain([newcomer], limit, 40_000, false)
        for (const each of reserved) each.settle(() => 10_000)
        spent += 9 * 10_000
        spent += await drain([one, two, three, newcomer], limit, 10_000)
        expect(spent).toBeLessThanOrEqual(2 * limit.quota)
        expect(spent).toBeGreaterThan(0.9 * limit.quota)
        expect(losses.length).toBeGreaterThan(0)
      })
    }
  }

  test('is rebuilt by an instance that saw it, whatever becomes of the row, and logged: nothing is admitted twice', async () => {
    for (const how of ['gone', 'older'] as const) {
      const { text, remove, restore, account, instance, losses } = fragileStore()
      const gate = instance()
      const [first] = admissions([await gate.admit(claim(MONEY, 100_000))])
      first?.settle(() => 100_000)
      const old = text()
      const [second] = admissions([await gate.admit(claim(MONEY, 300_000))])
      await settled()
      if (how === 'gone') remove()
      else restore(old)
      now += 11_000
      expect((await gate.admit(claim(MONEY, 100_001))).admitted).toBe(false)
      second?.settle(() => 50_000)
      expect(await drain([gate, instance()], MONEY, 10_000)).toBe(350_000)
      expect(losses).toEqual([how])
      expect(account('money:day').granted).toBeLessThanOrEqual(MONEY.quota)
    }
  })

  test('is rebuilt though another instance has begun anew meanwhile: what both handed out counts', async () => {
    const { remove, instance, losses } = fragileStore()
    const [one, newcomer] = [instance(), instance()]
    expect(await drain([one], MONEY, 10_000, false)).toBe(MONEY.quota)
    remove()
    const [mine] = admissions([await newcomer.admit(claim(MONEY, 200_000))])
    now += 11_000
    expect((await one.admit(claim(MONEY, 1))).admitted).toBe(false)
    await settled()
    mine?.settle(() => 200_000)
    expect(losses).toEqual(['other'])
    now += 11_000
    expect(await drain([one, newcomer], MONEY, 10_000)).toBe(0)
    expect(losses).toEqual(['other'])
  })

  test('again and again, among instances that remember different versions, counts nothing twice', async () => {
    const { instance, remove, account, restore, text } = fragileStore()
    const instances = [instance(), instance(), instance(), instance()]
    let spent = 0
    for (let turn = 0; turn < 24; turn += 1) {
      const old = text()
      for (const gate of turn % 2 === 0 ? instances : instances.slice(turn % 3)) {
        const [admission] = admissions([await gate.admit(claim(MONEY, 1_000))])
        admission?.settle(() => 1_000)
        spent += admission === undefined ? 0 : 1_000
      }
      await settled()
      if (turn % 3 === 0) remove()
      else if (turn % 3 === 1 && old !== '') restore(old)
      now += 1_000
    }
    await instances[0]?.admit(claim(MONEY, 1_000))
    expect(spent).toBeGreaterThan(50_000)
    expect(account('money:day').granted).toBeLessThanOrEqual(2 * spent)
  })

  test('does not give its units again to requests that are counted at once', async () => {
    const { remove, instance, losses } = fragileStore()
    const [one, two] = [instance(), instance()]
    expect(await drain([one, two], QUOTA, 1)).toBe(20)
    remove()
    now += 11_000
    expect(await drain([one, two, instance()], QUOTA, 1)).toBe(0)
    expect(losses[0]).toBe('gone')
  })

  test('keeps slots in use: those that still run are booked again, and no request is ended', async () => {
    const { remove, account, instance } = fragileStore()
    const gate = instance()
    const running = admissions(await Promise.all([1, 2].map(() => gate.admit(claim(SLOTS, 1)))))
    await settled()
    remove()
    now += 11_000
    const others = admissions(await Promise.all([1, 2, 3].map(() => gate.admit(claim(SLOTS, 1)))))
    expect(others).toHaveLength(1)
    expect(running.every(({ lost }) => lost?.aborted === false)).toBe(true)
    for (const each of [...running, ...others]) each.settle(() => 0)
    await settled()
    now += 300
    expect(Object.values(account('concurrency').out).reduce((sum, units) => sum + units, 0)).toBeLessThanOrEqual(3)
    expect(admissions(await Promise.all([1, 2, 3, 4].map(() => gate.admit(claim(SLOTS, 1)))))).toHaveLength(3)
  })

  test('is repaired where an earlier version has left a count below zero', async () => {
    const { text, restore, instance } = fragileStore()
    expect((await instance().admit(claim(MONEY, 1_000))).admitted).toBe(true)
    const row = JSON.parse(text())
    row.accounts['money:day'] = { ...row.accounts['money:day'], granted: -34_137, lost: -5, out: {} }
    restore(JSON.stringify(row))
    expect(await drain([instance()], MONEY, 10_000, false)).toBe(MONEY.quota)
  })

  test('is not suspected where a release before, which keeps no version, writes the row in turn', async () => {
    const { text, restore, instance, losses } = fragileStore()
    const instances = [instance(), instance()]
    let admitted = 0
    for (let turn = 0; turn < 24; turn += 1) {
      admitted += admissions([await instances[turn % 2]?.admit(claim(QUOTA, 1))] as Decision[]).length
      await settled()
      const { id, seq, replaces, ...unversioned } = JSON.parse(text())
      if (turn % 3 === 0) restore(JSON.stringify(unversioned))
      now += 11_000
    }
    expect(losses).toEqual([])
    expect(admitted).toBe(20)
  })
})

describe('G1: a reset that is wanted', () => {
  test('is not undone by instances that remember, and is no loss', async () => {
    const { instance, losses, reset } = fragileStore()
    const [one, two] = [instance(), instance()]
    expect(await drain([one, two], MONEY, 10_000)).toBe(MONEY.quota)
    await reset()
    now += 11_000
    expect(await drain([one, two, instance()], MONEY, 10_000)).toBe(MONEY.quota)
    expect(losses).toEqual([])
  })

  test('of a row that was lost begins anew too', async () => {
    const { instance, losses, remove, reset } = fragileStore()
    const gate = instance()
    expect(await drain([gate], MONEY, 10_000)).toBe(MONEY.quota)
    remove()
    await reset()
    now += 11_000
    expect(await drain([gate], MONEY, 10_000)).toBe(MONEY.quota)
    expect(losses).toEqual([])
  })

  test('makes what was reserved before give nothing back: exactly one further quota', async () => {
    const { instance, reset } = fragileStore()
    const [one, two] = [instance(), instance()]
    const reserved = admissions(await Promise.all([one, two].map((gate) => gate.admit(claim(MONEY, 200_000)))))
    expect(reserved).toHaveLength(2)
    await reset()
    now += 11_000
    expect(await drain([instance()], MONEY, 10_000, false)).toBe(MONEY.quota)
    for (const each of reserved) each.settle(() => 0)
    expect(await drain([one, two], MONEY, 200_000, false)).toBeLessThanOrEqual(400_000)
    await settled()
    now += 11_000
    expect(await drain([one, two, instance()], MONEY, 10_000)).toBe(0)
  })

  test('of one limit leaves the others as they are', async () => {
    const { instance, reset } = fragileStore()
    const subject = { id: 'alice', limits: [MONEY, QUOTA] }
    const gate = instance()
    const both = () =>
      gate.admit([
        { subject, limit: MONEY, units: 100_000 },
        { subject, limit: QUOTA, units: 4 },
      ])
    for (let turn = 0; turn < 5; turn += 1) for (const each of admissions([await both()])) each.settle(() => 100_000)
    await settled()
    await reset(MONEY)
    now += 11_000
    expect(await both()).toMatchObject({ admitted: false, limit: { name: 'requests' } })
    await reset(QUOTA)
    now += 11_000
    expect(await both()).toMatchObject({ admitted: true })
  })

  test('ends no request in flight: its slot stays taken until it ends', async () => {
    const { instance, reset } = fragileStore()
    const gate = instance()
    const running = admissions(await Promise.all([1, 2].map(() => gate.admit(claim(SLOTS, 1)))))
    await settled()
    await reset()
    now += 11_000
    expect(admissions(await Promise.all([1, 2, 3].map(() => gate.admit(claim(SLOTS, 1)))))).toHaveLength(1)
    expect(running.every(({ lost }) => lost?.aborted === false)).toBe(true)
  })
})
