import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { type IncomingMessage, request } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, sending, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/*
 * POST /api/generate with "stream": true, by the bundle on the local host, over real tables and a real HTTP upstream.
 */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
let key: string

beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/policy.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_FIRST_BYTE_MS: '500',
      TOLLGATE_IDLE_MS: '500',
      TOLLGATE_STREAM_TOTAL_MS: '3000',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})
beforeEach(async () => {
  upstream.calls.length = 0
  key = await newKey(open, unique('stream'), 'ample')
})

const post = (body: object = {}, headers: Record<string, string> = {}) =>
  fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key, ...headers },
    body: JSON.stringify({ prompt: 'Why?', stream: true, ...body }),
  })

/** The events' data, and whether the connection ended as it should. */
async function eventsOf(response: Response): Promise<{ readonly events: unknown[]; readonly broke: boolean }> {
  let text = ''
  let broke = false
  try {
    for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) text += Buffer.from(piece).toString()
  } catch {
    broke = true
  }
  const events = text.split('\n\n').filter((event) => event.startsWith('data: '))
  return { events: events.map((event) => JSON.parse(event.slice('data: '.length))), broke }
}

const piece = (completion: string) => ({ data: { completion }, status: 'streaming' })
const last = {
  data: {
    completion: '',
    model: 'test-model-2026',
    usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
  },
  status: 'success',
}

/** The line that the gateway logs of a finished request. */
const logged = (requestId: string | null) =>
  host
    .output()
    .split('\n')
    .find((line) => line.includes(String(requestId)) && line.includes('"event":"request"'))

describe('a streamed completion', () => {
  test('comes in pieces, and last as a plain answer without text', async () => {
    upstream.reply = streaming(['echo', ': ', 'Why?'])
    const response = await post()
    expect(response.status).toBe(200)
    expect(response.headers.get('content-type')).toBe('text/event-stream; charset=utf-8')
    expect(response.headers.get('cache-control')).toBe('no-store')
    expect(await eventsOf(response)).toEqual({
      events: [piece('echo'), piece(': '), piece('Why?'), last],
      broke: false,
    })
    const id = response.headers.get('x-request-id')
    await expect.poll(() => logged(id)).toContain('"usage":{"input":11,"cachedInput":0,"output":7}')
  })

  test('asks the model for a stream with its usage, and for nothing else than a plain request', async () => {
    upstream.reply = streaming(['a'])
    await (await post({ max_tokens: 5 })).text()
    upstream.reply = answering()
    await (await post({ max_tokens: 5, stream: false }, { 'cache-control': 'no-cache' })).text()
    const [streamed, plain] = upstream.calls.map(({ body }) => body)
    expect(streamed).toEqual({ ...plain, stream: true, stream_options: { include_usage: true } })
  })

  test('is stored when it is whole, and sent again; passes the limits like any other', async () => {
    upstream.reply = streaming(['a', 'b'])
    const [first, second, plain] = [await post(), await post(), await post({ stream: false })]
    expect(first.headers.get('cache-status')).toBe('tollgate; fwd=miss')
    expect(await eventsOf(first)).toEqual({ events: [piece('a'), piece('b'), last], broke: false })
    expect(await plain.json()).toMatchObject({ data: { completion: 'ab' }, status: 'success' })
    for (const response of [second, await post()]) {
      expect(response.headers.get('cache-status')).toMatch(/^tollgate; (?:hit; ttl=\d+|fwd=miss; collapsed)$/)
      expect((await eventsOf(response)).events).toEqual([piece('a'), piece('b'), last])
    }
    for (const { headers } of [first, second]) {
      expect(headers.get('ratelimit')).toMatch(/r=\d+/)
      expect(headers.get('x-request-id')).toMatch(/^[0-9a-f-]{36}$/)
    }
    expect(upstream.calls).toHaveLength(1)
  })

  test('is not told apart by where the network cuts it', async () => {
    upstream.reply = streaming(['naïve ', '🚧'], { cutEvery: 3 })
    expect((await eventsOf(await post())).events).toEqual([piece('naïve '), piece('🚧'), last])
  })

  test('has null for a usage that the model does not tell', async () => {
    upstream.reply = streaming(['a'], { usage: false })
    const { events } = await eventsOf(await post())
    expect(events.at(-1)).toMatchObject({
      data: { usage: { prompt_tokens: null, completion_tokens: null, total_tokens: null } },
      status: 'success',
    })
  })

  test('comes piece by piece, not all at its end', async () => {
    let goOn!: () => void
    const held = new Promise<void>((resolve) => {
      goOn = resolve
    })
    upstream.reply = streaming(['first', 'second'], { before: (index) => (index === 1 ? held : undefined) })
    const reader = (await post()).body?.getReader()
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toContain('first')
    goOn()
    expect(Buffer.from((await reader?.read())?.value ?? []).toString()).toContain('second')
    await reader?.cancel()
  })

  test('is logged when it ends, with how it ended', async () => {
    upstream.reply = streaming(['a'])
    const response = await post()
    await response.text()
    const id = response.headers.get('x-request-id')
    await expect.poll(() => logged(id)).toContain('"stream":"complete"')
    expect(logged(id)).toContain('"status":200')
  })
})

