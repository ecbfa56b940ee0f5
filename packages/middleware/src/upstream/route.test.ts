import { expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import type { CompletionRequest } from '../operations/index.ts'
import { pipeline, type RequestRecord } from '../pipeline/index.ts'
import { type Model, type Policy, type Price, routeOf, type TransformRule } from '../policy/index.ts'
import { type Routed, route } from './index.ts'

const model = (name: string, { price, contextWindow }: { price?: Price; contextWindow?: number } = {}): Model => ({
  name,
  targets: [
    {
      id: name,
      priority: 1,
      weight: 1,
      zone: undefined,
      price,
      settings: { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: `${name}-2026`, key: undefined },
    },
  ],
  fallback: undefined,
  contextWindow,
})
const PRICE = { input: 2, cachedInput: 1, output: 8 }
const POLICY: Policy = {
  revision: '0',
  plans: new Map(),
  defaultPlan: undefined,
  global: [],
  models: new Map([
    ['small', model('small', { price: PRICE, contextWindow: 128_000 })],
    ['large', model('large')],
  ]),
  routes: new Map([
    [
      'generate',
      {
        model: 'small',
        cache: undefined,
        transforms: { lineEndings: false, minifyJson: false, dropDuplicates: [] },
      },
    ],
  ]),
  storeDown: 'closed',
}

interface Change {
  readonly transforms?: Partial<TransformRule>
  readonly answer?: (record: RequestRecord) => Response
}

async function routed(body: object, name?: string, { transforms, answer = () => new Response() }: Change = {}) {
  const generate = routeOf(POLICY, 'generate')
  const routes = new Map([['generate', { ...generate, transforms: { ...generate.transforms, ...transforms } }]])
  let seen: Routed['routed'] | undefined
  const context = baseContext()
  const completion = { model: name, prompt: 'a', body: { messages: [], ...body } } as CompletionRequest
  const response = await pipeline<{ readonly completion: CompletionRequest }>()
    .use(route({ name: 'generate', policy: () => ({ ...POLICY, routes }), maxOutputTokens: 700 }))
    .handle((_request, { routed }) => {
      seen = routed
      return answer(context.record)
    })(request, { ...context, completion })
  return { seen, record: context.record, status: response.status }
}

test('a request goes to the model that it names, or to the route’s own, with what is known of it', async () => {
  const own = await routed({ max_tokens: 1 })
  expect(own.seen).toMatchObject({
    model: 'small',
    price: PRICE,
    contextWindow: 128_000,
    body: { model: 'small-2026' },
  })
  expect(own.record).toEqual({ requestId: 'r', model: 'small', price: PRICE })
  const named = await routed({ max_tokens: 1 }, 'large')
  expect(named.seen).toMatchObject({ model: 'large', price: undefined, contextWindow: undefined })
  expect(named.record).not.toHaveProperty('price')
  expect((await routed({}, 'medium')).status).toBe(400)
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
  expect((await routed(body)).seen?.body).toEqual({ model: 'small-2026', messages: [], ...expected })
})

const CHUNK = `<chunk>${'The pump must be primed. '.repeat(40)}</chunk>`
const TWICE = { messages: [{ role: 'user', content: `${CHUNK}\n${CHUNK}\nWhy?` }] }
const ONCE = [{ role: 'user', content: `${CHUNK}\nWhy?` }]
const TRANSFORMS = { minifyJson: true, dropDuplicates: ['chunk'] }

test('a prompt goes out as the route’s transforms leave it, under their label, and what they saved is noted', async () => {
  const { seen, record } = await routed(TWICE, undefined, { transforms: TRANSFORMS })
  expect(seen?.body.messages).toEqual(ONCE)
  expect(seen?.transforms).toBe('json.1,dup.1:chunk')
  expect(record.savedTokens).toBeGreaterThan(200)
  expect(record.savedTokens).toBeLessThan(300)
})

test('a prompt on which transforms find nothing goes out as it came, under their label', async () => {
  const { seen, record } = await routed({ messages: ONCE }, undefined, { transforms: TRANSFORMS })
  expect(seen?.body.messages).toBe(ONCE)
  expect(seen?.transforms).toBe('json.1,dup.1:chunk')
  expect(record).not.toHaveProperty('savedTokens')
})

test('a route without transforms sends prompts as they came', async () => {
  const { seen, record } = await routed(TWICE)
  expect(seen?.body.messages).toBe(TWICE.messages)
  expect(seen?.transforms).toBe('')
  expect(record).not.toHaveProperty('savedTokens')
})

test.each<[string, (record: RequestRecord) => Response]>([
  [
    'a hit',
    (record) => {
      record.cache = 'hit'
      return new Response()
    },
  ],
  ['a refusal', () => new Response(null, { status: 429 })],
])('%s saved no tokens', async (_what, answer) => {
  const { seen, record } = await routed(TWICE, undefined, { transforms: TRANSFORMS, answer })
  expect(seen?.body.messages).toEqual(ONCE)
  expect(record).not.toHaveProperty('savedTokens')
})

test('a stream has the figure by the time that it begins', async () => {
  const stream = () => new Response('', { headers: { 'content-type': 'text/event-stream' } })
  const { record } = await routed(TWICE, undefined, { transforms: TRANSFORMS, answer: stream })
  expect(record.savedTokens).toBeGreaterThan(200)
})
