import { bodyOf, chat } from '@tollgate/middleware'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { type Answer, BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import {
  answering,
  type CompletionBody,
  failing,
  startUpstream,
  streaming,
  type Upstream,
} from '../support/upstream.ts'

/* Limits on tokens and money, by the bundle on the local host, over real tables and a real HTTP upstream. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/limits.yaml',
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
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = answering()
})

const consumer = (plan: string) => newKey(open, unique(plan), plan)
/** The same length for every test, so that the bound of its input is known. */
const newPrompt = () => unique('Why?').padEnd(60, '?')
const ask = (key: string, body: object = {}): Promise<Answer> =>
  generate(host, JSON.stringify({ prompt: newPrompt(), ...body }), { 'x-api-key': key })
const asStream = (key: string) =>
  fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key },
    body: JSON.stringify({ prompt: newPrompt(), stream: true }),
  })

/** What is left of a limit, as an answer tells it. */
function left({ headers }: { readonly headers: Headers }, name: string): number {
  return Number(new RegExp(`"${name}";r=(\\d+)`).exec(headers.get('ratelimit') ?? '')?.[1] ?? Number.NaN)
}
const telling = (prompt_tokens: number, completion_tokens: number, cached_tokens = 0) =>
  answering((answer: CompletionBody) => ({
    ...answer,
    usage: { prompt_tokens, completion_tokens, prompt_tokens_details: { cached_tokens } },
  }))

const fieldsOf = (max_tokens: number, stream = false) => ({
  messages: [
    { role: 'system', content: 'You are a helpful assistant.' },
    { role: 'user', content: newPrompt() },
  ],
  temperature: 0.7,
  max_tokens,
  ...(stream ? { stream, stream_options: { include_usage: true } } : {}),
})
/** The most input that such a request's call can have, in tokens. */
const inputOf = (max_tokens: number, stream = false): number =>
  chat.bounds(bodyOf(fieldsOf(max_tokens, stream)), { contextWindow: undefined })?.input ?? Number.NaN
const INPUT = inputOf(800)
const RESERVED = INPUT + 800

/** The line that the gateway logs of a finished request. */
function logged({ headers }: { readonly headers: Headers }): Record<string, unknown> | undefined {
  const id = headers.get('x-request-id') ?? 'none'
  const line = host
    .output()
    .split('\n')
    .find((each) => each.includes(id) && each.includes('"event":"request"'))
  return line === undefined ? undefined : JSON.parse(line.slice(line.indexOf('{')))
}

describe('tokens', () => {
  test('are reserved at the most and settled at what the model tells; a hit takes none', async () => {
    const key = await consumer('tokens')
    const prompt = newPrompt()
    const first = await ask(key, { prompt })
    expect(left(first, 'tokens')).toBe(5_000 - RESERVED)
    expect(first.headers.get('ratelimit-policy')).toBe(
      '"requests";q=50;w=86400, "concurrent";q=1;qu="concurrent-requests", "global-requests";q=1000;w=1, ' +
        '"tokens";q=5000;qu="tokens";w=86400',
    )
    expect(first.headers.get('x-ratelimit-remaining-tokens')).toBe(String(5_000 - RESERVED))
    const hit = await ask(key, { prompt })
    expect(hit.headers.get('cache-status')).toContain('; hit')
    expect([left(hit, 'requests'), left(hit, 'tokens')]).toEqual([48, Number.NaN])
    expect(left(await ask(key), 'tokens')).toBe(5_000 - 18 - RESERVED)
    await expect
      .poll(() => logged(first))
      .toMatchObject({ usage: { input: 11, cachedInput: 0, output: 7 }, costNanoUsd: 78_000 })
    expect(logged(hit)).not.toHaveProperty('usage')
  })

  test('of a budget that is spent are refused, and that takes no request and no slot', async () => {
    const key = await consumer('tokens')
    upstream.reply = telling(4_995, 5)
    await ask(key)
    for (let i = 0; i < 3; i += 1) {
      const refused = await ask(key)
      expect([refused.status, refused.headers.get('x-should-retry'), left(refused, 'tokens')]).toEqual([
        429,
        'false',
        0,
      ])
      expect(refused.body).toEqual({
        error: "The budget 'tokens' is spent.",
        code: 'insufficient_quota',
        details: expect.stringMatching(/^limit 'tokens': 5000 tokens per day; come back in \d+ (?:s|min|h)/),
      })
      // One for the call that was made, and one that this refusal gives back.
      expect(left(refused, 'requests')).toBe(48)
    }
    expect(upstream.calls).toHaveLength(1)
  })

  test('bound the answer to what a budget has left, and such an answer is not stored', async () => {
    const key = await consumer('tokens')
    upstream.reply = telling(5_000 - INPUT - 100, 0)
    await ask(key)
    upstream.reply = telling(INPUT, 20)
    const prompt = newPrompt()
    const clamped = await ask(key, { prompt })
    expect([clamped.status, clamped.headers.get('cache-status')]).toEqual([200, 'tollgate; fwd=miss'])
    expect(upstream.calls.at(-1)?.body).toEqual({ ...fieldsOf(100), model: 'test-model', messages: expect.anything() })
    await expect.poll(() => logged(clamped)).toMatchObject({ clamped: true })
    const again = await ask(key, { prompt })
    expect(again.status).toBe(429)
    expect(again.body.error).toBe(
      `The budget 'tokens' has 80 tokens left, and this request may take ${RESERVED} tokens.`,
    )
  })

  test('of the answer alone are counted alone', async () => {
    const key = await consumer('output')
    expect(left(await ask(key, { max_tokens: 100 }), 'output-tokens')).toBe(900)
    expect(left(await ask(key, { max_tokens: 100 }), 'output-tokens')).toBe(893)
  })

  test('of a rate are refused until they come back, or for good where they never could', async () => {
    const key = await consumer('rate')
    upstream.reply = telling(1_000, 400)
    await ask(key, { max_tokens: 400 })
    const refused = await ask(key, { max_tokens: 400 })
    expect([refused.status, refused.headers.get('x-should-retry')]).toEqual([429, 'false'])
    expect(refused.body).toEqual({
      error: 'Too many requests. Please try again later.',
      code: 'rate_limit_exceeded',
      details: expect.stringMatching(
        new RegExp(
          `^limit 'tokens': 1500 tokens per 1h; this request may take ${INPUT + 400} tokens; come back in \\d+ min$`,
        ),
      ),
    })
    const never = await ask(key, { max_tokens: 1_200 })
    expect(never.status).toBe(400)
    expect(never.body.error).toMatch(
      /^This request may take \d+ tokens, which the limit 'tokens' \(1500 tokens per 1h\) never grants at once\. Lower max_tokens/,
    )
    expect(left(never, 'requests')).toBe(48)
    expect(upstream.calls).toHaveLength(1)
  })
})

