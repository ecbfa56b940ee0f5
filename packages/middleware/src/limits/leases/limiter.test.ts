import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { systemTime, type Time } from '../../pipeline/index.ts'
import {
  type BudgetLimit,
  type ConcurrencyLimit,
  type Limit,
  type Policy,
  type RateLimit,
  resolvePolicy,
} from '../../policy/index.ts'
import {
  type Admission,
  type Claim,
  type CounterStore,
  type Decision,
  type Denial,
  type Limiter,
  type LimiterOptions,
  LimiterUnavailable,
  limiter,
  memoryCounterStore,
  subjectsOf,
} from '../index.ts'

const START = Date.UTC(2026, 0, 1)
const none = { model: undefined, burst: 0 }
const TEN_A_MINUTE: RateLimit = {
  ...none,
  kind: 'rate',
  key: 'requests:60000',
  name: 'requests',
  measure: 'requests',
  quota: 10,
  burst: 5,
  capacity: 15,
  refill: 10,
  periodMs: 60_000,
}
const THREE_AN_HOUR: RateLimit = {
  ...TEN_A_MINUTE,
  key: 'requests:3600000',
  name: 'requests-1h',
  quota: 3,
  burst: 0,
  capacity: 3,
  refill: 3,
  periodMs: 3_600_000,
}
const TOKENS: RateLimit = {
  ...TEN_A_MINUTE,
  key: 'tokens:60000',
  name: 'tokens',
  measure: 'tokens',
  capacity: 1_000,
  refill: 1_000,
}
const MONEY: BudgetLimit = {
  ...none,
  kind: 'budget',
  key: 'money:day',
  name: 'usd',
  measure: 'money',
  quota: 1_000_000,
  per: 'day',
}
const TWO_AT_ONCE: ConcurrencyLimit = {
  ...none,
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  quota: 2,
}

let now: number
const advance = (ms: number) => {
  now += ms
}
beforeEach(() => {
  now = 5_000
})

/** A clock that stands still but for what a test advances, and timers that fire at once. */
const time: Time = {
  now: () => now,
  wallClock: () => START + now,
  after: (_ms, callback) => {
    const timer = setTimeout(callback, 0)
    return () => clearTimeout(timer)
  },
  every: () => () => {},
}
const slow: Time = { ...time, after: systemTime.after }

/** The rows that all instances share, with their own clock, and a count of the calls. */
function sharedStore(): CounterStore & { calls: number } {
  const store = memoryCounterStore({ wallClock: () => START + now, now: () => now })
  return {
    calls: 0,
    read(...args) {
      this.calls += 1
      return store.read(...args)
    },
    writeIfMatch(...args) {
      this.calls += 1
      return store.writeIfMatch(...args)
    },
  }
}

const instance = (store: CounterStore): Limiter => limiter({ store, deadlineMs: 60_000, time: slow })
const subjects = new Map<string, { id: string; limits: readonly Limit[] }>()
/** Claims one unit, or so many of tokens and money, of each limit of a subject. */
function claim(id: string, limits: readonly Limit[], units = 1): Claim[] {
  const key = `${id} ${limits.map((limit) => JSON.stringify(limit)).join()}`
  const subject = subjects.get(key) ?? { id, limits }
  subjects.set(key, subject)
  return limits.map((limit) => ({ subject, limit, units }))
}
const ask = (gate: Limiter, count: number, id = 'alice', limits: readonly Limit[] = [TEN_A_MINUTE], units = 1) =>
  Promise.all(Array.from({ length: count }, () => gate.admit(claim(id, limits, units))))
const admissions = (decisions: Decision[]) => decisions.filter((each): each is Admission => each.admitted)
const denials = (decisions: Decision[]) => decisions.filter((each): each is Denial => !each.admitted)
const admitted = (decisions: Decision[]) => admissions(decisions).length
/** Lets writes that nobody waits for land. */
const settled = () => new Promise((resolve) => setTimeout(resolve, 40))

