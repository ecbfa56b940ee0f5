import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { Validator } from '@seriousme/openapi-schema-validator'
import { startSimulatedModel } from '@tollgate/local-host'
import {
  ACTIONS,
  azureDialect,
  type OpenTable,
  openaiDialect,
  type Scope,
  tableConsumerStore,
} from '@tollgate/middleware'
import fc from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type Azurite, startAzurite } from '../support/azurite.ts'
import { newKey, unique } from '../support/consumers.ts'
import { type DescribedOperation, type Document, describedBy, type GivenAnswer } from '../support/described.ts'
import { anyRequest, type FuzzedRequest } from '../support/fuzzed-request.ts'
import { BARE_HOST, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'

/*
 * The OpenAPI document, by the bundle on the local host: it is valid, real answers are as it says, and whatever is made from it is
 * answered. Over tables of its own, since some of what is sent here changes them for all.
 */

const UPSTREAM_KEY = 'sk-upstream-secret'
let azurite: Azurite
let open: OpenTable
let model: Awaited<ReturnType<typeof startSimulatedModel>>
let host: RunningHost
let document: Document
let described: ReturnType<typeof describedBy>
/** By scope. Several, since each may read so often a second. */
const keys: Record<Scope, string[]> = { call: [], read: [], admin: [] }
const consumer = unique('known')

beforeAll(async () => {
  azurite = await startAzurite()
  open = openAccount(azurite.connectionString)
  model = await startSimulatedModel()
  host = await startHost(settings(), BARE_HOST)
  for (const [scope, count] of [
    ['call', 2],
    ['read', 20],
    ['admin', 20],
  ] as const) {
    for (let at = 0; at < count; at += 1) keys[scope].push(await newKey(open, unique(scope), 'ample', [scope]))
  }
  await newKey(open, consumer, 'gold')
  // Each is let in once, so that no flood of wrong ones shuts it out.
  for (const key of [...keys.admin, ...keys.read]) await send({ path: '/manage/targets', method: 'GET' }, key)
  document = (await (await fetch(`${host.url}/api/openapi.json`)).json()) as Document
  described = describedBy(document)
})
afterAll(async () => {
  await host?.stop()
  await model?.close()
  await azurite?.close()
})

const settings = () => ({
  TOLLGATE_STORAGE: azurite.connectionString,
  TOLLGATE_POLICY: 'test/contract/open-api.yaml',
  OPENAI_BASE_URL: model.url,
  OPENAI_API_KEY: UPSTREAM_KEY,
  OPENAI_MODEL_NAME: 'simulated',
})

async function send(
  { path, method, headers = {}, body }: Omit<FuzzedRequest, 'credential'>,
  key: string | undefined,
  at: Pick<RunningHost, 'url'> = host,
): Promise<GivenAnswer> {
  const response = await fetch(`${at.url}/api${path}`, {
    method,
    headers: { ...headers, ...(key !== undefined && { 'x-api-key': key }) },
    body: (body as RequestInit['body']) ?? null,
    redirect: 'manual',
    signal: AbortSignal.timeout(10_000),
  })
  return { status: response.status, headers: response.headers, text: await response.text() }
}

interface Operation {
  readonly path: string
  readonly method: string
  readonly operation: DescribedOperation
}

function operations(tag?: string): Operation[] {
  return Object.entries(document.paths).flatMap(([path, item]) =>
    Object.entries(item)
      .map(([method, operation]) => ({ path, method, operation }))
      .filter(({ operation }) => tag === undefined || operation.tags.includes(tag)),
  )
}

describe('the document', () => {
  test('has every route of the app', () => {
    const paths = Object.keys(document.paths)
    const routes = readdirSync(join(ROOT, 'functions/routes')).flatMap((file) =>
      Array.from(
        readFileSync(join(ROOT, 'functions/routes', file), 'utf8').matchAll(/route: '([^']+)'/g),
        ([, route]) => route,
      ),
    )
    expect(routes.length).toBeGreaterThan(8)
    for (const route of routes) {
      const start = `/${route?.replace(/\/?\{\*path\}$/, '')}`
      expect([route, paths.some((path) => path === start || path.startsWith(`${start}/`))]).toEqual([route, true])
    }
    for (const { root, surfaces } of [openaiDialect, azureDialect]) {
      const below = paths.filter((path) => path.startsWith(`/${root}/`)).map((path) => path.slice(root.length + 1))
      for (const [pattern] of surfaces) {
        const example = below.find((path) => pattern.test(path.replace(/\{\w+\}/g, 'name')))
        expect([pattern, example]).toEqual([pattern, expect.any(String)])
      }
    }
    const managed = paths.flatMap((path) =>
      Object.keys(document.paths[path] ?? {}).map((method) => `${method} ${path}`),
    )
    for (const { method, path } of ACTIONS) expect(managed).toContain(`${method.toLowerCase()} /manage${path}`)
  })

  test('is open to anyone, and kept by its ETag', async () => {
    const first = await send({ path: '/openapi.json', method: 'GET' }, undefined)
    expect(first.status).toBe(200)
    const etag = first.headers.get('etag') ?? ''
    for (const [method, matching, status] of [
      ['GET', etag, 304],
      ['GET', `"other", W/${etag}`, 304],
      ['GET', '*', 304],
      ['GET', '"other"', 200],
      ['HEAD', '"other"', 200],
      ['HEAD', etag, 304],
    ] as const) {
      const answer = await send({ path: '/openapi.json', method, headers: { 'if-none-match': matching } }, undefined)
      expect([method, matching, answer.status]).toEqual([method, matching, status])
      expect(answer.text === '').toBe(status === 304 || method === 'HEAD')
      expect(answer.headers.get('etag')).toBe(etag)
    }
    for (const method of ['POST', 'OPTIONS', 'DELETE']) {
      const { status, headers } = await send({ path: '/openapi.json', method }, undefined)
      expect([status, headers.get('allow')]).toEqual([405, 'GET, HEAD'])
    }
    for (const secret of [UPSTREAM_KEY, model.url, 'AccountKey']) expect(first.text).not.toContain(secret)
  })
})

