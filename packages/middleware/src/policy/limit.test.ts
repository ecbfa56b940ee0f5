import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Limit, largestClaim, PolicyError, resolvePolicy } from './index.ts'

const bounds = { env: {}, readable: [], hosts: [] }
const models = { small: { targets: [{ openai: { model: 'gpt-4o-mini' } }] } }
const resolve = (document: object) =>
  resolvePolicy({ models, ...document }, { source: 'test.yaml', bounds, defaultTarget: undefined })
const limitsOf = (...limits: object[]): readonly Limit[] =>
  resolve({ plans: { free: { limits } } }).plans.get('free')?.limits ?? []
const faultOf = (document: object): string => {
  try {
    resolve(document)
  } catch (error) {
    if (error instanceof PolicyError) return error.message
    throw error
  }
  return ''
}
const plan = (...limits: object[]) => ({ plans: { free: { limits } } })

describe('a limit', () => {
  test.each<[object, object]>([
    [
      { requests: 10, per: '1m', burst: 5 },
      { kind: 'rate', measure: 'requests', key: 'requests:60000', quota: 10, burst: 5, capacity: 15, refill: 10 },
    ],
    [
      { requests: 10, per: '1m' },
      { kind: 'rate', key: 'requests:60000', burst: 0, capacity: 10, refill: 10, periodMs: 60_000 },
    ],
    [
      { requests: 1000, per: '1s', strict: true },
      { kind: 'rate', key: 'requests:1000', quota: 1000, capacity: 100, refill: 900, periodMs: 1_000 },
    ],
    [
      { requests: 5, per: '2h', strict: true },
      { kind: 'rate', key: 'requests:7200000', quota: 5, capacity: 1, refill: 4, periodMs: 7_200_000 },
    ],
    [
      { requests: 10_000, per: 'month' },
      { kind: 'budget', measure: 'requests', key: 'requests:month', quota: 10_000, per: 'month' },
    ],
    [
      { tokens: 20_000, per: '1m', burst: 500 },
      { kind: 'rate', measure: 'tokens', key: 'tokens:60000', capacity: 20_500, refill: 20_000 },
    ],
    [
      { tokens: 20_000, per: '1m', strict: true, count: 'input' },
      { kind: 'rate', measure: 'input', key: 'input:60000', capacity: 2_000, refill: 18_000 },
    ],
    [
      { tokens: 1_000_000, per: 'day', count: 'output', model: 'small' },
      { kind: 'budget', measure: 'output', key: 'output:day@small', quota: 1_000_000, model: 'small' },
    ],
    [
      { tokens: 7, per: 'hour', count: 'total' },
      { kind: 'budget', measure: 'tokens', key: 'tokens:hour', quota: 7 },
    ],
    [
      { usd: 5, per: 'month' },
      { kind: 'budget', measure: 'money', key: 'money:month', quota: 5_000_000_000, per: 'month' },
    ],
    [
      { usd: 0.1 + 0.2, per: 'minute' },
      { kind: 'budget', quota: 300_000_000 },
    ],
    [
      { usd: 1e-9, per: 'day' },
      { kind: 'budget', quota: 1 },
    ],
    [
      { usd: 1_000_000, per: 'day' },
      { kind: 'budget', quota: 1e15 },
    ],
    [{ concurrent: 2 }, { kind: 'concurrency', measure: 'concurrency', key: 'concurrency', quota: 2 }],
    [
      { concurrent: 2, model: 'small' },
      { kind: 'concurrency', key: 'concurrency@small', model: 'small' },
    ],
    [
      { requests: 1, per: '60s', model: 'default' },
      { kind: 'rate', key: 'requests:60000@default', model: 'default' },
    ],
  ])('%o is %o', (document, limit) => {
    expect(limitsOf(document)).toMatchObject([limit])
  })

  test('that is strict never shows more than its number in any window of its period', () => {
    const kinds = fc.constantFrom('requests', 'tokens')
    fc.assert(
      fc.property(kinds, fc.integer({ min: 4, max: 1_000_000_000 }), fc.constantFrom('1s', '1m'), (kind, n, per) => {
        const [limit] = limitsOf({ [kind]: n, per, strict: true })
        if (limit?.kind !== 'rate') throw new Error('no bucket')
        expect(limit.capacity + limit.refill).toBeLessThanOrEqual(n)
        expect(limit.capacity).toBeGreaterThanOrEqual(1)
        expect(limit.refill).toBeGreaterThanOrEqual(0.9 * n - 1)
        expect(largestClaim(limit)).toBe(limit.capacity)
      }),
    )
  })

  test('that is plain admits its number and its burst at once, and its number in each period', () => {
    const number = fc.integer({ min: 1, max: 1_000_000_000 })
    fc.assert(
      fc.property(number, fc.integer({ min: 0, max: 1_000_000_000 }), (requests, burst) => {
        expect(limitsOf({ requests, per: '1m', burst })).toMatchObject([
          { capacity: requests + burst, refill: requests },
        ])
      }),
    )
  })
})

