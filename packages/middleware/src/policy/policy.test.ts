import { describe, expect, test } from 'vitest'
import { PolicyError, type ResolveOptions, resolvePolicy, type TargetSettings } from './index.ts'

const DEFAULT: TargetSettings = { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: 'gpt-4', key: 'k' }

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
    expect(policy.plans.get('default')?.requests).toEqual([
      { name: 'requests', quota: 10, periodMs: 60_000, burst: 5, capacity: 15, refill: 10 },
    ])
    expect(policy.defaultPlan).toBe('default')
    expect(policy.routes.generate).toEqual({ model: 'default', cache: { ttlMs: 3_600_000, sampled: true } })
    expect(policy.models).toEqual(new Map([['default', DEFAULT]]))
  })

  test('keeps its own plans only', () => {
    const policy = resolve(plan({ requests: 60, per: '1m' }))
    expect([...policy.plans.keys()]).toEqual(['free'])
    expect(policy.defaultPlan).toBe('free')
  })

  test('with several plans and none called default leaves the choice open', () => {
    expect(resolve({ plans: { a: { limits: [] }, b: { limits: [] } } }).defaultPlan).toBeUndefined()
  })

  test.each([
    [
      { requests: 10, per: '1m', burst: 5 },
      { capacity: 15, refill: 10, periodMs: 60_000 },
    ],
    [
      { requests: 10, per: '1m' },
      { capacity: 10, refill: 10, periodMs: 60_000 },
    ],
    [
      { requests: 1000, per: '1m', strict: true },
      { capacity: 100, refill: 870, periodMs: 60_000 },
    ],
    [
      { requests: 5, per: '2h', strict: true },
      { capacity: 1, refill: 3, periodMs: 7_200_000 },
    ],
  ])('%o is a bucket of %o', (limit, bucket) => {
    expect(resolve(plan(limit)).plans.get('free')?.requests[0]).toMatchObject({ quota: limit.requests, ...bucket })
  })

  test('names several limits apart', () => {
    const limits = resolve(plan({ requests: 10, per: '1m' }, { requests: 100, per: '1h' })).plans.get('free')?.requests
    expect(limits?.map(({ name }) => name)).toEqual(['requests-1m', 'requests-1h'])
  })

  test('turns the cache off, or its parts, by route', () => {
    const cache = (generate: object) => resolve({ routes: { generate } }).routes.generate.cache
    expect(cache({ cache: false })).toBeUndefined()
    expect(cache({ cache: { ttl: '5m' } })).toEqual({ ttlMs: 300_000, sampled: true })
    expect(cache({ cache: { sampled: false } })).toEqual({ ttlMs: 3_600_000, sampled: false })
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
    ['strict with burst', plan({ requests: 10, per: '1m', strict: true, burst: 5 }), "'strict' and 'burst'"],
    ['strict of three', plan({ requests: 3, per: '1m', strict: true }), 'at least 4'],
    ['strict by the second', plan({ requests: 1000, per: '1s', strict: true }), 'at least 10s'],
    [
      'two limits for one period, spelt twice',
      plan({ requests: 1, per: '1m' }, { requests: 2, per: '60s' }),
      'limits[1]',
    ],
    ['two limits for one period', plan({ requests: 1, per: '1m' }, { requests: 2, per: '1m' }), 'limits[1]'],
    ['more than can be counted exactly', plan({ requests: 1_000_000, per: '365d' }), 'counted exactly'],
    ['a quota', plan({ requests: 10, per: 'month' }), 'not enforced by this version yet'],
    ['a token limit', plan({ tokens: 10, per: '1m' }), "'tokens' are not enforced"],
    ['a budget', plan({ usd: 5, per: 'month' }), "'usd' are not enforced"],
    ['a concurrency limit', plan({ concurrent: 2 }), "'concurrent' are not enforced"],
    ['a global limit', { global: { limits: [{ requests: 1000, per: '1s', strict: true }] } }, 'global'],
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
      'a literal key',
      target({ openai: { model: 'm', key: 'sk-1' } }),
      'models.m.targets[0].openai.key: must be {env: NAME}',
    ],
    [
      'an endpoint that is none',
      target({ openai: { model: 'm', baseUrl: 7 } }),
      'openai.baseUrl: must be a URL, or {env: NAME}',
    ],
    ['a target that is text', target('gpt-4' as never), 'models.m.targets[0]: must be {azure: …} or {openai: …}'],
    ['a limit that is a number', plan(10 as never), 'plans.free.limits[0]: must be a limit such as {requests'],
    [
      'a period that is a number',
      plan({ requests: 10, per: 60 }),
      'plans.free.limits[0].per: must be a duration such as',
    ],
  ])('%s, with what would be right', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
  })

  test('what is not enforced, what may not be reached and what is missing, together', () => {
    const message = faultOf({
      global: { limits: [] },
      models: { small: { targets: [{ openai: { model: 'm', baseUrl: 'https://evil.example/v1' } }] } },
      routes: { generate: { model: 'small' } },
    })
    expect(message).toContain('global')
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
    expect(resolve(openai({ key: { env: 'OPENAI_API_KEY' } })).models.get('m')).toEqual({
      kind: 'openai',
      baseUrl: 'https://api.openai.com/v1',
      model: 'm',
      key: 'sk-1',
    })
    expect(resolve(azure({ apiVersion: '2024-10-21' })).models.get('m')).toEqual({
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
      'among several',
      { models: { m: { targets: [{ openai: { model: 'a' } }, { openai: { model: 'b' } }] } } },
      'Keep one',
    ],
  ])('%s is refused', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
  })

  test('of a listed host and a listed variable is taken', () => {
    const document = openai({ baseUrl: 'https://llm.corp.example/v1', key: { env: 'OTHER_KEY' } })
    const listed = { hosts: ['*.corp.example'], readable: ['OPENAI_*', 'OTHER_KEY'] }
    expect(resolve(document, listed).models.get('m')).toMatchObject({
      baseUrl: 'https://llm.corp.example/v1',
      key: 'sk-2',
    })
  })

  test('of a listed host without TLS is refused, unless it is this machine', () => {
    expect(faultOf(openai({ baseUrl: 'http://llm.corp.example/v1' }), { hosts: ['llm.corp.example'] })).toContain(
      'needs https',
    )
    expect(resolve(openai({ baseUrl: 'http://127.0.0.1:11434/v1' })).models.get('m')).toMatchObject({ key: undefined })
  })

  test('never sends an Entra token outside Azure AI', () => {
    expect(faultOf(azure({ endpoint: 'https://llm.corp.example' }), { hosts: ['llm.corp.example'] })).toContain(
      'managed identity',
    )
  })
})
