import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { modelsBehind, PolicyError, picksOf, type ResolveOptions, resolvePolicy, virtualText } from './index.ts'
import { outline } from './resolve.ts'

const OPTIONS: ResolveOptions = {
  source: 'test.yaml',
  bounds: { env: {}, readable: [], hosts: [] },
  defaultTarget: { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: 'gpt-4', key: 'k' } as never,
}
const served = (model = 'm') => ({ targets: [{ openai: { model } }] })
const chat = served('gpt-4o')
const small = served('gpt-4o-mini')
const resolve = (models: object, rest: object = {}) => resolvePolicy({ models, ...rest }, OPTIONS)
const virtual = (models: object, name: string) => resolve({ chat, small, ...models }).virtualModels?.get(name)
const faultsOf = (models: object, rest: object = {}): readonly string[] => {
  try {
    resolve({ chat, small, ...models }, rest)
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error
    return error.message.split('\n  - ').slice(1)
  }
  return []
}
const RULES = [{ tokens: 2_000 }]

describe('a virtual model', () => {
  test('is an alias, of an alias too', () => {
    expect(virtual({ a: { alias: 'b' }, b: { alias: 'chat' } }, 'a')).toEqual({
      kind: 'alias',
      name: 'a',
      model: 'chat',
    })
  })

  test('is a split by consumer or request, of parts that have a weight, in one order however they are written', () => {
    const parts = [
      { model: 'chat', weight: 90 },
      { model: 'small', weight: 10 },
    ]
    expect(virtual({ ab: { split: { small: 10, chat: 90 } } }, 'ab')).toEqual({
      kind: 'split',
      name: 'ab',
      parts,
      by: 'consumer',
    })
    const ab = { split: { chat: 90, mini: 10, default: 0 }, by: 'request' }
    expect(virtual({ ab, mini: { alias: 'small' } }, 'ab')).toEqual({ kind: 'split', name: 'ab', parts, by: 'request' })
  })

  test('is a route by rules, whose header is named in lower case and which use the large model unless they say otherwise', () => {
    const rules = [
      { tokens: 2_000, turns: 6 },
      { code: true, tools: false, schema: true, use: 'small' },
      { header: { name: 'X-Size', value: 'Large' } },
      { header: { name: 'x-any' }, use: 'large' },
    ]
    expect(virtual({ auto: { route: { small: 'small', large: 'chat', rules } } }, 'auto')).toEqual({
      kind: 'route',
      name: 'auto',
      small: 'small',
      large: 'chat',
      rules: [
        { tokens: 2_000, turns: 6, use: 'large' },
        { code: true, tools: false, schema: true, use: 'small' },
        { header: { name: 'x-size', value: 'Large' }, use: 'large' },
        { header: { name: 'x-any', value: undefined }, use: 'large' },
      ],
    })
  })

  test('may be the default, which the settings serve no longer', () => {
    const policy = resolve({ chat, default: { alias: 'chat' } })
    expect([...policy.models.keys()]).toEqual(['chat'])
    expect(policy.virtualModels?.get('default')).toMatchObject({ model: 'chat' })
  })

  test('may pick the default of the settings, and be the model of a route', () => {
    const policy = resolve(
      { ab: { split: { default: 1, small: 1 } }, small },
      { routes: { generate: { model: 'ab' } } },
    )
    expect(modelsBehind('ab', policy.virtualModels)).toEqual(['default', 'small'])
    expect(policy.models.has('default')).toBe(true)
  })

  test('is no model of an outline, and said in a few words', () => {
    const document = {
      models: {
        chat,
        small,
        a: { alias: 'ab' },
        ab: { split: { chat: 9, small: 1 } },
        r: { route: { small: 'small', large: 'ab', rules: RULES } },
      },
      routes: { generate: { model: 'a' } },
    }
    const { models, virtualModels } = outline(document, 'test.yaml')
    expect([...models.keys()]).toEqual(['chat', 'small', 'default'])
    expect([...virtualModels.values()].map((each) => virtualText(each))).toEqual([
      'an alias of ab',
      'a split of chat (9) and small (1) by consumer',
      'a route to small or ab',
    ])
  })
})

