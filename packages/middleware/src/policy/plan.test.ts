import { describe, expect, test } from 'vitest'
import { PolicyError, type ResolveOptions, resolvePolicy } from './index.ts'

const OPTIONS: ResolveOptions = {
  source: 'test.yaml',
  bounds: { env: {}, readable: [], hosts: [] },
  defaultTarget: undefined,
}
const at = (model: string, zone?: string, weight?: number) => ({
  openai: { model },
  ...(zone && { zone }),
  ...(weight !== undefined && { weight }),
})
const MODELS = {
  chat: { targets: [at('a', 'eu'), at('b', 'us'), at('c')] },
  small: { targets: [at('d', 'us')] },
  lambda: { targets: [at('e'), at('f', 'asia', 0)] },
  gpt: { alias: 'four' },
  four: { alias: 'chat' },
  mini: { alias: 'small' },
  latest: { alias: 'ab' },
  ab: { split: { chat: 90, lambda: 10 } },
  auto: { route: { small: 'mini', large: 'ab', rules: [{ tools: true }] } },
}
const resolve = (plan: object) => resolvePolicy({ models: MODELS, plans: { p: { limits: [], ...plan } } }, OPTIONS)
const rightsOf = (plan: object) => resolve(plan).plans.get('p')?.rights
const faultsOf = (plan: object): readonly string[] => {
  try {
    resolve(plan)
  } catch (error) {
    if (!(error instanceof PolicyError)) throw error
    return error.message.split('\n  - ').slice(1)
  }
  return []
}

describe('the models of a plan', () => {
  test.each<[readonly string[], readonly string[]]>([
    [['chat'], ['chat', 'four', 'gpt']],
    [['gpt'], ['chat', 'four', 'gpt']],
    [['small'], ['mini', 'small']],
    [
      ['latest', 'lambda'],
      ['ab', 'lambda', 'latest'],
    ],
    [['lambda'], ['lambda']],
    [['default'], ['default']],
  ])('%j are %j: an alias and its model are the same', (models, expected) => {
    expect(rightsOf({ models })?.models?.toSorted()).toEqual(expected)
  })

  test('name a split or a route with a model that it may pick, by whichever name', () => {
    expect(faultsOf({ models: ['ab', 'gpt'] })).toEqual([])
    expect(faultsOf({ models: ['auto', 'mini'] })).toEqual([])
    expect(faultsOf({ models: ['auto', 'ab'] })).toEqual([
      "plans.p.models[0]: 'auto' picks small, chat or lambda, and the plan lists none of them, so each request for it would be refused. List them too.",
      "plans.p.models[1]: 'ab' picks chat or lambda, and the plan lists none of them, so each request for it would be refused. List them too.",
    ])
    expect(faultsOf({ models: ['latest'] })).toEqual([
      expect.stringMatching(/^plans\.p\.models\[0\]: 'latest' picks chat or lambda/),
    ])
  })
})

describe('the zones of a plan', () => {
  test('are its rights', () => {
    expect(rightsOf({ zones: ['eu', 'us'] })).toEqual({
      models: undefined,
      tiers: undefined,
      tools: undefined,
      zones: ['eu', 'us'],
    })
  })

  test('must be those of targets that are asked', () => {
    expect(faultsOf({ zones: ['eu', 'euu', 'asia'] })).toEqual([
      "plans.p.zones[1]: no target says that it is in the zone 'euu'. Did you mean 'eu'? There are: eu and us. Write zone: euu at those that are.",
      "plans.p.zones[2]: no target says that it is in the zone 'asia'. There are: eu and us. Write zone: asia at those that are.",
    ])
  })

  test('must leave a target of a model that it may use', () => {
    const fault =
      'plans.p.zones: none of the models that the plan may use has a target in eu, so each request would be refused. Give a target its zone, list another model, or remove the zones.'
    expect(faultsOf({ zones: ['eu'], models: ['small'] })).toEqual([fault])
    expect(faultsOf({ zones: ['eu'], models: ['lambda', 'small', 'default'] })).toEqual([fault])
    expect(faultsOf({ zones: ['eu'], models: ['small', 'gpt'] })).toEqual([])
    expect(faultsOf({ zones: ['us'], models: ['auto', 'mini'] })).toEqual([])
  })

  test('are told where no target says its own', () => {
    const document = { plans: { p: { limits: [], zones: ['eu'] } } }
    expect(() => resolvePolicy(document, OPTIONS)).toThrow(
      "plans.p.zones[0]: no target says that it is in the zone 'eu'. Write zone: eu at those that are.",
    )
  })

  test('are at least one', () => {
    expect(faultsOf({ zones: [] })).toEqual([
      'plans.p.zones: must be a list of 1 to 16 entries, such as [eu], not an empty list. Add one, or remove it.',
    ])
  })
})
