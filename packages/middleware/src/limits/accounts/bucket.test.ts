import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { available, type Bucket, type BucketSize, fullBucket, roll, take, waitFor } from './bucket.ts'

const size = fc.record({
  capacity: fc.integer({ min: 1, max: 1_000 }),
  refill: fc.integer({ min: 1, max: 1_000 }),
  periodMs: fc.constantFrom(1_000, 60_000, 3_600_000, 86_400_000),
})
const steps = fc.array(
  fc.record({ after: fc.integer({ min: 0, max: 5_000 }), wanted: fc.integer({ min: 0, max: 50 }) }),
  { maxLength: 40 },
)

/** Takes as much as is wanted and there, step by step; the admissions with their times. */
function run(limit: BucketSize, sequence: { after: number; wanted: number }[]): { at: number; taken: number }[] {
  let bucket: Bucket = fullBucket(limit, 0)
  let at = 0
  return sequence.map(({ after, wanted }) => {
    at += after
    bucket = roll(bucket, limit, at)
    const taken = Math.min(wanted, available(bucket, limit))
    bucket = take(bucket, limit, taken)
    return { at, taken }
  })
}

describe('a bucket', () => {
  test('admits at most B + r·W in every interval W', () => {
    fc.assert(
      fc.property(size, steps, (limit, sequence) => {
        const admissions = run(limit, sequence)
        for (const [i, first] of admissions.entries()) {
          let admitted = 0
          for (const last of admissions.slice(i)) {
            admitted += last.taken
            expect(admitted * limit.periodMs).toBeLessThanOrEqual(
              limit.capacity * limit.periodMs + limit.refill * (last.at - first.at),
            )
          }
        }
      }),
    )
  })

  test('loses nothing to rounding: however often it is looked at, the same comes back', () => {
    fc.assert(
      fc.property(size, fc.array(fc.integer({ min: 0, max: 777 }), { maxLength: 50 }), (limit, pauses) => {
        const empty: Bucket = { level: 0, at: 0 }
        const total = pauses.reduce((sum, pause) => sum + pause, 0)
        let at = 0
        const often = pauses.reduce((bucket, pause) => {
          at += pause
          return roll(bucket, limit, at)
        }, empty)
        expect(often).toEqual(roll(empty, limit, total))
      }),
    )
  })

  test('says exactly how long to wait: then there is room, and a millisecond before there is not', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 0, max: 1_000_000 }), (limit, level) => {
        const bucket: Bucket = { level: Math.min(level, limit.periodMs - 1), at: 1_000 }
        const wait = waitFor(bucket, limit, 1_000)
        expect(available(roll(bucket, limit, 1_000 + wait), limit)).toBeGreaterThanOrEqual(1)
        expect(available(roll(bucket, limit, 1_000 + wait - 1), limit)).toBe(0)
      }),
    )
  })

  test('never goes back in time, and stays within 0 and its capacity', () => {
    fc.assert(
      fc.property(size, fc.integer({ min: 0, max: 10_000 }), fc.integer({ min: 0, max: 10_000 }), (limit, at, now) => {
        const rolled = roll({ level: 0, at }, limit, now)
        expect(rolled.at).toBe(Math.max(at, now))
        expect(rolled.level).toBeGreaterThanOrEqual(0)
        expect(rolled.level).toBeLessThanOrEqual(limit.capacity * limit.periodMs)
      }),
    )
  })

  test('can’t be overdrawn', () => {
    const limit = { capacity: 2, refill: 1, periodMs: 1_000 }
    expect(() => take(fullBucket(limit, 0), limit, 3)).toThrow(RangeError)
  })
})
