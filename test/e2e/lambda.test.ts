import { join } from 'node:path'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { answerPlain, completion, type Lambda, sendJson, startLambda } from '../support/lambda.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'

/* Another team's model on AWS Lambda, signed for with SigV4, beside an Azure-like one: through the deployed bundle. */

const KEYS = {
  accessKeyId: 'ASIAEXAMPLE',
  secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY',
  sessionToken: 'IQoJb3JpZ2luX2VjE//////////==',
}
const open = openAccount(inject('azurite'))
let azure: Upstream
let lambda: Lambda
let host: RunningHost
let key: string

beforeAll(async () => {
  azure = await startUpstream()
  lambda = await startLambda(KEYS)
  host = await startHost({
    TOLLGATE_STORAGE: inject('azurite'),
    OPENAI_BASE_URL: azure.baseUrl,
    OPENAI_API_KEY: 'sk-azure',
    OPENAI_MODEL_NAME: 'gpt-5',
    TOLLGATE_POLICY: 'examples/lambda/tollgate.policy.yaml',
    TOLLGATE_TARGET_HOSTS: '127.0.0.1',
    TOLLGATE_POLICY_ENV: 'LAMBDA_URL,AWS_*',
    LAMBDA_URL: lambda.url,
    AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
    AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
    AWS_SESSION_TOKEN: KEYS.sessionToken,
    TOLLGATE_CACHE_DEADLINE_MS: '2000',
  })
})
afterAll(async () => {
  await host?.stop()
  await Promise.all([azure?.close(), lambda?.close()])
})
beforeEach(async () => {
  azure.calls.length = 0
  azure.reply = answering()
  lambda.calls.length = 0
  lambda.reply = answerPlain
  key = await newKey(open, unique('lambda'), 'default')
})

const chat = (body: object) =>
  fetch(`${host.url}/api/v1/chat/completions`, {
    method: 'POST',
    headers: { authorization: `Bearer ${key}` },
    body: JSON.stringify({ model: 'lambda', messages: [{ role: 'user', content: unique('q') }], ...body }),
  })
const asked = (prompt: string, more: object = {}) =>
  generate(host, JSON.stringify({ prompt, model: 'lambda', ...more }), { 'x-api-key': key })

test('answers /api/generate, is paid for by its own price, and is stored', async () => {
  const prompt = unique('why')
  const { status, body, headers } = await asked(prompt, { system: 'Be brief.', max_tokens: 50 })
  expect(status).toBe(200)
  expect(body).toEqual(completion(`lambda: ${prompt}`))
  expect(Number(headers.get('x-tollgate-cost'))).toBeCloseTo((11 * 1 + 7 * 4) / 1e6, 12)
  expect(lambda.calls.map(({ body }) => body)).toEqual([
    { prompt, system: 'Be brief.', temperature: 0.7, max_tokens: 50 },
  ])
  const again = await asked(prompt, { system: 'Be brief.', max_tokens: 50 })
  expect(again.headers.get('cache-status')).toContain('hit')
  expect([again.body, lambda.calls.length, azure.calls.length]).toEqual([body, 1, 0])
})

test('answers chat completions, plain and streamed, and OpenAI’s fields are there', async () => {
  const plain = await chat({})
  const answer = (await plain.json()) as Record<string, unknown>
  expect(plain.status).toBe(200)
  expect(answer).toMatchObject({
    object: 'chat.completion',
    model: 'lambda-model',
    choices: [{ index: 0, message: { role: 'assistant' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
  })
  const streamed = await chat({ stream: true, stream_options: { include_usage: true } })
  const text = await streamed.text()
  expect(streamed.headers.get('content-type')).toContain('text/event-stream')
  expect(text).toContain('"object":"chat.completion.chunk"')
  expect(text).toContain('"total_tokens":18')
  expect(text).toContain('data: [DONE]\n\n')
  // It is asked for plain answers, since the policy doesn't say that it streams.
  expect(lambda.calls.map(({ body }) => body.stream)).toEqual([undefined, undefined])
})

test('answers /api/generate as a stream', async () => {
  const response = await fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key },
    body: JSON.stringify({ prompt: unique('s'), model: 'lambda', stream: true }),
  })
  expect(await response.text()).toContain('"status":"success"')
})

test('is never asked for what it can’t be told, which is said by its name', async () => {
  const response = await chat({ tools: [{ type: 'function', function: { name: 'f' } }] })
  expect(response.status).toBe(400)
  expect(await response.json()).toMatchObject({
    error: { code: 'invalid_request', param: 'tools', message: expect.stringContaining("'lambda'") },
  })
  const turns = await chat({
    messages: [
      { role: 'user', content: 'a' },
      { role: 'assistant', content: 'b' },
      { role: 'user', content: 'c' },
    ],
  })
  expect(await turns.json()).toMatchObject({ error: { param: 'messages[0]' } })
  expect(lambda.calls).toHaveLength(0)
})

test('fails as any model does, and its words stay where they are', async () => {
  lambda.reply = (_call, response) => sendJson(response, 500, { error: 'the prompt was hunter2', code: 'boom' })
  const { status, body } = await asked(unique('fails'))
  expect(status).toBe(502)
  expect(body).toEqual({
    error: 'The LLM service failed to process the request.',
    code: 'upstream_failed',
    details: 'status 500, code boom',
  })
  expect(host.output()).not.toContain('hunter2')
  for (const secret of Object.values(KEYS)) expect(host.output()).not.toContain(secret)
})

test('without an answer of its usage counts as all that was reserved', async () => {
  lambda.reply = (_call, response) =>
    sendJson(response, 200, { data: { completion: 'a', model: null, usage: null }, status: 'success' })
  const { status, body, headers } = await asked(unique('untold'), { max_tokens: 100 })
  expect(status).toBe(200)
  expect(body).toMatchObject({ data: { usage: { prompt_tokens: null } } })
  // 100 tokens of output at 4 dollars a million, and the prompt's.
  expect(Number(headers.get('x-tollgate-cost'))).toBeGreaterThan(0.0004)
})

test('let each request in by its signature, and none was refused', () => {
  expect(lambda.refusals).toEqual([])
  expect(lambda.connections()).toBeLessThanOrEqual(2)
})

test('the example’s handler keeps the contract that the gateway reads', async () => {
  const { handler } = await import(join(ROOT, 'examples/lambda/handler.mjs'))
  lambda.reply = async ({ body }, response) => {
    const { statusCode, body: text, headers } = await handler({ body: JSON.stringify(body) })
    response.writeHead(statusCode, headers).end(text)
  }
  const { body } = await asked('one two three', { system: 'Be.' })
  expect(body).toEqual({
    data: {
      completion: 'You said: one two three',
      model: 'echo-1',
      usage: { prompt_tokens: 4, completion_tokens: 3, total_tokens: 7 },
    },
    status: 'success',
  })
  expect(await handler({ body: 'no JSON' })).toMatchObject({ statusCode: 400 })
  expect(await handler({ body: '{"prompt":1}' })).toMatchObject({ statusCode: 400 })
  const encoded = { body: Buffer.from('{"prompt":"a b"}').toString('base64'), isBase64Encoded: true }
  expect(await handler(encoded)).toMatchObject({ statusCode: 200 })
})
