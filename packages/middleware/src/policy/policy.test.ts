import { describe, expect, test } from 'vitest'
import type { OpenAISettings } from '../targets/index.ts'
import { PolicyError, type ResolveOptions, resolvePolicy, routeOf } from './index.ts'

const DAY_MS = 86_400_000
const DEFAULT: OpenAISettings = { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: 'gpt-4', key: 'k' }

const options = (change: Partial<ResolveOptions['bounds']> = {}): ResolveOptions => ({
  source: 'test.yaml',
  defaultTarget: DEFAULT,
  bounds: {
    env: { OPENAI_API_KEY: 'sk-1', OTHER_KEY: 'sk-2' },
    readable: ['OPENAI_*'],
    hosts: ['127.0.0.1'],
    ...change,
  },
})
const resolve = (document: unknown, change?: Partial<ResolveOptions['bounds']>) =>
  resolvePolicy(document, options(change))
const faultOf = (document: unknown, change?: Partial<ResolveOptions['bounds']>): string => {
  try {
    resolve(document, change)
  } catch (error) {
    expect(error).toBeInstanceOf(PolicyError)
    return (error as PolicyError).message
  }
  return ''
}
const plan = (...limits: object[]) => ({ plans: { free: { limits } } })
const target = (document: object) => ({ models: { m: { targets: [document] } } })

describe('a policy', () => {
  test('without a document has the defaults: 10 a minute, burst 5, one hour of cache', () => {
    const policy = resolve({})
    expect(policy.plans).toEqual(
      new Map([
        [
          'default',
          {
            name: 'default',
            limits: [
              {
                kind: 'rate',
                key: 'requests:60000',
                name: 'requests',
                measure: 'requests',
                model: undefined,
                quota: 10,
                periodMs: 60_000,
                burst: 5,
                capacity: 15,
                refill: 10,
              },
            ],
            shared: [],
          },
        ],
      ]),
    )
    expect(policy.global).toEqual([])
    expect(policy.storeDown).toBe('closed')
    expect(policy.usage).toEqual({ detailMs: 30 * DAY_MS, hoursMs: 400 * DAY_MS })
    expect(policy.defaultPlan).toBe('default')
    expect(routeOf(policy, 'generate')).toEqual({
      model: 'default',
      cache: { ttlMs: 3_600_000, sampled: true, scope: 'consumer', tools: false },
      transforms: { lineEndings: false, minifyJson: false, dropDuplicates: [] },
    })
    expect(policy.models).toEqual(
      new Map([
        [
          'default',
          {
            name: 'default',
            targets: [
              {
                id: expect.stringMatching(/^openai:gpt-4:[0-9a-f]{12}$/),
                identity: expect.any(String),
                priority: 1,
                weight: 1,
                zone: undefined,
                price: undefined,
                settings: DEFAULT,
              },
            ],
            fallback: undefined,
            contextWindow: undefined,
            outputField: 'max_tokens',
            temperature: true,
          },
        ],
      ]),
    )
  })

  test('keeps its own plans only', () => {
    const policy = resolve(plan({ requests: 60, per: '1m' }))
    expect([...policy.plans.keys()]).toEqual(['free'])
    expect(policy.defaultPlan).toBe('free')
  })

  test('with several plans and none called default leaves the choice open', () => {
    expect(resolve({ plans: { a: { limits: [] }, b: { limits: [] } } }).defaultPlan).toBeUndefined()
  })

  test('says what limits do while the store is down', () => {
    expect(resolve({ storeDown: 'open' }).storeDown).toBe('open')
  })

  test('says how long the ledger keeps what, which is no part of the revision', () => {
    expect(resolve({ usage: { detail: '1h', hours: '2h' } }).usage).toEqual({ detailMs: 3_600_000, hoursMs: 7_200_000 })
    expect(resolve({ usage: { detail: '7d' } }).usage).toEqual({ detailMs: 7 * DAY_MS, hoursMs: 400 * DAY_MS })
    expect(resolve({ usage: { detail: '7d' } }).revision).toBe(resolve({}).revision)
  })

  test('turns the cache off, or its parts, by route', () => {
    const cache = (generate: object) => routeOf(resolve({ routes: { generate } }), 'generate').cache
    expect(cache({ cache: false })).toBeUndefined()
    expect(cache({ cache: { ttl: '5m' } })).toMatchObject({ ttlMs: 300_000, sampled: true })
    expect(cache({ cache: { ttl: '30d' } })).toMatchObject({ ttlMs: 30 * 86_400_000 })
    expect(cache({ cache: { sampled: false } })).toMatchObject({ ttlMs: 3_600_000, sampled: false })
    expect(cache({ cache: { scope: 'plan', tools: true } })).toMatchObject({ scope: 'plan', tools: true })
  })

  test('turns transforms of the prompt on by route, each by itself', () => {
    const transforms = (transforms: object) =>
      routeOf(resolve({ routes: { generate: { transforms } } }), 'generate').transforms
    expect(transforms({})).toEqual({ lineEndings: false, minifyJson: false, dropDuplicates: [] })
    expect(transforms({ lineEndings: true, minifyJson: true })).toMatchObject({ lineEndings: true, minifyJson: true })
    expect(transforms({ dropDuplicates: true }).dropDuplicates).toEqual(['chunk', 'context', 'document', 'passage'])
    expect(transforms({ dropDuplicates: ['b', 'a', 'b'] }).dropDuplicates).toEqual(['a', 'b'])
  })
})

