import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { OpenAISettings, TargetSettings } from '../targets/index.ts'
import { type Rights, resolvePolicy, routeOf, rulesOf } from './index.ts'
import { outline } from './resolve.ts'

const SETTINGS: OpenAISettings = { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: 'gpt-4', key: 'k' }
const OPTIONS = {
  source: 'test.yaml',
  bounds: { env: { OPENAI_ENDPOINT: 'https://x.openai.azure.com' }, readable: ['OPENAI_*'], hosts: [] },
}
const resolve = (document: unknown, defaultTarget: TargetSettings | undefined = SETTINGS) =>
  resolvePolicy(document, { ...OPTIONS, defaultTarget })
const ALL_RIGHTS: Rights = { models: undefined, tiers: undefined, tools: undefined }
const targets = [{ openai: { model: 'm' } }]
const priced = (price: object) => ({ models: { small: { targets, price } } })

describe('a model’s price', () => {
  test.each([
    [{ input: 0.15, output: 0.6 }, { rates: { input: 150_000, cachedInput: 150_000, output: 600_000 } }],
    [
      { input: 0.15, output: 0.6, cachedInput: 0.075 },
      { rates: { input: 150_000, cachedInput: 75_000, output: 600_000 } },
    ],
    [
      { input: 0.000001, output: 10_000, cachedInput: 0 },
      { rates: { input: 1, cachedInput: 0, output: 10_000_000_000 } },
    ],
    [{ input: 9_999.999999, output: 0 }, { rates: { input: 9_999_999_999, cachedInput: 9_999_999_999, output: 0 } }],
  ])('%o is %o pico-dollars a token', (price, expected) => {
    expect(resolve(priced(price)).models.get('small')?.targets[0].price).toEqual(expected)
  })

  test.each<[string, object, string]>([
    ['below nothing', { input: -1, output: 1 }, 'models.small.price.input'],
    ['above 10,000', { input: 1, output: 10_001 }, 'models.small.price.output'],
    ['of seven decimals', { input: 0.1234567, output: 1 }, 'models.small.price.input: must have at most 6 decimals'],
    ['without an end', { input: Number.POSITIVE_INFINITY, output: 1 }, 'models.small.price.input'],
    ['of half a model', { input: 1 }, 'models.small.price.output'],
    ['with a typo', { input: 1, output: 1, cached: 1 }, 'models.small.price'],
    ['dearer from the cache', { input: 1, output: 1, cachedInput: 2 }, 'models.small.price.cachedInput: must not be'],
  ])('%s is refused', (_what, price, expected) => {
    expect(() => resolve(priced(price))).toThrow(expected)
  })

  test('is absent where the policy has none, and the worst of all where it says so', () => {
    const models = {
      small: { targets, price: { input: 0.15, output: 0.6, cachedInput: 0.075 } },
      odd: { targets, price: { input: 3, output: 0.1 } },
      free: { targets },
    }
    const prices = (policy: object) =>
      [...resolve(policy).models].map(([name, { targets }]) => [name, targets[0].price])
    const small = { rates: { input: 150_000, cachedInput: 75_000, output: 600_000 } }
    const odd = { rates: { input: 3_000_000, cachedInput: 3_000_000, output: 100_000 } }
    const worst = { rates: { input: 3_000_000, cachedInput: 3_000_000, output: 600_000 } }
    expect(prices({ models })).toEqual([
      ['default', undefined],
      ['small', small],
      ['odd', odd],
      ['free', undefined],
    ])
    expect(prices({ models, unpriced: 'refuse' })).toEqual(prices({ models }))
    expect(prices({ models, unpriced: 'worst' })).toEqual([
      ['default', worst],
      ['small', small],
      ['odd', odd],
      ['free', worst],
    ])
  })

  test('must be there to be the worst', () => {
    expect(() => resolve({ models: { small: { targets } }, unpriced: 'worst' })).toThrow("unpriced: 'worst'")
    expect(() => outline({ unpriced: 'worst' }, 'test.yaml')).toThrow("unpriced: 'worst'")
  })
})

describe('the model called default', () => {
  const models = { default: { price: { input: 30, output: 60 }, contextWindow: 8_192 } }

  test('has its target from the settings, and what the policy says of it', () => {
    expect(resolve({ models }).models.get('default')).toEqual({
      name: 'default',
      targets: [
        {
          id: expect.stringMatching(/^openai:gpt-4:[0-9a-f]{12}$/),
          identity: expect.any(String),
          priority: 1,
          weight: 1,
          zone: undefined,
          price: { rates: { input: 30_000_000, cachedInput: 30_000_000, output: 60_000_000 } },
          settings: SETTINGS,
        },
      ],
      fallback: undefined,
      contextWindow: 8_192,
      outputField: 'max_tokens',
      temperature: true,
    })
  })

  test('is absent where the settings have none', () => {
    const policy = resolvePolicy({ models }, { ...OPTIONS, defaultTarget: undefined })
    expect(policy.models.size).toBe(0)
    expect(routeOf(policy, 'generate').model).toBe('default')
  })

  test('is the policy’s own where it says where', () => {
    expect(resolve({ models: { default: { targets } } }).models.get('default')?.targets[0].settings.model).toBe('m')
  })

  test('is the one that tools must supply, unless the policy says where', () => {
    const servedAs = (document: object) => {
      const outlined = outline(document, 'test.yaml')
      return outlined.models.get(routeOf(outlined, 'generate').model)?.servedAs
    }
    expect(servedAs({ models })).toBeUndefined()
    expect(servedAs({ models: { default: { targets } } })).toBe('m')
  })

  test('is the only one that may go without a target', () => {
    expect(() => resolve({ models: { small: { contextWindow: 1 } } })).toThrow('models.small.targets: missing')
  })
})