describe('money', () => {
  test('is reserved and settled at the model’s price, and cached input is cheaper', async () => {
    const key = await consumer('money')
    upstream.reply = telling(1_000, 10, 600)
    const first = await ask(key)
    // USD 2 and 8 a million tokens are as many micro-dollars a token.
    expect(left(first, 'usd')).toBe(10_000 - 2 * INPUT - 800 * 8)
    expect(first.headers.get('ratelimit-policy')).toMatch(/"usd";q=10000;qu="micro-usd";w=2\d{6}$/)
    expect(left(await ask(key), 'usd')).toBe(10_000 - (400 * 2 + 600 + 80) - 2 * INPUT - 800 * 8)
    await expect
      .poll(() => logged(first))
      .toMatchObject({
        usage: { input: 1_000, cachedInput: 600, output: 10 },
        costNanoUsd: 1_480_000,
      })
  })

  test('that is spent is told in dollars', async () => {
    const key = await consumer('money')
    upstream.reply = telling(5_000, 0)
    await ask(key)
    const refused = await ask(key)
    expect([refused.status, refused.headers.get('x-should-retry')]).toEqual([429, 'false'])
    expect(refused.body).toEqual({
      error: "The budget 'usd' is spent.",
      code: 'insufficient_quota',
      details: expect.stringMatching(/^limit 'usd': 0\.01 USD per month; come back in \d+ /),
    })
  })

  test('is not spent on a model without a price', async () => {
    const { status, body } = await ask(await consumer('money'), { model: 'second' })
    expect(status).toBe(403)
    expect(body.error).toContain('models.second.price')
    expect(body.code).toBe('model_not_priced')
    expect(upstream.calls).toHaveLength(0)
  })
})