describe('a stream that can’t begin', () => {
  test.each<[string, () => Upstream['reply'], string]>([
    ['an error status', () => failing(429, { code: 'rate_limit_exceeded' }), 'status 429, code rate_limit_exceeded'],
    ['a plain error', () => sending(200, '{"error":{"message":"SECRET"}}'), 'status 200, code invalid_response'],
    ['an HTML page', () => sending(502, '<html>'), 'status 502'],
    [
      'an error event first',
      () => streaming([], { raw: 'data: {"error":{"code":"overloaded","message":"SECRET"}}\n\n' }),
      'status 200, code overloaded',
    ],
    ['nothing', () => streaming([], { raw: '' }), 'status 200, code stream_cut'],
    ['only the end', () => streaming([], { raw: 'data: [DONE]\n\n' }), 'status 200, code invalid_response'],
    ['silence', () => streaming(['a'], { before: () => new Promise(() => {}) }), 'code timeout'],
    ['a connection that breaks', () => (_call, response) => response.destroy(), 'code connection_failed'],
  ])('is a 502 in JSON when the model sends %s', async (_what, reply, details) => {
    upstream.reply = reply()
    const response = await post()
    expect(response.status).toBe(502)
    expect(await response.json()).toEqual({
      error: 'The LLM service failed to process the request.',
      code: 'upstream_failed',
      details,
    })
  })

  test.each([
    ['no boolean', { stream: 'yes' }, "'stream' must be true or false"],
    ['null', { stream: null }, "'stream' must be true or false"],
  ])('is a 400 when `stream` is %s', async (_what, body, error) => {
    const response = await post(body)
    expect([response.status, await response.json()]).toEqual([
      400,
      { error, code: expect.stringMatching(/^invalid_(?:json|request)$/) },
    ])
    expect(upstream.calls).toHaveLength(0)
  })

  test('is a 401 in JSON without a key', async () => {
    const { status, body } = await generate(host, '{"prompt":"Why?","stream":true}')
    expect([status, typeof body.error]).toEqual([401, 'string'])
  })
})

describe('a stream that breaks half-way', () => {
  test.each<[string, () => Upstream['reply'], string]>([
    [
      'is cut',
      () => streaming(['a'], { end: (response) => response.write('', () => response.destroy()) }),
      'code stream_cut',
    ],
    ['ends before its answer does', () => streaming(['a'], { end: (response) => response.end() }), 'code stream_cut'],
    [
      'sends an error event',
      () => streaming(['a'], { end: (response) => response.end('data: {"error":{"code":"server_error"}}\n\n') }),
      'code server_error',
    ],
    [
      'sends what is no chunk',
      () => streaming(['a'], { end: (response) => response.end('data: {\n\n') }),
      'code invalid_response',
    ],
    ['falls silent', () => streaming(['a'], { end: () => {} }), 'code timeout'],
  ])('ends with an error event and breaks the connection, when the model %s', async (_what, reply, details) => {
    upstream.reply = reply()
    const response = await post()
    expect(response.status).toBe(200)
    expect(await eventsOf(response)).toEqual({
      events: [
        piece('a'),
        { error: 'The LLM service failed to process the request.', code: 'upstream_failed', details },
      ],
      broke: true,
    })
    const id = response.headers.get('x-request-id')
    await expect.poll(() => logged(id)).toContain('"stream":"broken"')
  })

  test('is ended when it lasts longer than it may', async () => {
    upstream.reply = streaming(
      Array.from({ length: 100 }, () => 'a'),
      {
        before: () => new Promise((resolve) => setTimeout(resolve, 100)),
      },
    )
    const { events, broke } = await eventsOf(await post())
    expect([events.at(-1), broke]).toEqual([
      { error: 'The LLM service failed to process the request.', code: 'upstream_failed', details: 'code timeout' },
      true,
    ])
  })
})