describe('limits are named', () => {
  const names = (...limits: object[]) => limitsOf(...limits).map(({ name }) => name)

  test('by what they count', () => {
    expect(
      names(
        { requests: 10, per: '1m' },
        { tokens: 10, per: '1m' },
        { tokens: 10, per: '1m', count: 'input' },
        { tokens: 10, per: 'day', count: 'output' },
        { usd: 5, per: 'month' },
        { concurrent: 2 },
      ),
    ).toEqual(['requests', 'tokens', 'input-tokens', 'output-tokens', 'usd', 'concurrent'])
  })

  test('by the period too where several count the same', () => {
    expect(names({ requests: 10, per: '1m' }, { requests: 100, per: '1h' }, { usd: 1, per: 'day' })).toEqual([
      'requests-1m',
      'requests-1h',
      'usd',
    ])
    expect(names({ tokens: 10, per: 'minute' }, { tokens: 10, per: '1m' })).toEqual(['tokens-minute', 'tokens-1m'])
  })

  test('by their model, apart from those of all models', () => {
    expect(
      names(
        { requests: 10, per: '1m' },
        { requests: 5, per: '1m', model: 'small' },
        { concurrent: 4 },
        { concurrent: 2, model: 'small' },
        { usd: 1, per: 'day', model: 'small' },
        { usd: 9, per: 'month', model: 'small' },
      ),
    ).toEqual(['requests', 'requests:small', 'concurrent', 'concurrent:small', 'usd-day:small', 'usd-month:small'])
  })

  test('by who shares them', () => {
    const policy = resolve({
      plans: {
        free: { limits: [{ requests: 10, per: '1m' }], shared: { limits: [{ requests: 100, per: '1m' }] } },
        pro: { limits: [] },
      },
      global: {
        limits: [
          { requests: 1000, per: '1s', strict: true },
          { usd: 500, per: 'day', model: 'small' },
        ],
      },
    })
    expect(policy.plans.get('free')).toMatchObject({
      limits: [{ name: 'requests', key: 'requests:60000', quota: 10 }],
      shared: [{ name: 'plan-requests', key: 'requests:60000', quota: 100 }],
    })
    expect(policy.plans.get('pro')).toEqual({ name: 'pro', limits: [], shared: [] })
    expect(policy.global).toMatchObject([
      { name: 'global-requests', key: 'requests:1000', capacity: 100, refill: 900 },
      { name: 'global-usd:small', key: 'money:day@small', quota: 500e9 },
    ])
  })

  test('with characters that a header’s label may have, and never twice', () => {
    const document = fc.record(
      {
        per: fc.constantFrom('1s', '1m', '2h', '1d', 'minute', 'month'),
        model: fc.constantFrom('small', 'default'),
        count: fc.constantFrom('total', 'input', 'output'),
      },
      { requiredKeys: ['per'] },
    )
    const key = ({ per, model, count = 'total' }: { per: string; model?: string; count?: string }) =>
      [per, model, count].join()
    fc.assert(
      fc.property(fc.uniqueArray(document, { selector: key, maxLength: 16 }), (documents) => {
        const given = names(...documents.map((limit) => ({ tokens: 10, ...limit })))
        expect(new Set(given).size).toBe(documents.length)
        for (const name of given) expect(name).toMatch(/^[A-Za-z0-9._:-]+$/)
      }),
    )
  })
})

