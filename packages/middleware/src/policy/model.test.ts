import { describe, expect, test } from 'vitest'
import { parse } from 'yaml'
import type { OpenAISettings, TargetSettings } from '../targets/index.ts'
import { type Rights, resolvePolicy, routeOf, rulesOf, targetsFor } from './index.ts'
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

describe('several targets', () => {
  const env = { OPENAI_ENDPOINT: 'https://x.openai.azure.com', OPENAI_ONE: '1', OPENAI_TWO: '2' }
  const several = { ...OPTIONS, bounds: { ...OPTIONS.bounds, env }, defaultTarget: undefined }
  const azure = (deployment: string, more: object = {}) => ({
    azure: { endpoint: { env: 'OPENAI_ENDPOINT' }, deployment },
    ...more,
  })
  const keyed = (key?: string) => ({ openai: { model: 'gpt-4o', ...(key && { key: { env: key } }) } })
  const modelOf = (model: object, models: object = {}) =>
    resolvePolicy({ models: { m: model, ...models } }, several).models.get('m')
  const targetsOf = (list: readonly object[], more: object = {}) => modelOf({ targets: list, ...more })?.targets ?? []
  const idsOf = (list: readonly object[]) => targetsOf(list).map(({ id }) => id)

  test('have their own priority, weight, zone and prices, of one price', () => {
    const price = { input: 1, output: 8, zone: 1.1, tiers: { flex: 0.5 } }
    const list = [
      azure('ptu', { ptu: true }),
      azure('a', { priority: 2, weight: 90, zone: 'eu' }),
      azure('b', { priority: 2 }),
    ]
    const listed = { rates: { input: 1_000_000, cachedInput: 1_000_000, output: 8_000_000 }, tiers: { flex: 500 } }
    expect(targetsOf(list, { price })).toMatchObject([
      { priority: 1, weight: 1, zone: undefined, price: { rates: { input: 0, output: 0 } }, spilloverPrice: listed },
      { priority: 2, weight: 90, zone: 'eu', price: { ...listed, zone: 1_100 } },
      { priority: 2, weight: 1, zone: undefined, price: listed },
    ])
    expect(targetsOf(list, { price })[2]?.price).not.toHaveProperty('zone')
  })

  test('of the weight 0 are not asked, but checked', () => {
    expect(targetsOf([azure('a', { weight: 0 }), azure('b')]).map(({ settings }) => settings.model)).toEqual(['b'])
    expect(() => targetsOf([{ ...keyed('OPENAI_NONE'), weight: 0 }, azure('b')])).toThrow('OPENAI_NONE is not set')
  })

  test('at one place are told apart by the variables of their keys, and not by what is in them', () => {
    const [one, two, bare] = idsOf([keyed('OPENAI_ONE'), keyed('OPENAI_TWO'), keyed()])
    expect(new Set([one, two, bare]).size).toBe(3)
    expect(idsOf([keyed('OPENAI_TWO'), keyed(), keyed('OPENAI_ONE')])).toEqual([two, bare, one])
    expect(idsOf([keyed('OPENAI_ONE')])).toEqual([bare])
    expect(idsOf([keyed('OPENAI_TWO'), azure('a')])[0]).toBe(bare)
    for (const id of [one, two, bare]) expect(id).toMatch(/^openai:gpt-4o:[0-9a-f]{12}$/)
    const identities = targetsOf([keyed('OPENAI_ONE'), keyed('OPENAI_TWO')]).map(({ identity }) => identity)
    expect(new Set(identities).size).toBe(1)
  })

  test('are one model: what is known of one by its name holds for all', () => {
    expect(modelOf({ targets: [azure('prod'), { openai: { model: 'gpt-5-mini' } }] })).toMatchObject({
      outputField: 'max_completion_tokens',
      isOutputFieldKnown: true,
      temperature: false,
    })
    expect(modelOf({ targets: [azure('prod'), { openai: { model: 'gpt-4o-search-preview' } }] })?.unasked).toEqual({
      searches: 'once',
    })
    const both = [{ openai: { model: 'mistral/mistral-large' } }, { openai: { model: 'o3' } }]
    expect(() => modelOf({ targets: both })).toThrow(
      'models.m.output: missing. Its targets are of models that bound their answers by different fields: mistral/mistral-large and o3.',
    )
    expect(modelOf({ targets: both, output: 'max_tokens' })).toMatchObject({ outputField: 'max_tokens' })
  })

  test('promise the tiers, tools and fields that each one’s price names, of those that a plan’s zones leave', () => {
    const model = modelOf({ targets: [azure('a', { zone: 'eu' }), azure('b', { zone: 'us' }), azure('c')] })
    if (model === undefined) throw new Error('There is no model')
    const prices = [
      { rates: {}, tiers: { flex: 500, priority: 2_000 }, tools: { web_search: 1, mcp: 1 }, covers: ['speed'] },
      { rates: {}, tiers: { flex: 400 }, tools: { web_search: 1 }, covers: ['speed', 'plugins'] },
      { rates: {} },
    ]
    const [first, ...others] = model.targets.map((target, index) => ({ ...target, price: prices[index] }))
    if (first === undefined) throw new Error('There is no target')
    const rules = (rights: Partial<Rights>) =>
      rulesOf({ ...model, targets: [first, ...others] }, { ...ALL_RIGHTS, ...rights })
    expect(rules({})).toMatchObject({ tiers: [], tools: [], covers: [] })
    expect(rules({ zones: ['eu', 'us'] })).toMatchObject({ tiers: ['flex'], tools: ['web_search'], covers: ['speed'] })
    expect(rules({ zones: ['eu'] })).toMatchObject({ tiers: ['flex', 'priority'], tools: ['web_search', 'mcp'] })
    expect(rules({ zones: ['eu'], tiers: ['flex'], tools: ['mcp'] })).toMatchObject({ tiers: ['flex'], tools: ['mcp'] })
    expect(targetsFor([first, ...others], { zones: ['us'] })).toEqual(others.slice(0, 1))
    expect(targetsFor([first, ...others], {})).toHaveLength(3)
  })

  test.each<[string, object, string]>([
    [
      'one twice',
      { targets: [azure('a'), keyed('OPENAI_ONE'), azure('a', { zone: 'eu', weight: 9 })] },
      'models.m.targets[2]: is the same place as models.m.targets[0], asked by the same key. Keep one, with the weight of both.',
    ],
    [
      'one twice by another form of its URL',
      { targets: [azure('a'), { azure: { endpoint: 'https://x.openai.azure.com/openai/v1/', deployment: 'a' } }] },
      'models.m.targets[1]: is the same place as models.m.targets[0]',
    ],
    [
      'none that is asked',
      { targets: [azure('a', { weight: 0 }), azure('b', { weight: 0 })] },
      'models.m.targets: each has the weight 0, so none would be asked. Give one a weight of at least 1.',
    ],
    [
      'a priority of 0',
      { targets: [azure('a', { priority: 0 })] },
      'models.m.targets[0].priority: must be a whole number from 1 to 100',
    ],
    [
      'a weight below 0',
      { targets: [azure('a', { weight: -1 })] },
      'models.m.targets[0].weight: must be a whole number from 0 to 1,000',
    ],
    [
      'a misspelt weight',
      { targets: [azure('a', { wieght: 1 })] },
      "models.m.targets[0].wieght: unknown field. Did you mean 'weight'?",
    ],
    [
      'seventeen',
      { targets: Array.from({ length: 17 }, (_, index) => azure(`d${index}`)) },
      'models.m.targets: must be a list of 1 to 16 entries',
    ],
  ])('can’t be %s', (_what, model, fault) => {
    expect(() => modelOf(model)).toThrow(fault)
  })

  test('a fault of one names its place among them', () => {
    const list = [keyed('OPENAI_NONE'), azure('a'), azure('a')]
    expect(() => targetsOf(list)).toThrow(
      /targets\[0\]: key: .*\n.*targets\[2\]: is the same place as models\.m\.targets\[1\]/,
    )
  })
})