describe('a virtual model is refused', () => {
  test.each<[string, object, string]>([
    [
      'of two kinds',
      { v: { alias: 'chat', split: { chat: 1 } } },
      'models.v: has alias and split, and each is a model of its own. Keep one.',
    ],
    [
      'of a model that there is not',
      { v: { alias: 'caht' } },
      "models.v.alias: there is no model 'caht' under models. Did you mean 'chat'?",
    ],
    [
      'with a part that there is not',
      { v: { split: { chat: 1, smal: 1 } } },
      "models.v.split.smal: there is no model 'smal' under models. Did you mean 'small'?",
    ],
    [
      'with a large one that there is not',
      { v: { route: { small: 'small', large: 'big', rules: RULES } } },
      "models.v.route.large: there is no model 'big' under models.",
    ],
    [
      'with a price',
      { v: { alias: 'chat', price: { input: 1, output: 1 } } },
      'models.v.price: an alias has none of its own: that of the model that it picks holds. Write it under chat, or remove it.',
    ],
    ['with targets', { v: { split: { chat: 1, small: 1 }, ...chat } }, 'models.v.targets: a split has none of its own'],
    [
      'with a fallback',
      { v: { route: { small: 'small', large: 'chat', rules: RULES }, fallback: 'chat' } },
      'models.v.fallback: a route has none of its own: that of the model that it picks holds. Write it under small or chat, or remove it.',
    ],
    [
      'with what belongs to a split',
      { v: { alias: 'chat', by: 'request' } },
      'models.v.by: belongs to a split. Remove it.',
    ],
    ['that is none', { v: { ...chat, by: 'request' } }, 'models.v.by: belongs to a split. Remove it.'],
    ['that is itself', { v: { alias: 'v' } }, 'models.v.alias: comes back to itself: v → v.'],
    [
      'that comes back to itself',
      {
        a: { split: { chat: 1, b: 1 } },
        b: { route: { small: 'small', large: 'c', rules: RULES } },
        c: { alias: 'a' },
      },
      'models.c.alias: comes back to itself: a → b → c → a. Let one of them name a model that has targets.',
    ],
    ['without a part', { v: { split: {} } }, 'models.v.split: gives no part any weight, so nothing would serve.'],
    ['without any weight', { v: { split: { chat: 0, small: 0 } } }, 'models.v.split: gives no part any weight'],
    [
      'of half a weight',
      { v: { split: { chat: 0.5 } } },
      'models.v.split.chat: must be a whole number from 0 to 1,000, not 0.5.',
    ],
    [
      'of too many parts',
      {
        ...Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`m${index}`, served(`m${index}`)])),
        v: { split: Object.fromEntries(Array.from({ length: 17 }, (_, index) => [`m${index}`, 1])) },
      },
      'models.v.split: has 17 parts, and may have 16. Remove some.',
    ],
    [
      'of one model twice',
      { a: { alias: 'chat' }, v: { split: { chat: 1, a: 1 } } },
      "models.v.split.a: is the same model as 'chat', which is a part too. Keep one.",
    ],
    [
      'by what there is not',
      { v: { split: { chat: 1 }, by: 'user' } },
      'models.v.by: must be consumer or request, not "user".',
    ],
    [
      'with nothing to choose from',
      { a: { alias: 'chat' }, v: { route: { small: 'a', large: 'chat', rules: RULES } } },
      "models.v.route: small and large are both 'chat', so no rule would choose. Name two models.",
    ],
    [
      'without rules',
      { v: { route: { small: 'small', large: 'chat' } } },
      'models.v.route.rules: missing. Write for instance rules: [{tokens: 2000}].',
    ],
    [
      'with a rule that says nothing',
      { v: { route: { small: 'small', large: 'chat', rules: [{ use: 'small' }] } } },
      'models.v.route.rules[0]: says nothing of the request, so it would always hold. Name what it asks for, such as {tokens: 2000}.',
    ],
    [
      'with a rule by a key',
      { v: { route: { small: 'small', large: 'chat', rules: [{ header: { name: 'X-API-Key', value: 'k' } }] } } },
      "models.v.route.rules[0].header.name: 'X-API-Key' carries a secret, which no rule may go by. Use another header.",
    ],
    [
      'with a misspelt rule',
      { v: { route: { small: 'small', large: 'chat', rules: [{ token: 5 }] } } },
      "models.v.route.rules[0].token: unknown field. Did you mean 'tokens'? models.v.route.rules[0] takes tokens, turns, code, tools, schema, header and use.",
    ],
    [
      'with a model that is none of the two',
      { v: { route: { small: 'small', large: 'chat', rules: [{ tokens: 5, use: 'chat' }] } } },
      'models.v.route.rules[0].use: must be small or large, not "chat".',
    ],
  ])('%s', (_what, models, fault) => {
    expect(faultsOf(models).join('\n')).toContain(fault)
  })

  test.each(['x-ms-client-principal', 'X-MS-Client-Principal-Id', 'X-MS-TOKEN-AAD-ACCESS-TOKEN'])(
    'a rule that goes by %s, which App Service adds',
    (name) => {
      const models = { v: { route: { small: 'small', large: 'chat', rules: [{ header: { name } }] } } }
      expect(faultsOf(models).join()).toContain(`'${name}' carries a secret`)
    },
  )

  test('that leads on for too long, where an alias is no step', () => {
    const chain = (length: number) => ({
      ...Object.fromEntries(
        Array.from({ length }, (_, index) => [
          `s${index}`,
          { split: { chat: 1, [index === 0 ? 'small' : `a${index - 1}`]: 1 } },
        ]),
      ),
      ...Object.fromEntries(Array.from({ length }, (_, index) => [`a${index}`, { alias: `s${index}` }])),
    })
    expect(faultsOf(chain(4))).toEqual([])
    expect(faultsOf(chain(5))).toEqual([
      'models.s4: leads to a model through 5 splits and routes, and may through 4. Name the model itself.',
      'models.a4: leads to a model through 5 splits and routes, and may through 4. Name the model itself.',
    ])
  })

  test('as one of too many aliases of one name', () => {
    const aliases = (count: number) =>
      Object.fromEntries(
        Array.from({ length: count }, (_, index) => [`a${index}`, { alias: index === 0 ? 'chat' : 'a0' }]),
      )
    expect(faultsOf(aliases(32))).toEqual([])
    expect(faultsOf(aliases(33))).toEqual(['models.chat: has 33 aliases, and may have 32. Remove some.'])
  })

  test('in few words where the circle is long', () => {
    const circle = Array.from({ length: 30 }, (_, index) => [`a${index}`, { alias: `a${(index + 1) % 30}` }])
    expect(faultsOf(Object.fromEntries(circle))).toEqual([
      'models.a29.alias: comes back to itself: a0 → a1 → a2 → a3 → a4 → a5 → 24 more → a0. Let one of them name a model that has targets.',
    ])
  })

  test('once of each circle, with all other faults', () => {
    const models = {
      a: { alias: 'b' },
      b: { alias: 'a' },
      c: { alias: 'a' },
      d: { alias: 'e' },
      e: { split: { d: 1, none: 1 } },
    }
    expect(faultsOf(models)).toEqual([
      expect.stringContaining("models.e.split.none: there is no model 'none'"),
      expect.stringContaining('models.b.alias: comes back to itself: a → b → a.'),
      expect.stringContaining('models.e.split.d: comes back to itself: d → e → d.'),
    ])
  })

  test('as what a limit counts, which names the models that are', () => {
    const models = { a: { alias: 'chat' }, ab: { split: { chat: 1, small: 1 } } }
    const limits = [
      { concurrent: 1, model: 'a' },
      { requests: 1, per: '1m', model: 'ab' },
    ]
    expect(faultsOf(models, { plans: { free: { limits } } })).toEqual([
      "plans.free.limits[0].model: 'a' is another name for 'chat', by which its requests are counted. Write model: chat.",
      "plans.free.limits[1].model: 'ab' picks a model for each request, by which that is counted. Write a limit for each: chat and small.",
    ])
    expect(faultsOf(models, { global: { limits: [{ usd: 1, per: 'day', model: 'a' }] } })).toEqual([
      "global.limits[0].model: 'a' is another name for 'chat', by which its requests are counted. Write model: chat.",
    ])
  })
})

