import OpenAI, { AzureOpenAI } from 'openai'
import { zodResponseFormat } from 'openai/helpers/zod'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import * as z from 'zod'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, sending, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/*
 * Chat completions as OpenAI's own clients ask for them, unmodified, by the bundle on the local host, over real tables and a
 * real HTTP upstream.
 */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost

beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/openai.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_MAX_OUTPUT_TOKENS: '500',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = answering()
})

interface Client {
  readonly openai: OpenAI
  /** Requests that it has sent. */
  sent(): number
  readonly last: () => Response | undefined
}

type Make = (key: string, model?: string) => Client

function counting(make: (fetch: typeof globalThis.fetch) => OpenAI): Client {
  let sent = 0
  let last: Response | undefined
  const openai = make(async (input, init) => {
    sent += 1
    last = await fetch(input, init)
    return last
  })
  return { openai, sent: () => sent, last: () => last }
}

const CLIENTS: [string, Make][] = [
  ['OpenAI', (apiKey) => counting((fetch) => new OpenAI({ baseURL: `${host.url}/api/v1`, apiKey, fetch }))],
  [
    'AzureOpenAI',
    (apiKey) =>
      counting((fetch) => new AzureOpenAI({ endpoint: `${host.url}/api`, apiVersion: '2024-10-21', apiKey, fetch })),
  ],
  [
    'OpenAI on Azure’s v1',
    (apiKey) => counting((fetch) => new OpenAI({ baseURL: `${host.url}/api/openai/v1`, apiKey, fetch })),
  ],
]

const keyOn = (plan: string) => newKey(open, unique('sdk'), plan)
const asking = (content = unique('why')) => ({ model: 'default', messages: [{ role: 'user' as const, content }] })

/** What a request is refused with. */
async function refusalOf(asked: Promise<unknown>): Promise<InstanceType<typeof OpenAI.APIError>> {
  return asked.then(
    () => expect.fail('It was not refused'),
    (error: unknown) => {
      expect(error).toBeInstanceOf(OpenAI.APIError)
      return error as InstanceType<typeof OpenAI.APIError>
    },
  )
}