describe('a limiter', () => {
  test('admits what the bucket holds and refuses the rest', async () => {
    const decisions = await ask(instance(sharedStore()), 40)
    expect(admitted(decisions)).toBe(15)
    expect(admissions(decisions).map(({ standings }) => standings[0]?.remaining)).toEqual(
      Array.from({ length: 15 }, (_, index) => 14 - index),
    )
  })

  test('is exact over instances that share a store', async () => {
    const store = sharedStore()
    const instances = Array.from({ length: 8 }, () => instance(store))
    const decisions = await Promise.all(instances.map((gate) => ask(gate, 15)))
    expect(admitted(decisions.flat())).toBe(15)
  })

  test('shares one sync among all that come together: a read and a write', async () => {
    const store = sharedStore()
    await ask(instance(store), 15)
    expect(store.calls).toBe(2)
  })

  test('leases ahead where the limit is ample: hundreds of requests cost a few calls', async () => {
    const store = sharedStore()
    const gate = instance(store)
    const ample = [{ ...TEN_A_MINUTE, capacity: 60_000, refill: 60_000 }]
    let count = 0
    for (let turn = 0; turn < 500; turn += 1) {
      advance(20)
      count += admitted(await ask(gate, 1, 'alice', ample))
    }
    await settled()
    expect(count).toBe(500)
    expect(store.calls).toBeLessThan(20)
  })

  test('refuses without a call while the bucket is known to be empty, and asks again when it has refilled', async () => {
    const store = sharedStore()
    const gate = instance(store)
    await ask(gate, 16)
    await settled()
    const before = store.calls
    advance(5_900)
    const [refused] = denials(await ask(gate, 1))
    expect(refused?.standings[0]).toMatchObject({ remaining: 0 })
    expect(store.calls).toBe(before)
    advance(110)
    expect(admitted(await ask(gate, 1))).toBe(1)
  })

  test('tells a refused caller the truth: then there is room, on this instance and on any other', async () => {
    for (const other of [false, true]) {
      const store = sharedStore()
      const gate = instance(store)
      await ask(gate, 15)
      await settled()
      advance(1_234)
      const [refused] = denials(await ask(gate, 1))
      expect(refused?.retryAfterMs).toBeLessThanOrEqual(6_000)
      // The last 50 ms it would be let wait; and a monotonic clock may run 200 ppm fast.
      advance(Math.ceil((refused?.retryAfterMs ?? 0) * 1.0003) + 50)
      expect(admitted(await ask(other ? instance(store) : gate, 2))).toBe(1)
    }
  })

  test('tells it the longest wait of all subjects, though it knew nothing of one of them, for one look', async () => {
    const store = sharedStore()
    await ask(instance(store), 3, 'alice', [THREE_AN_HOUR])
    const gate = instance(store)
    await ask(gate, 15, 'global')
    await settled()
    const before = store.calls
    const both = [...claim('alice', [THREE_AN_HOUR]), ...claim('global', [TEN_A_MINUTE])]
    for (let count = 0; count < 20; count += 1) {
      const decision = await gate.admit(both)
      expect(decision).toMatchObject({ admitted: false, limit: THREE_AN_HOUR, subject: { id: 'alice' } })
    }
    expect(store.calls - before).toBe(1)
    // Of one that is known to have room nothing is asked, and nothing taken.
    await ask(gate, 1, 'bob', [THREE_AN_HOUR])
    await settled()
    const other = [...claim('bob', [THREE_AN_HOUR]), ...claim('global', [TEN_A_MINUTE])]
    const told = store.calls
    expect(denials([await gate.admit(other)])[0]).toMatchObject({ limit: TEN_A_MINUTE })
    expect(store.calls).toBe(told)
  })

  test('takes from all limits or from none', async () => {
    const decisions = await ask(instance(sharedStore()), 10, 'alice', [TEN_A_MINUTE, THREE_AN_HOUR])
    expect(admitted(decisions)).toBe(3)
    expect(decisions.at(-1)?.standings.map(({ remaining }) => remaining)).toEqual([12, 0])
    expect(denials(decisions)[0]).toMatchObject({ limit: THREE_AN_HOUR, subject: { id: 'alice' } })
  })

  test('takes from all subjects or from none: what one refuses costs the others nothing', async () => {
    const gate = instance(sharedStore())
    const both = [...claim('alice', [TEN_A_MINUTE]), ...claim('global', [THREE_AN_HOUR])]
    const decisions = await Promise.all(Array.from({ length: 10 }, () => gate.admit(both)))
    expect(admitted(decisions)).toBe(3)
    expect(admitted(await ask(gate, 20))).toBe(12)
  })

  test('keeps subjects apart', async () => {
    const gate = instance(sharedStore())
    expect(admitted(await ask(gate, 20, 'alice'))).toBe(15)
    expect(admitted(await ask(gate, 20, 'bob'))).toBe(15)
  })

  test('gives a request back that was turned away further in', async () => {
    const gate = instance(sharedStore())
    for (const admission of admissions(await ask(gate, 15))) admission.cancel()
    expect(admitted(await ask(gate, 20))).toBe(15)
  })

  test('refuses what could never fit, and says so', async () => {
    const [refused] = denials(await ask(instance(sharedStore()), 1, 'alice', [TOKENS], 1_001))
    expect(refused?.retryAfterMs).toBe(Number.POSITIVE_INFINITY)
  })

  test('with nothing to claim asks nobody', async () => {
    const store = sharedStore()
    expect((await instance(store).admit([])).admitted).toBe(true)
    expect(store.calls).toBe(0)
  })

  test('keeps what was counted while instances with an older and a newer policy take turns', async () => {
    const store = sharedStore()
    const [older, newer] = [instance(store), instance(store)]
    const newerLimits = [
      { ...TEN_A_MINUTE, name: 'requests-1m' },
      { ...THREE_AN_HOUR, capacity: 100 },
    ]
    let count = 0
    for (let turn = 0; turn < 30; turn += 1) {
      count += admitted(await ask(older, 1))
      count += admitted(await ask(newer, 1, 'alice', newerLimits))
      await settled()
    }
    expect(count).toBe(15)
  })

  test('keeps the level when the limit changes size, and never hands out more than the new size', async () => {
    const store = sharedStore()
    await ask(instance(store), 10)
    const wider = { ...TEN_A_MINUTE, quota: 100, burst: 0, capacity: 100, refill: 100 }
    expect(admitted(await ask(instance(store), 50, 'alice', [wider]))).toBe(5)
    const other = sharedStore()
    const gate = instance(other)
    await ask(gate, 2)
    expect(admitted(await ask(gate, 50, 'alice', [{ ...TEN_A_MINUTE, burst: 0, capacity: 10 }]))).toBeLessThanOrEqual(8)
  })

  test('trusts the store’s clock alone: an instance whose own clock is an hour ahead refills nothing early', async () => {
    const store = sharedStore()
    await ask(instance(store), 15)
    const ahead: Time = { ...slow, now: () => now + 3_600_000, wallClock: () => START + now + 3_600_000 }
    const fast = limiter({
      store: {
        read: async (...args) => shifted(await store.read(...args)),
        writeIfMatch: async (...args) => shifted(await store.writeIfMatch(...args)),
      },
      deadlineMs: 2_000,
      time: ahead,
    })
    expect((await fast.admit(claim('alice', [TEN_A_MINUTE]))).admitted).toBe(false)
  })

  test('reads the rows of its first version', async () => {
    const store = sharedStore()
    const buckets = { '60000': { level: 3 * 60_000, at: START + now, capacity: 15, refill: 10, periodMs: 60_000 } }
    await store.writeIfMatch('alice', JSON.stringify({ v: 1, buckets }), undefined, new AbortController().signal)
    expect(admitted(await ask(instance(store), 10))).toBe(3)
  })
})