test('a model’s rules are its context window, and what every service of chat takes', () => {
  const small = resolve({ models: { small: { targets, contextWindow: 8_192 } } }).models.get('small')
  expect(small && rulesOf(small, ALL_RIGHTS)).toEqual({
    contextWindow: 8_192,
    outputField: 'max_tokens',
    temperature: true,
    tools: [],
    tiers: [],
  })
  const unbounded = resolve({ models: { small: { targets } } }).models.get('small')
  expect(unbounded && rulesOf(unbounded, ALL_RIGHTS).contextWindow).toBeUndefined()
})

describe('what is known of a model', () => {
  const known = (model: string, more: object = {}) => {
    const target = { openai: { baseUrl: 'https://api.openai.com/v1', model, key: { env: 'KEY' } } }
    const bounds = { env: { KEY: 'k' }, hosts: [], readable: ['KEY'] }
    const options = { ...OPTIONS, bounds, defaultTarget: undefined }
    const resolved = resolvePolicy({ models: { m: { targets: [target], ...more } } }, options).models.get('m')
    return resolved && rulesOf(resolved, ALL_RIGHTS)
  }

  test.each<[string, string, object, string, true | undefined]>([
    ['nothing', 'gpt-4o', {}, 'max_tokens', undefined],
    ['that it thinks, by its name', 'o3-mini', {}, 'max_completion_tokens', true],
    ['that it thinks, by its price', 'prod', { price: { like: 'azure/gpt-5-mini' } }, 'max_completion_tokens', true],
    ['its provider’s word, by its price', 'large', { price: { like: 'mistral/mistral-large' } }, 'max_tokens', true],
    ['its word, by the policy', 'prod', { output: 'max_tokens' }, 'max_tokens', true],
  ])('of the bound of an answer: %s', (_what, model, more, outputField, isOutputFieldKnown) => {
    expect(known(model, more)).toMatchObject({ outputField, isOutputFieldKnown })
  })

  test.each<[string, object, object | undefined]>([
    ['gpt-4o-search-preview-2025-03-11', {}, { searches: 'once' }],
    ['gpt-4o-mini-search-preview', {}, { searches: 'once' }],
    ['gpt-5-search-api', {}, { searches: 'once' }],
    ['sonar', {}, { searches: 'once' }],
    ['perplexity/sonar-reasoning-pro', {}, { searches: 'once' }],
    ['perplexity/sonar-deep-research', {}, { searches: 'often' }],
    ['openai/gpt-4o:online', {}, { searches: 'once' }],
    ['prod', { price: { like: 'openai/gpt-4o-search-preview' } }, { searches: 'once' }],
    ['gpt-5.6-sol', {}, { kinds: ['cacheWrite'] }],
    ['prod', { price: { like: 'anthropic/claude-haiku-4-5' } }, { kinds: ['cacheWrite'] }],
    ['gpt-4o', {}, undefined],
    ['research', {}, undefined],
  ])('of what %s bills unasked (%o)', (model, more, unasked) => {
    expect(known(model, more)?.unasked).toEqual(unasked)
  })
})

test('fields that a price covers are of the known ones', () => {
  const covering = (covers: unknown) => ({ models: { small: { targets, price: { input: 1, output: 2, covers } } } })
  const small = resolve(covering(['enable_thinking', 'provider'])).models.get('small')
  expect(small && rulesOf(small, ALL_RIGHTS).covers).toEqual(['enable_thinking', 'provider'])
  expect(() => resolve(covering(['enable_thinkin']))).toThrow(/models\.small\.price\.covers\[0\].*enable_thinking/)
})

test.each([0, 1.5, 100_000_001])('a context window of %s tokens is refused', (contextWindow) => {
  expect(() => resolve({ models: { small: { targets, contextWindow } } })).toThrow('models.small.contextWindow')
})

test('a policy of every kind resolves, and tools can read it', () => {
  const document = parse(`
plans:
  free: { limits: [ {requests: 10, per: 1m, burst: 5}, {tokens: 20000, per: 1m}, {usd: 5, per: month}, {concurrent: 2} ] }
  pro:  { limits: [ {requests: 60, per: 1m}, {usd: 200, per: month} ] }
global: { limits: [ {requests: 1000, per: 1s, strict: true} ] }
models:
  small: { targets: [ {azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: gpt-4o-mini}} ], price: {input: 0.15, output: 0.60} }
routes:
  generate: { cache: {ttl: 1h, sampled: true} }
`)
  const policy = resolve(document)
  expect([...policy.plans].map(([name, { limits }]) => [name, limits.map((limit) => limit.key)])).toEqual([
    ['free', ['requests:60000', 'tokens:60000', 'money:month', 'concurrency']],
    ['pro', ['requests:60000', 'money:month']],
  ])
  const { plans, global } = outline(document, 'test.yaml')
  expect({ plans, global }).toEqual({ plans: policy.plans, global: policy.global })
})