describe.each(CLIENTS)('%s', (name, client) => {
  const isAzure = name !== 'OpenAI'

  test('gets the answer as the service gave it, and asks for no more than it said', async () => {
    const { openai } = client(await keyOn('ample'))
    const asked = asking()
    const { data, response } = await openai.chat.completions.create({ ...asked, max_tokens: 9 }).withResponse()
    expect(data).toMatchObject({
      id: 'chatcmpl-test',
      model: 'test-model-2026',
      choices: [{ message: { content: `echo: ${asked.messages[0]?.content}` } }],
    })
    expect(response.headers.get('cache-status')).toBe('tollgate; fwd=miss; stored')
    expect(upstream.calls[0]?.body).toEqual({ ...asked, model: 'test-model', max_tokens: 9 })
    const hit = await openai.chat.completions.create({ ...asked, max_tokens: 9, user: 'u' }).withResponse()
    expect(hit.response.headers.get('cache-status')).toMatch(/^tollgate; hit/)
    expect([hit.data, upstream.calls.length]).toEqual([data, 1])
  })

  test('goes to the model that it names', async () => {
    const { openai } = client(await keyOn('ample'))
    const { model } = await openai.chat.completions.create({ ...asking(), model: 'second' })
    expect(model).toBe('second-model-2026')
  })

  test('gets a stream piece by piece, and the usage only where it asks for it', async () => {
    const { openai } = client(await keyOn('ample'))
    const asked = { ...asking(), stream: true } as const
    for (const cached of [false, true]) {
      upstream.reply = streaming(['be', 'cause'])
      const { data: stream, response } = await openai.chat.completions.create(asked).withResponse()
      const chunks = []
      for await (const chunk of stream) chunks.push(chunk)
      expect(response.headers.get('cache-status')?.includes('hit')).toBe(cached)
      expect(chunks.map(({ choices }) => choices[0]?.delta.content)).toEqual(['be', 'cause', undefined])
      expect(chunks.some(({ usage }) => usage)).toBe(false)
    }
    const chunks = []
    for await (const chunk of await openai.chat.completions.create({
      ...asked,
      stream_options: { include_usage: true },
    })) {
      chunks.push(chunk)
    }
    expect(chunks.at(-1)).toMatchObject({ choices: [], usage: { total_tokens: 18 } })
    expect(upstream.calls.length).toBe(1)
  })

  test('calls tools, and parses structured output', async () => {
    const { openai } = client(await keyOn('ample'))
    const call = { id: 'call_1', type: 'function', function: { name: 'look', arguments: '{"at":"x"}' } }
    upstream.reply = answering((answer) => ({
      ...answer,
      choices: [
        { index: 0, message: { role: 'assistant', content: null, tool_calls: [call] }, finish_reason: 'tool_calls' },
      ],
    }))
    const tools = [{ type: 'function' as const, function: { name: 'look', parameters: { type: 'object' } } }]
    const called = await openai.chat.completions.create({ ...asking(), tools, tool_choice: 'required' })
    expect(called.choices[0]?.message.tool_calls).toEqual([call])
    expect(upstream.calls[0]?.body).toMatchObject({ tools, tool_choice: 'required' })

    upstream.reply = answering((answer) => ({
      ...answer,
      choices: [{ index: 0, message: { role: 'assistant', content: '{"why":42}' }, finish_reason: 'stop' }],
    }))
    const response_format = zodResponseFormat(z.object({ why: z.number() }), 'reason')
    const parsed = await openai.chat.completions.parse({ ...asking(), response_format })
    expect(parsed.choices[0]?.message.parsed).toEqual({ why: 42 })
  })

  test('is told that its key is wrong, once', async () => {
    const { openai, sent } = client('tg_none')
    const error = await refusalOf(openai.chat.completions.create(asking()))
    expect(error).toBeInstanceOf(OpenAI.AuthenticationError)
    expect([error.code, sent(), upstream.calls.length]).toEqual([isAzure ? '401' : 'invalid_api_key', 1, 0])
  })

  test('is told of a rate limit, with how long to wait; once where that is longer than a minute', async () => {
    const { openai, sent, last } = client(await keyOn('single'))
    await openai.chat.completions.create(asking())
    const error = await refusalOf(openai.chat.completions.create(asking()))
    expect(error).toBeInstanceOf(OpenAI.RateLimitError)
    expect([error.code, error.type, sent()]).toEqual([
      isAzure ? '429' : 'rate_limit_exceeded',
      isAzure ? undefined : 'requests',
      2,
    ])
    expect(last()?.headers.get('x-should-retry')).toBe('false')
    expect(error.message).toMatch(/limit 'requests'.* Please retry after \d+ seconds/)
  })

  test('is told of a shorter wait, and left to try again', async () => {
    const { openai, sent, last } = client(await keyOn('seconds'))
    await openai.chat.completions.create(asking())
    await refusalOf(openai.chat.completions.create(asking(), { maxRetries: 0 }))
    expect([sent(), last()?.headers.get('x-should-retry')]).toEqual([2, null])
    expect(Number(last()?.headers.get('retry-after'))).toBeGreaterThan(0)
  })

  test('is told of a spent budget as quota, once', async () => {
    const { openai, sent, last } = client(await keyOn('money'))
    await openai.chat.completions.create({ ...asking(), max_tokens: 100 })
    let error: InstanceType<typeof OpenAI.APIError> | undefined
    // As much as is left is still given.
    for (let i = 0; i < 40 && error === undefined; i += 1) {
      const asked = openai.chat.completions.create({ ...asking(), max_tokens: 100 })
      error = await asked.then(
        () => undefined,
        (error) => error,
      )
    }
    const before = sent()
    const again = await refusalOf(openai.chat.completions.create({ ...asking(), max_tokens: 100 }))
    expect([again.status, again.code, again.type, sent() - before]).toEqual([
      429,
      'insufficient_quota',
      'insufficient_quota',
      1,
    ])
    expect(last()?.headers.get('x-should-retry')).toBe('false')
  })

  test('is refused once what could never fit, and what it got wrong, by the field', async () => {
    const poor = client(await keyOn('poor'))
    expect(await refusalOf(poor.openai.chat.completions.create(asking()))).toMatchObject({
      status: 400,
      code: 'request_too_expensive',
    })
    expect(poor.sent()).toBe(1)
    const { openai, sent } = client(await keyOn('ample'))
    const error = await refusalOf(openai.chat.completions.create({ ...asking(), n: 0 }))
    expect([error.status, error.code, error.param, sent()]).toEqual([400, 'invalid_request', 'n', 1])
  })

  test('is told of a model that there is not, and limited by the one that it calls', async () => {
    const { openai, sent } = client(await keyOn('small'))
    const error = await refusalOf(openai.chat.completions.create({ ...asking(), model: 'none' }))
    expect([error.status, error.code, sent()]).toEqual([
      404,
      name === 'OpenAI' ? 'model_not_found' : 'DeploymentNotFound',
      1,
    ])
    await openai.chat.completions.create(asking())
    await openai.chat.completions.create({ ...asking(), model: 'second' })
    expect((await refusalOf(openai.chat.completions.create(asking()))).status).toBe(429)
    await openai.chat.completions.create({ ...asking(), model: 'second' })
  })

  test.each([400, 413, 415, 422, 451])(
    'hears what the service says of its request (%d), whole and once',
    async (status) => {
      const { openai, sent } = client(await keyOn('ample'))
      const said = {
        message: unique('SECRET'),
        code: 'content_filter',
        param: 'prompt',
        type: null,
        innererror: { code: 'ResponsibleAIPolicyViolation' },
      }
      upstream.reply = failing(status, said)
      const error = await refusalOf(openai.chat.completions.create(asking()))
      expect([error.status, error.error, sent()]).toEqual([status, said, 1])
      // It may repeat the prompt.
      expect(host.output()).not.toContain(said.message)
    },
  )

  test.each([
    ['repeats the operator’s key', { message: 'Incorrect API key provided: Bearer sk-operator-SECRET', code: 'bad' }],
    ['is about it', { message: 'SECRET', code: 'invalid_api_key' }],
  ])('hears nothing of what %s', async (_what, said) => {
    const { openai } = client(await keyOn('ample'))
    upstream.reply = failing(400, said)
    const error = await refusalOf(openai.chat.completions.create(asking()))
    expect(error.status).toBe(400)
    expect(JSON.stringify(error.error)).not.toContain('SECRET')
  })

  test.each([
    ['a wrong key of the operator’s', failing(401), 502, 1],
    ['an empty account of the operator’s', failing(429, { code: 'insufficient_quota' }), 502, 1],
    ['a wait of an hour', failing(503, {}, { 'retry-after': '3600' }), 502, 1],
    ['a wait of no time', failing(429, {}, { 'retry-after-ms': '1' }), 429, 3],
    ['a failure', failing(500, {}, { 'retry-after-ms': '1' }), 502, 3],
  ])('asks again only where that can help: %s', async (_what, reply, status, times) => {
    const { openai, sent } = client(await keyOn('ample'))
    upstream.reply = reply
    const error = await refusalOf(openai.chat.completions.create(asking()))
    expect([error.status, sent()]).toEqual([status, times])
    expect(JSON.stringify(error.error)).not.toContain('no"')
  })

  test('hears of a stream that breaks', async () => {
    const { openai } = client(await keyOn('ample'))
    const seen = Promise.withResolvers<void>()
    upstream.reply = streaming(['because'], { end: (response) => void seen.promise.then(() => response.destroy()) })
    const stream = await openai.chat.completions.create({ ...asking(), stream: true })
    let text = ''
    const reading = (async () => {
      for await (const { choices } of stream) {
        text += choices[0]?.delta.content ?? ''
        seen.resolve()
      }
    })()
    const error = await refusalOf(reading)
    expect([text, error.code, error.type]).toEqual(['because', 'stream_cut', 'server_error'])
  })

  test('ends the call to the model by leaving', async () => {
    const { openai } = client(await keyOn('ample'))
    const ended = Promise.withResolvers<void>()
    upstream.reply = (call, response) => {
      response.once('close', ended.resolve)
      return streaming(['be', 'cause'], { before: (at) => (at === 1 ? new Promise(() => {}) : undefined) })(
        call,
        response,
      )
    }
    const stream = await openai.chat.completions.create({ ...asking(), stream: true })
    for await (const _chunk of stream) break
    await ended.promise
  })

  test('lists the models that it may use, and finds one', async () => {
    const { openai } = client(await keyOn('ample'))
    const ids = []
    for await (const { id, object } of openai.models.list()) ids.push([id, object])
    expect(ids).toEqual([
      ['default', 'model'],
      ['thinking', 'model'],
      ['second', 'model'],
    ])
    expect(await openai.models.retrieve('second')).toMatchObject({ id: 'second', owned_by: 'tollgate' })
    expect((await refusalOf(openai.models.retrieve('third'))).status).toBe(404)
    const listed = client(await keyOn('listed'))
    expect((await listed.openai.models.list()).data.map(({ id }) => id)).toEqual(['default'])
    const forbidden = await refusalOf(listed.openai.chat.completions.create({ ...asking(), model: 'second' }))
    expect([forbidden.status, forbidden.code, forbidden.param]).toEqual([403, 'model_not_allowed', 'model'])
    const other = client('tg_none')
    expect((await refusalOf(other.openai.models.list())).status).toBe(401)
  })

  const STATELESS = "Nothing is kept: responses are served with 'store': false alone"
  test.each<[string, (openai: OpenAI) => Promise<unknown>, string?]>([
    ['images', ({ images }) => images.generate({ prompt: 'a', model: 'default' })],
    ['audio', ({ audio }) => audio.speech.create({ input: 'a', voice: 'alloy', model: 'default' })],
    ['files', ({ files }) => files.list()],
    ['batches', ({ batches }) => batches.list()],
    ['moderations', ({ moderations }) => moderations.create({ input: 'a' })],
    ['legacy completions', ({ completions }) => completions.create({ prompt: 'a', model: 'default' })],
    ['fine-tuning', ({ fineTuning }) => fineTuning.jobs.list()],
    ['vector stores', ({ vectorStores }) => vectorStores.list()],
    [
      'stored completions',
      ({ chat }) => chat.completions.retrieve('chatcmpl-1'),
      'Stored completions are not served: ',
    ],
    ['a stored response', ({ responses }) => responses.retrieve('resp_1'), STATELESS],
    ['what went into it', ({ responses }) => responses.inputItems.list('resp_1'), STATELESS],
    ['its end', ({ responses }) => responses.cancel('resp_1'), STATELESS],
    ['its deletion', ({ responses }) => responses.delete('resp_1'), STATELESS],
    [
      'a conversation',
      ({ conversations }) => conversations.create({}),
      'Nothing is kept, so there are no conversations.',
    ],
    ['a count of tokens', ({ responses }) => responses.inputTokens.count({ input: 'a' }), 'x-tollgate-dry-run: true'],
  ])('is refused what can’t be metered, and what is not kept: %s', async (_what, ask, why = "can't be metered") => {
    const { openai, sent } = client(await keyOn('ample'))
    const error = await refusalOf(ask(openai))
    expect([error.status, error.code, sent(), upstream.calls.length]).toEqual([
      404,
      isAzure ? '404' : 'not_found',
      1,
      0,
    ])
    expect(error.message).toContain(why)
  })
})

