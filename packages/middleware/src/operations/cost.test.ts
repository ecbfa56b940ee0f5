import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TokenPrice, TokenUsage } from '../pipeline/index.ts'
import { costOf, outputFor } from './index.ts'

/** Up to USD 10,000 a million tokens, in pico-dollars a token: the most that a policy can say. */
const part = fc.integer({ min: 0, max: 10_000_000_000 })
const price: fc.Arbitrary<TokenPrice> = fc
  .record({ input: part, cachedInput: part, output: part })
  .map((given) => ({ ...given, cachedInput: Math.min(given.cachedInput, given.input) }))
const tokens = fc.oneof(fc.integer({ min: 0, max: 5_000 }), fc.integer({ min: 0, max: 1_000_000_000_000 }))
const usage: fc.Arbitrary<TokenUsage> = fc
  .record({ input: tokens, share: fc.double({ min: 0, max: 1, noNaN: true }), output: tokens })
  .map(({ input, share, output }) => ({ input, cachedInput: Math.floor(input * share), output }))

const exact = ({ input, cachedInput, output }: TokenUsage, price: TokenPrice) =>
  BigInt(input - cachedInput) * BigInt(price.input) +
  BigInt(cachedInput) * BigInt(price.cachedInput) +
  BigInt(output) * BigInt(price.output)
const isCountable = (pico: bigint) => pico <= BigInt(Number.MAX_SAFE_INTEGER) * 1_000n

describe('a cost', () => {
  test('is that of a known model: 1,000 tokens in, 400 of them cached, and 100 out', () => {
    // USD 0.15, 0.075 and 0.60 a million.
    const price = { input: 150_000, cachedInput: 75_000, output: 600_000 }
    expect(costOf({ input: 1_000, cachedInput: 400, output: 100 }, price)).toBe(90_000 + 30_000 + 60_000)
  })

  test('is the exact one, rounded up to a whole nano-dollar, or as large as can be counted', () => {
    fc.assert(
      fc.property(usage, price, (usage, price) => {
        const pico = exact(usage, price)
        const cost = costOf(usage, price)
        expect(Number.isSafeInteger(cost)).toBe(true)
        if (isCountable(pico)) expect(BigInt(cost) * 1_000n >= pico && (BigInt(cost) - 1n) * 1_000n < pico).toBe(true)
        else expect(cost).toBe(Number.MAX_SAFE_INTEGER)
      }),
    )
  })

  test('is never less for more tokens, nor for fewer that were cached', () => {
    fc.assert(
      fc.property(usage, usage, price, (one, other, price) => {
        const { input, cachedInput, output } = one
        const more = { input: input + other.input, cachedInput, output: output + other.output }
        expect(costOf(more, price)).toBeGreaterThanOrEqual(costOf(one, price))
        expect(costOf({ ...one, cachedInput: 0 }, price)).toBeGreaterThanOrEqual(costOf(one, price))
      }),
    )
  })
})

test('the output that an amount pays for is the most that it does', () => {
  fc.assert(
    fc.property(fc.integer({ min: 0, max: 1_000_000_000_000_000 }), tokens, price, (nano, input, price) => {
      const most = outputFor(nano, input, price)
      const cost = (output: number) => costOf({ input, cachedInput: 0, output }, price)
      if (most < 0) expect(cost(0)).toBeGreaterThan(nano)
      else if (price.output === 0) expect([most, cost(0) <= nano]).toEqual([Number.POSITIVE_INFINITY, true])
      else if (most === Number.MAX_SAFE_INTEGER) expect(cost(most)).toBeLessThanOrEqual(nano)
      else expect([cost(most) <= nano, cost(most + 1) > nano]).toEqual([true, true])
    }),
  )
})
