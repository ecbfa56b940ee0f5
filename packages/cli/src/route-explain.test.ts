import { mkdtempSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { explainRouteOf, type RouteExplainOptions } from './route-explain.ts'

const POLICY = `
models:
  small:
    targets: [{openai: {model: s, baseUrl: 'https://small.example/v1'}}]
    price: {input: 1, output: 2}
    fallback: large
  large:
    targets:
      - {azure: {deployment: l, endpoint: {env: LARGE_URL}, key: {env: LARGE_KEY}}, zone: eu, priority: 2, weight: 9}
      - {openai: {model: l, baseUrl: 'https://ptu.example/v1'}, priority: 1}
    tiers: [flex, default]
    price: {input: 10, output: 20, tiers: {flex: 0.5}}
  auto:
    route:
      small: small
      large: large
      rules:
        - {header: {name: x-size, value: large}}
        - {tools: true, turns: 2}
        - {tokens: 2000}
  gpt: {alias: auto}
  ab: {split: {small: 50, large: 50}}
plans:
  team: {limits: [], models: [auto, small]}
  eu: {limits: [], zones: [eu]}
  default: {limits: []}
`
const TOOLS = { tools: [{ type: 'function', function: { name: 'f' } }] }
const chat = (more: object = {}) => ({ model: 'auto', messages: [{ role: 'user', content: 'Why?' }], ...more })

function explain(body: unknown, options: RouteExplainOptions = {}, env: Record<string, string> = {}, text = POLICY) {
  const root = mkdtempSync(join(tmpdir(), 'explain-'))
  writeFileSync(join(root, 'tollgate.policy.yaml'), text)
  const given = { LARGE_URL: 'https://l.openai.azure.com', LARGE_KEY: 'k', ...env }
  const input = typeof body === 'string' ? body : JSON.stringify(body)
  return explainRouteOf(options, { root, env: given }, async () => Buffer.from(input))
}

test('each rule is shown with what it found, and then where the request goes', async () => {
  const text = await explain(chat({ messages: [...chat().messages, { role: 'user', content: 'a' }], ...TOOLS }))
  expect(text).toContain(
    "A request for 'auto', by chat, of consumer 'anybody' on plan 'default', goes to model 'large': route: tools and turns >= 2.",
  )
  expect(text).toContain("'auto' is a route, and picks 'large'.")
  expect(text).toMatch(/^ {2}header x-size=large +large +no +no header x-size$/m)
  expect(text).toMatch(/^ {2}tools and turns >= 2 +large +yes +tools, turns = 2$/m)
  expect(text).toMatch(/^ {2}tokens >= 2000 +large +no +tokens = \d+$/m)
  const rows = [...text.matchAll(/^ {2}(\d) +(\w+):l:\w+ +(\w+) +(eu)? *(\d) +(\d) +(10) /gm)].map(
    ([, ...cells]) => cells,
  )
  expect(rows).toEqual([
    ['1', 'openai', 'flex', undefined, '1', '1', '10'],
    ['2', 'azure', 'flex', 'eu', '2', '9', '10'],
    ['3', 'openai', 'default', undefined, '1', '1', '10'],
    ['4', 'azure', 'default', 'eu', '2', '9', '10'],
  ])
})

test('a program gets the same, with fallbacks', async () => {
  const json = JSON.parse(await explain(chat(), { json: true, consumer: 'alice', plan: 'default' }))
  expect(json).toMatchObject({
    asked: { model: 'auto', surface: 'chat', consumer: 'alice', plan: 'default' },
    model: 'small',
    reason: 'route: no rule',
    refusal: null,
    choices: [
      { name: 'auto', kind: 'route', picks: 'small', rules: [{ holds: false }, { holds: false }, { holds: false }] },
    ],
    models: [
      {
        model: 'small',
        candidates: [{ rank: 1, tier: null, zone: null, price: { usdPerMillionTokens: { input: 1 } } }],
      },
      { model: 'large', reason: 'fallback' },
    ],
    unset: [],
  })
  expect(json.models[1].candidates).toHaveLength(4)
})

test('a plan’s models and zones hold, and what it would be refused with is shown', async () => {
  const large = { header: ['X-Size: Large'] }
  const taken = await explain(chat(), { ...large, plan: 'team' })
  expect(taken).toMatch(/^ {2}header x-size=large +large +yes +header x-size=large$/m)
  expect(await explain(chat(), { header: ['x-size:small'] })).toMatch(/ no +header x-size of another value$/m)
  expect(taken).toContain("goes to model 'small': route: plan.")
  expect(taken).toMatch(/picks 'large'\.[\s\S]*The plan does not allow that, .*: 'auto' picks 'small' instead\./)
  expect(await explain(chat(), { plan: 'eu' })).toMatch(/goes to model 'large': route: plan\.[\s\S]*azure:l/)
  expect(await explain(chat({ model: 'small' }), { plan: 'eu' })).toContain('is refused with 403 (zone_not_allowed)')
  expect(await explain(chat({ model: 'none' }))).toContain('is refused with 404 (model_not_found)')
})

test('a name of one’s own, an alias, a split, and what is no chat', async () => {
  expect(await explain(chat(), { model: 'gpt' })).toMatch(
    /'gpt' is an alias, and picks 'auto'\.[\s\S]*'auto' is a route/,
  )
  const part = (consumer: string) => explain(chat(), { model: 'ab', consumer, plan: 'default' })
  expect(await part('alice')).toBe(await part('alice'))
  expect(await part('alice')).toMatch(/'ab' is a split, and picks '(small|large)'/)
  expect(await explain({ prompt: 'Why?' }, { model: 'auto' })).toContain('by generate')
  expect(await explain({ input: 'Why?', store: false }, { model: 'auto' })).toContain('by responses')
  expect(await explain({ input: 'Why?' }, { model: 'auto', surface: 'embeddings' })).toContain('by embeddings')
})

test('the model of the settings is shown as such', async () => {
  const text = await explain({ messages: chat().messages }, {}, {}, 'plans: {default: {limits: []}}')
  expect(text).toMatch(/goes to model 'default': default\.[\s\S]*^ {2}1 +as OPENAI_\* says/m)
})

test('what is only set where the gateway runs is not needed, and named', async () => {
  const text = await explain(chat({ model: 'large' }), {}, { LARGE_URL: '', LARGE_KEY: '' })
  expect(text).toContain("Not set here, so that the gateway's ids of these targets are other ones: LARGE_URL.")
  // A key is part of no id.
  expect(await explain(chat({ model: 'large' }), {}, { LARGE_KEY: '' })).not.toContain('Not set')
})

test.each<[string, unknown, RouteExplainOptions, string]>([
  [
    'an unknown plan',
    chat(),
    { plan: 'tean' },
    "--plan: the policy has no plan 'tean'. It has: team, eu, default. Did you mean team?",
  ],
  [
    'an unknown surface',
    chat(),
    { surface: 'chats' },
    "--surface: there is no 'chats'. There are: chat, generate, responses, embeddings.",
  ],
  ['what may be either', { input: 'a' }, {}, "Both responses and embeddings have 'input'."],
  [
    'what is no header',
    chat(),
    { header: ['x-size'] },
    "--header: 'x-size' is none. Write it as name:value, such as x-size:large.",
  ],
  ['what the gateway would refuse', { messages: [] }, {}, 'The gateway would refuse this request: '],
  ['no JSON', '{', {}, 'The gateway would refuse this request: Invalid JSON format'],
  ['nothing', '', {}, 'There is no request: name a file by --file'],
  [
    'a file that is not there',
    chat(),
    { file: '/nowhere/request.json' },
    "--file: '/nowhere/request.json' can't be read (ENOENT).",
  ],
])('%s is a fault with its fix', async (_what, body, options, message) => {
  await expect(explain(body, options)).rejects.toThrow(message)
})
