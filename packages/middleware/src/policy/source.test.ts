import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import type { AzureSettings, OpenAISettings } from '../targets/index.ts'
import { fixedPolicy, type Policy, type ResolveOptions, resolvePolicy } from './index.ts'
import { revisionOf } from './source.ts'

const ENV = { OPENAI_KEY: 'sk-HUSH', OPENAI_OTHER: 'sk-HUSH', OPENAI_ENDPOINT: 'https://x.openai.azure.com' }
const SETTINGS: OpenAISettings = {
  kind: 'openai',
  baseUrl: 'https://api.openai.com/v1',
  model: 'gpt-4',
  key: 'sk-HUSH',
}
const OPTIONS: ResolveOptions = {
  source: 'test.yaml',
  bounds: { env: ENV, readable: ['OPENAI_*'], hosts: [] },
  defaultTarget: SETTINGS,
  routes: ['generate', 'chat'],
}
const TEXT = `
plans:
  free: { limits: [ {requests: 10, per: 1m}, {concurrent: 2} ] }
  pro: { limits: [ {requests: 60, per: 1m} ], shared: { limits: [ {tokens: 1000, per: day} ] } }
global: { limits: [ {requests: 1000, per: 1s} ] }
models:
  small:
    targets: [ {azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: mini, key: {env: OPENAI_KEY}}} ]
    price: { input: 0.15, output: 0.60 }
    contextWindow: 128000
  large: { targets: [ {openai: {model: large}} ] }
routes: { generate: { model: small } }
`
const resolve = (text: string, change: Partial<ResolveOptions> = {}) =>
  resolvePolicy(parse(text), { ...OPTIONS, ...change })
const revision = (text: string, change?: Partial<ResolveOptions>) => resolve(text, change).revision
const withKeys = (...keys: readonly string[]) =>
  TEXT.replace(
    / {2}large: .*/,
    `  large: { targets: [ ${keys.map((key) => `{openai: {model: large, key: {env: ${key}}}}`).join(', ')} ] }`,
  )
const withEnv = (change: object) => ({ bounds: { ...OPTIONS.bounds, env: { ...ENV, ...change } } })

test('a revision is short, and the same in each process', () => {
  const program = `
    import { resolvePolicy } from ${JSON.stringify(new URL('./index.ts', import.meta.url).href)}
    process.stdout.write(resolvePolicy(${JSON.stringify(parse(TEXT))}, ${JSON.stringify(OPTIONS)}).revision)`
  const told = execFileSync(process.execPath, ['--input-type=module', '--eval', program], { encoding: 'utf8' })
  expect(told).toMatch(/^[0-9a-f]{12}$/)
  expect(revision(TEXT)).toBe(told)
})

test.each<[string, string, Partial<ResolveOptions>?]>([
  ['in another order', TEXT.replace(/( {2}free: .*\n)( {2}pro: .*\n)/, '$2$1')],
  ['with its defaults written out', `${TEXT}storeDown: closed\nunpriced: refuse\n`],
  [
    'with a route’s defaults written out',
    TEXT.replace('model: small }', 'model: small, cache: {ttl: 60m, sampled: true} }, chat: {}'),
  ],
  ['with a period spelt differently', TEXT.replace('requests: 60, per: 1m', 'requests: 60, per: 60s, burst: 0')],
  [
    'with the default retry written out',
    TEXT.replace('{model: large}} ]', '{model: large}} ], retry: {attempts: 3, budget: 10%}'),
  ],
  [
    'with a target’s defaults written out',
    TEXT.replace('{model: large}}', '{model: large}, priority: 1, weight: 1, ptu: false}'),
  ],
  [
    'with a target that is not asked',
    TEXT.replace('{model: large}}', '{model: large}}, {openai: {model: other}, weight: 0}'),
  ],
  ['with another key in the same variable', TEXT, withEnv({ OPENAI_KEY: 'sk-other' })],
  ['with the endpoint as the portal shows it', TEXT, withEnv({ OPENAI_ENDPOINT: `${ENV.OPENAI_ENDPOINT}/openai/v1/` })],
])('a document that means the same has the same revision: %s', (_what, text, change) => {
  expect([text, change]).not.toEqual([TEXT, undefined])
  expect(revision(text, change)).toBe(revision(TEXT))
})