describe('a model’s tiers, retries and fallback', () => {
  const price = { input: 1, output: 2, tiers: { flex: 0.5, priority: 2 } }
  const modelOf = (more: object, models: object = {}) =>
    resolve({ models: { m: { targets, ...more }, small: { targets }, ...models } }).models.get('m')

  test.each<[object, object]>([
    [{ tiers: ['flex', 'default'], price }, { tiers: ['flex', 'default'] }],
    [{ tiers: ['priority'], price }, { tiers: ['priority'] }],
    [{ tiers: ['scale'] }, { tiers: ['scale'] }],
    [{}, { tiers: undefined, retry: undefined, fallback: undefined }],
    [{ retry: { attempts: 3, budget: '10%' } }, { retry: undefined }],
    [{ retry: {} }, { retry: undefined }],
    [{ retry: { attempts: 2 } }, { retry: { attempts: 2, budget: 0.1 } }],
    [{ retry: { budget: '0%' } }, { retry: { attempts: 3, budget: 0 } }],
    [{ retry: { attempts: 1, budget: '100%' } }, { retry: { attempts: 1, budget: 1 } }],
    [{ retry: false }, { retry: { attempts: 1, budget: 0.1 } }],
    [{ fallback: 'small' }, { fallback: 'small' }],
    [{ fallback: 'default' }, { fallback: 'default' }],
    [{ fallback: 'mini' }, { fallback: 'small' }],
  ])('%j are %j', (more, expected) => {
    const mini = { mini: { alias: 'tiny' }, tiny: { alias: 'small' } }
    expect(modelOf(more, mini)).toMatchObject(expected)
  })

  test.each<[string, object, object, string]>([
    [
      'a tier without a price',
      { tiers: ['scale', 'default'], price },
      {},
      "models.m.tiers[0]: 'scale' has no price. Write models.m.price.tiers.scale, such as 0.5 for half the price, or leave the tier out.",
    ],
    [
      'a misspelt tier',
      { tiers: ['flx', 'default'], price: { input: 1, output: 2, tiers: { flex: 0.5 } } },
      {},
      "models.m.tiers[0]: 'flx' has no price. Did you mean 'flex'? Write models.m.price.tiers.flx, such as 0.5 for half the price, or leave the tier out.",
    ],
    [
      'a tier twice',
      { tiers: ['flex', 'default', 'flex'], price },
      {},
      "models.m.tiers[2]: 'flex' stands there twice. Keep the first.",
    ],
    [
      'a tier of another name',
      { tiers: ['auto'] },
      {},
      'models.m.tiers[0]: the usual tier is called default here. Write default.',
    ],
    ['tiers that are none', { tiers: [] }, {}, 'models.m.tiers: must be a list of 1 to 8 entries'],
    ['no retry', { retry: { attempts: 0 } }, {}, 'models.m.retry.attempts: must be a whole number from 1 to 3, not 0.'],
    ['too many', { retry: { attempts: 4 } }, {}, 'models.m.retry.attempts: must be a whole number from 1 to 3, not 4.'],
    [
      'a share as a number',
      { retry: { budget: 0.1 } },
      {},
      'models.m.retry.budget: must be a percentage from 0% to 100%, such as 10%, not 0.1.',
    ],
    [
      'a share above all',
      { retry: { budget: '101%' } },
      {},
      'models.m.retry.budget: must be a percentage from 0% to 100%, such as 10%, not "101%".',
    ],
    ['a part of a percent', { retry: { budget: '0.5%' } }, {}, 'models.m.retry.budget: must be a percentage'],
    ['yes', { retry: true }, {}, 'models.m.retry: must be false, or {attempts: 3, budget: 10%}, not true.'],
    ['a number', { retry: 2 }, {}, 'models.m.retry: must be false, or {attempts: 3, budget: 10%}, not 2.'],
    [
      'a misspelt retry',
      { retry: { attempt: 2 } },
      {},
      "models.m.retry.attempt: unknown field. Did you mean 'attempts'?",
    ],
    [
      'a fallback that there is not',
      { fallback: 'smal' },
      {},
      "models.m.fallback: there is no model 'smal' under models. Did you mean 'small'?",
    ],
    ['itself', { fallback: 'm' }, {}, 'models.m.fallback: is the model itself. Name another, or remove it.'],
    ['itself by another name', { fallback: 'a' }, { a: { alias: 'm' } }, 'models.m.fallback: is the model itself.'],
    [
      'a circle',
      { fallback: 'a' },
      { a: { alias: 'b' }, b: { targets, fallback: 'c' }, c: { targets, fallback: 'm' } },
      'models.m.fallback: comes back to itself: m → b → c → m. Remove one of these fallbacks.',
    ],
    [
      'a split',
      { fallback: 'ab' },
      { ab: { split: { m: 1, small: 1 } } },
      "models.m.fallback: 'ab' picks among several, and a fallback is one model. Name that.",
    ],
  ])('%s is refused', (_what, more, models, fault) => {
    expect(() => modelOf(more, models)).toThrow(fault)
  })

  test('a circle of fallbacks is told once, and not by what leads into it', () => {
    const models = { a: { targets, fallback: 'b' }, b: { targets, fallback: 'c' }, c: { targets, fallback: 'b' } }
    expect(() => resolve({ models })).toThrow(
      'test.yaml was refused:\n  - models.b.fallback: comes back to itself: b → c → b. Remove one of these fallbacks.',
    )
    const chain = {
      a: { targets, fallback: 'b' },
      b: { targets, fallback: 'c' },
      c: { targets },
      d: { targets, fallback: 'b' },
    }
    expect([...resolve({ models: chain }).models.values()].map(({ fallback }) => fallback)).toEqual([
      undefined,
      'b',
      'c',
      undefined,
      'b',
    ])
  })

  test('a tier is one of the price that unpriced gives too', () => {
    const models = { m: { targets, tiers: ['flex'] }, n: { targets: [{ openai: { model: 'n' } }], price } }
    expect(() => resolve({ models, unpriced: 'worst' })).toThrow("models.m.tiers[0]: 'flex' has no price.")
  })
})
