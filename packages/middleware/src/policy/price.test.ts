import { describe, expect, test } from 'vitest'
import { resolvePolicy, resolvePrice, type Target } from './index.ts'
import { type PriceDocument, price, priceFaults } from './price.ts'
import { BOOK_DATE, BOOK_NAMES, bookOf, isReasoning, nearBookNames, oldBookText } from './price-book.ts'

const OPTIONS = {
  source: 'test.yaml',
  bounds: { env: {}, readable: [], hosts: [] },
  defaultTarget: undefined,
}
const openai = { openai: { model: 'm' } }
const resolve = (models: object, plans?: object) => resolvePolicy({ models, ...(plans && { plans }) }, OPTIONS)
const faultOf = (document: object, target: object = {}) => {
  try {
    resolve({ m: { targets: [{ ...openai, ...target }], price: document } })
  } catch (error) {
    return String((error as Error).message)
  }
  throw new Error('It was accepted')
}
const targetOf = (document: object, target: object = {}): Target => {
  const [found] =
    resolve({ m: { targets: [{ ...openai, ...target }], price: document } }).models.get('m')?.targets ?? []
  if (found === undefined) throw new Error('There is no target')
  return found
}
const priceOf = (document: object, target?: object) => targetOf(document, target).price

describe('a price', () => {
  test('of each kind is in pico-dollars a token', () => {
    expect(
      priceOf({
        input: 1.25,
        cachedInput: 0.125,
        cacheWrite: 1.5625,
        cacheWriteLong: 2.5,
        audioInput: 40,
        imageInput: 2,
        output: 10,
        audioOutput: 80,
        imageOutput: 12,
      }),
    ).toEqual({
      rates: {
        input: 1_250_000,
        cachedInput: 125_000,
        cacheWrite: 1_562_500,
        cacheWriteLong: 2_500_000,
        audioInput: 40_000_000,
        imageInput: 2_000_000,
        output: 10_000_000,
        audioOutput: 80_000_000,
        imageOutput: 12_000_000,
      },
    })
  })

  test('above a length is a multiple, or in dollars, of every kind', () => {
    const above = { tokens: 272_000, input: '2x', output: '1.5x' }
    expect(priceOf({ input: 1.25, cachedInput: 0.125, output: 10, above })?.above).toEqual({
      tokens: 272_000,
      rates: { input: 2_500_000_000, cachedInput: 250_000_000, output: 15_000_000_000 },
      perPico: 1_000,
    })
    expect(priceOf({ input: 1, output: 8, above: { tokens: 9, input: 3 } })?.above?.rates).toEqual({
      input: 3_000_000_000,
      cachedInput: 3_000_000_000,
      output: 8_000_000_000,
    })
  })

  test('has tiers, a zone and tools', () => {
    const document = {
      input: 1,
      output: 8,
      zone: 1.1,
      tiers: { flex: 0.5, priority: { input: 2.5, output: 20 } },
      tools: { web_search: 0.01 },
    }
    expect(priceOf(document, { zone: 'eu' })).toMatchObject({
      tiers: { flex: 500, priority: { rates: { input: 2_500_000, cachedInput: 2_500_000, output: 20_000_000 } } },
      zone: 1_100,
      tools: { web_search: 10_000_000_000 },
    })
    expect(priceOf(document)).not.toHaveProperty('zone')
  })

  test('of a provisioned target is 0, but for tools, and the whole one for what spills over', () => {
    const document = { input: 1, output: 8, tiers: { flex: 0.5 }, tools: { web_search: 0.01 } }
    const { price, spilloverPrice } = targetOf(document, { ptu: true })
    expect(price).toEqual({ rates: { input: 0, output: 0 }, tiers: { flex: 0 }, tools: { web_search: 10_000_000_000 } })
    expect(spilloverPrice).toEqual(priceOf(document))
    expect(targetOf(document).spilloverPrice).toBeUndefined()
  })

  test('like one of the book is the book’s, but for what is written', () => {
    expect(priceOf({ like: 'openai/gpt-5-mini' })).toEqual(
      resolvePrice(bookOf('openai/gpt-5-mini')?.price ?? { input: 0 }),
    )
    expect(priceOf({ like: 'azure/gpt-5-mini', output: 3, tools: { mcp: 0.5 } })).toMatchObject({
      rates: { input: 250_000, cachedInput: 25_000, output: 3_000_000 },
      tools: { web_search: 10_000_000_000, mcp: 500_000_000_000 },
    })
    const model = resolve({ m: { targets: [openai], price: { like: 'openai/gpt-5-mini' } } }).models.get('m')
    expect(model).toMatchObject({ contextWindow: 400_000, outputField: 'max_completion_tokens', temperature: false })
    const own = {
      targets: [openai],
      price: { like: 'openai/gpt-5-mini' },
      contextWindow: 9,
      output: 'max_tokens',
      temperature: true,
    }
    expect(resolve({ m: own }).models.get('m')).toMatchObject({
      contextWindow: 9,
      outputField: 'max_tokens',
      temperature: true,
    })
  })

  test.each<[string, object, string]>([
    [
      'a multiple of four decimals',
      { input: 1, output: 1, tiers: { flex: 0.3333 } },
      'price.tiers.flex: must have at most 3 decimals: it multiplies a price',
    ],
    [
      'a tier that is a word',
      { input: 1, output: 1, tiers: { flex: 'half' } },
      'price.tiers.flex: must be a multiple such as 0.5, or prices such as {input: 1, output: 8}',
    ],
    [
      'half a tier',
      { input: 1, output: 1, tiers: { flex: { input: 1 } } },
      'price.tiers.flex.output: missing. Write for instance output: 0.60',
    ],
    [
      'a tier dearer from the cache',
      { input: 1, output: 1, tiers: { flex: { input: 1, output: 1, cachedInput: 2 } } },
      'price.tiers.flex.cachedInput: must not be above input',
    ],
    [
      'a tier with tiers',
      { input: 1, output: 1, tiers: { flex: { input: 1, output: 1, tiers: {} } } },
      'price.tiers.flex.tiers: unknown field',
    ],
    ['a zone below nothing', { input: 1, output: 1, zone: -1 }, 'price.zone: must be a number from 0 to 100'],
    [
      'a tool of ten decimals',
      { input: 1, output: 1, tools: { mcp: 0.0000000001 } },
      'price.tools.mcp: must have at most 9 decimals: it is dollars a call',
    ],
    ['above without a length', { input: 1, output: 1, above: { input: '2x' } }, 'price.above.tokens: missing'],
    [
      'above in words',
      { input: 1, output: 1, above: { tokens: 1, input: 'twice' } },
      'price.above.input: must be a multiple such as 2x',
    ],
    [
      'above of a kind without a price',
      { input: 1, output: 1, above: { tokens: 1, cacheWrite: '2x' } },
      "price.above.cacheWrite: has no price below it. Write it beside 'above' too.",
    ],
    [
      'above in dollars of one kind of several',
      { input: 1, cacheWrite: 1, output: 1, above: { tokens: 1, input: 2 } },
      "price.above.cacheWrite: missing. With input in dollars, write each kind's dollars, or a multiple such as 2x.",
    ],
    ['nothing', {}, 'price.input: missing. Write for instance input: 0.15, the dollars per million tokens.'],
    [
      'like nothing in the book',
      { like: 'openai/gpt5-mini' },
      "price.like: the price book has no 'openai/gpt5-mini'. Did you mean 'openai/gpt-5-mini'?",
    ],
    [
      'like a name with a letter too few',
      { like: 'azure/gpt-5-mni' },
      "price.like: the price book has no 'azure/gpt-5-mni'. Did you mean 'azure/gpt-5-mini'? npm run tollgate -- prices --book azure/ lists the ",
    ],
    ['like a provider that the book does not have', { like: 'acme/one' }, 'It has: openai/…, azure/…, anthropic/…'],
    [
      'like one with another price above a length',
      { like: 'openai/gpt-5.4', input: 9 },
      "price.above: missing. The price of 'openai/gpt-5.4' has one",
    ],
  ])('is refused by name: %s', (_what, document, expected) => {
    expect(faultOf(document)).toContain(`models.m.${expected}`.replace('models.m.It has', 'It has'))
  })

  test('must be there for what spills over', () => {
    expect(() => resolve({ m: { targets: [{ ...openai, ptu: true }] } })).toThrow(
      'models.m.targets[0].ptu: needs models.m.price, which is what spills over from it costs. Write one.',
    )
  })
})