interface Example {
  /** Fields of the path. */
  readonly path?: Readonly<Record<string, string>>
  readonly query?: string
  readonly body?: unknown
}

const POLICY = readFileSync(join(ROOT, 'test/contract/open-api.yaml'), 'utf8')
const NO_POLICY = 'plans: 7'
const NOBODY = { consumer: 'nobody-here' }
const NO_KEY = { key: 'abcdefghijkl' }

/** By the action's id, in the order in which they are asked: what is done, and what is refused with which status. */
async function examples(): Promise<Readonly<Record<string, Readonly<Record<number, Example>>>>> {
  const newId = async () => (await newKey(open, consumer, 'gold')).split('_')[1] ?? ''
  const [key, rotated, disabled] = [await newId(), await newId(), await newId()]
  await tableConsumerStore(open).updateKey(disabled, { disabled: true })
  return {
    listConsumers: { 200: { query: '?limit=2' } },
    showConsumer: { 200: { path: { consumer } }, 404: { path: NOBODY } },
    setConsumer: {
      200: { path: { consumer }, body: { plan: 'gold' } },
      404: { path: NOBODY, body: { disabled: true } },
      422: { path: { consumer }, body: { plan: 'silver' } },
    },
    forgetUsage: { 200: { path: { consumer } } },
    listKeys: { 200: { query: `?consumer=${consumer}` } },
    showKey: { 200: { path: { key } }, 404: { path: NO_KEY } },
    findKeys: { 200: { path: { beginning: key.slice(0, 6) } } },
    createKey: {
      200: { body: { consumer: unique('new'), plan: 'ample', models: ['default'] } },
      409: { body: { consumer, plan: 'ample' } },
      422: { body: { consumer, plan: 'silver' } },
    },
    rotateKey: {
      200: { path: { key: rotated }, body: { graceSeconds: 60 } },
      404: { path: NO_KEY },
      409: { path: { key: disabled } },
    },
    expireKey: {
      200: { path: { key }, body: { at: '2099-01-01T00:00:00Z' } },
      404: { path: NO_KEY, body: { at: '2099-01-01T00:00:00Z' } },
    },
    disableKey: { 200: { path: { key } }, 404: { path: NO_KEY } },
    enableKey: { 200: { path: { key } }, 404: { path: NO_KEY } },
    revokeKey: { 200: { path: { key: disabled } }, 404: { path: NO_KEY } },
    purgeCache: { 200: { body: { plan: 'gold' } }, 422: { body: { route: 'chats' } } },
    showLimits: {
      200: { query: `?consumer=${consumer}` },
      404: { query: '?consumer=nobody-here' },
      422: { query: '?plan=silver' },
    },
    resetLimits: { 200: { body: { consumer } }, 404: { body: NOBODY }, 422: { body: { global: true } } },
    listTargets: { 200: {} },
    listAudit: { 200: { query: '?limit=3' } },
    showPolicy: { 200: {}, 404: { query: '?revision=1000' } },
    listPolicyRevisions: { 200: {} },
    validatePolicy: { 200: { body: { text: NO_POLICY } } },
    diffPolicy: {
      200: { body: { text: POLICY } },
      404: { body: { text: POLICY, revision: 1_000 } },
      422: { body: { text: NO_POLICY } },
    },
    // As a shadow, so that what follows is decided as before.
    applyPolicy: {
      200: { body: { text: POLICY, shadow: true, message: 'A test.' } },
      409: { body: { text: POLICY, expected: 1_000 } },
      422: { body: { text: NO_POLICY } },
    },
    rollbackPolicy: { 404: { body: { revision: 1_000 } } },
    endPolicyShadow: { 200: {}, 404: {} },
  }
}