function shifted<T extends { readonly time: { readonly sent: number; readonly received: number } | undefined }>(
  reply: T,
): T {
  const { time: told } = reply
  return { ...reply, time: told && { ...told, sent: told.sent + 3_600_000, received: told.received + 3_600_000 } }
}

describe('a policy that is resolved again', () => {
  const DOCUMENT = {
    plans: {
      default: {
        limits: [
          { requests: 60, per: '1m' },
          { usd: 10, per: 'day' },
        ],
        shared: { limits: [{ requests: 100_000, per: '1m' }] },
      },
    },
    global: { limits: [{ requests: 1_000_000, per: 'hour' }] },
  }
  const options = { source: 'a test', bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined }
  /** Objects of its own, whatever the policy remembers of an earlier time. */
  const resolve = (document: object) => structuredClone(resolvePolicy(document, options))
  const consumers = Array.from({ length: 100 }, (_, index) => ({ id: `c${index}`, plan: 'default' }))

  /** Store calls of 100 consumers' five requests each, the policy resolved by `next` before every one of them. */
  async function callsOf(next: (request: number) => Policy): Promise<number> {
    const store = sharedStore()
    const gate = instance(store)
    for (let request = 0; request < 5; request += 1) {
      for (const consumer of consumers) {
        const subjects = subjectsOf(next(request), consumer)
        if ('code' in subjects) throw new Error(subjects.message)
        const claims = subjects.flatMap((subject) => subject.limits.map((limit) => ({ subject, limit, units: 1 })))
        const decision = await gate.admit(claims)
        expect(decision.standings.map(({ limit }) => limit)).toEqual(claims.map(({ limit }) => limit))
        // Callers look limits up by the objects that they claimed.
        for (const [index, { limit }] of decision.standings.entries()) expect(limit).toBe(claims[index]?.limit)
        if (decision.admitted) decision.settle((limit) => (claims.some((each) => each.limit === limit) ? 1 : 0))
        advance(5)
      }
      await settled()
    }
    return store.calls
  }

  test('unchanged, costs no store call more: 100 consumers, 5 requests each', async () => {
    const once = resolve(DOCUMENT)
    const calls = await callsOf(() => once)
    now = 5_000
    expect(await callsOf(() => resolve(DOCUMENT))).toBe(calls)
    now = 5_000
    const [a, b] = [resolve(DOCUMENT), resolve(DOCUMENT)]
    expect(await callsOf((request) => (request % 2 === 0 ? a : b))).toBe(calls)
  })

  test('with another limit, goes by that at once', async () => {
    const gate = instance(sharedStore())
    const admit = (requests: number, units: number) => {
      const document = { plans: { default: { limits: [{ requests, per: '1m' }] } } }
      const subjects = subjectsOf(resolve(document), { id: 'alice', plan: 'default' })
      if ('code' in subjects) throw new Error(subjects.message)
      return gate.admit(subjects.flatMap((subject) => subject.limits.map((limit) => ({ subject, limit, units }))))
    }
    expect(await admit(10, 4)).toMatchObject({ admitted: true, standings: [{ limit: { quota: 10 }, remaining: 6 }] })
    expect(await admit(10, 4)).toMatchObject({ admitted: true, standings: [{ limit: { quota: 10 }, remaining: 2 }] })
    expect(await admit(5, 3)).toMatchObject({ admitted: false, limit: { quota: 5 } })
  })
})