describe('what a plan may use', () => {
  const models = { m: { targets: [openai] } }
  test('is what it lists, or all', () => {
    const plans = resolve(models, {
      a: { limits: [] },
      b: { limits: [], models: ['m'], tiers: ['default', 'flex'], tools: [] },
    }).plans
    expect([plans.get('a')?.rights, plans.get('b')?.rights]).toEqual([
      undefined,
      { models: ['m'], tiers: ['default', 'flex'], tools: [] },
    ])
  })

  test('must be there', () => {
    expect(() => resolve(models, { a: { limits: [], models: ['n'] } })).toThrow(
      "plans.a.models[0]: there is no model 'n' under models.",
    )
  })
})

describe('the price book', () => {
  test('has many models, whose prices a policy may have', () => {
    expect(BOOK_NAMES.length).toBeGreaterThan(300)
    for (const name of BOOK_NAMES) {
      const document: PriceDocument = price.parse(bookOf(name)?.price)
      expect([name, priceFaults(document, name)]).toEqual([name, []])
      expect(Object.values(resolvePrice(document).rates).every(Number.isSafeInteger)).toBe(true)
    }
  })

  test('says of a model what its source says', () => {
    expect(bookOf('openai/gpt-5.6-sol')?.price).toMatchObject({
      input: 4,
      cacheWrite: 5,
      cachedInput: 0.4,
      output: 20,
      above: { tokens: 271_999, input: 8, output: 30 },
      tools: { web_search: 0.01 },
    })
    expect(bookOf('azure/gpt-5-mini')).toBe(bookOf('openai/gpt-5-mini'))
    expect(bookOf('openai/toString')).toBeUndefined()
  })

  test.each([
    ['OpenAI/GPT-5-mini', ['openai/gpt-5-mini']],
    ['openai/gpt-5-mini-2025-08-07', ['openai/gpt-5-mini']],
    ['openai/gpt-4o-min', ['openai/gpt-4o-mini']],
    ['opnai/gpt-5-mini', ['openai/gpt-5-mini']],
    ['gpt5-mini', ['openai/gpt-5-mini', 'azure/gpt-5-mini']],
    ['vertex/gemini-2.5-pro', ['google/gemini-2.5-pro']],
    ['azure/deepseek-chat', ['deepseek/deepseek-chat']],
    ['acme/one', []],
    ['', []],
  ])('says what %j may mean: %j', (like, names) => {
    expect(nearBookNames(like)).toEqual(names)
  })

  test('says at most three of what a beginning may mean, of its provider alone', () => {
    const near = nearBookNames('google/gemi')
    expect(near).toHaveLength(3)
    for (const name of near) expect(name).toMatch(/^google\/gemi/)
  })

  test('is old after 60 days, where a model goes by it', () => {
    const at = (days: number) => Date.parse(BOOK_DATE) + days * 86_400_000
    expect(oldBookText(['a'], at(60.9))).toBeUndefined()
    expect(oldBookText([], at(1_000))).toBeUndefined()
    expect(oldBookText(['a', 'b'], at(61))).toContain(`of ${BOOK_DATE}, 61 days old, and prices a and b.`)
  })

  test.each([
    ['o1', true],
    ['o3-mini', true],
    ['gpt-5', true],
    ['gpt-5.4-mini', true],
    ['openai/gpt-5-nano', true],
    ['gpt-5-chat-latest', false],
    ['gpt-4o', false],
    ['gpt-4.1', false],
    ['gpt-oss-120b', false],
  ])('%s reasons: %s', (name, reasons) => {
    expect(isReasoning(name)).toBe(reasons)
  })
})
