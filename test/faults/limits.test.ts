import { limiter, type RateLimit, tableCounterStore } from '@tollgate/middleware'
import fc from 'fast-check'
import { describe, expect, inject, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { type Fault, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'

const CAPACITY = 6
const INSTANCES = 3
const ASKED = 12
const DAY_MS = 86_400_000
/** So slow to refill that none comes back in the time of a test. */
const LIMIT: RateLimit = {
  kind: 'rate',
  key: 'requests:86400000',
  name: 'requests',
  measure: 'requests',
  model: undefined,
  quota: 1,
  periodMs: DAY_MS,
  burst: CAPACITY - 1,
  capacity: CAPACITY,
  refill: 1,
}

const FAULTS: Fault[] = [
  { kind: 'lost reply' },
  { kind: 'lost request' },
  { kind: 'late' },
  { kind: 'answer', status: 503, code: 'ServerBusy' },
  { kind: 'answer', status: 412, code: 'UpdateConditionNotSatisfied' },
  { kind: 'corrupt' },
  { kind: 'latency', ms: 15 },
]

const now = () => performance.now()

describe('a limit over a failing storage', () => {
  test('is never exceeded, whatever is lost, repeated or lands late', async () => {
    let admittedInAll = 0
    let struckInAll = 0
    const seeds = fc.integer({ min: 1, max: 2 ** 31 })
    const chances = fc.array(fc.double({ min: 0.03, max: 0.2, noNaN: true }), {
      minLength: FAULTS.length,
      maxLength: FAULTS.length,
    })
    await fc.assert(
      fc.asyncProperty(seeds, chances, async (seed, chance) => {
        const proxy = await startStorageProxy(inject('azurite'), { seed })
        const injected = FAULTS.map((fault, i) =>
          proxy.inject(fault, { table: 'tollgatecounters', chance: chance[i] ?? 0 }),
        )
        const subject = { id: unique('faulty'), limits: [LIMIT] }
        const open = openAccount(proxy.connectionString)
        const gates = Array.from({ length: INSTANCES }, () =>
          limiter({ store: tableCounterStore({ open, now }), deadlineMs: 400 }),
        )
        const ask = async (index: number) => {
          const decision = await gates[index % INSTANCES]
            ?.admit([{ subject, limit: LIMIT, units: 1 }])
            .catch(() => undefined)
          // What was held back lands amid the others.
          if (index % 5 === 4) for (const each of injected) await each.land()
          return decision?.admitted === true
        }
        const first = await Promise.all(Array.from({ length: ASKED }, (_, index) => ask(index)))
        proxy.heal()
        for (const each of injected) await each.land()
        const second = await Promise.all(Array.from({ length: ASKED }, (_, index) => ask(index)))
        await proxy.close()
        const admitted = [...first, ...second].filter(Boolean).length
        admittedInAll += admitted
        struckInAll += injected.reduce((sum, each) => sum + each.hits(), 0)
        expect(admitted).toBeLessThanOrEqual(CAPACITY)
      }),
      { numRuns: 15 },
    )
    // It would hold for a limiter that admits nobody, or a storage that never fails.
    expect(admittedInAll).toBeGreaterThan(15)
    expect(struckInAll).toBeGreaterThan(15)
  }, 60_000)
})
