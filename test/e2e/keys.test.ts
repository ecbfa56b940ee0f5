import { execFile } from 'node:child_process'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { type ConsumerStore, issueKey, type Narrowing, parseKey, tableConsumerStore } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { bundled } from '../support/bundled.ts'
import { unique } from '../support/consumers.ts'
import { BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* Keys that end, change and narrow, on two hosts over the same tables, by the command. */

vi.setConfig({ testTimeout: 90_000, hookTimeout: 60_000 })

/** What is promised, and what a busy machine may take to answer one more request. */
const WITHIN_MS = 30_000
const SLACK_MS = 1_500
/** Nano-dollars of an answer: 11 tokens in and 7 out. */
const COST = 11 * 1_000 + 7 * 2_000

let upstream: Upstream
let proxy: StorageProxy
let folder: string
let settings: Record<string, string>
let store: ConsumerStore
let hosts: readonly RunningHost[] = []
beforeAll(async () => {
  ;[upstream, proxy] = await Promise.all([startUpstream(), startStorageProxy(inject('azurite'))])
  folder = mkdtempSync(join(tmpdir(), 'tollgate-keys-'))
  const policy = join(folder, 'policy.yaml')
  // JSON is YAML.
  writeFileSync(
    policy,
    JSON.stringify({
      plans: { free: { limits: [] }, small: { limits: [], models: ['default'] } },
      models: { default: { price: { input: 1, output: 2 } } },
      routes: { generate: { cache: false } },
    }),
  )
  settings = {
    TOLLGATE_STORAGE: proxy.connectionString,
    TOLLGATE_POLICY: policy,
    OPENAI_BASE_URL: upstream.baseUrl,
    OPENAI_API_KEY: 'sk-upstream',
  }
  store = tableConsumerStore(openAccount(inject('azurite')))
  hosts = await Promise.all([startHost(settings, BARE_HOST), startHost(settings, BARE_HOST)])
})
afterAll(async () => {
  await Promise.all(hosts.map((host) => host.stop()))
  await Promise.all([upstream?.close(), proxy?.close()])
  rmSync(folder, { recursive: true, force: true })
})

const host = (index: number): RunningHost => hosts[index % hosts.length] ?? expect.fail('There is no host')

const tollgate = async (...args: string[]) =>
  (
    await promisify(execFile)(process.execPath, [bundled(join(ROOT, 'packages/cli/src/tollgate.ts')), ...args], {
      env: cleanEnv(settings),
    })
  ).stdout.trim()

async function newKey(grant?: Narrowing, consumer = unique('c')): Promise<string> {
  const options = { consumer, plan: 'free', defaultPlan: undefined, plans: ['free'], now: Date.now(), grant }
  return (await issueKey(store, options)).key
}
const idOf = (key: string) => parseKey(key)?.publicId ?? expect.fail('It is no key')
const ask = (at: RunningHost, key: string) =>
  generate(at, JSON.stringify({ prompt: unique('Why?'), max_tokens: 10 }), { 'x-api-key': key })

describe('a key is refused everywhere within 30 seconds after it', () => {
  const ended: Record<string, number[]> = {}

  test.concurrent.each<[string, (key: string) => Promise<string>]>([
    ['was revoked', (key) => tollgate('keys', 'revoke', key)],
    ['was disabled', (key) => tollgate('keys', 'disable', idOf(key))],
    ['expired', (key) => tollgate('keys', 'expire', idOf(key))],
    ['was rotated without grace', (key) => tollgate('keys', 'rotate', idOf(key), '--grace', '0')],
  ])('%s', async (what, end) => {
    const key = await newKey()
    // So that both have just looked it up, which is when they go by it for longest.
    const warmed = Promise.all(hosts.map((each) => ask(each, key)))
    for (const { status } of await warmed) expect(status).toBe(200)
    await end(key)
    const at = performance.now()
    ended[what] = await Promise.all(
      hosts.map(async (each) => {
        for (;;) {
          const { status } = await ask(each, key)
          if (status === 401) return performance.now() - at
          expect(status).toBe(200)
          expect(performance.now() - at).toBeLessThan(WITHIN_MS + SLACK_MS)
          await sleep(100)
        }
      }),
    )
    for (const ms of ended[what] ?? []) expect(ms).toBeLessThan(WITHIN_MS + SLACK_MS)
  })

  test('by a host that has not seen it, at once', async () => {
    const key = await newKey()
    expect((await ask(host(0), key)).status).toBe(200)
    await tollgate('keys', 'revoke', key)
    expect((await ask(host(1), key)).status).toBe(401)
    expect(Object.keys(ended)).toHaveLength(4)
  })
})

describe('a budget of the key’s own', () => {
  test('is exact over two hosts, with many requests at once and a rotation among them', async () => {
    const usd = 0.004
    const first = await newKey({ budget: { usd, per: 'month' } })
    let served = 0
    const keys = [first]
    const burst = async (count: number) => {
      const answers = await Promise.all(
        Array.from({ length: count }, (_, index) => ask(host(index), keys[index % keys.length] ?? first)),
      )
      for (const { status, body } of answers) {
        if (status === 200) served += 1
        else expect([status, body.code]).toEqual([429, 'insufficient_quota'])
      }
      return answers
    }
    await burst(20)
    const rotated = JSON.parse(await tollgate('keys', 'rotate', first, '--json')) as { readonly key: string }
    keys.push(rotated.key)
    let last = await burst(60)
    for (let round = 0; round < 20 && last.some(({ status }) => status === 200); round += 1) last = await burst(40)
    expect(last.every(({ status }) => status === 429)).toBe(true)
    const budget = usd * 1e9
    expect(served * COST).toBeLessThanOrEqual(budget)
    // All but what one more request may take, on each host.
    expect(served * COST).toBeGreaterThan(budget * 0.7)
    // The gateway counted what the model did.
    expect(upstream.calls.length).toBeGreaterThanOrEqual(served)
  })
})

test('a rotation under load refuses nothing, and what is left of the budget only falls', async () => {
  const first = await newKey({ budget: { usd: 1, per: 'month' } })
  const keys = [first]
  let over = false
  let answered = 0
  const left: number[] = []
  const load = Array.from({ length: 8 }, async (_, worker) => {
    while (!over) {
      const { status, headers } = await ask(host(worker), keys[worker % keys.length] ?? first)
      expect(status).toBe(200)
      answered += 1
      if (worker === 0) left.push(Number(/"key-usd";r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]))
    }
  })
  const rotating = (async () => {
    try {
      for (let turn = 0; turn < 3; turn += 1) {
        const before = keys.at(-1) ?? first
        const { key } = JSON.parse(await tollgate('keys', 'rotate', idOf(before), '--json')) as { readonly key: string }
        keys.push(key)
        await sleep(500)
      }
    } finally {
      over = true
    }
  })()
  await Promise.all([rotating, ...load])
  expect(keys).toHaveLength(4)
  expect(answered).toBeGreaterThan(20)
  // The new one works on both at once, and the old one until its grace is over.
  for (const key of keys) for (const each of hosts) expect((await ask(each, key)).status).toBe(200)
  expect(left.length).toBeGreaterThan(5)
  // In micro-dollars. What another request has reserved and not used comes back: a few thousandths of the budget at most.
  for (const [index, each] of left.entries()) expect(each).toBeLessThanOrEqual((left[index - 1] ?? 1e6) + 20_000)
  expect(left.at(-1)).toBeLessThan(1e6 - (answered / 4) * (COST / 1_000))
})