describe('a reservation', () => {
  test('gives back what was not used, without a call', async () => {
    const store = sharedStore()
    const gate = instance(store)
    const [admission] = admissions(await ask(gate, 1, 'alice', [TOKENS], 900))
    expect(admitted(await ask(gate, 1, 'alice', [TOKENS], 900))).toBe(0)
    const before = store.calls
    admission?.settle(() => 50)
    expect(admitted(await ask(gate, 1, 'alice', [TOKENS], 850))).toBe(1)
    expect(store.calls).toBe(before)
  })

  test('is settled once', async () => {
    const gate = instance(sharedStore())
    const [admission] = admissions(await ask(gate, 1, 'alice', [TOKENS], 900))
    admission?.settle(() => 0)
    admission?.settle(() => 0)
    admission?.cancel()
    expect(admitted(await ask(gate, 1, 'alice', [TOKENS], 1_000))).toBe(1)
    expect(admitted(await ask(gate, 1, 'alice', [TOKENS], 1))).toBe(0)
  })

  test('that was passed is a debt, paid out of what is handed out next', async () => {
    const gate = instance(sharedStore())
    const [admission] = admissions(await ask(gate, 1, 'alice', [MONEY], 400_000))
    admission?.settle(() => 700_000)
    expect(admitted(await ask(gate, 1, 'alice', [MONEY], 300_001))).toBe(0)
    expect(admitted(await ask(gate, 1, 'alice', [MONEY], 300_000))).toBe(1)
  })

  test('of a stream that outlives many leases still counts', async () => {
    const store = sharedStore()
    let tick = () => {}
    const gate = limiter({
      store,
      deadlineMs: 2_000,
      time: {
        ...slow,
        every: (_ms, callback) => {
          tick = callback
          return () => {}
        },
      },
    })
    const subject = { id: 'alice', limits: [TOKENS, MONEY] }
    const both = (tokens: number, money: number): Claim[] => [
      { subject, limit: TOKENS, units: tokens },
      { subject, limit: MONEY, units: money },
    ]
    const [admission] = admissions([await gate.admit(both(900, 900))])
    for (let half = 0; half < 240; half += 1) {
      advance(500)
      tick()
      await new Promise(setImmediate)
    }
    admission?.settle(() => 100)
    // What was used is spent now, and what was in flight left no room for refill.
    expect(admitted([await gate.admit(both(900, 999_900))])).toBe(1)
  })
})

/** A limiter whose own rounds the test makes, by moving the clock on half a second at a time. */
function tended(store: CounterStore, options: Partial<LimiterOptions> = {}) {
  const ticks = new Set<() => void>()
  const every = (_ms: number, callback: () => void) => {
    ticks.add(callback)
    return () => ticks.delete(callback)
  }
  const gate = limiter({ store, deadlineMs: 2_000, time: { ...slow, every }, ...options })
  const pass = async (ms: number) => {
    for (let passed = 0; passed < ms; passed += 500) {
      advance(500)
      for (const tick of ticks) tick()
      await new Promise(setImmediate)
    }
  }
  return { gate, pass }
}

describe('what a lease holds', () => {
  test('is not lost to a bucket that refills slowly', async () => {
    const { gate, pass } = tended(sharedStore())
    const daily = { ...TEN_A_MINUTE, key: 'requests:86400000', capacity: 1_000, refill: 1_000, periodMs: 86_400_000 }
    let count = 0
    for (let minute = 0; minute < 60; minute += 1) {
      count += admitted(await ask(gate, 1, 'alice', [daily]))
      await pass(60_000)
    }
    expect(count).toBe(60)
    const [last] = admissions(await ask(gate, 1, 'alice', [daily]))
    expect(last?.standings[0]?.remaining).toBeGreaterThanOrEqual(970)
  })

  test('goes back when it came back unused, though the subject stays in use', async () => {
    const store = sharedStore()
    const { gate, pass } = tended(store)
    for (const each of admissions(await ask(gate, 45, 'alice', [MONEY], 20_000))) each.settle(() => 20)
    for (let second = 0; second < 10; second += 1) {
      for (const each of admissions(await ask(gate, 1, 'alice', [MONEY], 20_000))) each.settle(() => 20)
      await pass(1_000)
    }
    expect(admitted(await ask(instance(store), 1, 'alice', [MONEY], 800_000))).toBe(1)
  })

  test('comes back though the write that gave it back was lost', async () => {
    const store = sharedStore()
    let lose = false
    const lossy: CounterStore = {
      read: (...args) => store.read(...args),
      writeIfMatch: (...args) => (lose ? Promise.reject(new Error('lost')) : store.writeIfMatch(...args)),
    }
    const { gate, pass } = tended(lossy)
    for (const each of admissions(await ask(gate, 1, 'alice', [MONEY], 400_000))) each.settle(() => 0)
    lose = true
    await pass(6_000)
    lose = false
    await expect
      .poll(async () => {
        await pass(1_000)
        return admitted(await ask(instance(store), 1, 'alice', [MONEY], 1_000_000))
      })
      .toBe(1)
  })

  test('is kept alive after the limiter was closed, for as long as it is in flight', async () => {
    const store = sharedStore()
    const { gate, pass } = tended(store)
    const [running] = admissions(await ask(gate, 2, 'alice', [TWO_AT_ONCE]))
    await gate.close()
    await pass(60_000)
    expect(running?.lost?.aborted).toBe(false)
    expect(admitted(await ask(instance(store), 1, 'alice', [TWO_AT_ONCE]))).toBe(0)
  })
})

