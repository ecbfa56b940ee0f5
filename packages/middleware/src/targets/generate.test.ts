import { afterEach, describe, expect, test } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import { completion, type Lambda, sendJson, startLambda } from '../../../../test/support/lambda.ts'
import { calledAt, failureTold, modelCall, statusOf } from '../../../../test/support/model-call.ts'
import { textOf } from '../../../../test/support/replies.ts'
import { answering, startUpstream } from '../../../../test/support/upstream.ts'
import { bodyOf, type ChatAnswer, embeddings, type Json, type Reply } from '../operations/index.ts'
import { NOTHING_SPENT, SPEND_UNKNOWN } from '../pipeline/index.ts'
import { resolvePolicy, type Target } from '../policy/index.ts'
import { type Candidate, connect, probe, upstream } from '../upstream/index.ts'

/* A service that speaks the contract of POST /api/generate, from the policy to the socket and back. */

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

const KEYS = { accessKeyId: 'AKIDEXAMPLE', secretAccessKey: 'wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY' }
const ENV = {
  AWS_ACCESS_KEY_ID: KEYS.accessKeyId,
  AWS_SECRET_ACCESS_KEY: KEYS.secretAccessKey,
  TEAM_KEY: 'team-secret',
  TEAM_TOKEN: 'Bearer of-the-team',
  BROKEN_KEY: 'two\nlines',
}

async function newLambda(credentials?: Parameters<typeof startLambda>[0]): Promise<Lambda> {
  const lambda = await startLambda(credentials)
  closing.push(() => lambda.close())
  return lambda
}

function policyOf(targets: readonly object[], env: Readonly<Record<string, string>> = ENV) {
  const bounds = { env, readable: ['*'], hosts: ['127.0.0.1', 'app.example'] }
  return resolvePolicy({ models: { own: { targets } } }, { source: 'p', bounds, defaultTarget: undefined })
}
function targetOf(document: object, env?: Readonly<Record<string, string>>): Target {
  const [target] = policyOf([{ generate: document }], env).models.get('own')?.targets ?? []
  if (target === undefined) throw new Error('The policy serves no such model')
  return target
}

function newHandler() {
  const transport = connect({ token: () => Promise.reject(new Error('no token is needed')) })
  return upstream({ transport, firstByteMs: 5_000, totalMs: 5_000, idleMs: 2_000, streamTotalMs: 5_000 })
}

const USER = { role: 'user', content: 'Why?' }

interface Asked {
  readonly body?: Json
  readonly handler?: ReturnType<typeof upstream>
  readonly others?: readonly Target[]
  readonly tier?: string
}

async function ask(target: Target, { body = {}, handler = newHandler(), others = [], tier }: Asked = {}) {
  const context = baseContext()
  const json: Json = { messages: [USER], ...body }
  const call = modelCall({ body: bodyOf(json), streamed: json.stream === true })
  const called = calledAt(call, target, ...others)
  const [first, ...rest] = called.routed.candidates
  const candidates: [Candidate, ...Candidate[]] = [{ ...first, tier }, ...rest]
  const reply = await handler(call, { ...context, ...called, routed: { ...called.routed, candidates } })
  return { reply, status: statusOf(reply), failure: failureTold(reply, context) }
}

function refusalOf(reply: Reply) {
  if (reply.kind !== 'refused') throw new Error(`${reply.kind} in place of a refusal`)
  return reply.refusal
}
function answerOf(reply: Reply): ChatAnswer & Json {
  if (reply.kind !== 'answer') throw new Error(`${reply.kind} in place of an answer`)
  return reply.answer.json() as ChatAnswer & Json
}
async function chunksOf(reply: Reply): Promise<{ readonly json: Json[]; readonly last: string }> {
  if (reply.kind !== 'stream') throw new Error(`${reply.kind} in place of a stream`)
  const json: Json[] = []
  let last = ''
  for (let came = await reply.events.read(); came !== undefined; came = await reply.events.read()) {
    for (const event of came) {
      if (event.json !== undefined) json.push(event.json)
      last = Buffer.from(event.bytes).toString()
    }
  }
  return { json, last }
}

