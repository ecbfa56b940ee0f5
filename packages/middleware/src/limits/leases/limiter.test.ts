import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import type { RequestLimit } from '../policy/index.ts'
import { type CounterStore, type Decision, LimiterUnavailable, limiter, memoryCounterStore } from './index.ts'
import { retryAfterSeconds } from './rate-limit-headers.ts'

const START = Date.UTC(2026, 0, 1)
const TEN_A_MINUTE: RequestLimit = { name: 'requests', quota: 10, periodMs: 60_000, burst: 5, capacity: 15, refill: 10 }
const LIMITS = [TEN_A_MINUTE]

let time: number
const now = () => time
const advance = (ms: number) => {
  time += ms
}
beforeEach(() => {
  time = 5_000
})

/** The tables that all instances share, with their own clock, and a count of the calls. */
function sharedStore(): CounterStore & { calls: number } {
  const store = memoryCounterStore({ wallClock: () => START + time, now })
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

const instance = (store: CounterStore) => limiter({ store, now, deadlineMs: 2_000, random: Math.random })
const admitted = (decisions: Decision[]) => decisions.filter((decision) => decision.admitted).length
const ask = (gate: ReturnType<typeof instance>, count: number, subject = 'alice', limits = LIMITS) =>
  Promise.all(Array.from({ length: count }, () => gate.admit(subject, limits)))

describe('a limiter', () => {
  test('admits what the bucket holds and refuses the rest', async () => {
    const decisions = await ask(instance(sharedStore()), 40)
    expect(admitted(decisions)).toBe(15)
    expect(decisions.filter((decision) => decision.admitted).map(({ standings }) => standings[0]?.remaining)).toEqual(
      Array.from({ length: 15 }, (_, index) => 14 - index),
    )
  })

  test('is exact over instances that share a store', async () => {
    const store = sharedStore()
    const instances = Array.from({ length: 8 }, () => instance(store))
    const decisions = await Promise.all(instances.map((gate) => ask(gate, 15)))
    expect(admitted(decisions.flat())).toBe(15)
  })

  test('shares one flight among all that wait: a burst costs two calls, not two each', async () => {
    const store = sharedStore()
    await ask(instance(store), 15)
    // The first flies alone; the 14 that came meanwhile fly together.
    expect(store.calls).toBe(4)
  })

  test('refuses without a call while the bucket is known to be empty, and asks again when it has refilled', async () => {
    const store = sharedStore()
    const gate = instance(store)
    await ask(gate, 16)
    const before = store.calls
    advance(5_999)
    const [refused] = await ask(gate, 1)
    expect(refused).toMatchObject({ admitted: false, standings: [{ remaining: 0, nextMs: 1 }] })
    expect(store.calls).toBe(before)
    advance(10)
    expect(admitted(await ask(gate, 1))).toBe(1)
  })

  test('tells a refused caller the truth: after nextMs there is room', async () => {
    const gate = instance(sharedStore())
    await ask(gate, 15)
    advance(1_234)
    const [refused] = await ask(gate, 1)
    // A monotonic clock may run 200 ppm fast; the wait that was told is the store's.
    advance(Math.ceil((refused?.standings[0]?.nextMs ?? 0) * 1.0003))
    expect(admitted(await ask(gate, 2))).toBe(1)
  })

  test('takes from all limits or from none', async () => {
    const hourly: RequestLimit = {
      name: 'requests-1h',
      quota: 3,
      periodMs: 3_600_000,
      burst: 0,
      capacity: 3,
      refill: 3,
    }
    const both = [TEN_A_MINUTE, hourly]
    const store = sharedStore()
    const decisions = await ask(instance(store), 10, 'alice', both)
    expect(admitted(decisions)).toBe(3)
    expect(decisions.at(-1)?.standings.map(({ remaining }) => remaining)).toEqual([12, 0])
  })

  test('keeps subjects apart', async () => {
    const gate = instance(sharedStore())
    expect(admitted(await ask(gate, 20, 'alice'))).toBe(15)
    expect(admitted(await ask(gate, 20, 'bob'))).toBe(15)
  })

  const HOURLY: RequestLimit = {
    name: 'requests-1h',
    quota: 100,
    periodMs: 3_600_000,
    burst: 0,
    capacity: 100,
    refill: 100,
  }

  test('keeps what was counted while instances with an older and a newer policy take turns', async () => {
    const store = sharedStore()
    const [older, newer] = [instance(store), instance(store)]
    const newerLimits = [{ ...TEN_A_MINUTE, name: 'requests-1m' }, HOURLY]
    let count = 0
    for (let turn = 0; turn < 100; turn += 1) {
      count += admitted(await ask(older, 1, 'alice', LIMITS))
      count += admitted(await ask(newer, 1, 'alice', newerLimits))
    }
    expect(count).toBe(15)
  })

  test('keeps the buckets that an older policy does not know', async () => {
    const store = sharedStore()
    const [older, newer] = [instance(store), instance(store)]
    const ample: RequestLimit = { ...TEN_A_MINUTE, capacity: 1_000 }
    const olderLimits = [ample]
    const newerLimits = [ample, { ...HOURLY, capacity: 3 }]
    let count = 0
    for (let turn = 0; turn < 20; turn += 1) {
      expect(admitted(await ask(older, 1, 'alice', olderLimits))).toBe(1)
      count += admitted(await ask(newer, 1, 'alice', newerLimits))
    }
    expect(count).toBe(3)
  })

  test('looks again after ten seconds at the latest, for an operator may have given room', async () => {
    const daily: RequestLimit[] = [{ ...HOURLY, periodMs: 86_400_000, quota: 1, capacity: 1, refill: 1 }]
    let current = sharedStore()
    const gate = instance({
      read: (...args) => current.read(...args),
      writeIfMatch: (...args) => current.writeIfMatch(...args),
    })
    expect(admitted(await ask(gate, 2, 'alice', daily))).toBe(1)
    current = sharedStore()
    advance(9_999)
    expect(admitted(await ask(gate, 1, 'alice', daily))).toBe(0)
    advance(1)
    expect(admitted(await ask(gate, 1, 'alice', daily))).toBe(1)
  })

  test('keeps the level when the limit changes size', async () => {
    const store = sharedStore()
    const gate = instance(store)
    await ask(gate, 10)
    const wider: RequestLimit = { ...TEN_A_MINUTE, quota: 100, burst: 0, capacity: 100, refill: 100 }
    expect(admitted(await ask(gate, 50, 'alice', [wider]))).toBe(5)
  })

  test('trusts the store’s clock alone: an instance whose own clock is an hour ahead refills nothing early', async () => {
    const store = sharedStore()
    await ask(instance(store), 15)
    const ahead = () => time + 3_600_000
    const seenFromAhead: CounterStore = {
      read: async (...args) => {
        const { row, time: told } = await store.read(...args)
        return { row, time: told && { ...told, sent: ahead(), received: ahead() } }
      },
      writeIfMatch: (...args) => store.writeIfMatch(...args),
    }
    const fast = limiter({ store: seenFromAhead, now: ahead, deadlineMs: 2_000 })
    expect((await fast.admit('alice', LIMITS)).admitted).toBe(false)
  })
})

test('Retry-After holds on another instance too, whose view of the store’s time lags as far as it may', async () => {
  const rows = memoryCounterStore({ wallClock: () => 0, now })
  const seenWith = (date: () => number, replyMs: number): CounterStore => ({
    read: async (...args) => ({
      row: (await rows.read(...args)).row,
      time: { date: date(), sent: time - replyMs, received: time },
    }),
    writeIfMatch: (...args) => rows.writeIfMatch(...args),
  })
  const punctual = instance(seenWith(() => START + time, 0))
  const lagging = instance(seenWith(() => START + time - 2_000, 1_000))
  const quick: RequestLimit[] = [{ ...TEN_A_MINUTE, capacity: 1 }]
  const [, refused] = await ask(punctual, 2, 'alice', quick)
  advance(retryAfterSeconds(refused?.standings ?? []) * 1_000)
  expect(admitted(await ask(lagging, 1, 'alice', quick))).toBe(1)
})

describe('a limiter whose store tells the time by the second', () => {
  const LAG = 2_000
  const strict = { quota: 100, periodMs: 10_000, burst: 0, capacity: 10, refill: 75 }
  const cases: { name: string; limit: RequestLimit; most: (ms: number) => number }[] = [
    {
      name: 'a plain limit',
      limit: { ...TEN_A_MINUTE, periodMs: 1_000 },
      most: (ms) => 15 + (10 * (ms + LAG)) / 1_000,
    },
    {
      name: 'a strict limit',
      limit: { name: 'strict', ...strict },
      most: (ms) => (ms < 10_000 ? 100 : Number.POSITIVE_INFINITY),
    },
  ]

  test.each(cases)('keeps $name in every interval, whatever its replies take', async ({ limit, most }) => {
    const steps = fc.array(
      fc.record({
        after: fc.integer({ min: 0, max: 3_000 }),
        reply: fc.integer({ min: 0, max: 1_500 }),
        who: fc.nat(2),
        wanted: fc.integer({ min: 1, max: 120 }),
      }),
      { minLength: 5, maxLength: 25 },
    )
    await fc.assert(
      fc.asyncProperty(steps, async (sequence) => {
        let reply = 0
        const rows = memoryCounterStore({ wallClock: () => 0, now })
        const seconds: CounterStore = {
          async read(...args) {
            const sent = now()
            const date = Math.floor((START + time) / 1_000) * 1_000
            const { row } = await rows.read(...args)
            advance(reply)
            return { row, time: { date, sent, received: now() } }
          },
          writeIfMatch: (...args) => rows.writeIfMatch(...args),
        }
        const gates = [0, 1, 2].map(() => limiter({ store: seconds, now, deadlineMs: 60_000, random: () => 0 }))
        const admissions: { at: number; count: number }[] = []
        for (const step of sequence) {
          advance(step.after)
          reply = step.reply
          // A reply that is too slow to tell the time is asked for again; the next one is quick.
          const asked = ask(gates[step.who] ?? instance(seconds), step.wanted, 'alice', [limit])
          reply = step.reply > 1_000 ? 500 : step.reply
          admissions.push({ count: admitted(await asked), at: time })
        }
        for (const [i, first] of admissions.entries()) {
          let count = 0
          for (const last of admissions.slice(i)) {
            count += last.count
            expect(count).toBeLessThanOrEqual(most(last.at - first.at))
          }
        }
      }),
      { numRuns: 300 },
    )
  })
})

describe('a limiter whose store fails', () => {
  type Fault = 'none' | 'conflict' | 'lost before' | 'lost after' | 'read fails'
  const faults = fc.array(fc.constantFrom<Fault>('none', 'conflict', 'lost before', 'lost after', 'read fails'), {
    maxLength: 30,
  })

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
        if (fault === 'conflict') return false
        if (fault === 'lost before') throw new Error('no answer')
        const written = await store.writeIfMatch(...args)
        if (fault === 'lost after') throw new Error('no answer')
        return written
      },
    }
  }

  test('never admits more than the bucket, whatever is lost on the way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(faults, { minLength: 1, maxLength: 4 }), async (schedules) => {
        const store = sharedStore()
        const instances = schedules.map((schedule) =>
          limiter({ store: faulty(store, schedule), now, deadlineMs: 2_000, random: () => 0 }),
        )
        const decisions = await Promise.all(instances.map((gate) => ask(gate, 8)))
        expect(admitted(decisions.flat())).toBeLessThanOrEqual(15)
      }),
      { numRuns: 200 },
    )
  })

  test('admits all that there is when no write was lost, conflicts or not', async () => {
    await fc.assert(
      fc.asyncProperty(faults, async (schedule) => {
        const harmless = schedule.map((fault) => (fault === 'lost after' ? 'conflict' : fault))
        const gate = limiter({ store: faulty(sharedStore(), harmless), now, deadlineMs: 2_000, random: () => 0 })
        expect(admitted(await ask(gate, 20))).toBe(15)
      }),
      { numRuns: 100 },
    )
  })

  test('is unavailable at the deadline, which is no refusal: contention and a dead store are told apart', async () => {
    const store = sharedStore()
    const tick = <T>(result: () => Promise<T>) => {
      advance(300)
      return result()
    }
    const contended: CounterStore = {
      read: (...args) => tick(() => store.read(...args)),
      writeIfMatch: async () => false,
    }
    const dead: CounterStore = {
      read: () => tick(() => Promise.reject(new Error('down'))),
      writeIfMatch: () => Promise.reject(new Error('down')),
    }
    const failure = (code: string) => expect.objectContaining({ name: 'LimiterUnavailable', code })
    await expect(instance(contended).admit('alice', LIMITS)).rejects.toEqual(failure('contention'))
    await expect(instance(dead).admit('alice', LIMITS)).rejects.toEqual(failure('store_failed'))
  })

  test('tells what the store said, though its own deadline came last', async () => {
    const refused = Object.assign(new Error('refused'), { code: 'ECONNREFUSED' })
    const dead: CounterStore = { read: () => Promise.reject(refused), writeIfMatch: () => Promise.reject(refused) }
    const gate = limiter({ store: dead, now: () => performance.now(), deadlineMs: 100 })
    await expect(gate.admit('alice', LIMITS)).rejects.toMatchObject({ code: 'store_failed', cause: refused })
  })

  test('does not wait for a store that hangs and ignores its signal', async () => {
    const hanging: CounterStore = { read: () => new Promise(() => {}), writeIfMatch: () => new Promise(() => {}) }
    const gate = limiter({ store: hanging, now: () => performance.now(), deadlineMs: 50 })
    await expect(gate.admit('alice', LIMITS)).rejects.toBeInstanceOf(LimiterUnavailable)
  })

  test('recovers for the next caller', async () => {
    const store = sharedStore()
    let down = true
    const flaky: CounterStore = {
      read: async (...args) => {
        advance(500)
        if (down) throw new Error('down')
        return store.read(...args)
      },
      writeIfMatch: (...args) => store.writeIfMatch(...args),
    }
    const gate = instance(flaky)
    await expect(gate.admit('alice', LIMITS)).rejects.toBeInstanceOf(LimiterUnavailable)
    down = false
    expect((await gate.admit('alice', LIMITS)).admitted).toBe(true)
  })

  test('refuses to guess from a row that a newer version wrote', async () => {
    const store = sharedStore()
    await store.writeIfMatch('alice', '{"v":2}', undefined, new AbortController().signal)
    await expect(instance(store).admit('alice', LIMITS)).rejects.toBeInstanceOf(LimiterUnavailable)
  })
})
