import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, sending, startUpstream, type Upstream } from '../support/upstream.ts'

/* GET /api/health of the bundle. An outcome is kept for ten seconds, so each test has a host of its own. */

/** As a server answers messages that are none. */
const TURNED_AWAY = failing(400, { code: 'invalid_type' })

let upstream: Upstream
let proxy: StorageProxy
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  proxy = await startStorageProxy(inject('azurite'))
})
afterAll(async () => {
  await proxy?.close()
  await upstream?.close()
})
beforeEach(() => {
  upstream.reply = TURNED_AWAY
})
afterEach(async () => {
  proxy.heal()
  await host?.stop()
})

async function start(settings: Record<string, string> = {}): Promise<void> {
  host = await startHost(
    {
      TOLLGATE_STORAGE: proxy.connectionString,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      ...settings,
    },
    BARE_HOST,
  )
}
/** The start's own look at the policy is over. */
async function started(): Promise<void> {
  await start()
  await expect.poll(() => host.output(), { timeout: 10_000 }).toContain('"event":"policy in force"')
}
async function health(query = '', init: RequestInit = {}): Promise<[number, unknown]> {
  const response = await fetch(`${host.url}/api/health${query}`, init)
  const text = await response.text()
  expect(response.headers.get('cache-control')).toBe('no-store')
  return [response.status, text === '' ? '' : JSON.parse(text)]
}

const ok = { policy: 'ok', tables: 'ok', limits: 'ok', model: 'ok' }