describe('a store that works', () => {
  test('is not said to fail because others keep changing the row: nobody is admitted unchecked', async () => {
    const store = sharedStore()
    const contended: CounterStore = {
      read: (...args) => store.read(...args),
      writeIfMatch: async () => {
        await new Promise((resolve) => setTimeout(resolve, 5))
        return { etag: undefined, time: undefined }
      },
    }
    const told: unknown[] = []
    const events = { storeFailed: (cause: unknown) => told.push(cause) }
    const gate = limiter({ store: contended, deadlineMs: 100, storeDown: 'open', events })
    const failure = expect.objectContaining({ name: 'LimiterUnavailable', code: 'contention' })
    for (let turn = 0; turn < 10; turn += 1) await expect(ask(gate, 1)).rejects.toEqual(failure)
    expect(told).toEqual([])
    await gate.close()
  })

  test('has one row that can’t be read: the others’ requests don’t suffer for it', async () => {
    const store = sharedStore()
    await store.writeIfMatch('broken', '{"v":3}', undefined, new AbortController().signal)
    const failed: string[] = []
    const gate = limiter({
      store,
      deadlineMs: 2_000,
      time: slow,
      events: { rowFailed: (subject) => failed.push(subject) },
    })
    await expect(ask(gate, 1, 'broken')).rejects.toMatchObject({ code: 'row_failed' })
    expect(admitted(await ask(gate, 1, 'alice'))).toBe(1)
    expect(failed).toEqual(['broken'])
    expect(gate.failingFor()).toBeUndefined()
  })
})

describe('a concurrency limit', () => {
  test('counts requests in flight, on all instances, and a slot comes back at once', async () => {
    const store = sharedStore()
    const [one, other] = [instance(store), instance(store)]
    const running = admissions(await ask(one, 3, 'alice', [TWO_AT_ONCE]))
    expect(running).toHaveLength(2)
    expect(admitted(await ask(other, 1, 'alice', [TWO_AT_ONCE]))).toBe(0)
    running[0]?.settle(() => 0)
    await settled()
    advance(300)
    expect(admitted(await ask(other, 2, 'alice', [TWO_AT_ONCE]))).toBe(1)
  })

  test('gets a crashed instance’s slots back when its lease ends', async () => {
    const store = sharedStore()
    await ask(instance(store), 2, 'alice', [TWO_AT_ONCE])
    const survivor = instance(store)
    expect(admitted(await ask(survivor, 1, 'alice', [TWO_AT_ONCE]))).toBe(0)
    advance(33_000)
    expect(admitted(await ask(survivor, 3, 'alice', [TWO_AT_ONCE]))).toBe(2)
  })

  test('ends a request whose slot can’t be kept, before another may take it', async () => {
    const store = sharedStore()
    let tick = () => {}
    let down = false
    const cut: CounterStore = {
      read: (...args) => (down ? Promise.reject(new Error('down')) : store.read(...args)),
      writeIfMatch: (...args) => (down ? Promise.reject(new Error('down')) : store.writeIfMatch(...args)),
    }
    const every = (_ms: number, callback: () => void) => {
      tick = callback
      return () => {}
    }
    const gate = limiter({ store: cut, deadlineMs: 20, time: { ...time, every } })
    const [admission] = admissions(await ask(gate, 1, 'alice', [TWO_AT_ONCE]))
    down = true
    const began = now
    while (!admission?.lost?.aborted && now < began + 60_000) {
      advance(500)
      tick()
      await new Promise(setImmediate)
    }
    expect(admission?.lost?.aborted).toBe(true)
    expect(now - began).toBeGreaterThan(15_000)
    expect(admitted(await ask(instance(store), 3, 'alice', [TWO_AT_ONCE]))).toBeLessThanOrEqual(2)
  })
})

