import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { TokenUsage } from '../pipeline/index.ts'
import { costOf as cost, outputFor as output } from './index.ts'

type TokenPrice = Pick<TokenUsage, 'input' | 'cachedInput' | 'output'>

/** A usage as it is told, where what was cached is a part of the input. */
const costOf = ({ input, cachedInput, output }: TokenUsage, rates: TokenPrice) =>
  cost({ tokens: { input: input - cachedInput, cachedInput, output } }, { rates: { ...rates } })
const outputFor = (nanoUsd: number, input: number, rates: TokenPrice) =>
  output(nanoUsd, { tokens: { input } }, { rates: { ...rates } })

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

/** Factors whose product is near the largest whole number that is exact. */
const nearExact = fc
  .tuple(fc.integer({ min: 1, max: 10_000_000_000 }), fc.integer({ min: -3, max: 3 }), fc.constantFrom(1, 2, 1_000))
  .map(([factor, off, share]) => ({
    factor,
    other: Math.max(0, Math.floor(Number.MAX_SAFE_INTEGER / factor / share) + off),
  }))
const small = fc.integer({ min: 0, max: 3 })

describe('around the largest whole number that is exact', () => {
  test('a cost is the exact one', () => {
    fc.assert(
      fc.property(nearExact, small, small, small, ({ factor, other }, input, cached, unit) => {
        const usage = { input: input + cached, cachedInput: cached, output: other }
        const price = { input: unit, cachedInput: unit, output: factor }
        const nano = (exact(usage, price) + 999n) / 1_000n
        expect(costOf(usage, price)).toBe(Number(nano))
        const ofInput = { input: other + cached, cachedInput: cached, output: input }
        const inputPrice = { input: factor, cachedInput: unit, output: unit }
        expect(costOf(ofInput, inputPrice)).toBe(Number((exact(ofInput, inputPrice) + 999n) / 1_000n))
      }),
      { numRuns: 1_000 },
    )
  })

  test('the output that an amount pays for is the exact one', () => {
    const near = Math.floor(Number.MAX_SAFE_INTEGER / 1_000)
    fc.assert(
      fc.property(nearExact, fc.integer({ min: near - 5, max: near + 5 }), small, ({ factor, other }, nano, output) => {
        const price = { input: factor, cachedInput: 0, output }
        const left = BigInt(nano) * 1_000n - BigInt(other) * BigInt(factor)
        const most = left < 0n ? -1 : output === 0 ? Number.POSITIVE_INFINITY : Number(left / BigInt(output))
        expect(outputFor(nano, other, price)).toBe(Math.min(most, output === 0 ? most : Number.MAX_SAFE_INTEGER))
      }),
      { numRuns: 1_000 },
    )
  })
})
