import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { inflateRawSync, unzipSync } from 'node:zlib'
import { generateKey, policyRevisions, resolvePolicy, type TableName } from '@tollgate/middleware'
import pLimit from 'p-limit'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test, vi } from 'vitest'
import { readSettings } from '../../functions/settings.ts'
import { newKey, unique } from '../support/consumers.ts'
import { freePort } from '../support/free-port.ts'
import { BARE_HOST, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { rawConnection } from '../support/raw-connection.ts'
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount, tableClient } from '../support/tables.ts'
import { answering, failing, sending, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* What an attacker tries, against the bundle on the local host, over real tables and a real HTTP upstream. */

const POLICY = 'test/contract/security.yaml'
const open = openAccount(inject('azurite'))
let upstream: Upstream
let proxy: StorageProxy
let host: RunningHost
let key: string
beforeAll(async () => {
  upstream = await startUpstream()
  proxy = await startStorageProxy(inject('azurite'))
  host = await startHost(
    {
      TOLLGATE_STORAGE: proxy.connectionString,
      TOLLGATE_POLICY: POLICY,
      TOLLGATE_POLICY_ENV: 'TEAM_*',
      TEAM_KEY: 'sk-team',
      TEAM_HEADER: 'team',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
  key = await newKey(open, unique('honest'), 'ample')
})
afterAll(async () => {
  await host?.stop()
  await proxy?.close()
  await upstream?.close()
})
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = answering()
})

const ask = (by: string, prompt = unique('Why?'), headers: Record<string, string> = {}) =>
  generate(host, JSON.stringify({ prompt, max_tokens: 5 }), { 'x-api-key': by, ...headers })

describe('a flood of made-up keys', () => {
  /** What the store was asked for keys that it doesn't have. */
  const lookups = () => proxy.counts()['get tollgatekeys'] ?? 0

  test('costs a few lookups, whatever addresses it claims to come from, and shuts nobody out who is known', async () => {
    expect((await ask(key)).status).toBe(200)
    proxy.forget()
    const began = performance.now()
    // More connections at once than a system lets wait would be reset by it.
    const takingTurns = pLimit(200)
    const statuses = await takingTurns.map(Array.from({ length: 1_500 }).keys(), async (index) => {
      const from = `198.51.100.${index % 250}`
      // The front end appends the address that it saw: what stands before is the client's own word.
      const { status } = await ask(generateKey(), 'a', {
        'x-forwarded-for': `${from}, ${from}`,
        'x-real-ip': from,
        forwarded: `for=${from}`,
      })
      return status
    })
    const seconds = (performance.now() - began) / 1_000
    expect(new Set(statuses)).toEqual(new Set([401, 429]))
    // 60 at first and one a second, for the network of this machine.
    expect(lookups()).toBeLessThanOrEqual(60 + Math.ceil(seconds) + 1)
    expect(statuses.filter((status) => status === 429).length).toBeGreaterThanOrEqual(1_500 - lookups())
    expect((await ask(key)).status).toBe(200)
    // Both of whom is known.
    expect(upstream.calls.length).toBe(2)
  })

  test('that have no form of a key, or a wrong checksum, costs no lookup at all', async () => {
    proxy.forget()
    const broken = [
      `${generateKey().slice(0, -1)}!`,
      'tg_',
      `tg_${'a'.repeat(10_000)}`,
      generateKey().replace(/.{6}$/, '000000'),
      '../../tollgatekeys',
      "' or 1 eq 1",
    ]
    for (const each of broken) expect([401, 431]).toContain((await ask(each, 'a')).status)
    expect(lookups()).toBe(0)
  })
})

describe('a request that two readers may read differently', () => {
  /** The statuses of all answers on one connection, to what is sent as it is. */
  async function answersTo(text: string): Promise<number[]> {
    const connection = rawConnection(host.url)
    connection.write(text)
    const late = setTimeout(connection.close, 3_000)
    const all = await connection.ended()
    clearTimeout(late)
    return [...all.matchAll(/HTTP\/1\.1 (\d{3})/g)].map(([, status]) => Number(status))
  }
  const body = '{"prompt":"smuggled"}'
  const head = (...lines: string[]) =>
    ['POST /api/generate HTTP/1.1', 'Host: localhost', 'Connection: close', ...lines, '', ''].join('\r\n')
  const length = `Content-Length: ${body.length}`

  test('is answered where there is nothing to doubt: the control', async () => {
    expect(await answersTo(head(`X-API-KEY: ${key}`, length) + body)).toEqual([200])
    expect(upstream.calls.length).toBe(1)
  })

  const smuggled = () =>
    `POST /api/generate HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: ${key}\r\n${length}\r\n\r\n${body}`
  test.each([
    [
      'both lengths',
      () => `${head(`X-API-KEY: ${key}`, 'Transfer-Encoding: chunked', 'Content-Length: 5')}0\r\n\r\n${smuggled()}`,
    ],
    [
      'the other way round',
      () => `${head(`X-API-KEY: ${key}`, 'Content-Length: 5', 'Transfer-Encoding: chunked')}0\r\n\r\n${smuggled()}`,
    ],
    ['two lengths', () => head(`X-API-KEY: ${key}`, length, 'Content-Length: 0') + body + smuggled()],
    ['a list of lengths', () => head(`X-API-KEY: ${key}`, `Content-Length: ${body.length}, 0`) + body],
    ['a negative length', () => head(`X-API-KEY: ${key}`, 'Content-Length: -1') + body],
    ['an unknown coding', () => `${head(`X-API-KEY: ${key}`, 'Transfer-Encoding: xchunked')}0\r\n\r\n${smuggled()}`],
    [
      'a coding behind a tab',
      () => `${head(`X-API-KEY: ${key}`, 'Transfer-Encoding:\tchunked', 'Content-Length: 3')}0\r\n\r\n${smuggled()}`,
    ],
    ['a space before the colon', () => head(`X-API-KEY : ${key}`, length) + body],
    ['a folded line', () => head(`X-API-KEY: ${key}`, 'X-Folded: a\r\n b', length) + body],
    ['a folded key', () => head(`X-API-KEY:\r\n ${key}`, length) + body],
    ['a bare carriage return', () => head(`X-A: b\rX-API-KEY: ${key}`, length) + body],
    ['a bare line feed', () => head(`X-A: b\nX-API-KEY: ${key}`, length) + body],
    ['a NUL in a value', () => head(`X-A: b\0X-API-KEY: ${key}`, length) + body],
    ['no host', () => `POST /api/generate HTTP/1.1\r\nX-API-KEY: ${key}\r\n${length}\r\n\r\n${body}`],
  ])('%s: is refused, and nothing behind it is taken for a request', async (_what, text) => {
    const statuses = await answersTo(text())
    expect(statuses.length).toBeLessThanOrEqual(1)
    for (const status of statuses) expect([400, 401, 411, 421, 501]).toContain(status)
    expect(upstream.calls).toEqual([])
  })
})

describe('keys that are sent in more than one way', () => {
  let other: string
  beforeAll(async () => {
    other = await newKey(open, unique('other'), 'ample')
  })
  const asking = async (headers: readonly (readonly [string, string])[]) => {
    const sent = new Headers()
    for (const [name, value] of headers) sent.append(name, value)
    const response = await fetch(`${host.url}/api/generate`, { method: 'POST', headers: sent, body: '{"prompt":"a"}' })
    return response.status
  }

  test.each([
    [
      'two headers of one name',
      () => [
        ['x-api-key', key],
        ['x-api-key', other],
      ],
    ],
    ['a list in one header', () => [['x-api-key', `${key}, ${other}`]]],
    [
      'two names',
      () => [
        ['x-api-key', key],
        ['api-key', other],
      ],
    ],
    [
      'a name and a bearer',
      () => [
        ['ocp-apim-subscription-key', key],
        ['authorization', `Bearer ${other}`],
      ],
    ],
    [
      'a good one and a made-up one',
      () => [
        ['x-api-key', key],
        ['authorization', `Bearer ${generateKey()}`],
      ],
    ],
    ['more than may be', () => [['x-api-key', Array.from({ length: 5 }, generateKey).concat(key).join(', ')]]],
  ] as [string, () => [string, string][]][])('%s: are refused', async (_what, headers) => {
    expect([401, 429]).toContain(await asking(headers()))
    expect(upstream.calls).toEqual([])
  })

  test.each([
    'x_api_key',
    'api_key',
    'x-api-key-2',
    'http_x_api_key',
    'x-original-x-api-key',
    'cookie',
    'x-ms-client-principal-id',
    'x-forwarded-authorization',
  ])("%s is no key's header", async (name) => {
    expect(await asking([[name, name === 'cookie' ? `x-api-key=${key}` : key]])).toBe(401)
  })

  test("a header that says whose it is, or what may be, is nobody's word", async () => {
    const principal = Buffer.from(JSON.stringify({ claims: [{ typ: 'roles', val: 'Tollgate.Admin' }] })).toString(
      'base64',
    )
    const headers = {
      'x-ms-client-principal': principal,
      'x-ms-client-principal-name': 'admin',
      'x-ms-token-aad-id-token': 'a.b.c',
      'x-tollgate-consumer': 'admin',
      'x-tollgate-plan': 'ample',
      'x-functions-key': 'made-up',
    }
    for (const path of ['generate', 'usage', 'me', 'metrics', 'manage/consumers', 'v1/models']) {
      const response = await fetch(`${host.url}/api/${path}`, {
        method: path === 'generate' ? 'POST' : 'GET',
        headers,
        ...(path === 'generate' && { body: '{"prompt":"a"}' }),
      })
      expect([path, response.status]).toEqual([path, 401])
    }
  })
})

describe('tricks in paths and ids', () => {
  const IDS = [
    '..%2f..%2fadmin',
    '%2e%2e%2f%2e%2e%2fhost.json',
    '..;/usage',
    '%00',
    '%0d%0aX-Injected:%201',
    '%c0%ae%c0%ae',
    '%ff',
    '%',
    'a%2fb',
    '__proto__',
    'constructor',
    '%7e%7e',
    'x'.repeat(4_000),
    '%F0%9F%98%80',
    "'%20or%201%20eq%201",
    '%3Cscript%3E',
  ]

  test.each(IDS)('%s is an id like any other: never a 5xx, and never the way to something else', async (id) => {
    for (const path of [
      `v1/models/${id}`,
      `usage/requests/${id}`,
      `openai/deployments/${id}/chat/completions`,
      `me/${id}`,
      `manage/consumers/${id}`,
      `v1/${id}/../../usage`,
    ]) {
      const connection = rawConnection(host.url)
      connection.write(`GET /api/${path} HTTP/1.1\r\nHost: localhost\r\nX-API-KEY: ${key}\r\nConnection: close\r\n\r\n`)
      const answer = await connection.ended()
      const status = Number(/^HTTP\/1\.1 (\d{3})/.exec(answer)?.[1] ?? 400)
      expect([path, status]).toEqual([path, expect.toSatisfy((each: number) => each < 500 && each >= 400)])
      expect(answer).not.toMatch(/^X-Injected/im)
      expect(answer).not.toMatch(/^content-type: text\/html/im)
    }
    expect(upstream.calls).toEqual([])
  })

  test.each([
    '__proto__',
    'constructor',
    '../../etc/passwd',
    'a\r\nb',
    '',
    ' ',
    'toString',
    'default\0',
    'DEFAULT',
    '%2e%2e',
  ])('a body that names the model %j gets none', async (model) => {
    const sent = {
      method: 'POST',
      headers: { 'x-api-key': key },
      body: JSON.stringify({ model, messages: [{ role: 'user', content: 'a' }] }),
    }
    const response = await fetch(`${host.url}/api/v1/chat/completions`, sent)
    expect([400, 404]).toContain(response.status)
    expect(upstream.calls).toEqual([])
  })

  test('what is asked of the model goes to its own path alone, whatever the caller asked by', async () => {
    await fetch(`${host.url}/api/v1/chat/completions?path=../../x&api-version=..%2f`, {
      method: 'POST',
      headers: {
        'x-api-key': key,
        'x-original-url': '/admin',
        'x-rewrite-url': '/admin',
        'x-http-method-override': 'DELETE',
      },
      body: JSON.stringify({ model: 'default', messages: [{ role: 'user', content: unique('a') }] }),
    })
    expect(upstream.calls.map(({ path }) => path)).toEqual(['/v1/chat/completions'])
    for (const name of ['x-api-key', 'x-original-url', 'x-rewrite-url', 'x-http-method-override']) {
      expect(upstream.calls[0]?.headers).not.toHaveProperty(name)
    }
  })
})

describe('each URL that a policy can hold', () => {
  /** By its path in the policy's schema, a policy that has it there, and no other URL. */
  const PLACES: Readonly<Record<string, (url: string) => object>> = {
    'models/*/targets/azure/endpoint': (url) =>
      target({ azure: { endpoint: url, deployment: 'd', key: { env: 'OPENAI_API_KEY' } } }),
    'models/*/targets/openai/baseUrl': (url) => target({ openai: { baseUrl: url, model: 'm' } }),
    'models/*/targets/generate/url': (url) => target({ generate: { url } }),
    'identity/issuers/entra/authority': (url) => issuer({ entra: { tenant: TENANT, audience: 'a', authority: url } }),
    'identity/issuers/oidc/issuer': (url) => issuer({ oidc: { issuer: url, audience: 'a' } }),
    'identity/issuers/oidc/jwks': (url) =>
      issuer({ oidc: { issuer: 'https://issuer.example', audience: 'a', jwks: url } }),
  }
  const target = (of: object) => ({ models: { m: { targets: [of] } } })
  const issuer = (of: object) => ({ identity: { issuers: [{ name: 'corp', ...of }] } })
  const TENANT = '00000000-0000-0000-0000-000000000000'

  /** What JSON Schema, or its name, calls a URL, wherever it stands: a new one has no place in these tests yet, and fails the first. */
  function urlsOf(schema: unknown, path: readonly string[]): string[] {
    if (Array.isArray(schema)) return schema.flatMap((each) => urlsOf(each, path))
    if (typeof schema !== 'object' || schema === null) return []
    const { format, type } = schema as { readonly format?: unknown; readonly type?: unknown }
    const isNamed =
      type === 'string' && /(?:url|uri|endpoint|issuer|jwks|authority|host|address)$/i.test(path.at(-1) ?? '')
    const own = format === 'uri' || isNamed ? [path.join('/')] : []
    return own.concat(
      ...Object.entries(schema).map(([name, value]) => {
        if (name === 'properties') return Object.entries(value).flatMap(([field, of]) => urlsOf(of, [...path, field]))
        return urlsOf(value, name === 'additionalProperties' ? [...path, '*'] : path)
      }),
    )
  }

  test('is tried below', () => {
    const schema = JSON.parse(readFileSync(join(ROOT, 'docs/policy.schema.json'), 'utf8'))
    expect([...new Set(urlsOf(schema, []))].toSorted()).toEqual(Object.keys(PLACES).toSorted())
  })

  const INSIDE = [
    'http://169.254.169.254/metadata/identity/oauth2/token',
    'https://169.254.169.254/v1',
    'https://168.63.129.16/v1',
    'https://10.0.0.5/v1',
    'https://192.168.1.1/v1',
    'https://172.16.0.1/v1',
    'https://[::1]/v1',
    'https://[::ffff:169.254.169.254]/v1',
    'https://[fd00::1]/v1',
    'https://0.0.0.0/v1',
    'https://2130706433/v1',
    'https://0x7f.1/v1',
    'https://127.1/v1',
    'https://localhost/v1',
    'https://localhost./v1',
    'https://metadata.google.internal/v1',
    'https://evil.example/v1',
    'https://api.openai.com.evil.example/v1',
    'https://api.openai.com@evil.example/v1',
    'https://user:pass@api.openai.com/v1',
    'https://evil.example#.openai.azure.com/',
    'https://evil.example/.openai.azure.com',
    'https://evilopenai.azure.com.example',
    'http://api.openai.com/v1',
    'http://x.openai.azure.com',
    'file:///etc/passwd',
    'ftp://api.openai.com/v1',
    'javascript:alert(1)',
    'gopher://127.0.0.1:6379/_FLUSHALL',
    'https://api.openai.com:22@127.0.0.1/v1',
  ]
  /** An issuer may be on any public host: its keys are fetched, and nothing is sent there. Names are looked up as a connection is made. */
  const ofAnIssuer = (url: string) =>
    !/evil\.example(?!@)|openai\.azure\.com\.example|localhost|metadata\.google/.test(url) || url.includes('@')
  const inside = Object.keys(PLACES).flatMap((place) =>
    INSIDE.filter((url) => !place.startsWith('identity/') || ofAnIssuer(url)).map((url) => [place, url] as const),
  )

  test.each(inside)('%s is not let be %s', (place, url) => {
    const policy = () =>
      resolvePolicy(PLACES[place]?.(url), {
        source: 'a test',
        bounds: { env: { OPENAI_API_KEY: 'sk' }, hosts: [], readable: ['OPENAI_*'] },
        defaultTarget: undefined,
      })
    expect(policy).toThrow(/was refused/)
  })
})

const CANARY = 'c4n4ry'
/** Settings each of whose values is a secret, or holds one. */
const SECRETS: Readonly<Record<string, string>> = {
  OPENAI_API_KEY: `sk-${CANARY}-upstream`,
  TEAM_KEY: `sk-${CANARY}-team`,
  TEAM_HEADER: `${CANARY}-header`,
  TOLLGATE_CACHE_SECRET: `${CANARY}-cache-secret-0123456789abcdef`,
  OTEL_EXPORTER_OTLP_HEADERS: `authorization=Bearer ${CANARY}-otlp`,
}
const PROMPT = `${CANARY}-prompt`

describe.skipIf(noRedis)('secrets and prompts', () => {
  let redis: RedisServer
  let secretive: RunningHost
  let storage: StorageProxy
  let output = ''
  const consumer = unique('secretive')
  const answers: string[] = []
  const keys: string[] = []
  const accountKey = /AccountKey=([^;]+)/.exec(inject('azurite'))?.[1] ?? ''

  /** A request of any kind; its answer is kept to be looked through. */
  async function send(
    path: string,
    {
      as = keys[0],
      body,
      headers = {},
      method = body === undefined ? 'GET' : 'POST',
    }: { as?: string; body?: string; headers?: Record<string, string>; method?: string } = {},
  ): Promise<number> {
    const sent = {
      method,
      headers: { ...(as && { 'x-api-key': as }), ...headers },
      ...(body !== undefined && { body }),
      signal: AbortSignal.timeout(20_000),
    }
    const [named] = path.split('?')
    try {
      const response = await fetch(`${secretive.url}/api/${path}`, sent)
      answers.push(`${named} ${response.status} ${JSON.stringify([...response.headers])} ${await response.text()}`)
      return response.status
    } catch (error) {
      answers.push(`${named} ${error}`)
      return 0
    }
  }
  const prompt = () => `${PROMPT} ${unique('x')}`
  const chat = (change: object = {}) =>
    JSON.stringify({ model: 'default', max_tokens: 5, messages: [{ role: 'user', content: prompt() }], ...change })

  beforeAll(async () => {
    redis = await startRedis({ password: `${CANARY}-redis` })
    storage = await startStorageProxy(inject('azurite'))
    secretive = await startHost(
      {
        ...SECRETS,
        TOLLGATE_STORAGE: storage.connectionString,
        TOLLGATE_REDIS: `redis://:${CANARY}-redis@127.0.0.1:${redis.port}`,
        TOLLGATE_POLICY: POLICY,
        TOLLGATE_POLICY_ENV: 'TEAM_*',
        TOLLGATE_STORE_DEADLINE_MS: '600',
        TOLLGATE_FIRST_BYTE_MS: '700',
        TOLLGATE_TOTAL_MS: '1500',
        TOLLGATE_IDLE_MS: '500',
        OPENAI_BASE_URL: upstream.baseUrl,
        OPENAI_MODEL_NAME: 'test-model',
        // Where nothing listens: what can't be exported is told, too.
        OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${await freePort()}`,
        OTEL_METRIC_EXPORT_INTERVAL: '500',
      },
      BARE_HOST,
    )
    keys.push(
      await newKey(open, consumer, 'ample'),
      await newKey(open, consumer, 'ample', ['read']),
      await newKey(open, consumer, 'ample', ['admin']),
    )
    await drive()
    await secretive.stop()
    output = secretive.output()
  }, 120_000)
  afterAll(async () => {
    await secretive?.stop()
    await storage?.close()
    await redis?.close()
  })

  /** Each kind of request, and each kind of fault. */
  async function drive(): Promise<void> {
    const [call = '', read = '', admin = ''] = keys
    const stranger = generateKey()
    keys.push(stranger)
    const same = JSON.stringify({ prompt: prompt(), max_tokens: 5 })
    // A busy machine's first look at the tables may take longer than this host's short deadline.
    await vi.waitFor(async () => expect(await send('generate', { body: same })).toBe(200), 20_000)
    expect(await send('generate', { body: same })).toBe(200)
    expect(found(answers.join(), PROMPT)).toBeDefined()
    upstream.reply = streaming(['a', 'b'])
    expect(await send('v1/chat/completions', { body: chat({ stream: true }) })).toBe(200)
    upstream.reply = anything
    expect(await send('v1/chat/completions', { body: chat({ model: 'secretive' }) })).toBe(200)
    expect(upstream.calls.at(-1)?.headers).toMatchObject({
      authorization: `Bearer ${SECRETS.TEAM_KEY}`,
      'x-team': SECRETS.TEAM_HEADER,
    })
    await send('openai/deployments/default/chat/completions?api-version=2024-10-21', {
      as: '',
      headers: { 'api-key': call },
      body: chat(),
    })
    await send('v1/embeddings', { body: JSON.stringify({ model: 'vectors', input: prompt() }) })
    await send('v1/responses', { body: JSON.stringify({ model: 'default', input: prompt(), store: false }) })
    await send('generate', { body: same, headers: { 'x-tollgate-dry-run': 'true' } })
    for (const path of [
      'me',
      'usage',
      'usage?by=model',
      'metrics',
      'v1/models',
      'health',
      'health?ready',
      `usage/requests/${PROMPT}`,
      'manage/consumers',
      'manage/keys',
      'manage/targets',
      'manage/limits?global=true',
      'manage/policy',
    ]) {
      for (const as of [call, read, admin]) await send(path, { as })
    }
    // What is at fault: the key, where it stands, the body, its size.
    await send('generate', { as: stranger, body: same })
    await send(`generate?api-key=${call}&code=${CANARY}-code`, { as: '', body: same })
    await send('generate', { as: `${call.slice(0, -1)}x`, body: same })
    await send('generate', {
      headers: { authorization: `Basic ${Buffer.from(`a:${CANARY}`).toString('base64')}` },
      body: same,
    })
    await send('generate', { body: `{"prompt":"${PROMPT}` })
    await send('generate', { body: JSON.stringify({ prompt: [PROMPT] }) })
    await send('v1/chat/completions', { body: chat({ [PROMPT]: PROMPT, model: PROMPT }) })
    await send('v1/chat/completions', { body: chat({ messages: PROMPT }) })
    await send('generate', { body: JSON.stringify({ prompt: `${PROMPT}${'x'.repeat(1_100_000)}` }) })
    await send(`manage/consumers/${CANARY}`, { as: admin, method: 'PATCH', body: JSON.stringify({ plan: PROMPT }) })
    await send('manage/limits/reset', { as: admin, body: JSON.stringify({ consumer: 'nobody' }) })
    // A service that repeats what it was sent, in each way of failing.
    const repeated = `${SECRETS.OPENAI_API_KEY} ${SECRETS.TEAM_KEY} ${PROMPT}`
    for (const status of [400, 401, 403, 404, 413, 429, 500, 503]) {
      upstream.reply = failing(
        status,
        { message: repeated, code: repeated, param: repeated, type: repeated },
        { 'x-request-id': `${CANARY}-id`, 'retry-after': '0', 'x-secret': repeated },
      )
      await send('generate', { body: JSON.stringify({ prompt: prompt() }) })
      await send('v1/chat/completions', { body: chat({ model: 'secretive', stream: status % 2 === 0 }) })
    }
    upstream.reply = sending(200, `<html>${repeated}</html>`)
    await send('generate', { body: JSON.stringify({ prompt: prompt() }) })
    upstream.reply = streaming(['a'], {
      end: (response) => response.end(`data: {"error":{"message":"${repeated}"}}\n\n`),
    })
    await send('v1/chat/completions', { body: chat({ stream: true }) })
    upstream.reply = streaming(['a'], { end: (response) => response.destroy() })
    await send('v1/chat/completions', { body: chat({ stream: true }) })
    upstream.reply = () => {}
    await send('generate', { body: JSON.stringify({ prompt: prompt() }) })
    upstream.reply = anything
    // A change that is written down, and whose answer is a secret.
    const made = await fetch(`${secretive.url}/api/manage/keys`, {
      method: 'POST',
      headers: { 'x-api-key': admin, 'content-type': 'application/json' },
      body: JSON.stringify({ consumer: unique('managed'), plan: 'ample' }),
    })
    const { key: madeKey } = (await made.json()) as { key?: string }
    expect([made.status < 300, madeKey]).toEqual([true, expect.stringMatching(/^tg_/)])
    keys.push(madeKey ?? '')
    // The stores, in each way of failing.
    for (const fault of [
      { kind: 'lost request' },
      { kind: 'answer', status: 403, code: 'AuthenticationFailed' },
      { kind: 'answer', status: 503, code: 'ServerBusy' },
      { kind: 'corrupt' },
      { kind: 'hang' },
    ] as const) {
      const injected = storage.inject(fault)
      const fresh = await newKey(open, unique('unlucky'), 'ample')
      keys.push(fresh)
      await send('generate', { as: fresh, body: same })
      await send('usage', { as: read })
      await send('me', { as: call })
      await send('health?ready')
      injected.remove()
    }
    await redis.kill()
    for (let times = 0; times < 3; times += 1) await send('generate', { body: JSON.stringify({ prompt: prompt() }) })
    // What waits to be written is written by now: the ledger's rows are looked through, too.
    await new Promise((resolve) => setTimeout(resolve, 11_000))
  }

  /** Everything that must be nowhere. */
  const forbidden = () => [
    ...Object.values(SECRETS).map((value) => value.replace(/^authorization=/, '')),
    `${CANARY}-redis`,
    `${CANARY}-otlp`,
    accountKey,
    ...keys,
    ...keys.map((each) => each.slice(16)),
  ]

  test('were sent where they belong: the control', () => {
    expect(answers.length).toBeGreaterThan(80)
    expect(answers.filter((text) => / 200 /.test(text)).length).toBeGreaterThan(20)
    expect(output.length).toBeGreaterThan(10_000)
    expect(output).toMatch(/"event":"limits store failed"/)
    expect(found(output, consumer)).toBeDefined()
  })

  test('are in no line that the app or its host has written', () => {
    for (const secret of forbidden()) expect(found(output, secret)).toBeUndefined()
    expect(found(output, PROMPT)).toBeUndefined()
    // Nothing at all that was planted, but for what a caller chose to name itself by.
    expect(found(output, `${CANARY}-code`)).toBeUndefined()
  })

  test('are in no answer, but for what a caller sent or was given itself', () => {
    for (const text of answers) for (const secret of forbidden()) expect(found(text, secret)).toBeUndefined()
  })

  // Counters are in Redis here; what the tests before have counted is in their table.
  const TABLES: readonly TableName[] = [
    'tollgateconsumers',
    'tollgatekeys',
    'tollgatecounters',
    'tollgateusage',
    'tollgatepolicy',
    'tollgateaudit',
  ]

  test.each(TABLES)('are in no row of %s, packed or not', async (table) => {
    let looked = 0
    for await (const entity of tableClient(inject('azurite'), table).listEntities()) {
      for (const value of Object.values(entity)) {
        const text = textIn(value)
        looked += 1
        for (const secret of forbidden()) expect(found(text, secret)).toBeUndefined()
        expect(found(text, `${PROMPT} `)).toBeUndefined()
      }
    }
    expect(looked).toBeGreaterThan(0)
  })

  test('the ledger, and what was changed, were looked into: the control', async () => {
    for (const table of ['tollgateusage', 'tollgateaudit'] as const) {
      let isSeen = false
      for await (const entity of tableClient(inject('azurite'), table).listEntities()) {
        isSeen ||= Object.values(entity).some((value) => textIn(value).includes(consumer))
      }
      expect([table, isSeen]).toEqual([table, true])
    }
  })
})

/** A completion, or what is taken for none where no chat was asked for. */
const anything: Upstream['reply'] = (call, response) => {
  const isChat = call.path.endsWith('/chat/completions') && Array.isArray(call.body.messages)
  return (isChat ? answering() : sending(200, '{}', { 'content-type': 'application/json' }))(call, response)
}

/** What stands around a secret, without repeating all of the output; `undefined` where it is nowhere. */
function found(text: string, secret: string): string | undefined {
  for (const form of [
    secret,
    encodeURIComponent(secret),
    Buffer.from(secret).toString('base64').replace(/=+$/, ''),
    JSON.stringify(secret).slice(1, -1),
  ]) {
    const at = text.indexOf(form)
    if (at >= 0) return `${secret}: …${text.slice(Math.max(0, at - 200), at + form.length + 50)}…`
  }
  return undefined
}

/** A field as text: as it is, and unpacked where it was packed. */
function textIn(value: unknown): string {
  if (!(value instanceof Uint8Array)) return String(value)
  const bytes = Buffer.from(value)
  const all = [bytes.toString('latin1')]
  for (const unpack of [inflateRawSync, unzipSync]) {
    try {
      all.push(unpack(bytes).toString())
    } catch {
      // Packed otherwise, or in parts.
    }
  }
  return all.join('\n')
}

describe('an instance that starts with yesterday’s file', () => {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-security-'))
  const hosts: RunningHost[] = []
  afterAll(async () => {
    await Promise.all(hosts.map((each) => each.stop()))
    rmSync(folder, { recursive: true, force: true })
  })

  const planOf = (limit: string) => `plans: { ample: { limits: [${limit}] } }\n`
  // Revisions are kept by the file's name: no other test has this one.
  const file = join(folder, `${unique('yesterday')}.yaml`)
  async function start(storage: string): Promise<RunningHost> {
    const started = await startHost(
      {
        TOLLGATE_STORAGE: storage,
        TOLLGATE_POLICY: file,
        OPENAI_BASE_URL: upstream.baseUrl,
        OPENAI_API_KEY: 'sk-upstream',
        OPENAI_MODEL_NAME: 'test-model',
      },
      BARE_HOST,
    )
    hosts.push(started)
    return started
  }
  const asking = async (of: RunningHost, by: string) =>
    (await generate(of, JSON.stringify({ prompt: unique('Why?') }), { 'x-api-key': by })).status

  test('goes by what was applied since, and where that can’t be read lets nobody in', async () => {
    writeFileSync(file, planOf('{ requests: 1000, per: 1m }'))
    const first = await start(inject('azurite'))
    const early = await newKey(open, unique('early'), 'ample')
    expect([await asking(first, early), await asking(first, early)]).toEqual([200, 200])

    const revisions = policyRevisions({ table: open('tollgatepolicy'), name: file })
    const text = planOf('{ requests: 1, per: month }')
    await revisions.apply({ text, by: 'a test', from: 'cli', source: 'today' }, await revisions.look())

    const late = await newKey(open, unique('late'), 'ample')
    const old = await start(inject('azurite'))
    expect([await asking(old, late), await asking(old, late)]).toEqual([200, 429])
    expect(old.output()).toMatch(/"event":"policy in force".*and not the app's file/)
    // The one that was there before goes by it within 5 s, and stays by it.
    const until = Date.now() + 8_000
    const next = await newKey(open, unique('next'), 'ample')
    await asking(first, next)
    while ((await asking(first, next)) === 200 && Date.now() < until)
      await new Promise((resolve) => setTimeout(resolve, 200))
    expect([await asking(first, next), await asking(first, late)]).toEqual([429, 429])

    const storage = await startStorageProxy(inject('azurite'))
    try {
      storage.inject({ kind: 'answer', status: 503, code: 'ServerBusy' }, { table: 'tollgatepolicy' })
      const blind = await start(storage.connectionString)
      expect(await asking(blind, early)).toBe(503)
      storage.heal()
      await new Promise((resolve) => setTimeout(resolve, 1_100))
      const fresh = await newKey(open, unique('fresh'), 'ample')
      expect([await asking(blind, fresh), await asking(blind, fresh)]).toEqual([200, 429])
      await blind.stop()
    } finally {
      await storage.close()
    }
  })
})

describe('a setting that is wrong is named without its value', () => {
  const WRONG: readonly (readonly [name: string, value: string])[] = [
    ['TOLLGATE_STORAGE', `DefaultEndpointsProtocol=https;AccountName=${CANARY};AccountKey=${CANARY}`],
    ['TOLLGATE_STORAGE', CANARY],
    ['AzureWebJobsStorage', `AccountKey=${CANARY};`],
    ['TOLLGATE_REDIS', `redis://:${CANARY}@cache.example:6379`],
    ['TOLLGATE_REDIS', `rediss://:${CANARY}/x?#@cache.example:6379`],
    ['OPENAI_API_KEY', `${CANARY}\n${CANARY}`],
    ['OPENAI_API_KEY', `"${CANARY}"`],
    ['OPENAI_BASE_URL', `https://user:${CANARY}@llm.example/v1`],
    ['OPENAI_ENDPOINT', `https://user:${CANARY}@x.openai.azure.com`],
    ['TOLLGATE_POLICY_ENV', `${CANARY} key`],
    ['TOLLGATE_TARGET_HOSTS', `https://user:${CANARY}@llm.example/v1`],
    ['TOLLGATE_IDLE_MS', CANARY],
    ['TOLLGATE_REDIZ', CANARY],
    ['OPENAI_APIKEY', CANARY],
    ['APPLICATIONINSIGHTS_CONNECTION_STRING', `InstrumentationKey=${CANARY}`],
  ]

  test.each(WRONG)('%s=%s', (name, value) => {
    const env = { ...(name === 'AzureWebJobsStorage' ? {} : { TOLLGATE_STORAGE: 'memory:' }), [name]: value }
    let message = ''
    try {
      const { hints } = readSettings(env, ROOT)
      message = hints.join(' ')
    } catch (error) {
      message = String(error)
    }
    expect(message).not.toContain(CANARY)
  })
})