describe('a call that failed', () => {
  test.each<[string, Upstream['reply'], boolean]>([
    ['429', failing(429), false],
    ['400', failing(400, { code: 'invalid_prompt' }), false],
    ...[302, 401, 402, 403, 404, 405, 409, 410, 413, 415, 422, 424, 431, 451, 501, 505].map(
      (status): [string, Upstream['reply'], boolean] => [`F2: ${status}`, failing(status), false],
    ),
    ['F2: 503 with Retry-After', failing(503, {}, { 'retry-after': '1' }), false],
    ['F2: 529 with Retry-After', failing(529, {}, { 'retry-after-ms': '1' }), false],
    ['500', failing(500), true],
    ['F2: 408', failing(408), true],
    ['F2: 502 with Retry-After', failing(502, {}, { 'retry-after': '1' }), true],
    ['F2: 503', failing(503), true],
    ['F2: 504', failing(504), true],
    ['a cut connection', (_call, response) => response.destroy(), true],
    ['an answer that tells no usage', answering(({ usage: _, ...answer }) => answer), true],
  ])('by %s costs all that was reserved, or nothing where nothing was generated', async (_what, reply, spent) => {
    const key = await consumer('tokens')
    upstream.reply = reply
    const answer = await ask(key)
    upstream.reply = answering()
    expect(left(await ask(key), 'tokens')).toBe(5_000 - (spent ? RESERVED : 0) - RESERVED)
    await expect.poll(() => logged(answer)).toBeDefined()
    if (spent) expect(logged(answer)).toMatchObject({ uncertain: true, usage: { input: INPUT, output: 800 } })
    else expect(logged(answer)).not.toHaveProperty('uncertain')
  })

  test.each(['content_filter', 'content_policy_violation', 'ResponsibleAIPolicyViolation'])(
    'F3: by a filter that refused its prompt, by %s, costs its input',
    async (code) => {
      const key = await consumer('tokens')
      upstream.reply = failing(400, { code })
      const answer = await ask(key)
      upstream.reply = answering()
      expect(left(await ask(key), 'tokens')).toBe(5_000 - INPUT - RESERVED)
      await expect.poll(() => logged(answer)).toMatchObject({ uncertain: true, usage: { input: INPUT, output: 0 } })
    },
  )

  test('H6: on a kept connection that was closed is made again, for nothing', async () => {
    const key = await consumer('tokens')
    await ask(key)
    upstream.calls.length = 0
    upstream.reply = (call, response) =>
      upstream.calls.length === 1 ? response.destroy() : answering()(call, response)
    const answer = await ask(key)
    expect([answer.status, upstream.calls.length]).toEqual([200, 2])
    expect(left(await ask(key), 'tokens')).toBe(5_000 - 2 * 18 - RESERVED)
  })
})

describe('a stream', () => {
  const INPUT_OF_STREAM = inputOf(800, true)
  const afterwards = async (key: string) => 5_000 - RESERVED - left(await ask(key), 'tokens')

  test('is settled at its end, by its last chunk', async () => {
    const key = await consumer('tokens')
    upstream.reply = streaming(['a', 'b'])
    const response = await asStream(key)
    expect(left(response, 'tokens')).toBe(5_000 - INPUT_OF_STREAM - 800)
    await response.text()
    upstream.reply = answering()
    expect(await afterwards(key)).toBe(18)
    await expect
      .poll(() => logged(response))
      .toMatchObject({
        stream: 'complete',
        usage: { input: 11, cachedInput: 0, output: 7 },
        costNanoUsd: 78_000,
      })
  })

  test('that would pass its reservation ends with an error, and its call with it', async () => {
    const key = await consumer('tokens')
    let stopped = false
    upstream.reply = (call, response) => {
      response.on('close', () => {
        stopped = true
      })
      void streaming(
        Array.from({ length: 900 }, () => 'a'),
        { end: () => {} },
      )(call, response)
    }
    const response = await asStream(key)
    let text = ''
    const reading = (async () => {
      for await (const bytes of (response.body ?? []) as AsyncIterable<Uint8Array>)
        text += Buffer.from(bytes).toString()
    })()
    await expect(reading).rejects.toThrow()
    const events = text.split('\n\n').filter((event) => event !== '')
    expect(JSON.parse(events.at(-1)?.slice('data: '.length) ?? '')).toEqual({
      error: 'The LLM service failed to process the request.',
      code: 'upstream_failed',
      details: 'code reservation_exceeded',
    })
    expect(events.length).toBeLessThanOrEqual(801)
    await expect.poll(() => stopped).toBe(true)
    upstream.reply = answering()
    expect(await afterwards(key)).toBe(INPUT_OF_STREAM + 800)
    await expect
      .poll(() => logged(response))
      .toMatchObject({
        stream: 'broken',
        uncertain: true,
        upstream: { code: 'reservation_exceeded' },
      })
  })

  test('whose client leaves costs all that was reserved', async () => {
    const key = await consumer('tokens')
    upstream.reply = streaming(['a'], { end: () => {} })
    const client = new AbortController()
    const response = await fetch(`${host.url}/api/generate`, {
      method: 'POST',
      headers: { 'x-api-key': key },
      body: JSON.stringify({ prompt: newPrompt(), stream: true }),
      signal: client.signal,
    })
    await response.body?.getReader().read()
    client.abort()
    await expect.poll(() => logged(response)).toMatchObject({ uncertain: true, stream: expect.anything() })
    upstream.reply = answering()
    expect(await afterwards(key)).toBe(INPUT_OF_STREAM + 800)
  })
})
