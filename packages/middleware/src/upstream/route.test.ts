import { expect, test } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import { modelCall, statusOf, targetAt } from '../../../../test/support/model-call.ts'
import { answered, streamed } from '../../../../test/support/replies.ts'
import { bodyOf, type Call, type Reply, refused } from '../operations/index.ts'
import { type Price, pipeline } from '../pipeline/index.ts'
import type { Model, Rights, TransformRule } from '../policy/index.ts'
import { type Routed, route } from './index.ts'

interface Known {
  readonly price?: Price
  readonly contextWindow?: number
  readonly fallback?: string
}

const model = (name: string, { price, contextWindow, fallback }: Known = {}): Model => ({
  name,
  targets: [
    targetAt(
      { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: `${name}-2026`, key: undefined },
      { id: name, price },
    ),
  ],
  fallback,
  contextWindow,
  outputField: 'max_tokens',
  temperature: true,
})
const PRICE: Price = { rates: { input: 2, cachedInput: 1, output: 8 } }
const ALL_RIGHTS: Rights = { models: undefined, tiers: undefined, tools: undefined }
const NO_TRANSFORMS: TransformRule = { lineEndings: false, minifyJson: false, dropDuplicates: [] }
const MODELS = new Map([
  ['small', model('small', { price: PRICE, contextWindow: 128_000 })],
  ['large', model('large', { fallback: 'small' })],
])
const ANSWER = { choices: [{ index: 0, message: { content: 'a' }, finish_reason: 'stop' }] }

interface Change {
  readonly transforms?: Partial<TransformRule>
  readonly reply?: () => Reply
  readonly on?: string
  readonly rights?: Partial<Rights>
}

async function routed(
  body: object,
  name?: string,
  { transforms, reply = () => answered(ANSWER), on = 'generate', rights }: Change = {},
) {
  const generate = { model: 'small', cache: undefined, transforms: { ...NO_TRANSFORMS, ...transforms } }
  const plan = { name: 'free', limits: [], shared: [], rights: { ...ALL_RIGHTS, ...rights } }
  const policy = { models: MODELS, routes: new Map([['generate', generate]]), plans: new Map([['free', plan]]) }
  let seen: Routed['routed'] | undefined
  const context = baseContext()
  const call = modelCall({ model: name, route: on, body: bodyOf({ messages: [], ...body }) })
  const came = await pipeline<
    { readonly policy: typeof policy; readonly consumer: { readonly id: string; readonly plan: string } },
    Call,
    Reply
  >()
    .use(route({ maxOutputTokens: 700 }))
    .handle((_call, { routed }) => {
      seen = routed
      return reply()
    })(call, { ...context, policy, consumer: { id: 'alice', plan: 'free' } })
  return { seen, told: context.told, status: statusOf(came), reply: came }
}

test('a request goes to the model that it names, or to the route’s own, with what is known of it', async () => {
  const own = await routed({ max_tokens: 1 })
  expect(own.seen).toMatchObject({
    route: 'generate',
    model: { name: 'small' },
    rules: { contextWindow: 128_000 },
    candidates: [{ target: { id: 'small', price: PRICE, settings: { model: 'small-2026' } } }],
    fallback: undefined,
  })
  expect(own.told).toEqual({ model: 'small', reason: 'default' })
  const named = await routed({ max_tokens: 1 }, 'large')
  expect(named.seen).toMatchObject({
    model: { name: 'large' },
    rules: { contextWindow: undefined },
    candidates: [{ target: { price: undefined } }],
  })
  expect((await routed({}, 'medium')).status).toBe(404)
})

test('a model’s candidates are the same objects for every request', async () => {
  const [one, other] = [await routed({}), await routed({})]
  expect(one.seen?.candidates).toBe(other.seen?.candidates)
})

test('a route that the policy doesn’t name has the defaults, whose model has to be there', async () => {
  const { seen, status } = await routed({}, 'large', { on: 'chat' })
  expect(status).toBe(200)
  expect(seen).toMatchObject({ route: 'chat', cache: { ttlMs: 3_600_000, sampled: true }, transforms: '' })
  const { reply } = await routed({}, undefined, { on: 'chat' })
  expect(reply).toMatchObject({ kind: 'refused', refusal: { code: 'not_configured', status: 500 } })
})

test('the model to fall back on is resolved when it is needed, with what is known of it', async () => {
  const { seen } = await routed({ max_tokens: 1 }, 'large')
  const next = seen?.fallback?.()
  expect(next).toMatchObject({ model: { name: 'small' }, rules: { contextWindow: 128_000 }, fallback: undefined })
  expect(next?.body.json).toEqual(seen?.body.json)
  expect(next?.reason).toBe('fallback')
})

