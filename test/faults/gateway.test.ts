import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { type Fault, type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* The bundle, when its storage fails. */

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
      TOLLGATE_POLICY: 'test/contract/policy.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await proxy?.close()
  await upstream?.close()
})
beforeEach(async () => {
  proxy.heal()
  upstream.calls.length = 0
  key = await newKey(open, unique('faulty'), 'ample')
})

const ask = (prompt = unique('Why?'), by = key) => generate(host, JSON.stringify({ prompt }), { 'x-api-key': by })
const recoveries = () => host.output().match(/"event":"limits store recovered"/g)?.length ?? 0
const DOWN: [string, Fault][] = [
  ['is down', { kind: 'lost request' }],
  ['hangs', { kind: 'hang' }],
  ['is busy', { kind: 'answer', status: 503, code: 'ServerBusy' }],
  ['answers nonsense', { kind: 'corrupt' }],
]

describe('when the storage fails', () => {
  test.each(DOWN)('and the cache %s, it is a miss and never an error', async (_how, fault) => {
    const prompt = unique('Why?')
    expect((await ask(prompt)).headers.get('cache-status')).toContain('fwd=miss; stored')
    const injected = proxy.inject(fault, { table: 'tollgatecache', operation: 'get' })
    // Another prompt, for the first is in this instance's memory.
    const answer = await ask()
    expect([answer.status, answer.headers.get('cache-status')]).toEqual([200, expect.stringContaining('fwd=miss')])
    expect(injected.hits()).toBeGreaterThan(0)
  })

  test.each(DOWN)(
    'and the counters’ table %s, what is held of a limit is spent, and nobody else is admitted: 503, and no model is asked',
    async (_how, fault) => {
      const [ample, scarce] = [key, await newKey(open, unique('scarce'), 'seed')]
      await ask()
      await ask(unique('Why?'), scarce)
      upstream.calls.length = 0
      const injected = proxy.inject(fault, { table: 'tollgatecounters' })
      expect((await ask(unique('Why?'), ample)).status).toBe(200)
      const started = performance.now()
      const answer = await ask(unique('Why?'), scarce)
      expect([answer.status, answer.headers.get('retry-after')]).toEqual([503, '1'])
      expect(answer.body).toEqual({
        error: 'The rate limit could not be checked. Please try again.',
        code: 'store_unavailable',
      })
      expect(upstream.calls).toHaveLength(1)
      expect(injected.hits()).toBeGreaterThan(0)
      // 2 s is the bound; the rest is for a busy machine.
      expect(performance.now() - started).toBeLessThan(4_000)
      const failures = () => host.output().match(/"event":"limits store failed"/g)?.length ?? 0
      const told = failures()
      // Told once, however many ask, and at once until the store is tried again.
      await Promise.all([ask(unique('Why?'), scarce), ask(unique('Why?'), scarce)])
      expect(failures()).toBe(told)
      proxy.heal()
      await expect
        .poll(async () => (await ask(unique('Why?'), scarce)).status, { interval: 100, timeout: 5_000 })
        .toBe(200)
      await expect.poll(() => recoveries()).toBe(told)
    },
  )

  test.each(DOWN)('and the keys’ table %s, an unknown key is a 503 and no 401', async (_how, fault) => {
    proxy.inject(fault, { table: 'tollgatekeys' })
    expect((await ask()).status).toBe(503)
    expect(upstream.calls).toHaveLength(0)
  })

  test.each([
    [403, 'AuthenticationFailed'],
    [403, 'AuthorizationPermissionMismatch'],
    [401, 'InvalidAuthenticationInfo'],
  ])('B1: and the keys’ table refuses us (%i %s), it is a 503, and the log names both', async (status, code) => {
    proxy.inject({ kind: 'answer', status, code }, { table: 'tollgatekeys' })
    expect((await ask()).status).toBe(503)
    const lines = host
      .output()
      .split('\n')
      .filter((line) => line.includes('"event":"key lookup failed"'))
    expect(lines.at(-1)).toContain(`"statusCode":${status}`)
    expect(lines.at(-1)).toContain(`"code":"${code}"`)
  })

  test.each<[string, Fault]>([
    ['503', { kind: 'answer', status: 503, code: 'ServerBusy' }],
    ['412', { kind: 'answer', status: 412, code: 'UpdateConditionNotSatisfied' }],
    ['lost reply', { kind: 'lost reply' }],
    ['lost request', { kind: 'lost request' }],
  ])('for a moment (%s), the request is none the worse', async (_what, fault) => {
    const injected = proxy.inject(fault, { table: 'tollgatecounters', times: 1 })
    expect((await ask()).status).toBe(200)
    expect(injected.hits()).toBe(1)
  })

  test('costs are known: a miss makes so many transactions, and a hit fewer; what is held of a limit costs none', async () => {
    await ask()
    proxy.forget()
    // Every five seconds one of them has the instance look at the policy.
    const counts = () => {
      const { 'get tollgatepolicy': _looks, ...others } = proxy.counts()
      return others
    }
    const prompt = unique('Why?')
    await ask(prompt)
    expect(counts()).toEqual({ 'get tollgatecache': 1, 'insert tollgatecache': 1 })
    proxy.forget()
    expect((await ask(prompt)).headers.get('cache-status')).toContain('hit')
    expect(counts()).toEqual({})
  })
})
