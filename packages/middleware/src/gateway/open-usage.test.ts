import { describe, expect, test, vi } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import { memoryConsumerStore } from '../auth/index.ts'
import { type CounterStore, limiter, memoryCounterStore, subjectsOf } from '../limits/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { memoryTable } from '../storage/index.ts'
import { ledger } from '../usage/index.ts'
import { openUsage } from './open-usage.ts'

const START = Date.UTC(2026, 10, 27, 12)
const signal = new AbortController().signal

/** A consumer with a dollar a day, and an instance that is killed or not. */
async function world({ tellsTime = true, hangs = false } = {}) {
  let now = START
  const wallClock = () => now
  const time = { now: () => now - START, wallClock, after: () => () => {}, every: () => () => {} }
  const inMemory = memoryCounterStore({ wallClock, now: time.now })
  const counters: CounterStore = {
    ...inMemory,
    async read(...args) {
      if (hangs) await new Promise(() => {})
      const { writtenAt, ...read } = await inMemory.read(...args)
      return tellsTime && writtenAt !== undefined ? { ...read, writtenAt } : read
    },
  }
  const policy = resolvePolicy(
    { plans: { pro: { limits: [{ usd: 1, per: 'day' }], shared: { limits: [{ tokens: 1_000_000, per: 'month' }] } } } },
    { source: 'test', bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined },
  )
  const consumers = memoryConsumerStore()
  const alice = { id: 'alice', plan: 'pro', disabled: false }
  await consumers.addConsumer(alice, signal)
  const table = memoryTable({ wallClock })
  const usage = openUsage({ table, counters, consumers, policy: () => policy, wallClock })
  const subjects = subjectsOf(policy, alice)
  if ('kind' in subjects) throw new Error('Alice has no plan')
  const [own] = subjects
  const limit = own?.limits[0]
  if (own === undefined || limit === undefined) throw new Error('Alice has no limit')

  const instance = () => {
    const limits = limiter({ store: counters, deadlineMs: 1_000, time })
    const book = ledger({ table, time, log: () => {} })
    return {
      /** Spends so much of what it reserves, and has it written down in ten seconds. */
      async spend(reserved: number, spent: number) {
        const admitted = await limits.admit([{ subject: own, limit, units: reserved }])
        if (!admitted.admitted) throw new Error('refused')
        admitted.settle(() => spent)
        book.record(finishedRequest({ facts: miss(spent), startedAt: now }))
      },
      close: () => Promise.all([limits.close(), book.close()]),
    }
  }
  const unattributed = async (consumer?: string) => {
    const query = { by: 'consumer', since: START, until: now + 1, ...(consumer && { consumer }) } as const
    return (await usage.report(query, signal)).unattributed ?? []
  }
  return { instance, unattributed, usage, counters, pass: (ms: number) => (now += ms) }
}

describe('what budgets charged and the ledger doesn’t show', () => {
  test('is nothing of an instance that has ended well', async () => {
    const { instance, unattributed, pass } = await world()
    const one = instance()
    await one.spend(1_000_000, 400_000)
    await one.close()
    expect(await unattributed()).toEqual([])
    pass(120_000)
    expect(await unattributed('alice')).toEqual([])
  })

  test('is what an instance that was killed had spent or held, once its lease is over and nothing moves', async () => {
    const { instance, unattributed, usage, pass } = await world()
    const [dead, alive] = [instance(), instance()]
    await alive.spend(1_000_000, 300_000)
    await alive.close()
    await dead.spend(1_000_000, 400_000)
    expect(await unattributed('alice')).toEqual([])
    pass(29_000)
    expect(await unattributed('alice')).toEqual([])
    pass(60_000)
    const [only, ...more] = await unattributed('alice')
    expect(more).toEqual([])
    expect(only).toMatchObject({
      subject: 'consumer:alice',
      limit: 'usd',
      measure: 'money',
      windowStart: Date.UTC(2026, 10, 27),
    })
    // What it spent, and at most 0.2 % of the limit beside what was reserved.
    expect(only?.units).toBeGreaterThanOrEqual(400_000)
    expect(only?.units).toBeLessThanOrEqual(1_000_000 + 2_000_000)
    expect((await usage.totals(signal)).unattributed).toEqual([only])
    pass(24 * 3_600_000)
    expect(await unattributed('alice')).toEqual([])
  })

  test('takes two looks where the counters’ store doesn’t say when a row was written', async () => {
    const { instance, unattributed, pass } = await world({ tellsTime: false })
    await instance().spend(1_000_000, 400_000)
    pass(120_000)
    expect(await unattributed('alice')).toEqual([])
    pass(31_000)
    expect(await unattributed('alice')).toHaveLength(1)
  })

  test('a row that can’t be read charges nothing, and fails no report', async () => {
    const { counters, unattributed, pass } = await world()
    await counters.writeIfMatch('consumer:alice', '{"v":9}', undefined, signal)
    pass(120_000)
    expect(await unattributed()).toEqual([])
  })
  test('keeps the totals from nobody, where the counters hang', async () => {
    const { usage } = await world({ hangs: true })
    vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout'] })
    try {
      const totals = usage.totals(signal)
      await vi.advanceTimersByTimeAsync(7_000)
      expect(await Promise.race([totals, 'nothing yet'])).toMatchObject({ models: [], unattributed: undefined })
    } finally {
      vi.useRealTimers()
    }
  })
})