test.each([
  [{}, { max_tokens: 700 }],
  [{ max_completion_tokens: null }, { max_completion_tokens: 700 }],
  [{ max_tokens: 5_000 }, { max_tokens: 5_000 }],
  [
    { max_tokens: 1, stream: true },
    { max_tokens: 1, stream: true, stream_options: { include_usage: true } },
  ],
  [
    { max_tokens: 1, stream: true, stream_options: { include_usage: false, include_obfuscation: false } },
    { max_tokens: 1, stream: true, stream_options: { include_usage: true, include_obfuscation: false } },
  ],
])('%o goes out as %o', async (body, expected) => {
  expect((await routed(body)).seen?.body.json).toEqual({ messages: [], ...expected })
})

const CHUNK = `<chunk>${'The pump must be primed. '.repeat(40)}</chunk>`
const TWICE = { messages: [{ role: 'user', content: `${CHUNK}\n${CHUNK}\nWhy?` }] }
const ONCE = [{ role: 'user', content: `${CHUNK}\nWhy?` }]
const TRANSFORMS = { minifyJson: true, dropDuplicates: ['chunk'] }

test('a prompt goes out as the route’s transforms leave it, under their label, and what they saved is noted', async () => {
  const { seen, told } = await routed(TWICE, undefined, { transforms: TRANSFORMS })
  expect(seen?.body.json.messages).toEqual(ONCE)
  expect(seen?.transforms).toBe('json.1,dup.1:chunk')
  expect(told.savedTokens).toBeGreaterThan(200)
  expect(told.savedTokens).toBeLessThan(300)
})

test('a prompt on which transforms find nothing goes out as it came, under their label', async () => {
  const { seen, told } = await routed({ messages: ONCE }, undefined, { transforms: TRANSFORMS })
  expect(seen?.body.json.messages).toBe(ONCE)
  expect(seen?.transforms).toBe('json.1,dup.1:chunk')
  expect(told).not.toHaveProperty('savedTokens')
})

test('a route without transforms sends prompts as they came', async () => {
  const { seen, told } = await routed(TWICE)
  expect(seen?.body.json.messages).toBe(TWICE.messages)
  expect(seen?.transforms).toBe('')
  expect(told).not.toHaveProperty('savedTokens')
})

test.each<[string, () => Reply]>([
  ['a hit', () => answered(ANSWER, { source: 'cache', attempts: [] })],
  ['another’s answer', () => answered(ANSWER, { source: 'shared', attempts: [] })],
  ['a refusal', () => refused({ kind: 'refusal', code: 'rate_limit_exceeded', status: 429, message: 'no' })],
])('%s saved no tokens', async (_what, reply) => {
  const { seen, told } = await routed(TWICE, undefined, { transforms: TRANSFORMS, reply })
  expect(seen?.body.json.messages).toEqual(ONCE)
  expect(told).not.toHaveProperty('savedTokens')
})

test('a stream has the figure by the time that it begins', async () => {
  const { told } = await routed(TWICE, undefined, { transforms: TRANSFORMS, reply: () => streamed('') })
  expect(told.savedTokens).toBeGreaterThan(200)
})

test.each<[string, Partial<Rights>, object, string | undefined, object]>([
  [
    'a model',
    { models: ['large'] },
    {},
    'small',
    { code: 'model_not_allowed', param: 'model', message: expect.stringContaining('It allows: large.') },
  ],
  ['its route’s own model', { models: ['large'] }, {}, undefined, { code: 'model_not_allowed' }],
  [
    'a tier',
    { tiers: ['default'] },
    { service_tier: 'priority' },
    'small',
    { code: 'tier_not_allowed', param: 'service_tier' },
  ],
  [
    'the usual tier',
    { tiers: ['flex'] },
    {},
    'small',
    { code: 'tier_not_allowed', message: expect.stringContaining("'default'") },
  ],
  ['a hosted tool', { tools: [] }, { web_search_options: {} }, 'small', { code: 'tool_not_allowed', param: 'tools' }],
  [
    'a field that chooses another',
    { models: ['small'] },
    { models: ['dear'] },
    'small',
    { code: 'field_not_allowed', param: 'models' },
  ],
  [
    'a field that searches',
    { tools: ['code'] },
    { plugins: [{ id: 'web' }] },
    'small',
    { code: 'field_not_allowed', param: 'plugins' },
  ],
])('what a plan doesn’t list is refused by name: %s', async (_what, rights, body, name, refusal) => {
  const { reply, seen } = await routed({ max_tokens: 1, ...body }, name, { rights })
  expect(reply).toMatchObject({ kind: 'refused', refusal: { status: 403, ...refusal } })
  expect(seen).toBeUndefined()
})

test('what a plan lists passes, and what it doesn’t is no fallback either', async () => {
  const rights = { models: ['large'], tiers: ['default', 'flex'], tools: ['web_search'] }
  const asked = { max_tokens: 1, service_tier: 'flex', web_search_options: {}, tools: [{ type: 'function' }] }
  const { seen, status } = await routed(asked, 'large', { rights })
  expect(status).toBe(200)
  expect(seen?.fallback?.()).toBeUndefined()
  expect((await routed({ max_tokens: 1 }, 'large')).seen?.fallback?.()?.model.name).toBe('small')
})