describe('a budget', () => {
  const windows: readonly [string, BudgetLimit['per'], string, string][] = [
    ['a minute', 'minute', '2026-03-29T00:59:59.000Z', '2026-03-29T01:00:02.000Z'],
    ['an hour, as a zone’s clocks go forward', 'hour', '2026-03-29T00:59:58.000Z', '2026-03-29T01:00:01.100Z'],
    ['a day, as a zone’s clocks go back', 'day', '2026-10-25T23:59:58.000Z', '2026-10-26T00:00:01.100Z'],
    ['a month of 31 days', 'month', '2026-12-31T23:59:58.000Z', '2027-01-01T00:00:01.100Z'],
    ['February of a leap year', 'month', '2028-02-29T23:59:58.000Z', '2028-03-01T00:00:01.100Z'],
    ['February of a common year', 'month', '2026-02-28T23:59:58.000Z', '2026-03-01T00:00:01.100Z'],
  ]
  test.each(windows)('of %s ends with its window in UTC, and not before', async (_what, per, before, after) => {
    const limit: BudgetLimit = { ...MONEY, per, key: `money:${per}`, quota: 100 }
    let truth = Date.parse(before) - 1_000
    const clock: Time = { ...slow, now: () => truth, wallClock: () => truth }
    const store = memoryCounterStore({ wallClock: () => truth, now: () => truth })
    const gate = limiter({ store, deadlineMs: 2_000, time: clock })
    expect(admitted(await ask(gate, 2, 'alice', [limit], 60))).toBe(1)
    truth = Date.parse(before)
    const [refused] = denials(await ask(gate, 1, 'alice', [limit], 60))
    expect(refused?.retryAfterMs).toBeLessThanOrEqual(Date.parse(after) - truth)
    truth = Date.parse(after)
    expect(admitted(await ask(gate, 2, 'alice', [limit], 60))).toBe(1)
  })

  test('says what a crash has cost: at most what the dead instance held', async () => {
    const store = sharedStore()
    const dead = instance(store)
    await ask(dead, 1, 'alice', [MONEY], 100_000)
    await settled()
    advance(35_000)
    const lost: number[] = []
    const survivor = limiter({
      store,
      deadlineMs: 2_000,
      time: slow,
      events: { unitsLost: (_subject, _limit, units) => lost.push(units) },
    })
    expect(admitted(await ask(survivor, 1, 'alice', [MONEY], 890_000))).toBe(1)
    expect(lost).toHaveLength(1)
    expect(lost[0]).toBeGreaterThanOrEqual(100_000)
    expect(lost[0]).toBeLessThanOrEqual(100_000 + 0.002 * MONEY.quota)
  })

  test('gets back what an instance that ends still held', async () => {
    const store = sharedStore()
    const gate = instance(store)
    const [admission] = admissions(await ask(gate, 1, 'alice', [MONEY], 100_000))
    admission?.settle(() => 1)
    await gate.close()
    expect(admitted(await ask(instance(store), 1, 'alice', [MONEY], 999_999))).toBe(1)
  })
})

