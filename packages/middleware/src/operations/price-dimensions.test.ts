import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Price, TokenRates, Usage } from '../pipeline/index.ts'
import { costOf, outputFor, worstPrice } from './index.ts'

/*
 * The same sums in another way: each token's price as a fraction in lowest terms, added one kind after the other.
 */
type Fraction = readonly [bigint, bigint]
const gcd = (a: bigint, b: bigint): bigint => (b === 0n ? a : gcd(b, a % b))
const fraction = (a: bigint, b: bigint): Fraction => {
  const divisor = gcd(a, b) || 1n
  return [a / divisor, b / divisor]
}
const plus = ([a, b]: Fraction, [c, d]: Fraction) => fraction(a * d + c * b, b * d)
const times = ([a, b]: Fraction, [c, d]: Fraction) => fraction(a * c, b * d)
const over = (value: number, by: bigint) => fraction(BigInt(value), by)
const ceiling = ([a, b]: Fraction) => (a + b - 1n) / b

const READ = ['input', 'cachedInput', 'cacheWrite', 'cacheWriteLong', 'audioInput', 'videoInput']
const WRITTEN = ['output', 'audioOutput']
const KINDS = [...READ, ...WRITTEN]
const PRICED = KINDS.filter((kind) => kind !== 'videoInput')

function reckoned({ tokens, tier, toolCalls = {} }: Usage, price: Price): bigint {
  const read = READ.reduce((sum, kind) => sum + (tokens[kind] ?? 0), 0)
  const dollarsAt = (served: string | undefined): Fraction => {
    const own = served === undefined ? undefined : price.tiers?.[served]
    const table: TokenRates = typeof own === 'object' ? own : price
    const long = table.above !== undefined && read > table.above.tokens ? table.above : undefined
    // Dollars a token.
    const rate = (kind: string): Fraction => {
      const rates = long?.rates ?? table.rates
      const pico = rates[kind] ?? Math.max(...Object.values(rates).map(Number))
      return over(pico, 1_000_000_000_000n * BigInt(long?.perPico ?? 1))
    }
    let sum: Fraction = [0n, 1n]
    for (const kind of KINDS) sum = plus(sum, times(rate(kind), [BigInt(tokens[kind] ?? 0), 1n]))
    if (typeof own === 'number') sum = times(sum, over(own, 1_000n))
    return times(sum, over(price.zone ?? 1_000, 1_000n))
  }
  const named = tier !== undefined && price.tiers?.[tier] !== undefined
  const served = named
    ? [tier]
    : tier === undefined || tier === 'default'
      ? [undefined]
      : [undefined, ...Object.keys(price.tiers ?? {})]
  const nano = served.map((each) => {
    let dollars = dollarsAt(each)
    for (const [tool, calls] of Object.entries(toolCalls)) {
      const all = Object.values(price.tools ?? {})
      const pico = price.tools?.[tool] ?? Math.max(0, ...all)
      dollars = plus(dollars, times(over(pico, 1_000_000_000_000n), [BigInt(calls), 1n]))
    }
    return ceiling(times(dollars, [1_000_000_000n, 1n]))
  })
  return nano.reduce((most, each) => (each > most ? each : most))
}

const pico = fc.oneof(fc.integer({ min: 0, max: 100 }), fc.integer({ min: 0, max: 10_000_000_000 }))
const thousandths = fc.constantFrom(0, 1, 500, 999, 1_000, 1_100, 1_667, 2_000, 100_000)
const rates = fc.record(Object.fromEntries(PRICED.map((kind) => [kind, pico])) as Record<string, typeof pico>, {
  requiredKeys: ['input', 'output'],
})
const tableOf: fc.Arbitrary<TokenRates> = fc
  .tuple(rates, fc.option(fc.tuple(fc.integer({ min: 1, max: 2_000 }), fc.constantFrom(1_000, 1_500, 2_000, 1_001))))
  .map(([rates, above]) => {
    if (above === null) return { rates }
    const [tokens, by] = above
    const long = Object.fromEntries(Object.entries(rates).map(([kind, rate]) => [kind, Number(rate) * by]))
    return { rates, above: { tokens, rates: long, perPico: 1_000 } }
  })