describe('a client that leaves', () => {
  test.each([
    ['half-way through a stream', true, ['a'], 1],
    ['before a stream begins', true, [], 0],
    ['before a plain answer', false, [], 0],
  ])('%s stops the call to the model within 250 ms', { retry: 2 }, async (_what, stream, pieces, before) => {
    let stopped!: (at: number) => void
    const stoppedAt = new Promise<number>((resolve) => {
      stopped = resolve
    })
    upstream.reply = (call, response) => {
      response.on('close', () => stopped(performance.now()))
      if (before > 0) streaming(pieces, { end: () => {} })(call, response)
    }
    const sent = request(`${host.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key } })
    sent.on('error', () => {})
    const begun = new Promise<void>((resolve) =>
      sent.on('response', (response) => {
        response.on('error', () => {}).once('data', () => resolve())
      }),
    )
    sent.end(JSON.stringify({ prompt: 'Why?', stream }))
    if (before > 0) await begun
    else await expect.poll(() => upstream.calls.length, { interval: 10 }).toBe(1)
    const leftAt = performance.now()
    sent.destroy()
    expect((await stoppedAt) - leftAt).toBeLessThan(250)
    if (stream && before > 0) await expect.poll(() => host.output()).toContain('"stream":"client_left"')
  })

  test('by being killed half-way stops it too, and the host goes on', async () => {
    const stopped = Promise.withResolvers<void>()
    upstream.reply = (call, response) => {
      response.on('close', () => stopped.resolve())
      streaming(['a'], { end: () => {} })(call, response)
    }
    const script = `fetch(process.env.URL, { method: 'POST', headers: { 'x-api-key': process.env.KEY }, body: '{"prompt":"Why?","stream":true}' })
      .then(async ({ body }) => { for await (const piece of body) process.stdout.write(piece) })`
    const client = spawn(process.execPath, ['-e', script], {
      env: { URL: `${host.url}/api/generate`, KEY: key },
      stdio: ['ignore', 'pipe', 'inherit'],
    })
    const [first] = await once(client.stdout, 'data')
    expect(String(first)).toContain('"completion":"a"')
    client.kill('SIGKILL')
    await stopped.promise
    await expect.poll(() => host.output()).toContain('"stream":"client_left"')
    upstream.reply = streaming(['b'])
    expect((await eventsOf(await post())).events).toEqual([piece('b'), last])
  })
})

test('a client that is slow is not read ahead for', async () => {
  let sent = 0
  const text = 'x'.repeat(64 * 1024)
  upstream.reply = streaming(
    Array.from({ length: 2048 }, () => text),
    {
      before: () => {
        sent += text.length
      },
    },
  )
  const answer = await new Promise<IncomingMessage>((resolve) => {
    const asked = request(`${host.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key } }, resolve)
    asked.end(JSON.stringify({ prompt: 'Why?', stream: true }))
  })
  answer.pause()
  let before = -1
  const isStill = () => {
    const still = sent === before
    before = sent
    return still
  }
  await expect.poll(isStill, { interval: 300, timeout: 10_000 }).toBe(true)
  // What four sockets hold, of 128 MiB.
  expect(sent).toBeLessThan(40 * 1024 * 1024)
  answer.destroy()
})