describe('a request', () => {
  test('is a prompt, with what the contract has words for, and nothing else', async () => {
    const lambda = await newLambda()
    await ask(targetOf({ url: lambda.url }))
    await ask(targetOf({ url: lambda.url, model: 'theirs' }), {
      body: {
        messages: [
          { role: 'system', content: 'Be brief.' },
          { role: 'developer', content: [{ type: 'text', text: 'In French.' }] },
          {
            role: 'user',
            content: [
              { type: 'text', text: 'One' },
              { type: 'text', text: 'two' },
            ],
          },
        ],
        temperature: 0,
        max_completion_tokens: 50,
        user: 'u',
        stream: true,
        stream_options: { include_usage: true },
        // Values that ask for nothing.
        n: 1,
        tools: [],
        tool_choice: 'auto',
        response_format: { type: 'text' },
        logprobs: false,
        top_p: 1,
        stop: null,
      },
    })
    expect(lambda.calls.map(({ body }) => body)).toEqual([
      { prompt: 'Why?' },
      { prompt: 'One\ntwo', system: 'Be brief.\n\nIn French.', model: 'theirs', temperature: 0, max_tokens: 50 },
    ])
  })

  test.each<[string, Json, string]>([
    ['tools', { tools: [{ type: 'function', function: { name: 'f' } }] }, 'tools'],
    ['several choices', { n: 2 }, 'n'],
    ['log probabilities', { logprobs: true }, 'logprobs'],
    ['a form of answer', { response_format: { type: 'json_object' } }, 'response_format'],
    ['another sampling', { top_p: 0.5 }, 'top_p'],
    ['a seed', { seed: 7 }, 'seed'],
    ['a service tier', { service_tier: 'flex' }, 'service_tier'],
    ['a field that nobody knows', { future: true }, 'future'],
    ['a field with a name of Object.prototype', { constructor: 1 }, 'constructor'],
    ['several turns', { messages: [USER, { role: 'assistant', content: 'So.' }, USER] }, 'messages[0]'],
    ['an assistant’s beginning', { messages: [USER, { role: 'assistant', content: 'So' }] }, 'messages[0]'],
    ['no user', { messages: [{ role: 'system', content: 'Be.' }] }, 'messages'],
    [
      'a result of a tool',
      { messages: [{ role: 'tool', content: 'r', tool_call_id: 'c' }] },
      'messages[0].tool_call_id',
    ],
    [
      'an image',
      { messages: [{ role: 'user', content: [{ type: 'image_url', image_url: { url: 'data:' } }] }] },
      'messages[0].content',
    ],
    [
      'a part with more than its text',
      { messages: [{ role: 'user', content: [{ type: 'text', text: 'a', cache_control: { type: 'ephemeral' } }] }] },
      'messages[0].content',
    ],
    ['an empty prompt', { messages: [{ role: 'user', content: '' }] }, 'messages[0].content'],
    ['no messages', { messages: 'Why?' }, 'messages'],
  ])('that has %s is refused by name before anything is asked', async (_what, body, field) => {
    const lambda = await newLambda()
    const { reply, status } = await ask(targetOf({ url: lambda.url }), { body })
    expect(status).toBe(400)
    expect(refusalOf(reply)).toMatchObject({ code: 'invalid_request', param: field })
    expect(refusalOf(reply).message).toContain(`'${field}'`)
    expect(reply).toMatchObject({ attempts: [], fallible: true })
    expect(lambda.connections()).toBe(0)
  })

  test('that it can’t be told goes to another candidate, which is asked alone', async () => {
    const lambda = await newLambda()
    const model = await startUpstream()
    closing.push(() => model.close())
    const openai = { openai: { baseUrl: model.baseUrl, model: 'm' } }
    const [other] = policyOf([openai]).models.get('own')?.targets ?? []
    const own = targetOf({ url: lambda.url })
    const asked = await ask(own, { others: [other as Target], body: { n: 2 } })
    expect(asked.status).toBe(200)
    expect(model.calls).toHaveLength(1)
    expect(lambda.calls).toHaveLength(0)
    // What it can be told goes by the candidates' order.
    await ask(own, { others: [other as Target] })
    expect([model.calls.length, lambda.calls.length]).toEqual([1, 1])
  })

  test('of another operation, or in a tier that it has none of, is refused', async () => {
    const lambda = await newLambda()
    const target = targetOf({ url: lambda.url })
    const call = modelCall({ operation: embeddings, body: bodyOf({ input: 'a' }) })
    const reply = await newHandler()(call, { ...baseContext(), ...calledAt(call, target) })
    expect(refusalOf(reply)).toMatchObject({ status: 400, code: 'invalid_request', param: 'model' })
    expect(refusalOf(reply).message).toBe("The model 'default' serves chat completions alone. Name another model.")
    expect(refusalOf((await ask(target, { tier: 'flex' })).reply).param).toBe('service_tier')
    expect(statusOf((await ask(target, { tier: 'default' })).reply)).toBe(200)
    expect(lambda.calls).toHaveLength(1)
  })
})

