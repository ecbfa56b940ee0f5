import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { RateLimit } from '../../policy/index.ts'
import { transfer } from './account.ts'
import { freeOfRate, openRate, type RateAccount, rateHas, rollRate } from './rate.ts'
import { slotFrom, unitsIn } from './slots.ts'

const START = Date.UTC(2026, 0, 1)
const certain = (now: number) => ({ earliest: now, latest: now })

const sizes = fc.record({
  capacity: fc.integer({ min: 1, max: 500 }),
  refill: fc.integer({ min: 1, max: 500 }),
  periodMs: fc.constantFrom(1_000, 60_000, 3_600_000),
})
const limitOf = (size: { capacity: number; refill: number; periodMs: number }): RateLimit => ({
  kind: 'rate',
  key: 'requests',
  name: 'requests',
  measure: 'requests',
  model: undefined,
  quota: size.capacity,
  burst: 0,
  ...size,
})
const steps = fc.array(
  fc.record({
    after: fc.integer({ min: 0, max: 9_000 }),
    take: fc.integer({ min: 0, max: 60 }),
    life: fc.integer({ min: 500, max: 20_000 }),
    width: fc.integer({ min: 0, max: 2_000 }),
  }),
  { maxLength: 40 },
)

describe('a rate’s account', () => {
  test('never holds and leases more than its capacity, and its time never goes back', () => {
    fc.assert(
      fc.property(sizes, steps, (size, sequence) => {
        let now = START
        let account = openRate(limitOf(size), certain(now))
        for (const { after, take, life, width } of sequence) {
          now += after
          const rolled = rollRate(account, { earliest: now, latest: now + width })
          expect(rolled.at).toBeGreaterThanOrEqual(account.at)
          account = lease(rolled, take, now + life)
          expect(account.level + unitsIn(account.out) * size.periodMs).toBeLessThanOrEqual(
            size.capacity * size.periodMs,
          )
          expect(account.level).toBeGreaterThanOrEqual(0)
        }
      }),
    )
  })

  test('comes to the same whether it is rolled at once or step by step, however its leases end on the way', () => {
    fc.assert(
      fc.property(
        sizes,
        steps,
        fc.array(fc.integer({ min: 1, max: 5_000 }), { maxLength: 12 }),
        (size, first, looks) => {
          let account = openRate(limitOf(size), certain(START))
          let now = START
          for (const { after, take, life } of first) {
            now += after
            account = lease(rollRate(account, certain(now)), take, now + life)
          }
          const end = now + looks.reduce((sum, look) => sum + look, 0)
          let stepwise = account
          for (const look of looks) {
            now += look
            stepwise = rollRate(stepwise, certain(now))
          }
          expect({ ...stepwise, at: end }).toEqual({ ...rollRate(account, certain(end)), at: end })
        },
      ),
    )
  })

  test('says exactly when it has so many units: then it has, and a millisecond before it has not', () => {
    fc.assert(
      fc.property(sizes, steps, fc.integer({ min: 1, max: 500 }), (size, sequence, wanted) => {
        let now = START
        let account = openRate(limitOf(size), certain(now))
        for (const { after, take, life } of sequence) {
          now += after
          account = lease(rollRate(account, certain(now)), take, now + life)
        }
        const at = rateHas(account, wanted)
        if (wanted > size.capacity) expect(at).toBe(Number.POSITIVE_INFINITY)
        else if (at === 0) expect(freeOfRate(account)).toBeGreaterThanOrEqual(wanted)
        else {
          expect(freeOfRate(rollRate(account, certain(at)))).toBeGreaterThanOrEqual(wanted)
          expect(freeOfRate(rollRate(account, certain(at - 1)))).toBeLessThan(wanted)
        }
      }),
    )
  })

  test('keeps its promise for whoever knows the time only roughly: B + r·W, and nothing on top', () => {
    fc.assert(
      fc.property(sizes, steps, (size, sequence) => {
        let now = START
        let account = openRate(limitOf(size), certain(now))
        const taken: { at: number; units: number }[] = []
        for (const { after, take, width } of sequence) {
          now += after
          // The true time lies anywhere in what is known of it.
          const early = Math.floor(width / 3)
          account = rollRate(account, { earliest: now - early, latest: now - early + width })
          const units = Math.min(take * 10, freeOfRate(account))
          account = { ...account, level: account.level - units * size.periodMs }
          taken.push({ at: now, units })
        }
        for (const [index, first] of taken.entries()) {
          let units = 0
          for (const last of taken.slice(index)) {
            units += last.units
            const most = size.capacity * size.periodMs + size.refill * (last.at - first.at)
            expect(units * size.periodMs).toBeLessThanOrEqual(most)
          }
        }
      }),
    )
  })
})

function lease(account: RateAccount, wanted: number, end: number): RateAccount {
  const granted = Math.min(wanted, freeOfRate(account))
  const move = { from: undefined, booked: 0, returned: 0, carried: 0, granted, to: slotFrom(end) }
  return transfer(account, move) as RateAccount
}