test('of any names that pick names, what is taken leads to models in a few steps, and what is not is told why', () => {
  const name = fc.oneof(
    { weight: 12, arbitrary: fc.constantFrom('chat', 'small') },
    { weight: 8, arbitrary: fc.constantFrom('a', 'b', 'c', 'd', 'e') },
    { weight: 1, arbitrary: fc.constant('none') },
  )
  const document = fc.oneof(
    { weight: 2, arbitrary: fc.record({ alias: name }) },
    {
      weight: 3,
      arbitrary: fc.record({ split: fc.dictionary(name, fc.constantFrom(0, 1, 2, 3), { minKeys: 1, maxKeys: 3 }) }),
    },
    { weight: 1, arbitrary: fc.record({ route: fc.record({ small: name, large: name, rules: fc.constant(RULES) }) }) },
  )
  const documents = fc.dictionary(fc.constantFrom('a', 'b', 'c', 'd', 'e'), document, { minKeys: 1, maxKeys: 4 })
  let taken = 0
  fc.assert(
    fc.property(documents, (models) => {
      const faults = faultsOf(models)
      if (faults.length > 0) {
        for (const fault of faults) expect(fault).toMatch(/^models\.[a-e](?:\.[\w.[\]]+)?: .+[.]$/)
        return
      }
      taken += Object.keys(models).length > 1 ? 1 : 0
      const { virtualModels = new Map() } = resolve({ chat, small, ...models })
      const steps = (each: string): number => {
        const virtual = virtualModels.get(each)
        return virtual === undefined ? 0 : 1 + Math.max(...picksOf(virtual).map(steps))
      }
      for (const [each, virtual] of virtualModels) {
        const behind = modelsBehind(each, virtualModels)
        expect(behind.length).toBeGreaterThan(0)
        for (const model of behind) expect(['chat', 'small']).toContain(model)
        for (const pick of picksOf(virtual)) expect(virtualModels.get(pick)?.kind).not.toBe('alias')
        expect(steps(each)).toBeLessThanOrEqual(5)
      }
    }),
    { numRuns: 400 },
  )
  expect(taken).toBeGreaterThan(5)
})