test.each<[string, string, Partial<ResolveOptions>?]>([
  ['a limit', TEXT.replace('requests: 10,', 'requests: 11,')],
  [
    'the order of limits, which headers show',
    TEXT.replace('{requests: 10, per: 1m}, {concurrent: 2}', '{concurrent: 2}, {requests: 10, per: 1m}'),
  ],
  ['a shared limit', TEXT.replace('tokens: 1000', 'tokens: 1001')],
  ['a global limit', TEXT.replace('requests: 1000', 'requests: 1001')],
  ['a plan’s name', TEXT.replace('  free:', '  fred:')],
  ['the default plan', TEXT.replace('  free:', '  default:')],
  ['a price', TEXT.replace('0.60', '0.61')],
  ['what has no price', `${TEXT}unpriced: worst\n`],
  ['a context window', TEXT.replace('128000', '128001')],
  ['a deployment', TEXT.replace('deployment: mini', 'deployment: nano')],
  ['an API', TEXT.replace('deployment: mini', 'deployment: mini, apiVersion: 2024-10-21')],
  ['an endpoint', TEXT, withEnv({ OPENAI_ENDPOINT: 'https://y.openai.azure.com' })],
  ['the variable of a key', TEXT.replace('OPENAI_KEY', 'OPENAI_OTHER')],
  ['managed identity in place of a key', TEXT.replace(', key: {env: OPENAI_KEY}', '')],
  ['a route’s model', TEXT.replace('model: small }', 'model: large }')],
  ['a route', TEXT.replace('model: small }', 'model: small }, chat: {cache: false}')],
  ['the store’s state', `${TEXT}storeDown: open\n`],
  ['the model of the settings', TEXT, { defaultTarget: undefined }],
  ['a second target', TEXT.replace('{model: large}}', '{model: large}}, {openai: {model: other}}')],
  ['a right', TEXT.replace('{concurrent: 2} ]', '{concurrent: 2} ], tools: []')],
  ['a virtual model', `${TEXT}`.replace('routes:', '  big: { alias: large }\nroutes:')],
])('another revision has %s', (_what, text, change) => {
  expect([text, change]).not.toEqual([TEXT, undefined])
  expect(revision(text, change)).not.toBe(revision(TEXT))
})

test('a target’s id is the same for as long as it is the same place, and tells neither key nor address', () => {
  const idOf = (text: string, change?: Partial<ResolveOptions>) =>
    resolve(text, change).models.get('small')?.targets[0].id
  const id = idOf(TEXT)
  expect(id).toMatch(/^azure:mini:[0-9a-f]{12}$/)
  expect(idOf(TEXT.replace('0.60', '0.61'))).toBe(id)
  expect(idOf(TEXT, withEnv({ OPENAI_KEY: 'sk-other' }))).toBe(id)
  expect(idOf(TEXT, withEnv({ OPENAI_ENDPOINT: 'https://y.openai.azure.com' }))).not.toBe(id)
  const endpoint = ENV.OPENAI_ENDPOINT
  const defaultTarget: AzureSettings = { kind: 'azure', endpoint, model: 'mini', apiVersion: undefined, key: 'sk-HUSH' }
  const same = resolve(TEXT, { defaultTarget }).models.get('default')
  expect(same?.targets[0].id).toBe(id)
  expect(idOf(TEXT.replace('deployment: mini', 'deployment: "a\\nb/ü"'))).toMatch(/^azure:a_b__:[0-9a-f]{12}$/)
})

test('a fixed policy is the one that it was made of, and stays', () => {
  const policy = resolve(TEXT)
  const source = fixedPolicy(policy)
  expect(source.current()).toBe(policy)
  expect(source.refresh()).toBeUndefined()
  expect(source.current()).toBe(policy)
})

test('the variables of several keys are a part of it, each with its target', () => {
  const of = (...keys: readonly string[]) => revision(withKeys(...keys))
  const both = of('OPENAI_KEY', 'OPENAI_OTHER')
  expect(of('OPENAI_OTHER', 'OPENAI_KEY')).not.toBe(both)
  expect(of('OPENAI_KEY')).not.toBe(both)
  expect(revision(withKeys('OPENAI_KEY', 'OPENAI_OTHER'), withEnv({ OPENAI_KEY: 'sk-other' }))).toBe(both)
})

