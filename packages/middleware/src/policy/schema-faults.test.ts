import { expect, test } from 'vitest'
import { PolicyError, resolvePolicy } from './index.ts'

/* Every place of a policy that uses the whole grammar, with each kind of value, a typo, and nothing. */

const key = { env: 'OPENAI_API_KEY' }
const WHOLE = {
  plans: {
    free: {
      limits: [
        { requests: 10, per: '1m', burst: 5, model: 'small' },
        { tokens: 10, per: 'day', count: 'input' },
        { usd: 5, per: 'month' },
        { concurrent: 2 },
        { requests: 10, per: '1h', strict: true },
      ],
      shared: { limits: [{ concurrent: 3 }] },
      models: ['small', 'ab', 'auto'],
      tiers: ['default', 'flex'],
      tools: ['web_search'],
      zones: ['eu'],
    },
  },
  global: { limits: [{ requests: 1000, per: '1s' }] },
  storeDown: 'closed',
  identity: {
    issuers: [
      {
        name: 'corp',
        entra: {
          tenant: '11111111-2222-3333-4444-555555555555',
          audience: 'api://a',
          authority: 'https://login.microsoftonline.us',
        },
        roles: { 'Tollgate.Pro': 'free' },
        manage: false,
      },
      {
        name: 'ci',
        oidc: {
          issuer: 'https://ci.example',
          audience: ['a', 'b'],
          jwks: 'https://ci.example/keys',
          rolesClaim: 'repository',
        },
      },
    ],
  },
  groups: { team: { claim: 'team', required: true, limits: [{ usd: 5, per: 'month' }] } },
  usage: { detail: '7d', hours: '30d' },
  unpriced: 'refuse',
  models: {
    default: { price: { input: 1, cachedInput: 0.5, output: 2 }, contextWindow: 10 },
    small: {
      targets: [
        { azure: { endpoint: 'https://x.openai.azure.com', deployment: 'd', apiVersion: 'v', key }, zone: 'eu' },
      ],
    },
    large: {
      targets: [
        { openai: { model: 'm', baseUrl: 'https://api.openai.com/v1', key }, ptu: true, priority: 1 },
        { openai: { model: 'n' }, zone: 'eu', priority: 2, weight: 90 },
      ],
      price: { input: 1, output: 2, tiers: { flex: 0.5 } },
      tiers: ['flex', 'default'],
      retry: { attempts: 2, budget: '10%' },
      fallback: 'alias',
      output: 'max_tokens',
      temperature: true,
      tokenizer: 'o200k_base',
    },
    alias: { alias: 'small' },
    ab: { split: { small: 90, large: 10 }, by: 'request' },
    auto: {
      route: {
        small: 'small',
        large: 'large',
        rules: [
          { tokens: 1_000, turns: 2, code: true, tools: true, schema: false, use: 'small' },
          { header: { name: 'x-size', value: 'large' } },
        ],
      },
    },
  },
  routes: {
    generate: {
      model: 'small',
      cache: { ttl: '1h', scope: 'plan', sampled: true, tools: false },
      transforms: { lineEndings: true, minifyJson: true, dropDuplicates: ['document'] },
    },
  },
}
const VALUES = [null, '', 'x', 0, -1, 1.5, Number.NaN, 1e30, [], [1], [null], {}, { a: 1 }, true, '10', '1min', [[]]]

type Path = readonly (string | number)[]
type Bag = Record<string | number, unknown>

function pathsOf(value: unknown, path: Path = []): Path[] {
  if (typeof value !== 'object' || value === null) return [path]
  const below = Array.isArray(value) ? value.map((each, index) => [index, each] as const) : Object.entries(value)
  return [path, ...below.flatMap(([part, each]) => pathsOf(each, [...path, part]))]
}

/** A copy in which `change` was made to the map or list around a place. */
function changed(path: Path, change: (around: Bag, part: string | number) => void): unknown {
  const copy = { document: structuredClone<unknown>(WHOLE) }
  const whole: Path = ['document', ...path]
  const around = whole.slice(0, -1).reduce<Bag>((bag, part) => bag[part] as Bag, copy)
  change(around, whole.at(-1) ?? '')
  return copy.document
}

function faultsOf(document: unknown): string[] {
  const bounds = { env: { OPENAI_API_KEY: 'k' }, readable: ['OPENAI_*'], hosts: [] }
  try {
    resolvePolicy(document, { source: 'test.yaml', bounds, defaultTarget: undefined })
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error
    return error.message.split('\n  - ').slice(1)
  }
  return []
}

test('the whole grammar is taken', () => {
  expect(faultsOf(WHOLE)).toEqual([])
})

test('whatever stands in a place, it is told in words that name the place and end in a sentence', () => {
  const wrong = pathsOf(WHOLE).flatMap((path) =>
    VALUES.map((value) =>
      changed(path, (around, part) => {
        around[part] = value
      }),
    ),
  )
  const faults = wrong.flatMap(faultsOf)
  expect(wrong.length).toBeGreaterThan(1_000)
  expect(faults.length).toBeGreaterThan(1_000)
  const raw = /invalid|unrecogni|expected|received|too (?:small|big)|another kind|undefined|\[object/i
  expect(faults.filter((fault) => raw.test(fault))).toEqual([])
  expect(faults.filter((fault) => !/^(?:[\w.[\]]+|the document): .*[.?]$/.test(fault))).toEqual([])
})

test('each field’s typo is told with the field that was meant', () => {
  const names = { plans: true, models: true, split: true, tiers: true, roles: true, groups: true } as Readonly<
    Record<string, boolean>
  >
  const fields = pathsOf(WHOLE).filter((path) => typeof path.at(-1) === 'string' && !names[String(path.at(-2))])
  const untold = fields.filter((path) => {
    const field = String(path.at(-1))
    const faults = faultsOf(
      changed(path, (around, part) => {
        around[`${field}s`] = around[part]
        delete around[part]
      }),
    )
    return !faults.some((fault) => fault.includes(`Did you mean '${field}'`))
  })
  expect(fields.length).toBeGreaterThan(40)
  expect(untold).toEqual([])
})

test.each([
  [
    { concurrent: 2, requests: 5 },
    'has requests and concurrent, and each is one of its own. Write one entry for each.',
  ],
  [{ concurrent: 2, usd: 5, per: 'month' }, 'has usd and concurrent, and each is one of its own.'],
  [{ concurrent: 2, per: '1m' }, 'per: unknown field. It belongs to entries of another kind. Remove it.'],
  [{ tokens: 20, '0': null, per: '1m' }, '0: unknown field. A comma ends a value: write a number without separators.'],
  [{ usd: '5 USD', per: 'month' }, 'not "5 USD". Write digits alone, without separators, units or signs.'],
])('I6: a limit of two kinds, or of a wrong form, is told with its fix: %j', (limit, text) => {
  const document = { plans: { default: { limits: [limit] } } }
  expect(() =>
    resolvePolicy(document, { bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined, source: 'p' }),
  ).toThrow(text)
})

test('I6: in and out are told to be input and output', () => {
  const document = { models: { default: { price: { in: 1, out: 2 } } } }
  expect(() =>
    resolvePolicy(document, { bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined, source: 'p' }),
  ).toThrow("price.in: unknown field. Did you mean 'input'?")
})