const TIERS = ['flex', 'priority', 'batch']
const prices: fc.Arbitrary<Price> = fc
  .record({
    table: tableOf,
    tiers: fc.dictionary(fc.constantFrom(...TIERS), fc.oneof(thousandths, tableOf), { maxKeys: 3 }),
    zone: fc.option(thousandths, { nil: undefined }),
    tools: fc.dictionary(fc.constantFrom('web_search', 'file_search'), fc.integer({ min: 0, max: 10_000_000_000_000 })),
  })
  .map(({ table, tiers, zone, tools }) => ({ ...table, tiers, tools, ...(zone === undefined ? {} : { zone }) }))
const count = fc.oneof(fc.nat(3_000), fc.constantFrom(0, 1, 1_000_000_000_000))
const usages: fc.Arbitrary<Usage> = fc.record(
  {
    tokens: fc.record(Object.fromEntries(KINDS.map((kind) => [kind, count])) as Record<string, typeof count>, {
      requiredKeys: [],
    }),
    tier: fc.constantFrom(...TIERS, 'default', 'never_heard_of'),
    toolCalls: fc.dictionary(fc.constantFrom('web_search', 'file_search', 'mcp'), fc.nat(200)),
  },
  { requiredKeys: ['tokens'] },
)
const MOST = BigInt(Number.MAX_SAFE_INTEGER)

describe('a cost by every dimension of a price', () => {
  test('is the exact one, rounded up once, at the end', () => {
    fc.assert(
      fc.property(usages, prices, (usage, price) => {
        const exact = reckoned(usage, price)
        expect(BigInt(costOf(usage, price))).toBe(exact > MOST ? MOST : exact)
      }),
      { numRuns: 3_000 },
    )
  })

  test.each<[string, Usage, Price, number]>([
    [
      'a kind that nobody priced, at the highest rate',
      { tokens: { input: 10, videoInput: 10 } },
      { rates: { input: 1_000, output: 8_000 } },
      10 + 80,
    ],
    [
      'all of a prompt that is too long, and not one of just that length',
      { tokens: { input: 101, output: 1 } },
      {
        rates: { input: 1_000, output: 8_000 },
        above: { tokens: 100, rates: { input: 2_000_000, output: 12_000_000 }, perPico: 1_000 },
      },
      202 + 12,
    ],
    [
      'a prompt of just that length',
      { tokens: { input: 60, cachedInput: 40, output: 1 } },
      {
        rates: { input: 1_000, cachedInput: 100, output: 8_000 },
        above: { tokens: 100, rates: { input: 2_000_000, cachedInput: 200_000, output: 12_000_000 }, perPico: 1_000 },
      },
      60 + 4 + 8,
    ],
    [
      'a tier and a zone, but not for tools',
      { tokens: { input: 100 }, tier: 'flex', toolCalls: { web_search: 3 } },
      { rates: { input: 1_000, output: 0 }, tiers: { flex: 500 }, zone: 1_100, tools: { web_search: 10_000_000_000 } },
      55 + 30_000_000,
    ],
    [
      'a tier that nobody priced, as the dearest one',
      { tokens: { input: 100 }, tier: 'scale' },
      { rates: { input: 1_000, output: 0 }, tiers: { flex: 500, priority: 2_500 } },
      250,
    ],
    ['a part of a nano-dollar, as a whole one', { tokens: { input: 1 } }, { rates: { input: 1, output: 0 } }, 1],
  ])('counts %s', (_what, usage, price, nano) => {
    expect(costOf(usage, price)).toBe(nano)
  })
})

