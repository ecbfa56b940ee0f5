import { execFileSync } from 'node:child_process'
import { expect, test } from 'vitest'
import { parse } from 'yaml'
import type { AzureSettings, OpenAISettings } from '../targets/index.ts'
import { fixedPolicy, type ResolveOptions, resolvePolicy } from './index.ts'

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

test('a fixed policy is the one that it was made of, and stays', async () => {
  const policy = resolve(TEXT)
  const source = fixedPolicy(policy)
  expect(source.current()).toBe(policy)
  expect(await source.refresh(AbortSignal.timeout(1_000))).toBe('unchanged')
  expect(source.current()).toBe(policy)
})
