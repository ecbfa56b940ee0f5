import OpenAI, { AzureOpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { failing, type ReceivedCall, startUpstream, type Upstream } from '../support/upstream.ts'

/* Embeddings by the real clients, through the bundle on the local host, before a model's server. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/operations.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})

/** As many vectors as there are inputs, each of three numbers, as base64 where that is asked for. */
function embedding({ prompt_tokens = 8 } = {}): Upstream['reply'] {
  return ({ body }, response) => {
    const { input, encoding_format } = body
    const inputs = Array.isArray(input) && typeof input[0] !== 'number' ? input : [input]
    const data = inputs.map((_each, index) => {
      const vector = Float32Array.of(index, 0.5, -2)
      const embedding = encoding_format === 'base64' ? Buffer.from(vector.buffer).toString('base64') : [...vector]
      return { object: 'embedding', index, embedding }
    })
    const usage = { prompt_tokens, total_tokens: prompt_tokens }
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ object: 'list', data, model: body.model, usage }))
  }
}

beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = embedding()
})

const keyFor = (plan = 'ample') => newKey(open, unique(plan), plan)
const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${host.url}/api/v1`, apiKey, maxRetries: 0 })
const post = async (key: string, path: string, body: string) => {
  const response = await fetch(host.url + path, { method: 'POST', headers: { 'api-key': key }, body })
  return { status: response.status, headers: response.headers, text: await response.text() }
}
const sent = (): ReceivedCall => {
  const [call] = upstream.calls
  if (call === undefined) throw new Error('The model was not asked')
  return call
}
/** The line that the host has logged of a request. */
const lineOf = async (requestId: string) => {
  const isIt = (line: string) => line.includes(requestId) && line.includes('"event":"request"')
  await expect.poll(() => host.output().split('\n').some(isIt)).toBe(true)
  const line = host.output().split('\n').find(isIt) ?? ''
  return JSON.parse(line.slice(line.indexOf('{')))
}

describe('the clients', () => {
  test('of OpenAI ask for base64, and are given numbers', async () => {
    const { data, usage } = await clientOf(await keyFor()).embeddings.create({
      model: 'vectors',
      input: [unique('a'), 'b'],
    })
    expect(data.map(({ embedding }) => embedding)).toEqual([
      [0, 0.5, -2],
      [1, 0.5, -2],
    ])
    expect(usage).toEqual({ prompt_tokens: 8, total_tokens: 8 })
    expect(sent()).toMatchObject({
      path: '/v1/embeddings',
      body: { model: 'text-embedding-test', encoding_format: 'base64' },
    })
  })

  test('may write numbers, tokens, and one text', async () => {
    const client = clientOf(await keyFor())
    for (const input of [unique('a'), [1, 2, 3], [[1, 2], [3]]]) {
      const { data } = await client.embeddings.create({ model: 'vectors', input, encoding_format: 'float' })
      expect(data[0]?.embedding).toEqual([0, 0.5, -2])
    }
    expect(upstream.calls.map(({ body }) => body.input)).toEqual([expect.any(String), [1, 2, 3], [[1, 2], [3]]])
  })

  test('of Azure OpenAI name a deployment, which decides', async () => {
    const apiKey = await keyFor()
    const azure = { apiKey, apiVersion: '2024-10-21', endpoint: `${host.url}/api`, maxRetries: 0 }
    const { data } = await new AzureOpenAI(azure).embeddings.create({ model: 'vectors', input: unique('a') })
    expect(data[0]?.embedding).toEqual([0, 0.5, -2])
    expect(sent().body.model).toBe('text-embedding-test')
    const v1 = new OpenAI({ baseURL: `${host.url}/api/openai/v1`, apiKey, maxRetries: 0 })
    expect((await v1.embeddings.create({ model: 'vectors', input: unique('a') })).data).toHaveLength(1)
    const path = '/api/openai/deployments/vectors/embeddings?api-version=2024-10-21'
    expect(await post(apiKey, path, JSON.stringify({ model: 'chat', input: unique('a') }))).toMatchObject({
      status: 200,
    })
    await expect(new AzureOpenAI(azure).embeddings.create({ model: 'none', input: 'a' })).rejects.toMatchObject({
      status: 404,
      code: 'DeploymentNotFound',
    })
  })
})

test('the body goes on byte for byte but for the model, and the answer comes back as it came', async () => {
  let answered = ''
  upstream.reply = (_call, response) => {
    answered =
      '{ "object":"list",\n "data":[{"embedding":[1.0, -2e-3],"index":0}], "usage":{"prompt_tokens":3,"total_tokens":3}, "x":1 }'
    response.writeHead(200, { 'content-type': 'application/json' }).end(answered)
  }
  const body = `{ "model" : "vectors",\t"input":"${unique('a')} \\u00e9", "dimensions": 2.0 , "never_heard_of":{"b":1.50} }`
  const { status, text } = await post(await keyFor('free'), '/api/v1/embeddings', body)
  expect([status, text]).toEqual([200, answered])
  expect(sent().text).toBe(body.replace('"vectors"', '"text-embedding-test"'))
})

test('the same request is answered from the cache, and another format is another request', async () => {
  const client = clientOf(await keyFor())
  const input = unique('a')
  const ask = (more: object = {}) => client.embeddings.create({ model: 'vectors', input, ...more }).withResponse()
  const told: (string | null)[] = []
  for (const more of [{}, { user: 'u' }, { dimensions: 2 }, { encoding_format: 'float' }, {}]) {
    const { response, data } = await ask(more)
    expect(data.data[0]?.embedding).toEqual([0, 0.5, -2])
    told.push(response.headers.get('cache-status'))
  }
  expect(told.map((status) => status?.includes('hit'))).toEqual([false, true, false, false, true])
  const other = clientOf(await keyFor())
  const { response } = await other.embeddings.create({ model: 'vectors', input }).withResponse()
  expect(response.headers.get('cache-status')).not.toContain('hit')
})

test('requests at once for the same share a call', async () => {
  const released = Promise.withResolvers<void>()
  const answer = embedding()
  upstream.reply = async (call, response) => {
    await released.promise
    return answer(call, response)
  }
  const client = clientOf(await keyFor())
  const input = unique('a')
  const asking = Array.from({ length: 8 }, () => client.embeddings.create({ model: 'vectors', input }).withResponse())
  await expect.poll(() => upstream.calls.length).toBe(1)
  // Those that follow show in no call; they have time to come.
  await new Promise((resolve) => setTimeout(resolve, 300))
  released.resolve()
  const told = (await Promise.all(asking)).map(({ response }) => response.headers.get('cache-status') ?? '')
  expect(upstream.calls).toHaveLength(1)
  expect(told.filter((status) => /collapsed|hit/.test(status))).toHaveLength(7)
})

test.each([
  ['no input', {}, 'input'],
  ['an image', { input: [{ type: 'image_url' }] }, 'input'],
  ['an empty list', { input: [] }, 'input'],
  ['2,049 texts', { input: Array.from({ length: 2_049 }, () => 'a') }, 'input'],
  ['a model that is no name', { input: 'a', model: 7 }, 'model'],
])('%s is refused by name, and the model is not asked', async (_what, body, param) => {
  const { status, headers, text } = await post(await keyFor(), '/api/v1/embeddings', JSON.stringify(body))
  expect([status, JSON.parse(text).error.param]).toEqual([400, param])
  expect(headers.get('x-should-retry')).toBe('false')
  expect(upstream.calls).toEqual([])
})

test('2,048 long vectors come through', async () => {
  const embedding = Buffer.from(new Float32Array(3_072).buffer).toString('base64')
  upstream.reply = (_call, response) => {
    const data = Array.from({ length: 2_048 }, (_, index) => ({ object: 'embedding', index, embedding }))
    const usage = { prompt_tokens: 2_048, total_tokens: 2_048 }
    response.writeHead(200, { 'content-type': 'application/json' }).end(JSON.stringify({ object: 'list', data, usage }))
  }
  const input = Array.from({ length: 2_048 }, () => unique('a'))
  const { data } = await clientOf(await keyFor()).embeddings.create({ model: 'vectors', input })
  expect([data.length, data[2_047]?.embedding.length]).toEqual([2_048, 3_072])
})

describe('a budget', () => {
  test('is charged what the answer tells, and was held for as much as the input can be', async () => {
    upstream.reply = embedding({ prompt_tokens: 40 })
    const { response } = await clientOf(await keyFor('money'))
      .embeddings.create({ model: 'vectors', input: unique('a').padEnd(100, '.') })
      .withResponse()
    // 40 tokens at $10 a million.
    expect(response.headers.get('ratelimit')).toContain('r=')
    expect(await lineOf(response.headers.get('x-request-id') ?? '')).toMatchObject({
      usage: { input: 40, output: 0 },
      costNanoUsd: 400_000,
    })
  })

  test('admits no more than it holds: exactly the tokens where they are told, a token a byte where they are not', async () => {
    const key = await keyFor('money')
    const tokens = (count: number) =>
      JSON.stringify({ model: 'vectors', input: Array.from({ length: count }, () => 7) })
    // $0.01 buys 1,000 tokens.
    expect(await post(key, '/api/v1/embeddings', tokens(1_001))).toMatchObject({ status: 400 })
    upstream.reply = embedding({ prompt_tokens: 1_000 })
    expect(await post(key, '/api/v1/embeddings', tokens(1_000))).toMatchObject({ status: 200 })
    const { status, headers, text } = await post(key, '/api/v1/embeddings', tokens(1))
    expect([status, JSON.parse(text).error.code, headers.get('x-should-retry')]).toEqual([
      429,
      'insufficient_quota',
      'false',
    ])
    expect(upstream.calls).toHaveLength(1)
    const long = JSON.stringify({ model: 'vectors', input: 'x'.repeat(1_001) })
    expect(await post(await keyFor('money'), '/api/v1/embeddings', long)).toMatchObject({ status: 400 })
  })

  test('is given back what a failure certainly did not take', async () => {
    const key = await keyFor('money')
    upstream.reply = failing(400, { code: 'bad_input' })
    for (let i = 0; i < 3; i += 1) {
      const { status } = await post(key, '/api/v1/embeddings', JSON.stringify({ input: unique('a').padEnd(600, '.') }))
      expect(status).toBe(400)
    }
    upstream.reply = embedding()
    const { status } = await post(key, '/api/v1/embeddings', JSON.stringify({ input: unique('a').padEnd(600, '.') }))
    expect(status).toBe(200)
  })

  test('can’t be passed by what isn’t counted', async () => {
    const body = JSON.stringify({ input: 'a', instruction: { file: 'https://host/file' } })
    const { status, text } = await post(await keyFor('money'), '/api/v1/embeddings', body)
    expect([status, JSON.parse(text).error]).toMatchObject([400, { code: 'input_unbounded', param: 'instruction' }])
  })
})
