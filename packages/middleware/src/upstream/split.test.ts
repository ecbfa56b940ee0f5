import fc from 'fast-check'
import { expect, test } from 'vitest'
import { partsInOrder } from './split.ts'

const KEYS = Array.from({ length: 20_000 }, (_, index) => `consumer-${index}`)

type Weights = Readonly<Record<string, number>>

const splitOf = (weights: Weights, name = 'ab') => ({
  name,
  parts: Object.entries(weights).map(([model, weight]) => ({ model, weight })),
})

const firstOf = (weights: Weights, key: string, name?: string) => partsInOrder(splitOf(weights, name), key)[0]?.model

/** Four standard deviations of a share among all keys. */
const tolerance = (share: number) => 4 * Math.sqrt((share * (1 - share)) / KEYS.length)

test.each<[Weights]>([[{ chat: 90, lambda: 10 }], [{ a: 1, b: 2, c: 3, d: 4 }], [{ a: 999, b: 1 }]])(
  'each part of %o has its share, also of those that a part leaves to the others',
  (weights) => {
    const parts = Object.entries(weights)
    const sum = parts.reduce((all, [, weight]) => all + weight, 0)
    for (const [name, weight] of parts) {
      const share = KEYS.filter((key) => firstOf(weights, key) === name).length / KEYS.length
      expect(Math.abs(share - weight / sum)).toBeLessThan(tolerance(weight / sum))
    }
    const [[left, leftWeight] = ['', 0], ...others] = parts
    const theirs = KEYS.map((key) => partsInOrder(splitOf(weights), key).find(({ model }) => model !== left)?.model)
    for (const [name, weight] of others) {
      const share = theirs.filter((each) => each === name).length / KEYS.length
      const expected = weight / (sum - leftWeight)
      expect(Math.abs(share - expected)).toBeLessThanOrEqual(tolerance(expected))
    }
  },
)

const weights = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), fc.integer({ min: 1, max: 1_000 }), {
  minKeys: 2,
})
const few = KEYS.slice(0, 200)

test('a part that gains weight only takes keys, and one that loses weight only gives them away', () => {
  fc.assert(
    fc.property(weights, fc.nat(), fc.integer({ min: 1, max: 1_000 }), (before, pick, weight) => {
      const names = Object.keys(before)
      const changed = names[pick % names.length] ?? ''
      const after = { ...before, [changed]: weight }
      for (const key of few) {
        const [was, is] = [firstOf(before, key), firstOf(after, key)]
        if (was === is) continue
        if (weight > (before[changed] ?? 0)) expect(is).toBe(changed)
        else expect(was).toBe(changed)
      }
    }),
    { numRuns: 50 },
  )
})

test('a part that is added or taken away moves its own keys alone, and the order of writing moves none', () => {
  fc.assert(
    fc.property(weights, (all) => {
      const [[gone] = [''], ...others] = Object.entries(all)
      const less = Object.fromEntries(others)
      for (const key of few) {
        const was = firstOf(all, key)
        if (was !== gone) expect(firstOf(less, key)).toBe(was)
        expect(firstOf(Object.fromEntries(Object.entries(all).toReversed()), key)).toBe(was)
      }
    }),
    { numRuns: 50 },
  )
})

test('who is on a part of one split is on any part of another', () => {
  const even = { a: 1, b: 1 }
  const both = KEYS.filter((key) => firstOf(even, key, 'one') === 'a' && firstOf(even, key, 'two') === 'a')
  expect(Math.abs(both.length / KEYS.length - 1 / 4)).toBeLessThan(tolerance(1 / 4))
})

test('every instance, of whichever version, decides alike', () => {
  // Written down once: a change of these moves consumers to other models.
  const chosen = ['alice', 'bob', 'carol', 'dave', 'erin', 'frank', 'grace', 'heidi'].map((key) =>
    firstOf({ chat: 50, lambda: 50 }, key),
  )
  expect(chosen).toEqual(['lambda', 'chat', 'lambda', 'lambda', 'lambda', 'chat', 'chat', 'lambda'])
})

test('a part without weight gets nothing', () => {
  expect(partsInOrder(splitOf({ a: 0, b: 1 }), 'x').map(({ model }) => model)).toEqual(['b'])
})