describe('on the wire', () => {
  const ask = async (path: string, body: string, headers: Record<string, string> = {}, method = 'POST') =>
    fetch(`${host.url}/api${path}`, {
      method,
      headers: { authorization: `Bearer ${await keyOn('ample')}`, ...headers },
      redirect: 'manual',
      ...(method === 'GET' || method === 'HEAD' ? {} : { body }),
    })
  const AZURE = '/openai/deployments/second/chat/completions?api-version=2024-10-21'

  test('the body goes on byte for byte, but for what the policy changes, which the log names', async () => {
    const body = ` {"seed": 9007199254740993,"model" : "default", "messages":[{"role":"user","content":"\\u00e9 ${unique('w')}", "x": 1.0}] ,"max_tokens": 1e4, "new_field" : {"a":[ ]}}\n`
    expect((await ask('/v1/chat/completions', body)).status).toBe(200)
    expect(upstream.calls[0]?.text).toBe(body.replace('"default"', '"test-model"').replace('1e4', '500'))
    await expect.poll(() => host.output()).toContain('"changed":["max_tokens"]')
  })

  test('a deployment is named by any number of slashes, and never the default instead', async () => {
    const body = JSON.stringify({ messages: [{ role: 'user', content: unique('d') }], max_tokens: 5 })
    const refused = await ask(AZURE.replace('/second', '//nosuch'), body)
    expect([refused.status, upstream.calls.length]).toEqual([404, 0])
  })

  test.each([
    ['a kind of answer', { modalities: [{ toString: 1, valueOf: 1 }] }],
    ['a tool', { tools: [{ type: { toString: 1, valueOf: 1 } }] }],
    ['a part of a message', { messages: [{ role: 'user', content: [{ type: 'constructor', text: 'a' }] }] }],
    ['a service tier', { service_tier: '__proto__' }],
  ])('%s of no known name ends no process, plain or streamed', async (_what, fields) => {
    for (const stream of [false, true]) {
      const asked = { messages: [{ role: 'user', content: unique('n') }], max_tokens: 5, stream, ...fields }
      const response = await ask('/v1/chat/completions', JSON.stringify(asked))
      await response.text()
      expect([200, 400, 403]).toContain(response.status)
    }
    const body = JSON.stringify({ messages: [{ role: 'user', content: unique('n') }], max_tokens: 5 })
    expect((await ask('/v1/chat/completions', body)).status).toBe(200)
    expect(host.output()).not.toContain('"event":"fault"')
  })

  test('the deployment decides, and the body’s model means nothing', async () => {
    const body = JSON.stringify({ model: 'default', messages: [{ role: 'user', content: unique('d') }], max_tokens: 5 })
    const response = await ask(AZURE, body)
    expect(await response.json()).toMatchObject({ model: 'second-model-2026' })
    expect(upstream.calls[0]?.text).toBe(body.replace('"default"', '"second-model"'))
    // The same bytes to another deployment are another question.
    await ask(AZURE.replace('second', 'default'), body)
    expect(upstream.calls.at(-1)?.body.model).toBe('test-model')
    const none = await ask(
      AZURE.replace('second', 'sec%6Fnd'),
      JSON.stringify({ messages: [{ role: 'user', content: 'a' }] }),
    )
    expect(none.status).toBe(200)
  })

  test('events keep their bytes, but for what was not asked for', async () => {
    const first = 'data: {"id":"","model":"","choices":[],"prompt_filter_results":[{"prompt_index":0}]}\n\n'
    const said = (text: string, more = '') =>
      `data: {"id":"c", "choices":[{"index":0,"delta":{"content":"${text}"},"finish_reason":null}],"usage":null${more}}\n\n`
    const filters =
      'data: {"id":"c","choices":[{"index":0,"finish_reason":null,"content_filter_offsets":{"end":3}}]}\n\n'
    const stop = (more = '') =>
      `data: {"id":"c","choices":[{"index":0,"delta":{},"finish_reason":"stop"}]${more},"x":1.0}\n\n`
    const usage = 'data: {"id":"c","choices":[],"usage":{"prompt_tokens":1,"completion_tokens":2,"total_tokens":3}}\n\n'
    upstream.reply = sending(
      200,
      [
        first,
        said('be', ',"obfuscation":"aX9"'),
        said('\\"obfuscation\\":'),
        ': ping\n\n',
        stop(',"obfuscation" : "\\u0041"'),
        filters,
        usage,
        'data: [DONE]\n\n',
      ].join(''),
      { 'content-type': 'text/event-stream' },
    )
    const body = { stream: true, messages: [{ role: 'user', content: unique('e') }] }
    const key = { authorization: `Bearer ${await keyOn('ample')}` }
    const text = async (more: object) => {
      const response = await ask('/v1/chat/completions', JSON.stringify({ ...body, ...more }), key)
      // After the end stands what it has cost, in a comment.
      return (await response.text()).replace(/(?<=\[DONE\]\n\n): .*\n$/, '')
    }
    const stripped = `${first}${said('be')}${said('\\"obfuscation\\":')}${stop()}${filters}data: [DONE]\n\n`
    // The first asks the model; the second is a hit.
    for (const _ of [1, 2]) expect(await text({})).toBe(stripped)
    const padded = { include_usage: true, include_obfuscation: true }
    expect(await text({ stream_options: padded })).toBe(
      `${first}${said('be', ',"obfuscation":"aX9"')}${said('\\"obfuscation\\":')}${stop(',"obfuscation" : "\\u0041"')}${filters}${usage}data: [DONE]\n\n`,
    )
    expect(upstream.calls.length).toBe(1)
    expect(upstream.calls[0]?.body.stream_options).toEqual({ include_usage: true })
  })

  test('a stream that breaks has no [DONE], and breaks the connection', async () => {
    const seen = Promise.withResolvers<void>()
    upstream.reply = streaming(['a'], { end: (response) => void seen.promise.then(() => response.destroy()) })
    const body = JSON.stringify({ stream: true, messages: [{ role: 'user', content: unique('b') }] })
    const response = await ask('/v1/chat/completions', body)
    let text = ''
    const reading = (async () => {
      for await (const piece of response.body as unknown as AsyncIterable<Uint8Array>) {
        text += Buffer.from(piece).toString()
        seen.resolve()
      }
    })()
    await expect(reading).rejects.toThrow()
    expect(text).toMatch(/^data: .*\n\ndata: \{"error":\{.*"code":"stream_cut"\}\}\n\n$/)
  })

  test.each([
    ['OpenAI', '/v1/chat/completions', 405, 'method_not_allowed', 'POST'],
    ['Azure', AZURE, 405, '405', 'POST'],
    ['models', '/v1/models/', 200, undefined, null],
    ['the public path of generate', '/v1/llm/generate', 404, 'not_found', null],
    ['nothing', '/v1', 404, 'not_found', null],
    ['a path of none', '/openai/v1/unheard/of', 404, '404', null],
    ['in capitals', '/V1/Chat/Completions', 405, 'method_not_allowed', 'POST'],
  ])('GET of %s', async (_what, path, status, code, allow) => {
    const response = await ask(path, '', {}, 'GET')
    expect([response.status, response.headers.get('allow')]).toEqual([status, allow])
    const { error = {} } = (await response.json()) as { error?: { code?: string } }
    expect(error.code).toBe(code)
  })

  test('POST to the list of models is a 405 too', async () => {
    const response = await ask('/openai/models?api-version=2024-10-21', '{}')
    expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET'])
  })

  test.each(['authorization', 'api-key', 'x-api-key', 'ocp-apim-subscription-key'])(
    '%s bears the key',
    async (header) => {
      const key = await keyOn('ample')
      const headers = { [header]: header === 'authorization' ? `Bearer ${key}` : key }
      for (const path of ['/v1/models', '/openai/models', '/openai/v1/models']) {
        expect((await fetch(`${host.url}/api${path}`, { headers })).status).toBe(200)
      }
      const twice = { ...headers, 'api-key': await keyOn('ample') }
      if (header !== 'api-key') expect((await fetch(`${host.url}/api/v1/models`, { headers: twice })).status).toBe(401)
    },
  )

  test.each([
    ['a bound twice', '{"max_tokens":9,"max_tokens":1,"messages":[{"role":"user","content":"a"}]}', 'max_tokens'],
    ['a content twice', '{"messages":[{"role":"user","content":[],"content":"a"}]}', 'messages[0].content'],
    ['a bound as text', '{"max_tokens":"9","messages":[{"role":"user","content":"a"}]}', 'max_tokens'],
    ['a stream as text', '{"stream":"true","messages":[{"role":"user","content":"a"}]}', 'stream'],
    ['no messages', '{"messages":[]}', 'messages'],
    ['a message that is none', '{"messages":[{"role":"user","content":"a"},1]}', 'messages[1]'],
    ['depth', `{"messages":[{"role":"user","content":${'['.repeat(200)}${']'.repeat(200)}}]}`, 'messages[0]'],
    [
      'a bound in other letters',
      '{"max_tokens":1,"Max_Tokens":9,"messages":[{"role":"user","content":"a"}]}',
      'Max_Tokens',
    ],
    [
      'another word for a bound',
      '{"max_tokens":1,"n_predict":-1,"messages":[{"role":"user","content":"a"}]}',
      'n_predict',
    ],
    ['another word for n', '{"best_of":9,"messages":[{"role":"user","content":"a"}]}', 'best_of'],
    ['a model that is no name', '{"model":1,"messages":[{"role":"user","content":"a"}]}', 'model'],
  ])('what a service could read otherwise is refused: %s', async (_what, body, param) => {
    const response = await ask('/v1/chat/completions', body)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { type: 'invalid_request_error', param, code: 'invalid_request' },
    })
    expect(upstream.calls.length).toBe(0)
  })

  test('a refusal of one request’s own fields is not another’s', async () => {
    const key = { authorization: `Bearer ${await keyOn('ample')}` }
    const body = { messages: [{ role: 'user', content: unique('m') }] }
    upstream.reply = failing(400, { code: 'invalid_type', param: 'metadata' })
    expect((await ask('/v1/chat/completions', JSON.stringify({ ...body, metadata: 'SECRET' }), key)).status).toBe(400)
    upstream.reply = answering()
    expect((await ask('/v1/chat/completions', JSON.stringify({ ...body, metadata: {} }), key)).status).toBe(200)
  })

  test('a model that thinks is asked in the words that it takes', async () => {
    const messages = [{ role: 'user', content: unique('t') }]
    await ask('/v1/chat/completions', JSON.stringify({ model: 'thinking', messages, stream: true }))
    expect(upstream.calls[0]?.body).toEqual({
      model: 'thinking-model',
      messages,
      stream: true,
      max_completion_tokens: 500,
      stream_options: { include_usage: true },
    })
    // What its caller says is the caller's, but for the name of a bound that the model would not hold by.
    await ask('/v1/chat/completions', JSON.stringify({ model: 'thinking', messages, max_tokens: 5, temperature: 1 }))
    expect(upstream.calls[1]?.body).toEqual({
      model: 'thinking-model',
      messages,
      max_completion_tokens: 5,
      temperature: 1,
    })
    await expect.poll(() => host.output()).toContain('"changed":["max_tokens","max_completion_tokens"]')
    await ask('/v1/llm/generate', JSON.stringify({ model: 'thinking', prompt: 'Why?', max_tokens: 7, temperature: 1 }))
    expect(upstream.calls[2]?.body).toEqual({
      model: 'thinking-model',
      messages: [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content: 'Why?' },
      ],
      max_completion_tokens: 7,
    })
  })

  test('generate answers under its public path, in its own shape', async () => {
    const [prompt, key] = [unique('g'), await keyOn('ample')]
    const response = await ask('/v1/llm/generate', JSON.stringify({ prompt }), { authorization: `Bearer ${key}` })
    expect(await response.json()).toMatchObject({ data: { completion: `echo: ${prompt}` }, status: 'success' })
    const same = await ask('/generate', JSON.stringify({ prompt }), { authorization: `Bearer ${key}` })
    expect(same.headers.get('cache-status')).toMatch(/hit/)
    expect(await (await ask('/v1/llm/generate', '{}')).json()).toMatchObject({ code: 'invalid_request' })
  })
})