describe('GET /api/health', () => {
  test('is live without a look at anything, and asks for no key', async () => {
    await started()
    proxy.forget()
    upstream.calls.length = 0
    expect(await health()).toEqual([200, { status: 'live' }])
    expect(await health('', { method: 'HEAD' })).toEqual([200, ''])
    expect([proxy.transactions().length, upstream.calls.length]).toEqual([0, 0])
  })

  test('?ready looks at tables and model, once for all that ask', async () => {
    await started()
    proxy.forget()
    upstream.calls.length = 0
    const answers = await Promise.all(Array.from({ length: 20 }, () => health('?ready')))
    expect(new Set(answers.map((each) => JSON.stringify(each)))).toEqual(
      new Set([JSON.stringify([200, { status: 'ready', checks: ok }])]),
    )
    expect(upstream.calls.map(({ path }) => path)).toEqual(['/v1/chat/completions'])
    expect(proxy.counts()).toEqual({ 'get tollgateconsumers': 1, 'get tollgatecounters': 1 })
    expect(await health('?ready', { method: 'HEAD' })).toEqual([200, ''])
    expect(upstream.calls).toHaveLength(1)
  })

  test.each([
    [200, 'ok'],
    [400, 'ok'],
    [422, 'ok'],
    [429, 'ok'],
    [307, 'failed'],
    [401, 'failed'],
    [403, 'failed'],
    [404, 'failed'],
    [405, 'failed'],
    [500, 'failed'],
    [503, 'failed'],
  ])('a model that answers %i is %s', async (status, model) => {
    upstream.reply = failing(status, { message: 'SECRET' })
    await start()
    const [, body] = await health('?ready')
    expect(body).toMatchObject({ checks: { ...ok, model } })
    expect(JSON.stringify(body) + host.output()).not.toMatch(/SECRET|sk-upstream/)
  })

  test('the own model of each route is asked, once', async () => {
    const folder = mkdtempSync(join(tmpdir(), 'tollgate-health-'))
    const TOLLGATE_POLICY = join(folder, 'policy.yaml')
    const key = '{ env: OPENAI_API_KEY }'
    writeFileSync(
      TOLLGATE_POLICY,
      `models: { chats: { targets: [ { openai: { baseUrl: { env: OPENAI_BASE_URL }, model: chats-model, key: ${key} } } ] } }
routes: { chat: { model: chats }, embeddings: { model: chats }, responses: { model: chats } }`,
    )
    upstream.calls.length = 0
    upstream.reply = (call, response) =>
      (call.body.model === 'chats-model' ? failing(404) : TURNED_AWAY)(call, response)
    await start({ TOLLGATE_POLICY, OPENAI_MODEL_NAME: 'd' })
    expect(await health('?ready')).toMatchObject([503, { checks: { ...ok, model: 'failed' } }])
    expect(upstream.calls.map(({ path, body }) => [path, body.model]).toSorted()).toEqual([
      ['/v1/chat/completions', 'chats-model'],
      ['/v1/chat/completions', 'd'],
      ['/v1/embeddings', 'chats-model'],
      ['/v1/responses', 'chats-model'],
    ])
    rmSync(folder, { recursive: true })
  })

  test('I2: asks what requests will ask, and nothing that a model would answer', async () => {
    upstream.calls.length = 0
    await start({ OPENAI_MODEL_NAME: 'd' })
    await health('?ready')
    expect(upstream.calls).toMatchObject([
      { path: '/v1/chat/completions', headers: { authorization: 'Bearer sk-upstream-secret' }, body: { model: 'd' } },
    ])
    expect(upstream.calls[0]?.body.messages).not.toBeInstanceOf(Array)
  })

  test.each([
    [
      '/openai/deployments/d/chat/completions?api-version=2024-10-21',
      '/openai/deployments/d/chat/completions?api-version=2024-10-21',
    ],
    ['/openai/v1/', '/openai/v1/chat/completions'],
    ['/api/projects/p', '/openai/v1/chat/completions'],
  ])('I2: at %s as the portal shows it, requests and readiness go to %s', async (shown, asked) => {
    upstream.calls.length = 0
    await start({ OPENAI_BASE_URL: '', OPENAI_ENDPOINT: `${upstream.origin}${shown}` })
    expect((await health('?ready'))[0]).toBe(200)
    upstream.reply = answering()
    const key = await newKey(openAccount(inject('azurite')), unique('shown'))
    expect((await generate(host, '{"prompt":"Why?"}', { 'x-api-key': key })).status).toBe(200)
    expect(upstream.calls.map(({ path }) => path)).toEqual([asked, asked])
  })

  test('I2: a server that lists its models, and serves none where requests go, is not ready; the log says where', async () => {
    upstream.reply = (call, response) =>
      (call.path.endsWith('/models') ? sending(200, '{"data":[]}') : failing(404, { code: 'DeploymentNotFound' }))(
        call,
        response,
      )
    await start()
    expect(await health('?ready')).toEqual([503, { status: 'not ready', checks: { ...ok, model: 'failed' } }])
    expect(host.output()).toContain(`answers 404 at ${upstream.baseUrl}/chat/completions`)
  })

  test('a server that fails on no messages, and lists its models, is ready', async () => {
    upstream.reply = (call, response) =>
      (call.path.endsWith('/models') ? sending(200, '{"data":[]}') : failing(500))(call, response)
    await start()
    expect(await health('?ready')).toEqual([200, { status: 'ready', checks: ok }])
  })

  test('a storage that is down is a 503 that names it, and the log says more', async () => {
    await start()
    proxy.inject({ kind: 'lost request' })
    expect(await health('?ready')).toEqual([
      503,
      { status: 'not ready', checks: { ...ok, tables: 'failed', limits: 'failed' } },
    ])
    // The line comes by another way than the answer.
    await expect.poll(() => host.output()).toContain('"event":"not ready","check":"tables"')
    expect(await health()).toEqual([200, { status: 'live' }])
  })

  test('limits whose store fails on writing are a 503 until it works again, though nobody asks for anything then', async () => {
    await start()
    const key = await newKey(openAccount(inject('azurite')), unique('limited'))
    proxy.inject({ kind: 'lost request' }, { table: 'tollgatecounters', operation: 'insert' })
    expect((await generate(host, '{"prompt":"Why?"}', { 'x-api-key': key })).status).toBe(503)
    expect(await health('?ready')).toEqual([503, { status: 'not ready', checks: { ...ok, limits: 'failed' } }])
    proxy.heal()
    // An outcome is told again for ten seconds.
    await expect
      .poll(() => health('?ready'), { timeout: 20_000, interval: 500 })
      .toEqual([200, { status: 'ready', checks: ok }])
    expect(host.output().match(/"event":"limits store failed"/g)).toHaveLength(1)
    expect(host.output()).toContain('"event":"limits store recovered"')
  })

  test('a policy that can’t be read is a 503, and the process lives', async () => {
    await start({ TOLLGATE_POLICY: 'none.yaml' })
    const failed = { ...ok, policy: 'failed', model: 'failed' }
    expect(await health('?ready')).toEqual([503, { status: 'not ready', checks: failed }])
    expect(await health()).toEqual([200, { status: 'live' }])
  })

  test('a model that is not configured is a 503', async () => {
    await start({ OPENAI_BASE_URL: '', OPENAI_API_KEY: '' })
    expect(await health('?ready')).toEqual([503, { status: 'not ready', checks: { ...ok, model: 'failed' } }])
  })
})