function requestOf({ path, method }: Operation, { path: fields = {}, query = '', body }: Example) {
  const filled = path.replace(/\{(\w+)\}/g, (_, name: string) => encodeURIComponent(fields[name] ?? 'abcdefghijkl'))
  const isRead = method === 'get'
  return {
    path: `${filled}${query}`,
    method: method.toUpperCase(),
    ...(!isRead && { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body ?? {}) }),
  }
}

describe('real answers of the manage API are as they are described', () => {
  const turn = { admin: 0 }
  /** The next, so that none is asked too often. */
  const admin = () => {
    turn.admin += 1
    return keys.admin[turn.admin % keys.admin.length]
  }
  const check = ({ path, method }: Operation, status: number, answer: GivenAnswer) => {
    expect([path, method, answer.status, described.faultOf(path, method, answer)]).toEqual([
      path,
      method,
      status,
      undefined,
    ])
  }

  test('what is done, and what is refused for what it names', async () => {
    const known = await examples()
    const managed = operations('Manage')
    expect(managed.map(({ operation }) => operation.operationId).toSorted()).toEqual(Object.keys(known).toSorted())
    for (const [id, byStatus] of Object.entries(known)) {
      const each = managed.find(({ operation }) => operation.operationId === id)
      if (each === undefined) throw new Error(id)
      for (const [status, example] of Object.entries(byStatus)) {
        check(each, Number(status), await send(requestOf(each, example), admin()))
      }
    }
  })

  test('400, 401, 403, 413 and 415', async () => {
    for (const each of operations('Manage')) {
      const { path, method } = requestOf(each, {})
      const type = { 'content-type': 'application/json' }
      const isRead = method === 'GET'
      check(each, 401, await send({ path, method }, undefined))
      check(each, 403, await send({ path, method }, keys.call[0]))
      if (isRead) {
        check(each, 400, await send({ path: `${path}?nothing=1`, method }, admin()))
        continue
      }
      check(each, 403, await send({ path, method }, keys.read[0]))
      check(each, 400, await send({ path, method, headers: type, body: '{"nothing":1}' }, admin()))
      check(each, 400, await send({ path, method, headers: type, body: '{"nothing"' }, admin()))
      check(each, 415, await send({ path, method, headers: { 'content-type': 'text/plain' }, body: '{}' }, admin()))
      check(each, 413, await send({ path, method, headers: type, body: ' '.repeat(1_300_000) }, admin()))
    }
  })

  test('500, where the app is not configured', async () => {
    const unconfigured = await startHost({ ...settings(), TOLLGATE_POLICY: 'missing.yaml' }, BARE_HOST)
    try {
      for (const each of operations('Manage')) {
        check(each, 500, await send(requestOf(each, {}), keys.admin[0], unconfigured))
      }
    } finally {
      await unconfigured.stop()
    }
  })

  test('503, where the tables can’t be reached', async () => {
    const nowhere = azurite.connectionString.replace(/TableEndpoint=[^;]+/, 'TableEndpoint=http://127.0.0.1:1/a')
    const alone = await startHost({ ...settings(), TOLLGATE_STORAGE: nowhere }, BARE_HOST)
    try {
      for (const each of operations('Manage')) check(each, 503, await send(requestOf(each, {}), keys.admin[0], alone))
    } finally {
      await alone.stop()
    }
  })
})

