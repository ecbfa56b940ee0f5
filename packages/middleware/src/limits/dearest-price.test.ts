import fc from 'fast-check'
import { expect, test } from 'vitest'
import { costOf, worstPrice } from '../operations/index.ts'
import type { Price, TokenKind, Usage } from '../pipeline/index.ts'
import { dearestPrice, type PriceDocument, priceFaults, pricesAt, resolvePrice } from '../policy/index.ts'

/*
 * A call is reserved for before it is known which of several targets serves it, and is charged by the price of the one that did.
 * So the dearest of their prices must be the most that any of them costs.
 */

const KINDS = ['input', 'cachedInput', 'cacheWrite', 'audioInput', 'output', 'audioOutput'] as const
const TIERS = ['flex', 'priority', 'default'] as const
const TOOLS = ['web_search', 'mcp'] as const

const dollars = fc.integer({ min: 0, max: 40_000_000 }).map((millionths) => millionths / 1e6)
const multiple = fc.integer({ min: 0, max: 3_000 }).map((thousandths) => thousandths / 1e3)
const times = multiple.map((number) => `${number}x`)
const some = <T>(each: fc.Arbitrary<T>) => fc.option(each, { nil: undefined })
const few = <Name extends string, T>(names: readonly Name[], each: fc.Arbitrary<T>) =>
  fc.dictionary(fc.constantFrom(...names), each, { maxKeys: names.length })

const rates = fc
  .record({
    kinds: few(KINDS, dollars),
    input: dollars,
    output: dollars,
    above: some(fc.record({ tokens: fc.integer({ min: 1, max: 300 }), input: times, output: times })),
  })
  .map(({ kinds, above, ...own }) => ({ ...kinds, ...own, ...(above && { above }) }))

const document: fc.Arbitrary<PriceDocument> = fc
  .record({
    rates,
    tiers: some(few(TIERS, fc.oneof(multiple, rates))),
    zone: some(multiple),
    tools: some(few(TOOLS, dollars)),
  })
  .map(({ rates, ...own }) =>
    Object.fromEntries(Object.entries({ ...rates, ...own }).filter(([, part]) => part !== undefined)),
  )

const target = fc
  .record({ document, ptu: fc.boolean(), zone: fc.constantFrom('eu', undefined) })
  .filter(({ document }) => priceFaults(document, 'price').length === 0)
  .map(({ document, ...place }) => pricesAt(resolvePrice(document), place))
const targets = fc.array(target, { minLength: 1, maxLength: 4 })

const count = fc.integer({ min: 0, max: 200 })
const usage: fc.Arbitrary<Usage> = fc
  .record({
    tokens: few([...KINDS, 'videoInput', 'videoOutput'] as TokenKind[], count),
    tier: some(fc.constantFrom(...TIERS, 'standard', 'scale')),
    toolCalls: some(few([...TOOLS, 'code_interpreter'], fc.integer({ min: 0, max: 5 }))),
  })
  .map(({ tier, toolCalls, ...taken }) => ({ ...taken, ...(tier && { tier }), ...(toolCalls && { toolCalls }) }))

const RUNS = { numRuns: 1_000 }

test('no usage costs less by the dearest of several prices than by one of them, spilled over or not', () => {
  let dearer = 0
  fc.assert(
    fc.property(targets, usage, (targets, usage) => {
      const dearest = dearestPrice(targets) as Price
      const most = costOf(usage, dearest)
      for (const { price, spilloverPrice } of targets) {
        for (const each of [price, spilloverPrice]) {
          if (each === undefined) continue
          const cost = costOf(usage, each)
          expect(most).toBeGreaterThanOrEqual(cost)
          if (most > cost) dearer += 1
        }
      }
    }),
    RUNS,
  )
  expect(dearer).toBeGreaterThan(100)
})

test('what is reserved by it covers what any of them bills, in each tier that may serve', () => {
  const tiers = fc.uniqueArray(fc.constantFrom(...TIERS, 'scale'), { maxLength: 3 })
  fc.assert(
    fc.property(targets, usage, tiers, (targets, usage, served) => {
      const dearest = dearestPrice(targets) as Price
      const kinds = Object.keys(usage.tokens)
      const read = kinds
        .filter((kind) => !/output$/i.test(kind))
        .reduce((sum, kind) => sum + (usage.tokens[kind] ?? 0), 0)
      const written = kinds.reduce((sum, kind) => sum + (usage.tokens[kind] ?? 0), 0) - read
      const worst = worstPrice(dearest, { tiers: served, kinds, input: read })
      const { toolCalls } = usage
      const reserved = costOf({ tokens: { input: read, output: written }, ...(toolCalls && { toolCalls }) }, worst)
      for (const tier of [undefined, ...served]) {
        for (const { price, spilloverPrice } of targets) {
          const billed = { ...usage, tier }
          for (const each of [price, spilloverPrice]) {
            if (each !== undefined) expect(reserved).toBeGreaterThanOrEqual(costOf(billed as Usage, each))
          }
        }
      }
    }),
    RUNS,
  )
})

test('it is one of the prices where they differ in the zone alone, and of one target its own', () => {
  fc.assert(
    fc.property(document, multiple, (document, zone) => {
      fc.pre(priceFaults(document, 'price').length === 0)
      const price = resolvePrice({ ...document, zone })
      const placed = ['eu', undefined].map((zone) => pricesAt(price, { ptu: false, zone }))
      const dearest = dearestPrice(placed)
      expect(dearest).toEqual(placed[zone >= 1 ? 0 : 1]?.price)
      expect(dearestPrice(placed)).toBe(dearest)
      expect(dearestPrice(placed.slice(0, 1))).toEqual(placed[0]?.price)
    }),
  )
})

test('there is none where one of the targets has no price, and where there is no target', () => {
  const priced = pricesAt(resolvePrice({ input: 1, output: 2 }), { ptu: false, zone: undefined })
  expect(dearestPrice([priced, { price: undefined }])).toBeUndefined()
  expect(dearestPrice([])).toBeUndefined()
})

test('of prices of several models, each kind, tier, length and tool is the dearest of all', () => {
  const documents: PriceDocument[] = [
    {
      input: 1,
      output: 8,
      cachedInput: 0.1,
      tiers: { flex: 0.5 },
      zone: 1.5,
      tools: { web_search: 0.01 },
      covers: ['speed'],
    },
    {
      input: 2,
      output: 6,
      above: { tokens: 100, input: '2x', output: '1x' },
      tiers: { priority: 2 },
      covers: ['speed', 'plugins'],
    },
  ]
  const targets = documents.map((document) => pricesAt(resolvePrice(document), { ptu: false, zone: 'eu' }))
  expect(dearestPrice(targets)).toEqual({
    rates: { input: 2_000_000, cachedInput: 2_000_000, output: 12_000_000 },
    above: { tokens: 100, rates: { input: 4_000_000, cachedInput: 4_000_000, output: 12_000_000 }, perPico: 1 },
    tiers: {
      flex: {
        rates: { input: 4_000_000, cachedInput: 4_000_000, output: 12_000_000 },
        above: { tokens: 100, rates: { input: 8_000_000, cachedInput: 8_000_000, output: 12_000_000 }, perPico: 1 },
      },
      priority: {
        rates: { input: 4_000_000, cachedInput: 4_000_000, output: 12_000_000 },
        above: { tokens: 100, rates: { input: 8_000_000, cachedInput: 8_000_000, output: 12_000_000 }, perPico: 1 },
      },
    },
    tools: { web_search: 10_000_000_000 },
    covers: ['speed'],
  })
})