describe('an answer', () => {
  const OPENAIS = JSON.stringify({
    choices: [{ index: 0, message: { role: 'assistant', content: 'a' }, finish_reason: 'stop' }],
    usage: { prompt_tokens: 0, completion_tokens: 1 },
  })

  test('is a chat completion', async () => {
    const lambda = await newLambda()
    const { reply } = await ask(targetOf({ url: lambda.url }))
    expect(answerOf(reply)).toEqual({
      id: expect.stringMatching(/^chatcmpl-./),
      object: 'chat.completion',
      created: expect.any(Number),
      model: 'lambda-model',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'lambda: Why?', refusal: null },
          logprobs: null,
          finish_reason: 'stop',
        },
      ],
      usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
    })
    expect(reply.kind === 'answer' && reply.attempts[0]).toMatchObject({
      spend: { isCertain: true, usage: { tokens: { input: 11, output: 7 } } },
    })
  })

  test('that is as long as it may be has ended by its length', async () => {
    const lambda = await newLambda()
    const { reply } = await ask(targetOf({ url: lambda.url }), { body: { max_tokens: 7 } })
    expect(answerOf(reply).choices[0]?.finish_reason).toBe('length')
  })

  test.each([
    ['none', undefined],
    ['null', null],
    ['nulls', { prompt_tokens: null, completion_tokens: null, total_tokens: null }],
    ['what is no count', { prompt_tokens: -1, completion_tokens: 'x' }],
  ])('whose usage is %s was spent, and nobody knows how much', async (_what, usage) => {
    const lambda = await newLambda()
    lambda.reply = (_call, response) => sendJson(response, 200, completion('a', { usage, model: null }))
    const { reply } = await ask(targetOf({ url: lambda.url }))
    expect(answerOf(reply)).not.toHaveProperty('usage')
    expect(answerOf(reply).model).toBe('generate')
    expect(reply.kind === 'answer' && reply.attempts[0]?.spend).toEqual(SPEND_UNKNOWN)
  })

  test('that is a refusal says so', async () => {
    const lambda = await newLambda()
    lambda.reply = (_call, response) => sendJson(response, 200, completion('I can’t.', { refusal: true }))
    const { reply } = await ask(targetOf({ url: lambda.url }))
    expect(answerOf(reply).choices[0]?.message).toMatchObject({ content: null, refusal: 'I can’t.' })
  })

  test.each([
    ['no JSON', '<html>', 'invalid_response'],
    ['of another form', '{"answer":"a"}', 'invalid_response'],
    ['without its success', '{"data":{"completion":"a"}}', 'invalid_response'],
    ['of OpenAI’s form', OPENAIS, 'invalid_response'],
    ['of both forms, without its success', OPENAIS.replace('{', '{"data":{"completion":"a"},'), 'invalid_response'],
    ['an error', '{"error":"no","code":"model_gone"}', 'model_gone'],
  ])('that is %s is none', async (_what, text, code) => {
    const lambda = await newLambda()
    lambda.reply = (_call, response) => response.writeHead(200).end(text)
    const { status, failure, reply } = await ask(targetOf({ url: lambda.url }))
    expect(status).toBe(502)
    expect(failure).toMatchObject({ code })
    expect(reply.kind === 'refused' && reply.attempts[0]?.spend).toEqual(SPEND_UNKNOWN)
  })

  test('asked for as a stream comes as one, made of the plain answer', async () => {
    const lambda = await newLambda()
    const { reply } = await ask(targetOf({ url: lambda.url }), { body: { stream: true } })
    const { json, last } = await chunksOf(reply)
    expect(lambda.calls[0]?.body).toEqual({ prompt: 'Why?' })
    expect(last).toBe('data: [DONE]\n\n')
    expect(json.at(-1)).toMatchObject({ usage: { total_tokens: 18 } })
    expect(textIn(json)).toBe('lambda: Why?')
  })
})