describe('a limiter whose store fails', () => {
  type Fault = 'none' | 'conflict' | 'lost before' | 'lost after' | 'read fails'
  const faults = fc.array(fc.constantFrom<Fault>('none', 'conflict', 'lost before', 'lost after', 'read fails'), {
    maxLength: 30,
  })
  const quick = (store: CounterStore) => limiter({ store, deadlineMs: 2_000, time, random: () => 0 })

  function faulty(store: CounterStore, schedule: Fault[]): CounterStore {
    let step = 0
    const next = () => schedule[step++] ?? 'none'
    return {
      async read(...args) {
        if (next() === 'read fails') throw new Error('no answer')
        return store.read(...args)
      },
      async writeIfMatch(...args) {
        const fault = next()
        if (fault === 'conflict') return { etag: undefined, time: undefined }
        if (fault === 'lost before') throw new Error('no answer')
        const written = await store.writeIfMatch(...args)
        if (fault === 'lost after') throw new Error('no answer')
        return written
      },
    }
  }
  const patient: Time = { ...time, after: (ms, callback) => (ms >= 1_000 ? () => {} : time.after(ms, callback)) }

  test('never admits more than the bucket, whatever is lost on the way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(faults, { minLength: 1, maxLength: 4 }), async (schedules) => {
        const store = sharedStore()
        const gates = schedules.map((schedule) =>
          limiter({ store: faulty(store, schedule), deadlineMs: 2_000, time: patient, random: () => 0 }),
        )
        const decisions = await Promise.all(gates.map((gate) => ask(gate, 8)))
        expect(admitted(decisions.flat())).toBeLessThanOrEqual(15)
      }),
      { numRuns: 100 },
    )
  })

  test('admits all that there is while no other instance is there: it learns what became of each write', async () => {
    await fc.assert(
      fc.asyncProperty(faults, async (schedule) => {
        const gate = limiter({
          store: faulty(sharedStore(), schedule),
          deadlineMs: 2_000,
          time: patient,
          random: () => 0,
        })
        expect(admitted(await ask(gate, 20))).toBe(15)
      }),
      { numRuns: 100 },
    )
  })

  test('is unavailable at the deadline, which is no refusal: contention and a dead store are told apart', async () => {
    const store = sharedStore()
    const contended: CounterStore = {
      read: (...args) => {
        advance(300)
        return store.read(...args)
      },
      writeIfMatch: async () => ({ etag: undefined, time: undefined }),
    }
    const dead: CounterStore = {
      read: () => {
        advance(300)
        return Promise.reject(new Error('down'))
      },
      writeIfMatch: () => Promise.reject(new Error('down')),
    }
    const with300 = (store: CounterStore) => limiter({ store, deadlineMs: 2_000, time: patient })
    const failure = (code: string) => expect.objectContaining({ name: 'LimiterUnavailable', code })
    await expect(ask(with300(contended), 1)).rejects.toEqual(failure('contention'))
    await expect(ask(with300(dead), 1)).rejects.toEqual(failure('store_failed'))
  })

  describe('or stalls until a request’s own time is up: while the bucket perhaps has room, that is no refusal', () => {
    const unavailable = expect.objectContaining({ name: 'LimiterUnavailable', code: 'contention' })

    test('by a store that answers late', async () => {
      const store = sharedStore()
      await ask(instance(store), 15)
      await settled()
      const late: CounterStore = {
        async read(...args) {
          const reply = await store.read(...args)
          advance(1_600)
          return reply
        },
        writeIfMatch: (...args) => store.writeIfMatch(...args),
      }
      // When the answer is here, the next unit is back in 20 ms, and three quarters of two seconds are over.
      advance(4_380)
      const gate = limiter({ store: late, deadlineMs: 2_000, time: slow })
      await expect(ask(gate, 1)).rejects.toEqual(unavailable)
      // One that truly has no room refuses all the same.
      advance(100)
      expect(admitted(await ask(instance(store), 1))).toBe(1)
      await expect(ask(gate, 1)).resolves.toMatchObject([{ admitted: false }])
    })

    test('by an event loop that stands still', async () => {
      const store = sharedStore()
      const quick = [{ ...TEN_A_MINUTE, key: 'requests:1000', capacity: 5, refill: 25, periodMs: 1_000 }]
      const other = instance(store)
      expect(admitted(await ask(other, 5, 'alice', quick))).toBe(5)
      await settled()
      let stalls = 0
      const stalling: Time = {
        ...slow,
        after(ms, callback) {
          if (ms > 100 || stalls > 0) return slow.after(ms, callback)
          stalls += 1
          advance(1_600)
          // Meanwhile another instance takes what came back, and the next is back in 40 ms.
          void ask(other, 5, 'alice', quick).then(settled).then(callback)
          return () => {}
        },
      }
      const gate = limiter({ store, deadlineMs: 2_000, time: stalling })
      await expect(ask(gate, 1, 'alice', quick)).rejects.toEqual(unavailable)
      expect(stalls).toBe(1)
    })
  })

  test('tells once that the store fails, with what it said, and once that it works again', async () => {
    const refused = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
    const store = sharedStore()
    let down = true
    const flaky: CounterStore = {
      read: (...args) => (down ? Promise.reject(refused) : store.read(...args)),
      writeIfMatch: (...args) => store.writeIfMatch(...args),
    }
    const told: unknown[] = []
    const gate = limiter({
      store: flaky,
      deadlineMs: 100,
      events: {
        storeFailed: (cause) => told.push(cause),
        storeRecovered: (_ms, failures) => told.push(failures),
      },
    })
    for (let turn = 0; turn < 3; turn += 1) await expect(ask(gate, 5)).rejects.toBeInstanceOf(LimiterUnavailable)
    expect(told).toEqual([refused])
    expect(gate.failingFor()).toBeGreaterThanOrEqual(0)
    down = false
    await expect.poll(() => ask(gate, 1).then(admitted, () => 0), { timeout: 5_000 }).toBe(1)
    expect(told).toEqual([refused, expect.any(Number)])
    expect(gate.failingFor()).toBeUndefined()
    await gate.close()
  })

  test('does not wait for a store that hangs and ignores its signal', async () => {
    const hanging: CounterStore = { read: () => new Promise(() => {}), writeIfMatch: () => new Promise(() => {}) }
    const gate = limiter({ store: hanging, deadlineMs: 50 })
    await expect(ask(gate, 1)).rejects.toBeInstanceOf(LimiterUnavailable)
    await gate.close()
  })

  test('spends its leases to their end, then refuses money and, where the policy says so, admits the rest', async () => {
    let ahead = 0
    const running: Time = {
      ...systemTime,
      now: () => performance.now() + ahead,
      wallClock: () => START + performance.now() + ahead,
    }
    const store = memoryCounterStore(running)
    let down = false
    const cut: CounterStore = {
      read: (...args) => (down ? Promise.reject(new Error('down')) : store.read(...args)),
      writeIfMatch: (...args) => (down ? Promise.reject(new Error('down')) : store.writeIfMatch(...args)),
    }
    const ample = [{ ...TEN_A_MINUTE, capacity: 60_000, refill: 60_000 }]
    for (const storeDown of ['closed', 'open'] as const) {
      down = false
      const gate = limiter({ store: cut, deadlineMs: 50, time: running, storeDown })
      const id = `alice-${storeDown}`
      await ask(gate, 1, id, ample)
      down = true
      expect(admissions(await ask(gate, 40, id, ample)).every(({ checked }) => checked)).toBe(true)
      ahead += 120_000
      await expect(ask(gate, 1, id, [MONEY])).rejects.toBeInstanceOf(LimiterUnavailable)
      if (storeDown === 'closed') await expect(ask(gate, 1, id, ample)).rejects.toBeInstanceOf(LimiterUnavailable)
      else expect(admissions(await ask(gate, 1, id, ample))[0]?.checked).toBe(false)
    }
  })

  test('refuses to guess from a row that a newer version wrote', async () => {
    const store = sharedStore()
    await store.writeIfMatch('alice', '{"v":3}', undefined, new AbortController().signal)
    await expect(ask(quick(store), 1)).rejects.toBeInstanceOf(LimiterUnavailable)
  })
})

