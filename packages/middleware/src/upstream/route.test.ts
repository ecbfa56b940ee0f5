import { expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import type { CompletionRequest } from '../completion/index.ts'
import { pipeline } from '../pipeline/index.ts'
import type { Model, Policy } from '../policy/index.ts'
import { type Routed, route } from './index.ts'

const model = (name: string, change: Partial<Model> = {}): Model => ({
  name,
  target: { kind: 'openai', baseUrl: 'https://api.openai.com/v1', model: `${name}-2026`, key: undefined },
  price: undefined,
  contextWindow: undefined,
  ...change,
})
const PRICE = { input: 2, cachedInput: 1, output: 8 }
const POLICY: Policy = {
  plans: new Map(),
  defaultPlan: undefined,
  global: [],
  models: new Map([
    ['small', model('small', { price: PRICE, contextWindow: 128_000 })],
    ['large', model('large')],
  ]),
  routes: { generate: { model: 'small', cache: undefined } },
  storeDown: 'closed',
}

async function routed(body: object, name?: string) {
  let seen: Routed['routed'] | undefined
  const context = baseContext()
  const completion = { model: name, prompt: 'a', body: { messages: [], ...body } } as CompletionRequest
  const response = await pipeline<{ readonly completion: CompletionRequest }>()
    .use(route({ name: 'generate', policy: () => POLICY, maxOutputTokens: 700 }))
    .handle((_request, { routed }) => {
      seen = routed
      return new Response()
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
