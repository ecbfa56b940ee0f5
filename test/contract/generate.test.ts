import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { type Answer, BARE_HOST, generate, type RunningHost, rawStatus, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, sending, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * POST /api/generate as a table of cases, through the local host, over real tables and a real HTTP upstream.
 */

const MAX_BODY = 4096
const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
let bare: RunningHost
let key: string

beforeAll(async () => {
  upstream = await startUpstream()
  const storage = { TOLLGATE_STORAGE: inject('azurite') }
  ;[host, bare] = await Promise.all([
    startHost({
      ...storage,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_MAX_BODY_BYTES: String(MAX_BODY),
      TOLLGATE_MAX_OUTPUT_TOKENS: '1000',
      TOLLGATE_FIRST_BYTE_MS: '400',
      TOLLGATE_TOTAL_MS: '800',
      TOLLGATE_POLICY: 'test/contract/policy.yaml',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
    }),
    startHost({ ...storage, TOLLGATE_POLICY: 'test/contract/unconfigured.yaml' }, BARE_HOST),
  ])
})
afterAll(async () => {
  await Promise.all([host?.stop(), bare?.stop()])
  await upstream?.close()
})
beforeEach(async () => {
  upstream.calls.length = 0
  upstream.reply = answering()
  key = await newKey(open, unique('contract'), 'ample')
})

const post = (body: unknown, headers: Record<string, string> = {}): Promise<Answer> =>
  generate(host, typeof body === 'string' ? body : JSON.stringify(body), { 'x-api-key': key, ...headers })

describe('a completion', () => {
  test('is answered in the contract’s shape, and nothing else', async () => {
    const { status, headers, body } = await post({ prompt: 'Why?' })
    expect(status).toBe(200)
    expect(headers.get('content-type')).toBe('application/json')
    expect(body).toEqual({
      data: {
        completion: 'echo: Why?',
        model: 'test-model-2026',
        usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
      },
      status: 'success',
    })
  })

  test('forwards the contract’s defaults', async () => {
    await post({ prompt: 'Why?' })
    expect(upstream.calls[0]?.body).toEqual({
      model: 'test-model',
      messages: [
        { role: 'system', content: 'You are a helpful assistant.' },
        { role: 'user', content: 'Why?' },
      ],
      temperature: 0.7,
      max_tokens: 800,
    })
    expect(upstream.calls[0]?.path).toBe('/v1/chat/completions')
    expect(upstream.calls[0]?.headers.authorization).toBe('Bearer sk-upstream-secret')
  })

  test('forwards what the request sets, and caps max_tokens', async () => {
    await post({
      prompt: 'Why?',
      system: 'Be brief.',
      temperature: 0,
      max_tokens: 99_999,
      model: 'second',
      unknown: [1],
    })
    expect(upstream.calls[0]?.body).toEqual({
      model: 'second-model',
      messages: [
        { role: 'system', content: 'Be brief.' },
        { role: 'user', content: 'Why?' },
      ],
      temperature: 0,
      max_tokens: 1000,
    })
  })

  test('caps max_tokens however large it is', async () => {
    await post('{"prompt":"Why?","max_tokens":99999999999999999999}')
    expect(upstream.calls[0]?.body.max_tokens).toBe(1000)
  })

  test.each([
    ['no usage', answering(({ usage: _, ...answer }) => answer), { usage: { prompt_tokens: null } }],
    [
      'no text',
      answering((answer) => ({
        ...answer,
        choices: [{ index: 0, message: { content: null }, finish_reason: 'stop' }],
      })),
      { completion: null },
    ],
  ])('with %s from upstream is null there', async (_what, reply, expected) => {
    upstream.reply = reply
    expect((await post({ prompt: 'Why?' })).body.data).toMatchObject(expected)
  })

  test.each([{ 'x-api-key': '' }, { 'api-key': '' }, { authorization: 'Bearer ' }])(
    'takes the key as %o',
    async (header) => {
      const [[name, prefix]] = Object.entries(header) as [[string, string]]
      const { status } = await generate(host, '{"prompt":"Why?"}', { [name]: prefix + key })
      expect(status).toBe(200)
    },
  )
})

describe('a request that is refused', () => {
  const invalid = (what: string) => ({ status: 400, error: what })
  test.each<[string, unknown, { status: number; error: string }]>([
    ['no JSON', '{"prompt":', invalid('Invalid JSON format')],
    ['an empty body', '', invalid('Invalid JSON format')],
    ['bytes that are no UTF-8', 'ÿ-bytes', invalid('Invalid JSON format')],
    ['an array', [], invalid("'prompt' must be a non-empty string")],
    ['null', 'null', invalid("'prompt' must be a non-empty string")],
    ['a string', '"prompt"', invalid("'prompt' must be a non-empty string")],
    ['no prompt', {}, invalid("'prompt' must be a non-empty string")],
    ['an empty prompt', { prompt: '' }, invalid("'prompt' must be a non-empty string")],
    ['a prompt that is a number', { prompt: 7 }, invalid("'prompt' must be a non-empty string")],
    ['a prompt that is a list', { prompt: ['a'] }, invalid("'prompt' must be a non-empty string")],
    ['a system that is null', { prompt: 'a', system: null }, invalid("'system' must be a string")],
    ['a model that is a number', { prompt: 'a', model: 1 }, invalid("'model' must be a string")],
    ['an unknown model', { prompt: 'a', model: 'gpt-9' }, invalid("'model' must be the name of a configured model")],
    [
      'a temperature that is text',
      { prompt: 'a', temperature: '1' },
      invalid("'temperature' must be a number from 0 to 2"),
    ],
    ['a temperature above 2', { prompt: 'a', temperature: 2.1 }, invalid("'temperature' must be a number from 0 to 2")],
    ['max_tokens of 0', { prompt: 'a', max_tokens: 0 }, invalid("'max_tokens' must be a positive integer")],
    ['max_tokens of 1.5', { prompt: 'a', max_tokens: 1.5 }, invalid("'max_tokens' must be a positive integer")],
    [
      'a body over the bound',
      { prompt: 'a'.repeat(MAX_BODY) },
      { status: 413, error: `The request body is larger than ${MAX_BODY} bytes.` },
    ],
  ])('for %s', async (_what, body, { status, error }) => {
    const sent =
      body === 'ÿ-bytes' ? Buffer.from([0x22, 0xff, 0x22]) : typeof body === 'string' ? body : JSON.stringify(body)
    const answer = await generate(host, sent, { 'x-api-key': key })
    expect(answer).toMatchObject({ status, body: { error } })
    expect(answer.headers.get('content-type')).toBe('application/json')
    expect(upstream.calls).toHaveLength(0)
  })

  test('for a body over the bound that declares no length', async () => {
    const options = { path: '/api/generate', method: 'POST', headers: { 'x-api-key': key } }
    expect(await rawStatus(host, options, ['x'.repeat(MAX_BODY), 'x'])).toBe(413)
  })

  // How many pieces arrive apart is the network's choice: what becomes of too many is tested beside `parse`.
  test('C4: for a body in ten thousand pieces of a byte it is not', async () => {
    const options = { path: '/api/generate', method: 'POST', headers: { 'x-api-key': key } }
    // This host's bound is large enough; it has no model.
    expect(await rawStatus(bare, options, [...JSON.stringify({ prompt: 'a'.repeat(10_000) })])).toBe(500)
  })

  test('with a body of just the bound is not', async () => {
    const frame = JSON.stringify({ prompt: '' }).length
    expect((await post({ prompt: 'a'.repeat(MAX_BODY - frame) })).status).toBe(200)
  })

  test('in the order of the middleware: key, limit, size, JSON, fields', async () => {
    const tooLarge = 'x'.repeat(MAX_BODY + 1)
    expect((await generate(host, tooLarge, {})).status).toBe(401)
    const poor = await newKey(open, unique('poor'), 'single')
    expect((await generate(host, tooLarge, { 'x-api-key': poor })).status).toBe(413)
    expect((await generate(host, tooLarge, { 'x-api-key': poor })).status).toBe(429)
  })

  test('when no model is configured', async () => {
    const answer = await generate(bare, '{"prompt":"a"}', { 'x-api-key': key })
    expect(answer.status).toBe(500)
    expect(answer.body).toEqual({
      error: 'Internal Server Error: LLM service is not configured.',
      code: 'not_configured',
    })
  })

  test('by an app whose settings are wrong: a 500 that tells nothing, and a log line that tells all', async () => {
    const settings = { TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_MAX_BODY_BYTES: 'big' }
    const broken = await startHost(settings, BARE_HOST)
    const answer = await generate(broken, '{"prompt":"a"}', { 'x-api-key': key, 'x-request-id': 'mine' })
    await broken.stop()
    expect(answer).toMatchObject({
      status: 500,
      body: { error: 'An internal server error occurred.', code: 'internal_error' },
    })
    expect(answer.headers.get('x-request-id')).toBe('mine')
    expect(broken.output()).toMatch(/not configured.*TOLLGATE_MAX_BODY_BYTES must be a whole number/)
    expect(broken.output()).toMatch(/"event":"fault","requestId":"mine".*TOLLGATE_MAX_BODY_BYTES/)
  })

  test('for a plan that the policy has lost', async () => {
    const lost = await newKey(open, unique('lost'), 'gone')
    expect(await generate(host, '{"prompt":"a"}', { 'x-api-key': lost })).toMatchObject({ status: 403 })
  })
})

describe('I4: an error says its code', () => {
  test.each<[string, number, string | object, Record<string, string>]>([
    ['invalid_api_key', 401, { prompt: 'a' }, { 'x-api-key': 'none' }],
    ['invalid_json', 400, '{', {}],
    ['invalid_request', 400, { prompt: '' }, {}],
    ['invalid_request', 400, { prompt: 'a', model: 'none' }, {}],
    ['request_too_large', 413, { prompt: 'x'.repeat(MAX_BODY) }, {}],
    ['not_cached', 504, { prompt: 'never asked' }, { 'cache-control': 'only-if-cached' }],
  ])('%s', async (code, status, body, headers) => {
    const answer = await post(body, headers)
    expect(answer).toMatchObject({ status, body: { error: expect.stringMatching(/./), code } })
  })

  test('upstream_failed, and what the model’s server said beside it', async () => {
    upstream.reply = failing(429, { code: 'rate_limit_exceeded' })
    expect(await post({ prompt: unique('Why?') })).toMatchObject({
      body: { code: 'upstream_failed', details: expect.stringContaining('code rate_limit_exceeded') },
    })
  })

  test('plan_unavailable', async () => {
    const lost = await newKey(open, unique('lost'), 'gone')
    expect(await post({ prompt: 'a' }, { 'x-api-key': lost })).toMatchObject({
      status: 403,
      body: { code: 'plan_unavailable' },
    })
  })
})

describe('a key', () => {
  const CHALLENGE = 'Bearer realm="tollgate"'
  test.each([
    ['none', () => ({}), CHALLENGE],
    ['an empty one', () => ({ 'x-api-key': '' }), CHALLENGE],
    ['another scheme', () => ({ authorization: 'Basic YTpi' }), CHALLENGE],
    ['something that is no key', () => ({ 'x-api-key': 'sk-123' }), `${CHALLENGE}, error="invalid_token"`],
    [
      'a typo',
      () => ({ 'x-api-key': key.replace(/.$/, (last) => (last === 'a' ? 'b' : 'a')) }),
      `${CHALLENGE}, error="invalid_token"`,
    ],
  ])('%s: 401', async (_what, headers: () => Record<string, string>, challenge) => {
    const answer = await generate(host, '{"prompt":"a"}', headers())
    expect(answer.status).toBe(401)
    expect(answer.body).toEqual({ error: expect.stringMatching(/API key/), code: 'invalid_api_key' })
    expect(answer.headers.get('www-authenticate')).toBe(challenge)
    expect(answer.headers.has('ratelimit')).toBe(false)
  })

  test('disabled, expired, or of a disabled consumer: 401', async () => {
    const { generateKey, parseKey, tableConsumerStore } = await import('@tollgate/middleware')
    const store = tableConsumerStore(open)
    const issue = async (change: { disabled?: boolean; expiresAt?: number; consumerDisabled?: boolean }) => {
      const text = generateKey()
      const { publicId, digest } = parseKey(text) ?? { publicId: '', digest: '' }
      const consumer = unique('standing')
      await store.addConsumer({ id: consumer, plan: 'ample', disabled: change.consumerDisabled ?? false })
      const expires = change.expiresAt === undefined ? {} : { expiresAt: change.expiresAt }
      const record = { publicId, digest, scopes: ['call'], consumer, createdAt: 0, ...expires }
      await store.addKey({ ...record, disabled: change.disabled ?? false })
      return (await generate(host, '{"prompt":"a"}', { 'x-api-key': text })).status
    }
    expect(await issue({ disabled: true })).toBe(401)
    expect(await issue({ consumerDisabled: true })).toBe(401)
    expect(await issue({ expiresAt: Date.now() - 1 })).toBe(401)
    expect(await issue({ expiresAt: Date.now() + 60_000 })).toBe(200)
  })
})

describe('an upstream that fails', () => {
  const failed = 'The LLM service failed to process the request.'
  test.each([
    [
      'refuses',
      failing(429, { code: 'rate_limit_exceeded', message: 'SECRET' }, { 'x-request-id': 'req_7' }),
      'status 429, code rate_limit_exceeded, request id req_7',
    ],
    ['breaks', failing(500), 'status 500'],
    [
      'rejects our key',
      failing(401, { code: 'invalid_api_key', message: 'SECRET sk-upstream' }),
      'status 401, code invalid_api_key',
    ],
    ['filters', failing(400, { code: 'content_filter', message: 'SECRET' }), 'status 400, code content_filter'],
    ['answers HTML', sending(502, '<html>SECRET</html>', { 'content-type': 'text/html' }), 'status 502'],
    ['hides text in the code', failing(400, { code: 'SECRET: the prompt was …' }), 'status 400'],
    ['redirects', sending(307, '', { location: 'http://127.0.0.1:1/' }), 'status 307'],
    [
      'answers 200 without JSON',
      sending(200, 'SECRET', { 'content-type': 'application/json' }),
      'status 200, code invalid_response',
    ],
    [
      'answers 200 with an error',
      sending(200, '{"error":{"message":"SECRET"}}', { 'content-type': 'application/json' }),
      'status 200, code invalid_response',
    ],
    [
      'answers 200 without choices',
      answering((answer) => ({ ...answer, choices: [] })),
      'status 200, code invalid_response',
    ],
    [
      'answers without end',
      // Made before it is asked for, since it takes as long as the wait for a first byte.
      sending(200, `{"choices":[],"padding":"${'x'.repeat(33 * 1024 * 1024)}"}`),
      'status 200, code answer_too_large',
    ],
    [
      'cuts the connection',
      (_: unknown, response: { destroy(): void }) => response.destroy(),
      'code connection_failed',
    ],
    ['never answers', () => {}, 'code timeout'],
    [
      'stalls half-way',
      (_: unknown, response: { write(text: string): void }) => response.write('{"choices":'),
      'code timeout',
    ],
  ] as const)('%s: 502 that tells no text', async (_what, reply, details) => {
    upstream.reply = reply as Upstream['reply']
    const answer = await post({ prompt: 'Why?' })
    expect(answer.status).toBe(502)
    expect(answer.body).toEqual({ error: failed, code: 'upstream_failed', details })
    expect(upstream.calls).toHaveLength(1)
  })

  test('H7: that says when to come back is passed on, with a word against trying before', async () => {
    const waits = async (headers: Record<string, string>) => {
      upstream.reply = failing(429, { code: 'rate_limit_exceeded' }, headers)
      const answer = await post({ prompt: unique('wait') })
      expect(answer.status).toBe(502)
      return ['retry-after', 'retry-after-ms', 'x-should-retry'].map((name) => answer.headers.get(name))
    }
    expect(await waits({ 'retry-after': '22' })).toEqual(['22', '22000', null])
    expect(await waits({ 'retry-after-ms': '1500', 'retry-after': '2' })).toEqual(['2', '1500', null])
    expect(await waits({ 'retry-after': '120' })).toEqual(['120', '120000', 'false'])
    expect(await waits({ 'retry-after': '99999999999' })).toEqual(['3600', '3600000', 'false'])
    expect(await waits({ 'retry-after': 'never' })).toEqual([null, null, null])
  })

  test('I5: with a 404 is logged with the URL that was asked', async () => {
    const before = host.output().length
    upstream.reply = failing(404, { code: 'DeploymentNotFound', message: 'SECRET' })
    await post({ prompt: unique('not-found') })
    await expect.poll(() => host.output().slice(before)).toContain('"event":"request"')
    expect(host.output().slice(before)).toContain(`"url":"${upstream.baseUrl}/chat/completions"`)
    expect(host.output()).not.toContain('SECRET')
  })

  test('is asked again by the next request, because failures are not stored', async () => {
    upstream.reply = failing(500)
    await post({ prompt: 'Why?' })
    upstream.reply = answering()
    expect((await post({ prompt: 'Why?' })).status).toBe(200)
  })
})

describe('the request id', () => {
  test.each([
    ['kept as it came', 'a'.repeat(128), true],
    ['kept with any visible ASCII', '~!{"x"}', true],
    ['replaced when too long', 'a'.repeat(129), false],
    ['replaced when not visible', 'a b', false],
  ])('is %s', async (_what, id, kept) => {
    const { headers } = await post({ prompt: unique('id') }, { 'x-request-id': id })
    const echoed = headers.get('x-request-id')
    if (kept) expect(echoed).toBe(id)
    else expect(echoed).toMatch(/^[0-9a-f-]{36}$/)
    expect(upstream.calls[0]?.headers['x-request-id']).toBe(echoed)
  })

  test('is on the line that tells the operator why a call never reached the model, too', async () => {
    const before = host.output().length
    upstream.reply = (_call, response) => response.destroy()
    const id = unique('log-id')
    await post({ prompt: unique('the-prompt') }, { 'x-request-id': id })
    await expect.poll(() => host.output().slice(before)).toContain('"status":502')
    const lines = (
      host
        .output()
        .slice(before)
        .match(/(?<=Function\.generate: ).*/g) ?? []
    ).map((line) => JSON.parse(line))
    expect(lines.map(({ event }) => event)).toEqual(['upstream failed', 'request'])
    expect(new Set(lines.map(({ requestId }) => requestId))).toEqual(new Set([id]))
    expect(new Set(lines.map(({ promptHash }) => promptHash)).size).toBe(1)
  })

  test('is made where none came, on refusals too', async () => {
    expect((await generate(host, '', {})).headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
  })

  test('is on every log line, with the prompt’s hash and neither prompt nor key', async () => {
    const before = host.output().length
    const [secret, id] = [unique('the-prompt'), unique('log-id')]
    upstream.reply = failing(500, { message: secret })
    await post({ prompt: secret }, { 'x-request-id': id })
    await expect.poll(() => host.output()).toContain(id)
    const lines =
      host
        .output()
        .slice(before)
        .match(/(?<=Function\.generate: ).*/g) ?? []
    expect(lines).toHaveLength(1)
    for (const line of lines) {
      expect(JSON.parse(line)).toMatchObject({ requestId: id, promptHash: expect.stringMatching(/^[\w-]{43}$/) })
    }
    expect(JSON.parse(lines[0] ?? '')).toMatchObject({ event: 'request', status: 502, upstream: { status: 500 } })
    expect(host.output()).not.toContain(secret)
    expect(host.output()).not.toContain(key)
    expect(host.output()).not.toContain('sk-upstream-secret')
  })
})

describe('the rate limit', () => {
  test('admits the burst, then answers 429 with when to come back', async () => {
    const own = await newKey(open, unique('limited'), 'seed')
    const first = await generate(host, '{"prompt":"a"}', { 'x-api-key': own })
    expect(first.headers.get('ratelimit-policy')).toBe('"requests";q=10;w=60;burst=5')
    expect(first.headers.get('ratelimit')).toMatch(/^"requests";r=14;t=[67]$/)
    const rest = await Promise.all(
      Array.from({ length: 20 }, () => generate(host, '{"prompt":"a"}', { 'x-api-key': own })),
    )
    const refused = rest.filter(({ status }) => status === 429)
    expect(refused.length).toBeGreaterThanOrEqual(5)
    expect(rest.length - refused.length).toBeGreaterThanOrEqual(14)
    for (const { headers, body } of refused) {
      expect(body).toEqual({
        error: 'Too many requests. Please try again later.',
        code: 'rate_limit_exceeded',
        details: `limit 'requests': 10 per 1m, burst 5; come back in ${headers.get('retry-after')} s`,
      })
      expect(headers.get('ratelimit')).toMatch(/^"requests";r=0;t=\d+$/)
      const resetIn = Number(headers.get('ratelimit')?.split('t=')[1])
      expect(Number(headers.get('retry-after'))).toBeGreaterThanOrEqual(resetIn)
      expect(Number(headers.get('retry-after'))).toBeLessThanOrEqual(8)
    }
  })

  test('admits again after Retry-After', async () => {
    const own = await newKey(open, unique('patient'), 'quick')
    const ask = () => generate(host, '{"prompt":"a"}', { 'x-api-key': own })
    expect((await ask()).status).toBe(200)
    const refused = await ask()
    expect(refused.status).toBe(429)
    const seconds = Number(refused.headers.get('retry-after'))
    await new Promise((resolve) => setTimeout(resolve, seconds * 1000))
    expect((await ask()).status).toBe(200)
  })

  test('counts each consumer alone', async () => {
    const [one, other] = [await newKey(open, unique('one'), 'single'), await newKey(open, unique('other'), 'single')]
    const ask = async (own: string) => (await generate(host, '{"prompt":"a"}', { 'x-api-key': own })).status
    expect([await ask(one), await ask(one), await ask(other)]).toEqual([200, 429, 200])
  })

  test('is the consumer’s, not the key’s: a second key shares the first one’s', async () => {
    const consumer = unique('two-keys')
    const [first, second] = [await newKey(open, consumer, 'single'), await newKey(open, consumer, 'single')]
    const ask = async (own: string) => (await generate(host, '{"prompt":"a"}', { 'x-api-key': own })).status
    expect([await ask(first), await ask(second)]).toEqual([200, 429])
  })
})

describe('the completion cache', () => {
  test('answers the same prompt again without asking, and says so', async () => {
    const miss = await post({ prompt: 'Why?' })
    const hit = await post({ prompt: 'Why?' })
    expect(miss.headers.get('cache-status')).toBe('tollgate; fwd=miss; stored')
    expect(miss.headers.has('age')).toBe(false)
    expect(hit.headers.get('cache-status')).toMatch(/^tollgate; hit; ttl=3[2-9]\d\d$/)
    expect(Number(hit.headers.get('age'))).toBeLessThan(10)
    expect(hit.body).toEqual(miss.body)
    expect(upstream.calls).toHaveLength(1)
  })

  test.each([
    ['order of fields', '{"temperature":0.5,"prompt":"Why?"}', '{"prompt":"Why?","temperature":0.5}'],
    ['white space', '{"prompt":"Why?"}', ' {\n "prompt" : "Why?" } '],
    ['spelling of characters', '{"prompt":"é"}', '{"prompt":"\\u00e9"}'],
    ['spelling of numbers', '{"prompt":"Why?","temperature":1.0}', '{"prompt":"Why?","temperature":1}'],
    ['unknown fields', '{"prompt":"Why?"}', '{"prompt":"Why?","trace":1}'],
    ['defaults written out', '{"prompt":"Why?"}', '{"prompt":"Why?","temperature":0.7,"max_tokens":800}'],
  ])('does not mind the %s', async (_what, first, second) => {
    await post(first)
    expect((await post(second)).headers.get('cache-status')).toContain('; hit')
  })

  test.each([
    ['prompt', { prompt: 'Why not?' }],
    ['system', { system: 'Be brief.' }],
    ['temperature', { temperature: 0.71 }],
    ['max_tokens', { max_tokens: 801 }],
    ['model', { model: 'second' }],
  ])('minds the %s', async (_what, change) => {
    await post({ prompt: 'Why?' })
    expect((await post({ prompt: 'Why?', ...change })).headers.get('cache-status')).toContain('fwd=miss')
  })

  test('never shows one consumer another’s completion', async () => {
    await post({ prompt: 'Why?' })
    const other = await newKey(open, unique('stranger'), 'ample')
    const answer = await generate(host, '{"prompt":"Why?"}', { 'x-api-key': other })
    expect(answer.headers.get('cache-status')).toContain('fwd=miss')
    expect(upstream.calls).toHaveLength(2)
  })

  test.each([
    ['was filtered', 'content_filter'],
    ['calls a tool', 'tool_calls'],
    ['has no end', null],
  ])('does not store an answer that %s', async (_what, reason) => {
    upstream.reply = answering((answer) => ({
      ...answer,
      choices: answer.choices.map((choice) => ({ ...choice, finish_reason: reason })),
    }))
    expect((await post({ prompt: 'Why?' })).headers.get('cache-status')).toBe('tollgate; fwd=miss')
    expect((await post({ prompt: 'Why?' })).headers.get('cache-status')).toBe('tollgate; fwd=miss')
  })
})