/* All that a policy says. */
const WHOLE = `
plans:
  free:
    limits: [ {requests: 10, per: 1m, burst: 5}, {tokens: 9, per: 1m, count: input}, {usd: 5, per: month, model: chat}, {concurrent: 2} ]
    shared: { limits: [ {tokens: 1000, per: day} ] }
    models: [chat, ab, auto]
    tiers: [default, flex]
    tools: [web_search]
    zones: [eu]
global: { limits: [ {requests: 1000, per: 1s, strict: true} ] }
storeDown: open
usage: { detail: 7d }
models:
  chat:
    targets:
      - { azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: ptu, key: {env: OPENAI_KEY}}, ptu: true }
      - { azure: {endpoint: {env: OPENAI_ENDPOINT}, deployment: gpt-5}, priority: 2, weight: 90, zone: eu }
    price:
      { input: 1, output: 8, cacheWrite: 2, above: {tokens: 1000, input: 2x}, tiers: {flex: 0.5, priority: {input: 2, output: 9}},
        zone: 1.1, tools: {web_search: 0.01}, covers: [speed] }
    tiers: [flex, default]
    retry: { attempts: 2, budget: 20% }
    fallback: large
    contextWindow: 1000
    output: max_tokens
    temperature: false
    tokenizer: o200k_base
  large: { targets: [ {openai: {model: gpt-5.6-sol-search-preview}} ] }
  gpt-4o: { alias: chat }
  ab: { split: {chat: 90, large: 10}, by: request }
  auto: { route: {small: large, large: chat, rules: [ {tokens: 9, turns: 2, code: true, tools: false, schema: true, header: {name: x-size, value: l}} ]} }
routes:
  generate: { model: ab, cache: {ttl: 2h, scope: plan, sampled: false, tools: true}, transforms: {minifyJson: true, dropDuplicates: [a]} }
`

/** A value with one of its parts in another form: each leaf, each name and each entry of a list, with its place. */
function* changes(value: unknown, at: string): Generator<readonly [place: string, changed: unknown]> {
  if (value instanceof Map) {
    for (const [name, part] of value) {
      yield [
        `${at}.${name}, renamed`,
        new Map([...value].map(([each, own]) => [each === name ? `${name}2` : each, own])),
      ]
      yield [`${at}.${name}, removed`, new Map([...value].filter(([each]) => each !== name))]
      for (const [place, changed] of changes(part, `${at}.${name}`)) yield [place, new Map([...value, [name, changed]])]
    }
  } else if (Array.isArray(value)) {
    for (const [index, part] of value.entries()) {
      yield [`${at}[${index}], removed`, value.toSpliced(index, 1)]
      for (const [place, changed] of changes(part, `${at}[${index}]`)) yield [place, value.with(index, changed)]
    }
  } else if (typeof value === 'object' && value !== null) {
    for (const [field, part] of Object.entries(value)) {
      for (const [place, changed] of changes(part, `${at}.${field}`)) yield [place, { ...value, [field]: changed }]
    }
  } else if (value === undefined) yield [at, 'said']
  else if (typeof value === 'boolean') yield [at, !value]
  else yield [at, typeof value === 'number' ? value + 1 : `${value}2`]
}

/** Keys, and where a target is, which its id says; what is no part of what a request is decided by. */
const UNTOLD = /^policy(?:\.models\.[^.]+\.targets\[\d+\]\.settings\.|\.usage\.)/

test('whatever of a resolved policy changes, the revision does, but for what no request is decided by', () => {
  const { revision: _, ...policy } = resolve(WHOLE)
  const secrets = new Map([['chat', [['OPENAI_KEY'], []]]])
  const same = revisionOf(policy, secrets)
  const all = [...changes(policy, 'policy')]
  const untold = all.filter(([, changed]) => revisionOf(changed as Policy, secrets) === same).map(([place]) => place)
  expect(untold.filter((place) => !UNTOLD.test(place))).toEqual([])
  expect(untold.length).toBeGreaterThan(10)
  expect(all.length).toBeGreaterThan(150)
  for (const place of [
    'plans.free.rights.zones[0]',
    'models.chat.retry.budget',
    'virtualModels.ab.parts[0].weight',
    'models.large.unasked.searches',
  ]) {
    expect(all.map(([place]) => place)).toContain(`policy.${place}`)
  }
  expect(revisionOf(policy, new Map([['chat', [[], ['OPENAI_KEY']]]]))).not.toBe(same)
})
