import { expect, test } from 'vitest'
import { count, dollars, duration, exactDollars, utc } from './figures.ts'

test.each([
  [0, '$0'],
  [1, '<$0.01'],
  [9_999_999, '<$0.01'],
  [10_000_000, '$0.0100'],
  [123_456_789, '$0.123'],
  [999_400_000, '$0.999'],
  [999_600_000, '$1.00'],
  [12_345_000_000, '$12.35'],
  [999_990_000_000, '$999.99'],
  [999_996_000_000, '$1,000'],
  [1_234_567_890_000_000, '$1,234,568'],
])('%i nano-dollars in a table are %s', (nano, text) => {
  expect(dollars(nano)).toBe(text)
})

test.each([
  [0, '$0'],
  [1, '$0.000000001'],
  [11_850, '$0.00001185'],
  [1_234_000, '$0.001234'],
  [5_000_000_000, '$5.000000'],
])('%i nano-dollars of one request are %s', (nano, text) => {
  expect(exactDollars(nano)).toBe(text)
})

test.each([
  [0, '0'],
  [9_999_999, '9,999,999'],
  [12_400_000, '12.4M'],
  [1_240_000_000, '1.24B'],
])('%i is %s', (units, text) => {
  expect(count(units)).toBe(text)
})

test.each([
  [0.04, '0 ms'],
  [9.24, '9.2 ms'],
  [840.4, '840 ms'],
  [999.6, '1.00 s'],
  [1_840, '1.84 s'],
  [725_000, '12 m 5 s'],
])('%d milliseconds are %s', (ms, text) => {
  expect(duration(ms)).toBe(text)
})

test('times are UTC, and say so', () => {
  expect(utc(Date.UTC(2026, 10, 27, 14, 22, 40))).toBe('2026-11-27 14:22:40 UTC')
})
