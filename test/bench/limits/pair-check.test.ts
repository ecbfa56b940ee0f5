import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type Admitted, type Bound, provenExcess, worstExcess } from './pair-check.ts'

const bounds = fc.record({
  capacity: fc.integer({ min: 1, max: 5 }),
  perMs: fc.double({ min: 0, max: 2, noNaN: true }),
})
const moments = fc.array(fc.integer({ min: 0, max: 40 }), { minLength: 1, maxLength: 30 })
const requests = fc.array(
  fc.record({ called: fc.integer({ min: 0, max: 40 }), waited: fc.integer({ min: 0, max: 10 }) }),
  { minLength: 1, maxLength: 30 },
)

/** The definition: all pairs. */
function overAllPairs(admitted: readonly Admitted[], { capacity, perMs }: Bound): number {
  const excesses = admitted.flatMap(({ called: from }) =>
    admitted
      .filter(({ resolved }) => resolved >= from)
      .map(({ resolved: to }) => {
        const within = admitted.filter(({ called, resolved }) => called >= from && resolved <= to).length
        return within === 0 ? Number.NEGATIVE_INFINITY : within - capacity - perMs * (to - from)
      }),
  )
  return Math.max(...excesses)
}

test('the check by stamps finds the worst pair', () => {
  fc.assert(
    fc.property(moments, bounds, (stamps, bound) => {
      const instant = stamps.map((stamp) => ({ called: stamp, resolved: stamp }))
      expect(worstExcess(stamps, bound)).toBeCloseTo(overAllPairs(instant, bound), 9)
    }),
  )
})

test('the check by calls and answers finds the worst pair, and blames no one for a delay', () => {
  fc.assert(
    fc.property(requests, bounds, (requests, bound) => {
      const admitted = requests.map(({ called, waited }) => ({ called, resolved: called + waited }))
      expect(provenExcess(admitted, bound)).toBeCloseTo(overAllPairs(admitted, bound), 9)
    }),
  )
})

test.each([
  ['B at once', 0, [0, 0, 0]],
  ['one more than B at once', 1, [0, 0, 0, 0]],
  ['B, and one when it has come back', 0, [0, 0, 0, 1000]],
  ['B, and one a little sooner', 0.1, [0, 0, 0, 900]],
  ['a pause that fills the bucket, and B again', 0, [0, 0, 0, 60_000, 60_000, 60_000]],
  ['one in each second, and a burst among them', 0.5, [1000, 2000, 3000, 4000, 4000, 4000, 4500].slice(2)],
])('%s: an excess of %d', (_what, excess, stamps) => {
  expect(worstExcess(stamps, { capacity: 3, perMs: 1 / 1000 })).toBeCloseTo(excess, 9)
})

test('of no admission, nothing is claimed', () => {
  expect([worstExcess([], { capacity: 1, perMs: 1 }), provenExcess([], { capacity: 1, perMs: 1 })]).toEqual([
    Number.NEGATIVE_INFINITY,
    Number.NEGATIVE_INFINITY,
  ])
})