describe('B1: a programming fault', () => {
  const defect = () => Promise.reject(new TypeError('row.text is not a function'))

  test.each([
    ['in reading', (store: CounterStore) => ({ ...store, read: defect })],
    ['in writing', (store: CounterStore) => ({ read: store.read, writeIfMatch: defect })],
    ['in calling the store', (store: CounterStore) => ({ ...store, read: undefined as never })],
  ])('%s is thrown at once: no contention, no outage, and no pass where the policy has one', async (_what, broken) => {
    const works = memoryCounterStore({ wallClock: () => START + now, now: () => now })
    const told: unknown[] = []
    const store = broken(works)
    const gate = limiter({
      store,
      deadlineMs: 2_000,
      time: slow,
      storeDown: 'open',
      events: { storeFailed: (cause) => told.push(cause), rowFailed: (_subject, cause) => told.push(cause) },
    })
    for (const _turn of [1, 2]) await expect(ask(gate, 1)).rejects.toBeInstanceOf(TypeError)
    expect(told).toEqual([])
    expect(gate.failingFor()).toBeUndefined()
    await gate.close()
  })

  test('of a write whose fate it leaves open grants nothing twice, and loses nothing', async () => {
    const store = sharedStore()
    let broken = true
    const faulty: CounterStore = {
      read: (...args) => store.read(...args),
      async writeIfMatch(...args) {
        const written = await store.writeIfMatch(...args)
        return broken ? defect() : written
      },
    }
    const gate = limiter({ store: faulty, deadlineMs: 2_000, time: slow })
    await expect(ask(gate, 1, 'alice', [THREE_AN_HOUR])).rejects.toBeInstanceOf(TypeError)
    broken = false
    expect(admitted(await ask(gate, 5, 'alice', [THREE_AN_HOUR]))).toBe(3)
    expect(admitted(await ask(instance(store), 1, 'alice', [THREE_AN_HOUR]))).toBe(0)
  })

  test('that concerns no request is told, since nobody else would hear of it', async () => {
    const store = sharedStore()
    let broken = false
    const faulty: CounterStore = {
      read: (...args) => (broken ? defect() : store.read(...args)),
      writeIfMatch: (...args) => (broken ? defect() : store.writeIfMatch(...args)),
    }
    const told: unknown[] = []
    const gate = limiter({
      store: faulty,
      deadlineMs: 2_000,
      time: slow,
      events: { fault: (...what) => told.push(what) },
    })
    await ask(gate, 1, 'alice', [{ ...TEN_A_MINUTE, capacity: 60_000, refill: 60_000 }])
    broken = true
    await gate.close()
    expect(told).toEqual([['alice', expect.any(TypeError)]])
  })

  test.each([
    ['no JSON', '{'],
    ['no row', 'null'],
    ['a row without accounts', '{"v":2,"nonce":"","holders":{}}'],
    ['an account that is none', '{"v":2,"nonce":"","holders":{},"accounts":{"requests:60000":null}}'],
    ['a row without holders', '{"v":2,"nonce":"","accounts":{}}'],
    ['a first row without buckets', '{"v":1}'],
  ])('is not what a row is that holds %s: that is the row’s', async (_what, text) => {
    const store = sharedStore()
    await store.writeIfMatch('alice', text, undefined, new AbortController().signal)
    const gate = limiter({ store, deadlineMs: 2_000, time: slow })
    await expect(ask(gate, 1)).rejects.toMatchObject({ name: 'LimiterUnavailable', code: 'row_failed' })
  })
})