describe('a faulty limit is refused with path and fix:', () => {
  const at = 'plans.free.limits[0]'
  test.each<[string, object, string]>([
    ['strict with burst', plan({ requests: 10, per: '1m', strict: true, burst: 5 }), `${at}: 'strict' and 'burst'`],
    ['strict of three', plan({ tokens: 3, per: '1m', strict: true }), `${at}: 'strict' needs a number of at least 4`],
    ['burst on a quota', plan({ requests: 10, per: 'day', burst: 5 }), `${at}: 'burst' and 'strict' belong to`],
    ['strict on a quota', plan({ tokens: 10, per: 'day', strict: true }), `${at}: 'burst' and 'strict' belong to`],
    ['requests past exact counting', plan({ requests: 1_000_000, per: '365d' }), `${at}: too many requests in too`],
    ['tokens past exact counting', plan({ tokens: 1e12, per: '1d' }), `${at}: too many tokens in too long`],
    ['no tokens', plan({ tokens: 0, per: '1m' }), `${at}.tokens`],
    ['a kind of token that there is not', plan({ tokens: 1, per: '1m', count: 'all' }), `${at}.count`],
    ['a price for nothing', plan({ usd: 0, per: 'day' }), `${at}.usd`],
    ['less than a nano-dollar', plan({ usd: 1e-10, per: 'day' }), `${at}.usd`],
    ['more than a million dollars', plan({ usd: 1_000_001, per: 'day' }), `${at}.usd`],
    ['money with a burst', plan({ usd: 5, per: 'day', burst: 1 }), at],
    ['concurrency with a period', plan({ concurrent: 5, per: 'day' }), at],
    ['none in flight', plan({ concurrent: 0 }), `${at}.concurrent`],
    [
      'a period twice, spelt differently',
      plan({ requests: 1, per: '1m' }, { requests: 2, per: '60s' }),
      'plans.free.limits[1]: a second limit on requests per 60s. Keep the smaller.',
    ],
    [
      'a window twice',
      plan({ tokens: 1, per: 'day', count: 'input' }, { tokens: 2, per: 'day', count: 'input' }),
      'plans.free.limits[1]: a second limit on input tokens per day.',
    ],
    [
      'concurrency twice',
      plan({ concurrent: 1, model: 'small' }, { concurrent: 2, model: 'small' }),
      "plans.free.limits[1]: a second limit on concurrent requests for the model 'small'.",
    ],
    [
      'a model that there is not',
      plan({ requests: 1, per: '1m', model: 'large' }),
      `${at}.model: there is no model 'large' under models.`,
    ],
    [
      'a model that every object has',
      plan({ requests: 1, per: '1m', model: 'constructor' }),
      `${at}.model: there is no model 'constructor'`,
    ],
    [
      'a shared limit',
      { plans: { free: { limits: [], shared: { limits: [{ concurrent: 1, model: 'large' }] } } } },
      "plans.free.shared.limits[0].model: there is no model 'large'",
    ],
    [
      'a global limit',
      { global: { limits: [{ requests: 3, per: '1s', strict: true }] } },
      "global.limits[0]: 'strict' needs",
    ],
    [
      'seventeen of them',
      plan(...Array.from({ length: 17 }, (_, index) => ({ requests: 1, per: `${index + 1}m` }))),
      'plans.free.limits',
    ],
  ])('%s', (_what, document, expected) => {
    expect(faultOf(document)).toContain(expected)
  })
})
