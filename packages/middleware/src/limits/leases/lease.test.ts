import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BudgetLimit, ConcurrencyLimit, Limit, RateLimit } from '../../policy/index.ts'
import { assertLease, type Debit, debit, emptyLease, type Lease, settle } from './lease.ts'
import { abandon, beginWrite, commit, type LeaseWrite, planWrite, rollback } from './lease-write.ts'
import { NO_ROW, type Row, rollRow } from './row.ts'
import { checkLeases } from './row-loss.ts'

const START = Date.UTC(2026, 0, 1)
const common = { model: undefined, quota: 100 }
const TOKENS: RateLimit = {
  ...common,
  kind: 'rate',
  key: 'tokens:1000',
  name: 'tokens',
  measure: 'tokens',
  burst: 0,
  capacity: 100,
  refill: 10,
  periodMs: 1_000,
}
const REQUESTS: RateLimit = { ...TOKENS, key: 'requests:1000', name: 'requests', measure: 'requests' }
const MONEY: BudgetLimit = { ...common, kind: 'budget', key: 'money:hour', name: 'usd', measure: 'money', per: 'hour' }
const SLOTS: ConcurrencyLimit = {
  ...common,
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  quota: 10,
}

describe('assertLease', () => {
  const sound: Lease = { ...emptyLease(TOKENS, 0), slot: 9, booked: 10, held: 4, inFlight: 3, frozen: 2, debt: 1 }

  test('passes a lease of which some was spent', () => {
    expect(() => assertLease(sound)).not.toThrow()
  })

  test.each([
    ['holds less than nothing', { held: -1 }, 'has held = -1'],
    ['holds a part of a unit', { held: 0.5 }, 'has held = 0.5'],
    ['has less than nothing in flight', { inFlight: -1 }, 'has inFlight = -1'],
    ['has more than is booked', { held: 6 }, 'holds 6, froze 2, has 3 in flight, booked 10'],
    ['books in no slot', { slot: undefined }, 'books 10 in no slot'],
  ])('refuses one that %s', (_what, change, message) => {
    expect(() => assertLease({ ...sound, ...change })).toThrow(new RangeError(`The lease of 'tokens:1000' ${message}`))
  })

  test('lets slots in use exceed what is booked, and no other units', () => {
    expect(() => assertLease({ ...emptyLease(SLOTS, 0), inFlight: 2 })).not.toThrow()
    expect(() => assertLease({ ...emptyLease(SLOTS, 0), held: 1 })).toThrow(RangeError)
  })
})

/** What may happen to a subject's leases, one step after the other. */
const step = fc.oneof(
  { weight: 4, arbitrary: fc.record({ kind: fc.constant('take' as const), units: fc.integer({ min: 1, max: 6 }) }) },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('settle' as const),
      which: fc.nat(),
      used: fc.integer({ min: 0, max: 8 }),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('write' as const),
      wanted: fc.integer({ min: 0, max: 8 }),
      keep: fc.constantFrom(0, 5, Number.POSITIVE_INFINITY),
    }),
  },
  {
    weight: 4,
    arbitrary: fc.record({
      kind: fc.constant('reply' as const),
      reply: fc.constantFrom('applied', 'applied', 'applied', 'refused', 'unknown' as const),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({ kind: fc.constant('pass' as const), ms: fc.constantFrom(10, 900, 9_000, 40_000) }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('lose' as const) }) },
)
const steps = fc.array(step, { minLength: 30, maxLength: 60, size: 'max' })

test.each([REQUESTS, TOKENS, MONEY, SLOTS])(
  '$name: whatever happens, in whatever order, a lease stays sound',
  (limit) => {
    fc.assert(
      fc.property(steps, (sequence) => {
        let now = 0
        let row: Row = NO_ROW
        let pending: LeaseWrite | undefined
        const lease = emptyLease(limit, now)
        const leases = new Map<string, Lease>([[limit.key, lease]])
        const debits: Debit[] = []
        const limits: readonly Limit[] = [limit]
        const subject = { id: 'a', limits }
        for (const step of sequence) {
          const time = { earliest: START + now, latest: START + now + 5 }
          if (step.kind === 'take') {
            if (time.latest < lease.endsAt && lease.held >= step.units)
              debits.push(debit(lease, { limit, units: step.units }, now))
          } else if (step.kind === 'settle') {
            const [each] = debits.splice(step.which % Math.max(1, debits.length), 1)
            // A slot is one, and never used beyond what was reserved.
            const most =
              limit.kind === 'concurrency' ? 0 : each?.reserved ? step.used : Math.min(step.used, each?.units ?? 0)
            if (each !== undefined) settle(each, most, now)
          } else if (step.kind === 'write' && pending === undefined) {
            const checked = checkLeases(leases.values(), rollRow(row, limits, time), time, false)
            pending = planWrite({
              leases,
              row: checked.row,
              nonce: `${now}`,
              time,
              now,
              waiting: step.wanted === 0 ? [] : [{ claims: [{ subject, limit, units: step.wanted }] }],
              holder: undefined,
              renew: true,
              tells: false,
              keep: () => step.keep,
            })
            if (pending !== undefined) beginWrite(pending)
          } else if (step.kind === 'reply' && pending !== undefined) {
            if (step.reply === 'applied') {
              row = pending.row
              commit(pending)
            } else if (step.reply === 'refused') rollback(pending)
            else abandon(leases.values())
            pending = undefined
          } else if (step.kind === 'pass') now += step.ms
          else if (step.kind === 'lose' && pending === undefined) row = NO_ROW
          assertLease(lease)
        }
      }),
      { numRuns: 500 },
    )
  },
)