describe('a faulty policy is refused whole, with path and fix:', () => {
  test.each<[string, unknown, string]>([
    ['a typo', { plan: {} }, 'plan'],
    ['a typo within', plan({ requests: 1, per: '1m', brust: 2 }), 'plans.free.limits[0]'],
    ['a number as text', plan({ requests: '10', per: '1m' }), 'plans.free.limits[0].requests'],
    ['no requests', plan({ requests: 0, per: '1m' }), 'plans.free.limits[0].requests'],
    ['half a request', plan({ requests: 1.5, per: '1m' }), 'plans.free.limits[0].requests'],
    ['an unknown period', plan({ requests: 10, per: '1 minute' }), 'plans.free.limits[0].per'],
    ['detail for less than an hour', { usage: { detail: '59m' } }, 'usage.detail: must be from 1h to 400d'],
    ['detail for longer than 400 days', { usage: { detail: '401d' } }, 'usage.detail: must be from 1h to 400d'],
    ['hours for a shorter time than the detail', { usage: { hours: '7d' } }, 'usage.hours: must be at least as long'],
    ['an unknown field of usage', { usage: { rows: '7d' } }, 'usage'],
    ['an unknown state of the store', { storeDown: 'ajar' }, 'storeDown'],
    ['a name with a slash', { plans: { 'a/b': { limits: [] } } }, 'plans'],
    [
      'a route to a missing model',
      { routes: { generate: { model: 'none' } } },
      "routes.generate.model: there is no model 'none'",
    ],
    ['no list of plans', { plans: [] }, 'plans'],
    ['text', 'plans', 'the document'],
  ])('%s', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
  })

  test.each<[string, unknown, string]>([
    ['no plans at all', { plans: {} }, 'plans: there is none'],
    [
      'a cache that is true',
      { routes: { generate: { cache: true } } },
      'routes.generate.cache: must be false, or {ttl',
    ],
    ['a ttl that is a number', { routes: { generate: { cache: { ttl: 60 } } } }, 'routes.generate.cache.ttl'],
    [
      'a ttl above 30 days',
      { routes: { generate: { cache: { ttl: '31d' } } } },
      'routes.generate.cache.ttl: must be at most 30d. Shorten it.',
    ],
    [
      'a scope that is none',
      { routes: { generate: { cache: { scope: 'world' } } } },
      'routes.generate.cache.scope: must be consumer, plan or shared',
    ],
    [
      'a transform that is none',
      { routes: { generate: { transforms: { minify: true } } } },
      "routes.generate.transforms.minify: unknown field. Did you mean 'minifyJson'?",
    ],
    [
      'repetitions of nothing',
      { routes: { generate: { transforms: { dropDuplicates: [] } } } },
      'routes.generate.transforms.dropDuplicates',
    ],
    [
      'repetitions of a number',
      { routes: { generate: { transforms: { dropDuplicates: 3 } } } },
      'routes.generate.transforms.dropDuplicates: must be true, false, or a list',
    ],
    [
      'repetitions of a tag with its brackets',
      { routes: { generate: { transforms: { dropDuplicates: ['<document>'] } } } },
      'routes.generate.transforms.dropDuplicates[0]: must be the name of an element',
    ],
    [
      'a literal key',
      target({ openai: { model: 'm', key: 'sk-1' } }),
      'models.m.targets[0].openai.key: must be {env: NAME}',
    ],
    [
      'an endpoint that is none',
      target({ openai: { model: 'm', baseUrl: 7 } }),
      'openai.baseUrl: must be a URL, or {env: NAME}',
    ],
    [
      'a target that is text',
      target('gpt-4' as never),
      'models.m.targets[0]: must be {azure: …}, {openai: …} or {generate: …}',
    ],
    ['a limit that is a number', plan(10 as never), 'plans.free.limits[0]: must be a limit such as {requests'],
    [
      'a period that is a number',
      plan({ requests: 10, per: 60 }),
      'plans.free.limits[0].per: must be a duration such as 30s or 1m, or minute, hour, day or month',
    ],
    [
      'money by a duration',
      plan({ usd: 5, per: '1m' }),
      'plans.free.limits[0].per: must be minute, hour, day or month',
    ],
    [
      'a limit with more faults than fields of another kind',
      plan({ requests: 0, per: 'x', burst: -1, strict: 1 }),
      'plans.free.limits[0].requests',
    ],
  ])('%s, with what would be right', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
  })

  test('what can’t be meant, what may not be reached and what is missing, together', () => {
    const message = faultOf({
      global: { limits: [{ requests: 3, per: '1m', strict: true }] },
      models: { small: { targets: [{ openai: { model: 'm', baseUrl: 'https://evil.example/v1' } }] } },
      routes: { generate: { model: 'small' } },
    })
    expect(message).toContain('global.limits[0]')
    expect(message).toContain('TOLLGATE_TARGET_HOSTS')
    expect(message).not.toContain("no model 'small'")
  })

  test('all faults at once', () => {
    const message = faultOf({
      plans: { a: { limits: [{ requests: 0, per: '1m' }] }, b: { limits: [{ concurrent: 0 }] } },
    })
    expect(message).toContain('plans.a.limits[0]')
    expect(message).toContain('plans.b.limits[0]')
  })
})