const textIn = (chunks: readonly Json[]) =>
  chunks.map((chunk) => (chunk as unknown as { choices: { delta: Json }[] }).choices[0]?.delta.content ?? '').join('')

describe('an error', () => {
  test.each([
    [400, { error: "'prompt' is too long", details: 'of 9 tokens' }, { status: 400, unspent: true }],
    [429, { error: 'Too many.', code: 'rate_limit_exceeded' }, { code: 'rate_limit_exceeded', unspent: true }],
    [
      429,
      { Reason: 'ConcurrentInvocationLimitExceeded', message: 'Rate Exceeded.' },
      { code: 'ConcurrentInvocationLimitExceeded' },
    ],
    [403, { Message: 'Forbidden' }, { status: 403, unspent: true }],
    [500, { error: 'An internal server error occurred.' }, { status: 500 }],
    [502, 'Internal Server Error', { status: 502 }],
  ])('of status %i is told in our words', async (status, body, expected) => {
    const lambda = await newLambda()
    lambda.reply = (_call, response) => sendJson(response, status, body)
    const { failure, reply } = await ask(targetOf({ url: lambda.url }))
    expect(failure).toMatchObject(expected)
    expect(failure?.unspent).toBe(status < 500 ? true : undefined)
    expect(reply.kind === 'refused' && reply.attempts[0]?.spend).toEqual(status < 500 ? NOTHING_SPENT : SPEND_UNKNOWN)
    // The caller reads the service's words about the request, and about nothing else.
    expect(refusalOf(reply).said).toEqual(status === 400 ? { message: "'prompt' is too long of 9 tokens" } : undefined)
  })
})

describe('a stream', () => {
  const piece = (text: string) => ({ data: { completion: text }, status: 'streaming' })
  const END = completion('')
  const streamOf =
    (events: readonly (object | string)[], { cutEvery = 1_000 } = {}): Lambda['reply'] =>
    (_call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      const bytes = Buffer.from(
        events.map((event) => (typeof event === 'string' ? event : `data: ${JSON.stringify(event)}\n\n`)).join(''),
      )
      for (let at = 0; at < bytes.length; at += cutEvery) response.write(bytes.subarray(at, at + cutEvery))
      response.end()
    }

  test.each([1, 7, 1_000])('is asked for, and told as chunks, in pieces of %i bytes', async (cutEvery) => {
    const lambda = await newLambda()
    lambda.reply = streamOf([': keep-alive\n\n', piece('Wéll'), piece(', so'), piece(''), END, ': x-cost: 1\n\n'], {
      cutEvery,
    })
    const { reply } = await ask(targetOf({ url: lambda.url, streams: true }), { body: { stream: true } })
    const { json, last } = await chunksOf(reply)
    expect(lambda.calls[0]?.body).toEqual({ prompt: 'Why?', stream: true })
    expect(textIn(json)).toBe('Wéll, so')
    expect(json[0]).toMatchObject({
      object: 'chat.completion.chunk',
      choices: [{ index: 0, delta: { role: 'assistant', content: 'Wéll' }, finish_reason: null }],
    })
    expect(json.at(-2)).toMatchObject({ model: 'lambda-model', choices: [{ delta: {}, finish_reason: 'stop' }] })
    expect(json.at(-1)).toMatchObject({ choices: [], usage: { prompt_tokens: 11, completion_tokens: 7 } })
    expect(new Set(json.map(({ id }) => id)).size).toBe(1)
    expect(last).toBe('data: [DONE]\n\n')
    const ended = await (reply as { readonly ended: Promise<unknown> }).ended
    expect(ended).toMatchObject({ how: 'complete', attempts: [{ spend: { isCertain: true } }] })
  })

  test('that comes unasked is put together', async () => {
    const lambda = await newLambda()
    lambda.reply = streamOf([piece('a'), piece('b'), END])
    const { reply } = await ask(targetOf({ url: lambda.url, streams: true }))
    expect(await textOf(reply)).toContain('ab')
    expect(lambda.calls[0]?.body).toEqual({ prompt: 'Why?' })
  })

  test('that nobody reads any more ends its connection at once, under a pending read too', async () => {
    const lambda = await newLambda()
    const { promise: closed, resolve } = Promise.withResolvers<void>()
    lambda.reply = (_call, response) => {
      response.on('close', resolve)
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(`data: ${JSON.stringify(piece('a'))}\n\n`)
    }
    const { reply } = await ask(targetOf({ url: lambda.url, streams: true }), { body: { stream: true } })
    if (reply.kind !== 'stream') throw new Error(`${reply.kind} in place of a stream`)
    expect(await reply.events.read()).toHaveLength(1)
    const reading = reply.events.read()
    reply.events.cancel()
    expect(await reading).toBeUndefined()
    await closed
    expect(await reply.ended).toMatchObject({ how: 'client_left' })
  })

  test('whose event has no end is broken, and not kept in memory', async () => {
    const lambda = await newLambda()
    lambda.reply = (_call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.end(`data: ${JSON.stringify(piece('a'))}\n\ndata: ${'x'.repeat(5 * 1024 * 1024)}`)
    }
    const { reply } = await ask(targetOf({ url: lambda.url, streams: true }), { body: { stream: true } })
    await expect(chunksOf(reply)).rejects.toMatchObject({ failure: { code: 'invalid_response' } })
  })

  test('that ends without its success, or with an error, is broken', async () => {
    const lambda = await newLambda()
    const target = targetOf({ url: lambda.url, streams: true })
    for (const [events, code] of [
      [[piece('a')], 'stream_cut'],
      [[piece('a'), { error: 'no', code: 'upstream_failed' }], 'upstream_failed'],
    ] as const) {
      lambda.reply = streamOf(events)
      const { reply } = await ask(target, { body: { stream: true } })
      await expect(chunksOf(reply)).rejects.toMatchObject({ failure: { code } })
    }
  })
})

