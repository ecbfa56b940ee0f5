import { execFile } from 'node:child_process'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { createServer, type Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { memoryConsumerStore, openRedis, outlinePolicy, policyRevisions, resolvePolicy } from '@tollgate/middleware'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import type { Finding } from '../../packages/cli/src/doctor/finding.ts'
import { keysSeen } from '../../packages/cli/src/doctor/keys.ts'
import { pricesSeen, regionSeen } from '../../packages/cli/src/doctor/policy.ts'
import { cacheSecretSeen, hostSeen, settingsOf } from '../../packages/cli/src/doctor/settings.ts'
import { type DoctorOptions, diagnose } from '../../packages/cli/src/doctor.ts'
import { bundled } from '../support/bundled.ts'
import { newKey, unique } from '../support/consumers.ts'
import { freePort } from '../support/free-port.ts'
import { cleanEnv, ROOT } from '../support/host.ts'
import { noRedis, startRedis } from '../support/redis.ts'
import { startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, sending, startUpstream, type Upstream } from '../support/upstream.ts'

/* `tollgate doctor`, with each fault planted: what it says, by which fix, and how the command ends. */

const folder = mkdtempSync(join(tmpdir(), 'tollgate-doctor-'))
const POLICY = join(folder, 'policy.yaml')
const TOLLGATE = bundled(join(ROOT, 'packages/cli/src/tollgate.ts'))
const SECRETS = {
  OPENAI_API_KEY: 'sk-canary-upstream-key',
  TOLLGATE_CACHE_SECRET: 'canary-0123456789-abcdefghijklmnopqrstuvwxyz',
}
let upstream: Upstream
const closing: (() => unknown)[] = []
beforeAll(async () => {
  writeFileSync(
    POLICY,
    'plans: { default: { limits: [{ usd: 5, per: month }] } }\nmodels: { default: { price: { input: 1, output: 2 } } }\n',
  )
  upstream = await startUpstream()
  await newKey(openAccount(inject('azurite')), unique('doctored'), 'default')
})
afterEach(async () => {
  upstream.reply = answering()
  upstream.calls.length = 0
  for (const close of closing.splice(0)) await close()
})
afterAll(async () => {
  await upstream?.close()
  rmSync(folder, { recursive: true, force: true })
})

interface Run {
  readonly code: number
  readonly findings: readonly Finding[]
  readonly all: string
  readonly ms: number
}

const settings = (change: Record<string, string> = {}): Record<string, string> => ({
  TOLLGATE_STORAGE: inject('azurite'),
  TOLLGATE_POLICY: POLICY,
  OPENAI_BASE_URL: upstream.baseUrl,
  OPENAI_MODEL_NAME: 'test-model',
  ...SECRETS,
  ...change,
})

/** As a command, in a process of its own. */
async function doctor(env: Record<string, string>, ...args: string[]): Promise<Run> {
  const began = performance.now()
  const run = promisify(execFile)(process.execPath, [TOLLGATE, 'doctor', '--json', ...args], {
    cwd: ROOT,
    env: cleanEnv(env),
  })
  const { code, stdout, stderr } = await run.then(
    (done) => ({ code: 0, ...done }),
    (error: { code: number; stdout: string; stderr: string }) => error,
  )
  const ms = performance.now() - began
  for (const secret of Object.values(SECRETS)) expect(stdout + stderr).not.toContain(secret)
  if (stdout === '') return { code, findings: [], all: stderr, ms }
  const { findings, isWell } = toldIn(stdout)
  expect(code).toBe(isWell ? 0 : 1)
  return { code, findings, all: stdout, ms }
}

/** The same without a process, which would take most of the time. */
async function seen(
  env: Record<string, string>,
  options: Pick<DoctorOptions, 'model' | 'settings'> = { model: false },
): Promise<Pick<Run, 'findings' | 'all'>> {
  const { text, isWell } = await diagnose({ json: true, ...options }, { root: ROOT, env: cleanEnv(env) })
  for (const secret of Object.values(SECRETS)) expect(text).not.toContain(secret)
  const told = toldIn(text)
  expect(told.isWell).toBe(isWell)
  return { findings: told.findings, all: text }
}

function toldIn(json: string): { readonly findings: Finding[]; readonly isWell: boolean } {
  const told = JSON.parse(json) as { findings: Finding[]; isWell: boolean }
  expect(told.isWell).toBe(told.findings.every(({ state }) => state !== 'fault'))
  for (const { state, fix } of told.findings) expect(fix === undefined).toBe(state === 'ok')
  return told
}

const of = ({ findings }: Pick<Run, 'findings'>, check: Finding['check']) =>
  findings.filter((each) => each.check === check)

describe('settings that are well', () => {
  test('have no fault, cost one small call, and show no secret', async () => {
    const run = await doctor(settings())
    // Consumers of other tests' plans are in the tables, too.
    const faults = run.findings.filter(({ state, check }) => state === 'fault' && check !== 'keys')
    expect(faults).toEqual([])
    expect(of(run, 'models')).toMatchObject([
      { state: 'ok', saw: expect.stringMatching(/^'default' at .* answers, in \d+ ms$/) },
    ])
    expect(upstream.calls.map(({ body }) => body)).toEqual([
      { model: 'test-model', messages: [{ role: 'user', content: 'Hi' }], max_tokens: 1 },
    ])
    expect(of(run, 'storage')).toMatchObject([{ state: 'ok', saw: expect.stringContaining('write conditionally') }])
    expect(of(run, 'clock')).toMatchObject([{ state: 'ok' }])
    expect(of(run, 'cache secret')).toMatchObject([{ state: 'ok' }])
    expect(of(run, 'host')).toMatchObject([{ state: 'ok' }, { state: 'ok' }])
  })

  test('ask no model where none is wanted, and say what it would cost', async () => {
    const run = await doctor(settings(), '--no-model')
    expect(upstream.calls).toEqual([])
    // 16 tokens in at a dollar per million, 16 out at two.
    expect(of(run, 'models')[0]?.saw).toContain('one call of a few tokens: at most $0.000048')
  })

  test('that name no model say so, with no call to price', async () => {
    const { OPENAI_BASE_URL: _, OPENAI_MODEL_NAME: __, OPENAI_API_KEY: ___, ...none } = settings()
    const run = await doctor(none, '--no-model')
    expect(of(run, 'models')).toMatchObject([{ state: 'warn', saw: expect.stringContaining('no model is configured') }])
    expect(of(run, 'prices')).toMatchObject([{ saw: 'no model is configured' }])
  })

  test('are looked at without a word of Node’s', async () => {
    const args = [join(ROOT, 'packages/cli/src/tollgate.ts'), 'doctor', '--no-model', '--json']
    const run = promisify(execFile)(process.execPath, args, { cwd: ROOT, env: cleanEnv(settings()) })
    const { stderr } = (await run.catch((error) => error)) as { stderr: string }
    expect(stderr).toBe('')
  })

  test('are told to a person line by line, each fix below its line', async () => {
    upstream.reply = failing(401)
    const run = promisify(execFile)(process.execPath, [TOLLGATE, 'doctor'], {
      cwd: ROOT,
      env: cleanEnv(settings()),
    })
    const { code, stdout } = (await run.catch((error) => error)) as { code: number; stdout: string }
    expect(code).toBe(1)
    expect(stdout).toMatch(/^ok +settings +\d+ read: /m)
    expect(stdout).toMatch(/^FAULT +models +'default' at .* answers 401 .*\n +fix: The key is wrong/m)
    expect(stdout.trim()).toMatch(/\d+ faults?, \d+ warnings?\.$/)
  })
})

describe('a policy', () => {
  test('that these settings can’t use is a fault, which names what is to be set', async () => {
    const path = join(folder, 'needs.yaml')
    const target = '{openai: {model: m, key: {env: OPENAI_OTHER_KEY}}}'
    writeFileSync(path, `models: {other: {targets: [${target}], price: {input: 1, output: 2}}}\n`)
    const run = await doctor(settings({ TOLLGATE_POLICY: path }), '--no-model')
    expect(of(run, 'policy')).toContainEqual(
      expect.objectContaining({ state: 'fault', saw: expect.stringContaining('OPENAI_OTHER_KEY is not set') }),
    )
  })
})

describe('the storage', () => {
  test('whose key is wrong says so, and that the string is to be copied anew', async () => {
    const wrong = inject('azurite').replace(
      /AccountKey=[^;]+/,
      `AccountKey=${Buffer.from('canary').toString('base64')}`,
    )
    const run = await seen(settings({ TOLLGATE_STORAGE: wrong }))
    expect(of(run, 'storage')).toMatchObject([
      {
        state: 'fault',
        saw: expect.stringContaining('may not read'),
        fix: expect.stringContaining('show-connection-string'),
      },
    ])
    // The clock is known all the same.
    expect(of(run, 'clock')).toMatchObject([{ state: 'ok' }])
  })

  test.each([
    ['get', 'may not read', ''],
    ['insert', 'may not write', ', though it may read'],
    ['update', 'may not write a row that is as it was read', ', though it may read, write'],
    ['delete', 'may not remove', ', though it may read, write'],
  ] as const)('that refuses to %s names the role', async (operation, what, though) => {
    const proxy = await startStorageProxy(inject('azurite'))
    closing.push(() => proxy.close())
    proxy.inject(
      { kind: 'answer', status: 403, code: 'AuthorizationPermissionMismatch' },
      { operation, table: 'tollgatecounters' },
    )
    const run = await seen(settings({ TOLLGATE_STORAGE: proxy.connectionString }))
    expect(of(run, 'storage')).toMatchObject([
      {
        state: 'fault',
        saw: expect.stringContaining(what + though),
        fix: expect.stringContaining('--role "Storage Table Data Contributor"'),
      },
    ])
  })

  test('that nothing listens for is the fault, and the keys are not another', async () => {
    const gone = inject('azurite').replace(
      /TableEndpoint=http:\/\/[^/;]+/,
      `TableEndpoint=http://127.0.0.1:${await freePort()}`,
    )
    const run = await doctor(settings({ TOLLGATE_STORAGE: gone }), '--no-model')
    expect(of(run, 'storage')).toMatchObject([{ state: 'fault' }])
    expect(of(run, 'keys')).toMatchObject([{ state: 'warn', fix: 'See storage.' }])
  })

  test('that never answers is given up in time, and so is a model', async () => {
    const proxy = await startStorageProxy(inject('azurite'))
    closing.push(() => proxy.close())
    proxy.inject({ kind: 'hang' })
    upstream.reply = () => {}
    const run = await doctor(settings({ TOLLGATE_STORAGE: proxy.connectionString }))
    expect(of(run, 'storage')).toMatchObject([{ state: 'fault', saw: expect.stringContaining('no answer within') }])
    expect(of(run, 'models')).toMatchObject([
      { state: 'fault', saw: expect.stringContaining('does not answer within 8 s') },
    ])
    expect(run.ms).toBeLessThan(17_000)
  })

  test('that is nowhere says where it was looked for', async () => {
    const nowhere = `DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;TableEndpoint=http://127.0.0.1:${await freePort()}/a`
    const run = await seen(settings({ TOLLGATE_STORAGE: nowhere }))
    expect(of(run, 'storage')[0]).toMatchObject({ state: 'fault', fix: expect.stringContaining('TOLLGATE_STORAGE') })
    expect(of(run, 'clock')[0]).toMatchObject({ state: 'warn', saw: expect.stringContaining('ECONNREFUSED') })
  })
})

/** A service whose clock is so far ahead, and that takes nobody in. */
async function serviceAhead(ms: number): Promise<string> {
  const server: Server = createServer((_request, response) => {
    response.sendDate = false
    response.writeHead(403, { date: new Date(Date.now() + ms).toUTCString() }).end()
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  closing.push(() => new Promise((resolve) => server.close(resolve)))
  const { port } = server.address() as AddressInfo
  return `DefaultEndpointsProtocol=http;AccountName=a;AccountKey=YQ==;TableEndpoint=http://127.0.0.1:${port}/a`
}

test.each([
  [10_000, 'warn', 'behind'],
  [-10_000, 'warn', 'ahead'],
  [600_000, 'fault', 'behind'],
] as const)('a clock that is off by %i ms is a %s', async (ms, state, way) => {
  const run = await seen(settings({ TOLLGATE_STORAGE: await serviceAhead(ms) }))
  expect(of(run, 'clock')).toMatchObject([
    { state, saw: expect.stringContaining(way), fix: expect.stringContaining('timedatectl') },
  ])
})

describe('a model', () => {
  test.each([
    [401, 'fault', 'The key is wrong'],
    [403, 'fault', 'may not use this model'],
    [404, 'fault', "There is no 'test-model' there"],
    [429, 'warn', 'capacity'],
    [500, 'fault', 'status page'],
    [400, 'warn', 'by a request'],
  ] as const)('that answers %i is a %s', async (status, state, fix) => {
    upstream.reply = failing(status, { message: SECRETS.OPENAI_API_KEY })
    const run = await seen(settings(), {})
    expect(of(run, 'models')).toMatchObject([
      {
        state,
        saw: expect.stringContaining(`answers ${status} (${upstream.baseUrl}/chat/completions)`),
        fix: expect.stringContaining(fix),
      },
    ])
  })

  test('at which nothing listens, or no host is, is told by what the system says', async () => {
    const run = await seen(settings({ OPENAI_BASE_URL: `http://127.0.0.1:${await freePort()}/v1` }), {})
    expect(of(run, 'models')).toMatchObject([{ state: 'fault', fix: expect.stringContaining('Nothing listens there') }])
  })

  test('that takes another field for the bound is asked by that', async () => {
    upstream.reply = (call, response) => ('max_tokens' in call.body ? failing(400) : answering())(call, response)
    const run = await seen(settings(), {})
    expect(of(run, 'models')).toMatchObject([{ state: 'ok' }])
    expect(upstream.calls.map(({ body }) => [body.max_tokens, body.max_completion_tokens])).toEqual([
      [1, undefined],
      [undefined, 16],
    ])
  })

  test('that embeds is asked to embed', async () => {
    upstream.reply = (call, response) =>
      (call.path.endsWith('/embeddings') ? sending(200, '{}') : failing(404))(call, response)
    expect(of(await seen(settings({ OPENAI_MODEL_NAME: 'text-embedding-3-small' }), {}), 'models')).toMatchObject([
      { state: 'ok' },
    ])
    expect(of(await seen(settings({ OPENAI_MODEL_NAME: 'unknown-kind' }), {}), 'models')).toMatchObject([
      { state: 'ok' },
    ])
  })

  test('that is none at all is a warning here, and a fault where it is deployed', async () => {
    const { OPENAI_BASE_URL: _url, OPENAI_API_KEY: _key, OPENAI_MODEL_NAME: _name, ...others } = settings()
    expect(of(await seen(others, {}), 'models')).toMatchObject([
      { state: 'warn', saw: expect.stringContaining('simulates') },
    ])
    const run = await seen({}, { settings: exported(others) })
    expect(of(run, 'models')).toMatchObject([{ state: 'fault' }])
  })
})

/** As `az functionapp config appsettings list` prints them. */
function exported(values: Readonly<Record<string, string>>): string {
  const file = join(folder, `${unique('settings')}.json`)
  writeFileSync(
    file,
    JSON.stringify(Object.entries(values).map(([name, value]) => ({ name, slotSetting: false, value }))),
  )
  return file
}

describe('settings', () => {
  test('that are misspelt, or stand for a fault of the policy, are all told', async () => {
    const run = await seen(settings({ TOLLGATE_REDIZ: 'rediss://x', TOLLGATE_IDLE_MS: 'long' }))
    expect(of(run, 'settings')).toMatchObject([
      { state: 'fault', saw: expect.stringMatching(/Did you mean TOLLGATE_REDIS/) },
    ])
    expect(of(run, 'settings')[0]?.saw).toContain('TOLLGATE_IDLE_MS must be a whole number')
    const broken = join(folder, 'broken.yaml')
    writeFileSync(broken, 'plans: { default: { limits: [{ usd: -1, per: month }] } }\n')
    const policy = await seen(settings({ TOLLGATE_POLICY: broken }))
    expect(of(policy, 'policy')).toMatchObject([
      { state: 'fault', saw: expect.stringContaining('plans.default.limits[0].usd') },
    ])
    // What needs no policy is looked at all the same.
    expect(of(policy, 'storage')).toMatchObject([{ state: 'ok' }])
  })

  test('of a deployed app are read from a file, and what Key Vault holds is not asked', async () => {
    const file = exported({
      ...settings(),
      OPENAI_API_KEY: '@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/openai)',
      TOLLGATE_CACHE_SECRET: '@Microsoft.KeyVault(SecretUri=https://v.vault.azure.net/secrets/cache)',
      REGION_NAME: 'West Europe',
    })
    const run = await seen({}, { settings: file })
    expect(of(run, 'settings').map(({ state, saw }) => [state, saw])).toEqual([
      ['ok', expect.stringContaining('read: ')],
      ['ok', 'in Key Vault, and not seen from here: OPENAI_API_KEY and TOLLGATE_CACHE_SECRET'],
    ])
    expect(of(run, 'models')).toMatchObject([
      { state: 'warn', saw: expect.stringContaining('its key is in Key Vault') },
    ])
    expect(upstream.calls).toEqual([])
    expect(of(run, 'cache secret')).toMatchObject([{ state: 'ok', saw: 'is set, by Key Vault' }])
    expect(of(run, 'region')[0]?.saw).toContain('the app runs in westeurope')
  })

  test.each([
    ['no JSON', '{canary'],
    ['no settings', '7'],
  ])('of a file that is %s end the command, and quote nothing', async (_what, text) => {
    const file = join(folder, `${unique('wrong')}.json`)
    writeFileSync(file, text)
    const run = await doctor({}, '--settings', file)
    expect([run.code, run.all]).toEqual([1, expect.stringContaining('--settings: the file')])
    expect(run.all).not.toContain('canary')
  })

  const examined = (env: Record<string, string>, root = ROOT) => ({ root, env, isExported: true, unseen: [] })

  test.each([
    [{}, 'is not set'],
    [{ TOLLGATE_CACHE_SECRET: 'short-0123456789' }, '16 characters'],
    [{ TOLLGATE_CACHE_SECRET: 'changeme-changeme-changeme-changeme-changeme' }, 'like an example'],
    [{ TOLLGATE_CACHE_SECRET: 'a'.repeat(64) }, 'like an example'],
  ])('a cache secret %j is a warning', (env, saw) => {
    expect(cacheSecretSeen(examined(env))).toMatchObject({ state: 'warn', saw: expect.stringContaining(saw) })
  })

  test.each([
    ['00:10:00', 'fault'],
    ['00:31:00', 'warn'],
    ['01:10:00', 'ok'],
    ['-1', 'ok'],
    ['ten minutes', 'warn'],
  ])('functionTimeout %s under streams of half an hour is a %s', (functionTimeout, state) => {
    const root = mkdtempSync(join(folder, 'app-'))
    writeFileSync(join(root, 'host.json'), JSON.stringify({ version: '2.0', functionTimeout }))
    const app = examined({ TOLLGATE_STORAGE: 'memory:' }, root)
    expect(hostSeen(settingsOf(app), app)[1]).toMatchObject({ state })
  })
})

describe('the policy', () => {
  // Revisions are kept by the file's name: no other test has this one.
  const file = join(folder, `${unique('revised')}.yaml`)

  test('that is in force in the table is the one that is looked at, and held against the file', async () => {
    writeFileSync(file, 'plans: { default: { limits: [] } }\n')
    const revisions = policyRevisions({ table: openAccount(inject('azurite'))('tollgatepolicy'), name: file })
    const text = readFileSync(file, 'utf8')
    await revisions.apply({ text, by: 'a test', from: 'cli', source: file }, await revisions.look())
    const same = await seen(settings({ TOLLGATE_POLICY: file }))
    expect(of(same, 'policy')[0]).toMatchObject({ state: 'ok', saw: expect.stringContaining(`: as ${file} says`) })
    const exportedFile = exported(settings({ TOLLGATE_POLICY: file }))
    writeFileSync(file, 'plans: { other: { limits: [] } }\n')
    const differs = await seen({}, { settings: exportedFile, model: false })
    expect(of(differs, 'policy')[0]).toMatchObject({
      state: 'warn',
      saw: expect.stringContaining(`and not what ${file} says`),
    })
    expect(of(differs, 'policy').map(({ saw }) => saw)).toContainEqual(expect.stringContaining('plan default'))
  })
})

describe('prices and regions', () => {
  const DOCUMENT = {
    plans: { default: { limits: [{ usd: 5, per: 'month' }] } },
    models: {
      listed: {
        price: { like: 'openai/gpt-4o-mini' },
        targets: [{ openai: { model: 'gpt-4o-mini' }, zone: 'westeurope' }],
      },
      unpriced: { targets: [{ openai: { model: 'own' }, zone: 'westeurope' }] },
    },
  }
  const file = () => {
    const path = join(folder, 'priced.json')
    writeFileSync(path, JSON.stringify(DOCUMENT))
    return outlinePolicy({ root: folder, path })
  }
  const policy = () =>
    resolvePolicy(DOCUMENT, {
      source: 'a test',
      bounds: { env: {}, hosts: [], readable: [] },
      defaultTarget: undefined,
    })

  test('a book of half a year ago, and a model without a price under a limit on money, are warnings', () => {
    const seen = pricesSeen(policy(), file(), Date.now() + 180 * 86_400_000)
    expect(seen.map(({ state }) => state)).toEqual(['ok', 'warn', 'warn'])
    expect(seen[1]?.saw).toContain('unpriced have no price')
    expect(seen[2]?.saw).toMatch(/the price book is of .* days old, and prices listed/)
  })

  test('models in another region than the app are a warning', () => {
    const at = (REGION_NAME: string) =>
      regionSeen(policy(), { root: folder, env: { REGION_NAME }, isExported: true, unseen: [] })
    expect(at('West Europe')).toMatchObject({ state: 'ok' })
    expect(at('East US')).toMatchObject({ state: 'warn', saw: expect.stringContaining('leaves the region') })
  })
})

describe('keys', () => {
  const { signal } = new AbortController()
  const plans = outlinePolicy({ root: ROOT, path: 'test/contract/usage.yaml' }).plans

  test('that are none, expired or disabled let nobody in', async () => {
    const store = memoryConsumerStore()
    expect(await keysSeen(store, plans, Date.now(), signal)).toMatchObject([{ state: 'fault' }, { state: 'warn' }])
    await store.addConsumer({ id: 'alice', plan: 'ample', disabled: false })
    const key = { consumer: 'alice', digest: 'd', scopes: ['call'], createdAt: 0, disabled: false }
    await store.addKey({ ...key, publicId: 'a', expiresAt: 1 })
    await store.addKey({ ...key, publicId: 'b', disabled: true })
    expect(await keysSeen(store, plans, Date.now(), signal)).toMatchObject([{ state: 'fault' }, { state: 'warn' }])
    await store.addKey({ ...key, publicId: 'c' })
    await store.addKey({ ...key, publicId: 'd', scopes: ['admin'] })
    expect(await keysSeen(store, plans, Date.now(), signal)).toMatchObject([{ state: 'ok' }])
  })

  test('of consumers on plans that are gone are a fault, by name', async () => {
    const store = memoryConsumerStore()
    await store.addConsumer({ id: 'bob', plan: 'gone', disabled: false })
    const seen = await keysSeen(store, plans, Date.now(), signal)
    expect(seen.at(-1)).toMatchObject({
      state: 'fault',
      saw: expect.stringContaining("bob (plan 'gone')"),
      fix: expect.stringContaining('consumers set bob'),
    })
  })
})

describe.skipIf(noRedis)('Redis', () => {
  test('that may throw counters away is a fault, and one that may not is none', async () => {
    const server = await startRedis()
    closing.push(() => server.close())
    expect(of(await seen(settings({ TOLLGATE_REDIS: server.url })), 'redis')).toMatchObject([
      { state: 'ok' },
      { state: 'ok', saw: expect.stringContaining('noeviction') },
    ])
    const redis = openRedis(server.url)
    await redis.send(['CONFIG', 'SET', 'maxmemory-policy', 'allkeys-lru'], AbortSignal.timeout(5_000))
    redis.close()
    expect(of(await seen(settings({ TOLLGATE_REDIS: server.url })), 'redis')).toMatchObject([
      {},
      { state: 'fault', saw: expect.stringContaining('allkeys-lru'), fix: expect.stringContaining('volatile-lru') },
    ])
  })

  test('whose password is wrong, or that is gone, is a fault that shows no password', async () => {
    const server = await startRedis({ password: 'right' })
    closing.push(() => server.close())
    const wrong = `redis://:canary-password@127.0.0.1:${server.port}`
    const run = await seen(settings({ TOLLGATE_REDIS: wrong }))
    expect(of(run, 'redis')).toMatchObject([{ state: 'fault', saw: expect.stringContaining('WRONGPASS') }])
    expect(run.all).not.toContain('canary-password')
    await server.kill()
    const gone = await seen(settings({ TOLLGATE_REDIS: wrong }))
    expect(of(gone, 'redis')).toMatchObject([{ state: 'fault', saw: expect.stringContaining('ECONNREFUSED') }])
  })
})