test('what models, usage, metrics and health answer is as it is described', async () => {
  const json = { 'content-type': 'application/json' }
  const chat = { messages: [{ role: 'user', content: 'Why?' }] }
  const asked: [string, string, object | undefined, string | undefined, Record<string, string>?][] = [
    ['/generate', 'post', { prompt: 'Why?' }, keys.call[0]],
    ['/generate', 'post', { prompt: 'Why?', stream: true }, keys.call[0]],
    ['/generate', 'post', { prompt: 'Why?' }, keys.call[0], { 'x-tollgate-dry-run': 'true' }],
    ['/generate', 'post', { prompt: 'never' }, keys.call[0], { 'cache-control': 'only-if-cached' }],
    ['/generate', 'post', {}, keys.call[0]],
    ['/generate', 'post', { prompt: 'Why?' }, keys.read[0]],
    ['/v1/chat/completions', 'post', chat, keys.call[0]],
    ['/v1/chat/completions', 'post', { ...chat, stream: true }, keys.call[0]],
    ['/v1/chat/completions', 'post', { ...chat, model: 'none' }, keys.call[0]],
    ['/v1/chat/completions', 'post', chat, keys.call[0], { 'x-tollgate-dry-run': 'true' }],
    ['/v1/chat/completions', 'post', chat, undefined],
    ['/v1/embeddings', 'post', { input: 'Why?' }, keys.call[0]],
    ['/v1/responses', 'post', { input: 'Why?', store: false }, keys.call[0]],
    ['/v1/models', 'get', undefined, keys.call[0]],
    ['/openai/v1/models', 'get', undefined, undefined],
    ['/openai/v1/chat/completions', 'post', {}, keys.call[0]],
    ['/usage', 'get', undefined, keys.read[0]],
    ['/usage', 'get', undefined, keys.call[0]],
    ['/metrics', 'get', undefined, keys.read[0]],
    ['/metrics', 'get', undefined, keys.read[0], { accept: 'application/openmetrics-text' }],
    ['/me', 'get', undefined, keys.call[0]],
    ['/me', 'get', undefined, undefined],
    ['/.well-known/oauth-protected-resource', 'get', undefined, undefined],
    ['/health', 'get', undefined, undefined],
    ['/openapi.json', 'get', undefined, undefined],
  ]
  for (const [path, method, body, key, headers = {}] of asked) {
    const sent = { path, method: method.toUpperCase(), headers: { ...json, ...headers } }
    const answer = await send({ ...sent, body: body && JSON.stringify(body) }, key)
    expect([path, body, answer.status, described.faultOf(path, method, answer)]).toEqual([
      path,
      body,
      answer.status,
      undefined,
    ])
  }
  const asks: [string, string, string | undefined][] = [
    ['/v1/models/default', '/v1/models/{model}', keys.call[0]],
    ['/v1/models/none', '/v1/models/{model}', keys.call[0]],
    ['/usage?format=csv', '/usage', keys.read[0]],
    ['/usage?by=nothing', '/usage', keys.read[0]],
    ['/usage/requests/some-id', '/usage/requests/{id}', keys.read[0]],
    ['/health?ready', '/health', undefined],
  ]
  for (const [path, template, key] of asks) {
    const answer = await send({ path, method: 'GET' }, key)
    expect([path, described.faultOf(template, 'get', answer)]).toEqual([path, undefined])
  }
})