describe('a signature', () => {
  const SIGN = { region: 'eu-west-1' }

  test('is the one that AWS reckons, over each body', async () => {
    const lambda = await newLambda(KEYS)
    const target = targetOf({ url: lambda.url, sign: SIGN, key: { env: 'TEAM_KEY' } })
    const handler = newHandler()
    for (const content of ['Why?', 'Wéll — ünïcode', ' ', 'x'.repeat(100_000)]) {
      expect((await ask(target, { handler, body: { messages: [{ role: 'user', content }] } })).status).toBe(200)
    }
    expect(lambda.refusals).toEqual([])
    expect(lambda.calls).toHaveLength(4)
    expect(lambda.calls[0]?.headers).toMatchObject({ 'x-api-key': 'team-secret', 'x-request-id': 'r' })
    expect(lambda.calls[0]?.headers.authorization).toContain('SignedHeaders=host;x-amz-date;x-api-key')
  })

  test('is over a path with escapes, too', async () => {
    const lambda = await newLambda(KEYS)
    for (const path of ['api/generate', 'a%20b/(c)', 'a+b/~x']) {
      expect((await ask(targetOf({ url: lambda.url + path, sign: SIGN }))).status).toBe(200)
    }
    expect(lambda.refusals).toEqual([])
  })

  test('of temporary credentials has their token', async () => {
    const lambda = await newLambda({ ...KEYS, sessionToken: 'session//token==' })
    const env = { ...ENV, AWS_SESSION_TOKEN: 'session//token==' }
    expect((await ask(targetOf({ url: lambda.url, sign: SIGN }, env))).status).toBe(200)
    expect((await ask(targetOf({ url: lambda.url, sign: SIGN }))).failure).toMatchObject({ status: 403 })
    expect(lambda.refusals).toEqual(['another session'])
  })

  test.each<[string, Partial<Lambda['expected']>, string]>([
    ['another clock', { now: () => Date.now() + 6 * 60_000 }, 'another time'],
    ['another region', { region: 'us-east-1' }, 'another region'],
    ['another service', { service: 'execute-api' }, 'another service'],
    ['another secret', { secretAccessKey: 'other' }, 'another signature'],
  ])('for %s is refused there', async (_what, expected, fault) => {
    const lambda = await newLambda(KEYS)
    lambda.expected = { ...lambda.expected, ...expected }
    const { failure } = await ask(targetOf({ url: lambda.url, sign: SIGN }))
    expect(failure).toMatchObject({ status: 403, unspent: true })
    expect(lambda.refusals).toEqual([fault])
  })

  test('is of the bytes that are sent', async () => {
    const lambda = await newLambda(KEYS)
    const real = fetch
    const changed: typeof fetch = (url, init) =>
      real(url, { ...init, body: `${Buffer.from(init?.body as Uint8Array)} ` })
    const transport = connect({ fetch: changed, token: () => Promise.reject(new Error('no token is needed')) })
    const handler = upstream({ transport, firstByteMs: 5_000, totalMs: 5_000, idleMs: 2_000, streamTotalMs: 5_000 })
    expect((await ask(targetOf({ url: lambda.url, sign: SIGN }), { handler })).failure).toMatchObject({ status: 403 })
    expect(lambda.refusals).toEqual(['another signature'])
  })

  test('goes over one connection, request after request', async () => {
    const lambda = await newLambda(KEYS)
    const handler = newHandler()
    const target = targetOf({ url: lambda.url, sign: SIGN })
    for (let at = 0; at < 20; at += 1) await ask(target, { handler })
    expect([lambda.calls.length, lambda.connections()]).toEqual([20, 1])
  })
})

