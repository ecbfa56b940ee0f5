import { expect, test } from 'vitest'
import { quantile, spread } from './statistics.ts'

test.each([
  [[1, 2, 3, 4], 0.5, 2],
  [[1, 2, 3, 4], 0.99, 4],
  [[7], 0.5, 7],
  [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 0.9, 9],
])('of %j the quantile %d is %d', (sorted, share, value) => {
  expect(quantile(sorted, share)).toBe(value)
})

test.each([
  [[3, 1, 2], { median: 2, least: 1, most: 3 }],
  [[4, 1, 3, 2], { median: 2.5, least: 1, most: 4 }],
  [[5], { median: 5, least: 5, most: 5 }],
])('the spread of %j is %j', (values, expected) => {
  expect(spread(values)).toEqual(expected)
})

test('of nothing, nothing is claimed', () => {
  expect([quantile([], 0.5), spread([]).median]).toEqual([Number.NaN, Number.NaN])
})