describe('whatever is made from it is answered', () => {
  /** Bounded as a whole: in milliseconds. */
  const FUZZ_MS = 20_000
  /** With less left, a path has had its share. */
  const LEAST_MS = 50

  test('without a 5xx, a hang, a secret, or what is not described', { timeout: 60_000 }, async () => {
    const secrets = [UPSTREAM_KEY, azurite.connectionString.match(/AccountKey=([^;]+)/)?.[1] ?? 'none']
    for (const key of Object.values(keys).flat()) secrets.push(key.split('_')[2] ?? '')
    const all = operations()
    const seen = new Map<number, number>()
    let sent = 0
    const began = performance.now()
    for (const [at, { path, method, operation }] of all.entries()) {
      const scopes: readonly Scope[] = operation.tags.includes('Manage')
        ? ['admin']
        : operation.tags.includes('Usage')
          ? ['read']
          : ['call']
      const property = fc.asyncProperty(anyRequest(document, path, method), async ({ credential, ...request }) => {
        sent += 1
        const own = keys[scopes[0] ?? 'call']
        const key =
          credential === 'right'
            ? own[sent % own.length]
            : credential === 'other'
              ? keys.call[0]
              : credential === 'none'
                ? undefined
                : credential
        const answer = await send(request, key)
        seen.set(answer.status, (seen.get(answer.status) ?? 0) + 1)
        const told = `${[...answer.headers].join('\n')}\n${answer.text}`
        for (const secret of secrets) if (told.includes(secret)) throw new Error('A secret is told')
        if (answer.status >= 500 && !isAskedFor(request, answer)) throw new Error(`${answer.status}: ${answer.text}`)
        const asked = request.method.toLowerCase()
        const fault =
          document.paths[path]?.[asked] === undefined
            ? notRefused(path, answer)
            : described.faultOf(path, asked, answer)
        if (fault !== undefined) throw new Error(fault)
      })
      // Some in any case, however slow the machine is; and more while there is time.
      await fc.assert(property, { numRuns: 6, seed: 18 })
      const leftMs = (FUZZ_MS * (at + 1)) / all.length - (performance.now() - began)
      if (leftMs < LEAST_MS) continue
      await fc.assert(property, {
        numRuns: 34,
        seed: 19,
        interruptAfterTimeLimit: leftMs,
        markInterruptAsFailure: false,
      })
    }
    expect(sent).toBeGreaterThan(all.length * 5)
    // It came past the doors, too.
    expect(seen.get(200)).toBeGreaterThan(all.length)
    expect(seen.get(400)).toBeGreaterThan(all.length)
  })

  /** What `only-if-cached` asks for. */
  function isAskedFor(
    { headers = {} }: FuzzedRequest | Omit<FuzzedRequest, 'credential'>,
    { status }: GivenAnswer,
  ): boolean {
    return status === 504 && /only-if-cached/.test(headers['Cache-Control'] ?? '')
  }

  /** Of a method that the path doesn't take. */
  function notRefused(path: string, { status, headers }: GivenAnswer): string | undefined {
    // Of these the host refuses other methods itself, as if they were not there.
    if (/^\/(?:generate|v1\/llm\/generate|health)$/.test(path))
      return status === 404 ? undefined : `answered with ${status}`
    // Some look at the key first.
    if (status === 405) return headers.has('allow') ? undefined : '405 without Allow'
    return [401, 403, 429].includes(status) ? undefined : `answered with ${status}`
  }
})

// The last: after it, nothing more may be tried here.
test('429 of the manage API is as it is described', async () => {
  const reader = await newKey(open, unique('reader'), 'ample', ['read'])
  for (const each of operations('Manage')) {
    const asking = () => send(requestOf(each, {}), each.method === 'get' ? reader : 'nonsense')
    let answer = await asking()
    for (let tries = 0; answer.status !== 429 && tries < 200; tries += 1) answer = await asking()
    expect([each.path, answer.status, described.faultOf(each.path, each.method, answer)]).toEqual([
      each.path,
      429,
      undefined,
    ])
  }
})

// It keeps this process busy for seconds, in which connections that wait end: nothing is sent after it.
test('the document is valid OpenAPI 3.1, and so is each of its schemas', async () => {
  const validator = new Validator()
  const { valid, errors } = await validator.validate(structuredClone(document) as never)
  expect([valid, errors]).toEqual([true, undefined])
  expect(validator.version).toBe('3.1')
  expect(described.compileAll()).toBeGreaterThan(50)
  const ids = operations().map(({ operation }) => operation.operationId)
  expect(new Set(ids).size).toBe(ids.length)
  for (const { path, operation } of operations()) {
    const inPath = Array.from(path.matchAll(/\{(\w+)\}/g), ([, name]) => name)
    const declared = (operation.parameters ?? []).filter((each) => each.in === 'path').map(({ name }) => name)
    expect([path, declared]).toEqual([path, inPath])
  }
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8'))
  expect(document.info).toMatchObject({ version })
})