describe('a look at whether it is there', () => {
  const ready = (target: Target) => {
    const transport = connect({ token: () => Promise.reject(new Error('no token is needed')) })
    const { signal } = new AbortController()
    return probe(transport, target.settings, { path: '/chat/completions', signal, timeoutMs: 2_000 })
  }

  test('asks for nothing that it would answer, signed as a request is', async () => {
    const lambda = await newLambda(KEYS)
    lambda.reply = ({ body }, response) =>
      typeof body.prompt === 'string'
        ? sendJson(response, 200, completion('a'))
        : sendJson(response, 400, { error: 'no' })
    await ready(targetOf({ url: lambda.url, sign: { region: 'eu-west-1' } }))
    expect(lambda.calls).toHaveLength(1)
    await expect(ready(targetOf({ url: lambda.url, sign: { region: 'us-east-1' } }))).rejects.toThrow(
      'answers 403 at http',
    )
  })
})

describe('secrets', () => {
  test('go out as headers, from the environment', async () => {
    const lambda = await newLambda()
    const headers = { 'X-Functions-Key': { env: 'TEAM_KEY' }, authorization: { env: 'TEAM_TOKEN' } }
    await ask(targetOf({ url: lambda.url, headers }))
    expect(lambda.calls[0]?.headers).toMatchObject({
      'x-functions-key': 'team-secret',
      authorization: 'Bearer of-the-team',
      'content-type': 'application/json',
    })
    const model = await startUpstream()
    closing.push(() => model.close())
    model.reply = answering()
    const openai = { openai: { baseUrl: model.baseUrl, model: 'm', headers: { 'x-team': { env: 'TEAM_KEY' } } } }
    const azure = {
      azure: {
        endpoint: model.origin,
        deployment: 'm',
        key: { env: 'TEAM_KEY' },
        headers: { 'Ocp-Apim-Subscription-Key': { env: 'TEAM_TOKEN' } },
      },
    }
    for (const document of [openai, azure]) {
      const [target] = policyOf([document]).models.get('own')?.targets ?? []
      expect((await ask(target as Target)).status).toBe(200)
    }
    expect(model.calls[0]?.headers['x-team']).toBe('team-secret')
    expect(model.calls[1]?.headers['ocp-apim-subscription-key']).toBe('Bearer of-the-team')
  })

  test('stand in no id, identity or revision', () => {
    const document = {
      url: 'https://app.example/api/generate',
      key: { env: 'TEAM_KEY' },
      headers: { 'x-team': { env: 'TEAM_TOKEN' } },
      sign: { region: 'eu-west-1' },
    }
    const policy = policyOf([{ generate: document }])
    const other = policyOf([{ generate: document }], {
      ...Object.fromEntries(Object.keys(ENV).map((name) => [name, 'another'])),
    })
    expect(other.revision).toBe(policy.revision)
    const [target] = policy.models.get('own')?.targets ?? []
    expect(target?.id).toMatch(/^generate:generate:[0-9a-f]{12}$/)
    expect(target?.identity).toBe('["generate","app.example/api/generate","generate",""]')
    const elsewhere = { ...document, key: { env: 'TEAM_TOKEN' } }
    expect(policyOf([{ generate: elsewhere }]).revision).not.toBe(policy.revision)
  })

  test.each([
    { headers: { 'x-other': { env: 'TEAM_TOKEN' } } },
    { sign: { region: 'eu-west-2' } },
    { sign: { region: 'eu-west-1', service: 'execute-api' } },
    { streams: true },
  ])('%j in the place of another makes another revision, of the same target', (change) => {
    const document = {
      url: 'https://app.example/api/generate',
      headers: { 'x-team': { env: 'TEAM_TOKEN' } },
      sign: { region: 'eu-west-1' },
    }
    const [before, after] = [policyOf([{ generate: document }]), policyOf([{ generate: { ...document, ...change } }])]
    expect(after.revision).not.toBe(before.revision)
    expect(after.models.get('own')?.targets[0].id).toBe(before.models.get('own')?.targets[0].id)
  })

  test.each([
    [{ headers: { Host: { env: 'TEAM_KEY' } } }, 'headers.Host: is a header that the gateway sets itself.'],
    [{ headers: { 'transfer-encoding': { env: 'TEAM_KEY' } } }, 'headers.transfer-encoding: is a header that'],
    [{ headers: { 'content-length': { env: 'TEAM_KEY' } } }, 'headers.content-length: is a header that'],
    [{ headers: { 'x-request-id': { env: 'TEAM_KEY' } } }, 'headers.x-request-id: is a header that'],
    [{ headers: { 'x-a': { env: 'TEAM_KEY' }, 'X-A': { env: 'TEAM_KEY' } } }, 'headers.X-A: stands there twice.'],
    [{ headers: { 'x-a': { env: 'BROKEN_KEY' } } }, 'headers.x-a: BROKEN_KEY holds a line break'],
    [{ headers: { 'x a': { env: 'TEAM_KEY' } } }, 'x a'],
    [{ headers: { 'x-a': 'literal' } }, 'must be {env: NAME}: a secret is never written into a policy'],
    [{ key: { env: 'BROKEN_KEY' } }, 'key: BROKEN_KEY holds a line break'],
    [
      { key: { env: 'TEAM_KEY' }, headers: { 'x-api-key': { env: 'TEAM_KEY' } } },
      'headers.x-api-key: is set by this kind',
    ],
    [
      { sign: { region: 'eu-west-1' }, headers: { Authorization: { env: 'TEAM_KEY' } } },
      'headers.Authorization: is set by',
    ],
    [
      { sign: { region: 'eu-west-1' }, headers: { 'X-Amz-Date': { env: 'TEAM_KEY' } } },
      'headers.X-Amz-Date: is set by',
    ],
    [{ sign: { region: 'EU' } }, 'must be of lower-case letters'],
    [
      { sign: { region: 'eu-west-1', secretKey: { env: 'NOT_SET' } } },
      'sign.secretKey: the environment variable NOT_SET is not set.',
    ],
    ...['accessKey', 'secretKey', 'sessionToken'].map((field): [object, string] => [
      { sign: { region: 'eu-west-1', [field]: { env: 'BROKEN_KEY' } } },
      `sign.${field}: BROKEN_KEY holds a line break`,
    ]),
    [{ url: 'https://app.example/api?code=k' }, 'the url holds a query'],
    [{ url: 'https://elsewhere.example/' }, 'TOLLGATE_TARGET_HOSTS'],
  ])('%j is refused, and its value not told', (change, fault) => {
    const document = { url: 'https://app.example/api/generate', ...change }
    let message = ''
    try {
      policyOf([{ generate: document }])
    } catch (error) {
      message = (error as Error).message
    }
    expect(message).toContain(fault)
    expect(message).not.toContain('lines')
  })

  test('of an openai target leave its key and its client’s headers alone', () => {
    for (const name of ['authorization', 'openai-organization', 'x-stainless-lang', 'user-agent']) {
      const openai = { model: 'm', headers: { [name]: { env: 'TEAM_KEY' } } }
      expect(() => policyOf([{ openai }])).toThrow(`headers.${name}: is`)
    }
  })
})