describe('the worst that a call can cost', () => {
  const asked = fc.record({
    tier: fc.constantFrom(undefined, ...TIERS),
    kinds: fc.subarray(['cacheWrite', 'cacheWriteLong', 'audioInput', 'audioOutput', 'videoInput']),
  })

  test('is never below what it costs, whatever is told of what was reserved', () => {
    fc.assert(
      fc.property(
        usages,
        prices,
        asked,
        fc.constantFrom(undefined, ...TIERS),
        (usage, price, { tier, kinds }, served) => {
          const allowed = tier === undefined ? TIERS : [tier]
          // What nobody has priced, asked for or heard of can't be reserved: it is settled.
          const servedTables = allowed.flatMap((tier) => {
            const own = price.tiers?.[tier]
            return typeof own === 'object' ? [own] : []
          })
          const known = (kind: string) =>
            kinds.includes(kind) || [price, ...servedTables].some(({ rates }) => rates[kind] !== undefined)
          const brought = KINDS.filter(
            (kind) => known(kind) && (kinds.includes(kind) || /^(?:input|cached|cacheWrite$|output)/.test(kind)),
          )
          const tokens = Object.fromEntries(Object.entries(usage.tokens).filter(([kind]) => brought.includes(kind)))
          const sum = (side: readonly string[]) => side.reduce((all, kind) => all + Number(tokens[kind] ?? 0), 0)
          const input = sum(READ)
          const worst = worstPrice(price, { tiers: allowed, kinds, input })
          const most = costOf({ tokens: { input, output: sum(WRITTEN) } }, worst)
          const told: Usage = { tokens, ...(served !== undefined && allowed.includes(served) ? { tier: served } : {}) }
          expect(most).toBeGreaterThanOrEqual(costOf(told, price))
          // As long as what was reserved, or shorter.
          const shorter = Object.fromEntries(
            Object.entries(tokens).map(([kind, all]) => [kind, Math.floor(Number(all) / 2)]),
          )
          expect(most).toBeGreaterThanOrEqual(costOf({ ...told, tokens: shorter }, price))
        },
      ),
      { numRuns: 2_000 },
    )
  })

  test('is that of plain prices for a plain price', () => {
    const price: Price = { rates: { input: 2_000_000, cachedInput: 1_000_000, output: 8_000_000 } }
    expect(worstPrice(price, { tiers: [], kinds: [], input: 1_000 })).toEqual({
      rates: { input: 2_000_000, output: 8_000_000 },
    })
  })

  test('is kept in mind by the price’s own names alone, whatever requests name', () => {
    const price: Price = { rates: { input: 1_000, output: 8_000 }, tiers: { flex: 500 } }
    const asked = (name: string) =>
      worstPrice(price, { tiers: [name], kinds: [`${name}Output`, `${name}Input`], input: 1 })
    expect(asked('one')).toBe(asked('other'))
    const order = (kinds: readonly string[]) => worstPrice(price, { tiers: [], kinds, input: 1 })
    expect(order(['audioInput', 'audioOutput'])).toBe(order(['audioOutput', 'imageInput']))
  })

  test('counts what is named like a part of every object', () => {
    const price: Price = { rates: { input: 1_000, output: 8_000 }, tools: { mcp: 5_000_000 } }
    const usage: Usage = {
      tokens: { input: 1, constructor: 1 },
      toolCalls: { constructor: 1, toString: 1 },
      tier: 'valueOf',
    }
    expect(costOf(usage, price)).toBe(1 + 8 + 10_000)
  })

  test('leaves so much output as is paid for, beside calls of tools', () => {
    fc.assert(
      fc.property(prices, fc.nat(5_000_000), fc.nat(1_000), fc.nat(3), (price, nano, input, calls) => {
        const worst = worstPrice(price, { tiers: TIERS, kinds: [], input })
        const usage: Usage = { tokens: { input }, toolCalls: { web_search: calls } }
        const most = outputFor(nano, usage, worst)
        const cost = (output: number) => costOf({ ...usage, tokens: { input, output } }, worst)
        if (most < 0) expect(cost(0)).toBeGreaterThan(nano)
        else if (most === Number.POSITIVE_INFINITY) expect(cost(1_000_000)).toBeLessThanOrEqual(nano)
        else expect([cost(most) <= nano, cost(most + 1) > nano]).toEqual([true, true])
      }),
      { numRuns: 1_000 },
    )
  })
})