test('the last use of a key is written once, by whichever host, however many requests there are', async () => {
  const key = await newKey()
  proxy.forget()
  const started = Date.now()
  for (let round = 0; round < 10; round += 1) {
    await Promise.all(Array.from({ length: 30 }, (_, index) => ask(host(index), key)))
  }
  await expect.poll(async () => (await store.findKey(idOf(key)))?.usedAt).toBeGreaterThanOrEqual(started - 1_000)
  // Each host writes it where it has not seen that the other did: by 300 requests, one of each at most.
  const writes = proxy.counts()['merge tollgatekeys'] ?? 0
  expect(writes).toBeGreaterThanOrEqual(1)
  expect(writes).toBeLessThanOrEqual(hosts.length)
  const listed = JSON.parse(await tollgate('keys', 'show', idOf(key), '--json')) as { readonly lastUsedAt: string }
  expect(Date.parse(listed.lastUsedAt)).toBeGreaterThanOrEqual(started - 1_000)
  expect(await tollgate('keys', 'show', idOf(key))).toContain('within the hour')
})

test('a use that can’t be written, or takes long, delays and fails no request', async () => {
  const key = await newKey()
  const failing = proxy.inject({ kind: 'hang' }, { operation: 'merge', table: 'tollgatekeys' })
  try {
    const at = performance.now()
    expect((await ask(host(0), key)).status).toBe(200)
    expect((await ask(host(1), key)).status).toBe(200)
    expect(performance.now() - at).toBeLessThan(2_000)
    await expect.poll(() => failing.hits()).toBeGreaterThan(0)
  } finally {
    failing.remove()
  }
})