describe('a target', () => {
  const openai = (change: object) => target({ openai: { model: 'm', ...change } })
  const azure = (change: object) =>
    target({ azure: { endpoint: 'https://x.openai.azure.com', deployment: 'd', ...change } })

  test('is resolved: environment names become values', () => {
    expect(resolve(openai({ key: { env: 'OPENAI_API_KEY' } })).models.get('m')?.targets[0].settings).toEqual({
      kind: 'openai',
      baseUrl: 'https://api.openai.com/v1',
      model: 'm',
      key: 'sk-1',
    })
    expect(resolve(azure({ apiVersion: '2024-10-21' })).models.get('m')?.targets[0].settings).toEqual({
      kind: 'azure',
      endpoint: 'https://x.openai.azure.com/',
      model: 'd',
      apiVersion: '2024-10-21',
      key: undefined,
    })
  })

  test.each<[string, object, string]>([
    ['to an unlisted host', openai({ baseUrl: 'https://evil.example/v1' }), 'TOLLGATE_TARGET_HOSTS'],
    ['to the cloud’s metadata address', openai({ baseUrl: 'http://169.254.169.254/' }), 'TOLLGATE_TARGET_HOSTS'],
    ['to a private address', openai({ baseUrl: 'https://10.0.0.7/' }), 'TOLLGATE_TARGET_HOSTS'],
    [
      'to a host that only ends like Azure’s',
      azure({ endpoint: 'https://evilopenai.azure.com' }),
      'TOLLGATE_TARGET_HOSTS',
    ],
    [
      'to a host that only begins like Azure’s',
      azure({ endpoint: 'https://x.openai.azure.com.evil.example' }),
      'TOLLGATE_TARGET_HOSTS',
    ],
    [
      'without TLS',
      azure({ endpoint: 'http://x.openai.azure.com', key: { env: 'OPENAI_API_KEY' } }),
      'TOLLGATE_TARGET_HOSTS',
    ],
    ['with a password in its URL', openai({ baseUrl: 'https://u:p@api.openai.com/v1' }), 'password'],
    ['with a key written out', openai({ key: 'sk-literal' }), 'models.m.targets[0]'],
    ['that reads a foreign variable', openai({ key: { env: 'AzureWebJobsStorage' } }), 'models.m.targets[0]'],
    ['that reads an unlisted variable', openai({ key: { env: 'OTHER_KEY' } }), 'may not read OTHER_KEY'],
    ['that reads an unset variable', openai({ key: { env: 'OPENAI_NONE' } }), 'OPENAI_NONE is not set'],
    [
      'twice',
      { models: { m: { targets: [{ openai: { model: 'a' } }, { openai: { model: 'a' }, weight: 2 }] } } },
      'models.m.targets[1]: is the same place as models.m.targets[0], asked by the same key. Keep one,',
    ],
  ])('%s is refused', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
  })

  test('of a listed host and a listed variable is taken', () => {
    const document = openai({ baseUrl: 'https://llm.corp.example/v1', key: { env: 'OTHER_KEY' } })
    const listed = { hosts: ['*.corp.example'], readable: ['OPENAI_*', 'OTHER_KEY'] }
    expect(resolve(document, listed).models.get('m')?.targets[0].settings).toMatchObject({
      baseUrl: 'https://llm.corp.example/v1',
      key: 'sk-2',
    })
  })

  test('of a listed host without TLS is refused, unless it is this machine', () => {
    expect(faultOf(openai({ baseUrl: 'http://llm.corp.example/v1' }), { hosts: ['llm.corp.example'] })).toContain(
      'needs https',
    )
    expect(
      resolve(openai({ baseUrl: 'http://127.0.0.1:11434/v1' })).models.get('m')?.targets[0].settings,
    ).toMatchObject({
      key: undefined,
    })
  })

  test('I2: may have any URL that the portal shows; the policy’s own deployment and version count', () => {
    const shown = 'https://x.openai.azure.com/openai/deployments/gpt-4o/chat/completions?api-version=2024-10-21'
    const targetAt = (document: object) => resolve(document).models.get('m')?.targets[0].settings
    expect(targetAt(azure({ endpoint: shown }))).toMatchObject({
      endpoint: 'https://x.openai.azure.com/',
      model: 'd',
      apiVersion: '2024-10-21',
    })
    expect(targetAt(azure({ endpoint: shown, apiVersion: '2025-01-01' }))).toMatchObject({ apiVersion: '2025-01-01' })
    expect(targetAt(azure({ endpoint: 'https://x.services.ai.azure.com/api/projects/p' }))).toMatchObject({
      endpoint: 'https://x.services.ai.azure.com/',
      apiVersion: undefined,
    })
    expect(targetAt(openai({ baseUrl: 'https://api.openai.com/v1/chat/completions' }))).toMatchObject({
      baseUrl: 'https://api.openai.com/v1',
    })
  })

  test.each<[string, object, string]>([
    [
      'of another operation',
      azure({ endpoint: 'https://x.openai.azure.com/openai/images' }),
      'the endpoint has a path',
    ],
    ['with a query', openai({ baseUrl: 'https://api.openai.com/v1?key=SECRET' }), 'the endpoint holds a query'],
    ['of Azure’s, as another server', openai({ baseUrl: 'https://x.openai.azure.com' }), 'Write azure: {endpoint'],
  ])('I2: with a URL %s is refused with the fix', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
    expect(faultOf(document)).not.toContain('SECRET')
  })

  test('never sends an Entra token outside Azure AI', () => {
    expect(faultOf(azure({ endpoint: 'https://llm.corp.example' }), { hosts: ['llm.corp.example'] })).toContain(
      'managed identity',
    )
  })
})
