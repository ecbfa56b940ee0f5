import { type ChildProcess, execFile, fork } from 'node:child_process'
import { once } from 'node:events'
import { cpSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import {
  type BudgetLimit,
  type Claim,
  issueKey,
  type Limit,
  type Limiter,
  limiter,
  memoryCounterStore,
  type Narrowing,
  parseKey,
  tableConsumerStore,
} from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'
import type { Order, Reply } from './instance.ts'
import { noPrevious, type PreviousVersion, previousVersion } from './previous-version.ts'

// Hundreds of round trips to tables, which are slow where the machine has other work.
vi.setConfig({ testTimeout: 60_000 })

/** One instance, of either version. */
interface Instance {
  /** Admitted: to be called with what was used, once. Refused: `undefined`. */
  ask(claims: readonly Claim[]): Promise<((used: number) => Promise<void>) | undefined>
}

const common = { model: undefined, name: 'limit' }
const RATE: Limit = {
  ...common,
  kind: 'rate',
  key: 'requests:3600000',
  measure: 'requests',
  quota: 40,
  burst: 0,
  capacity: 40,
  // One in an hour: none comes back while the test runs.
  refill: 1,
  periodMs: 3_600_000,
}
const TOKENS: Limit = { ...RATE, key: 'tokens:3600000', measure: 'tokens', quota: 4_000, capacity: 4_000 }
const QUOTA: BudgetLimit = {
  ...common,
  kind: 'budget',
  key: 'requests:month',
  measure: 'requests',
  quota: 40,
  per: 'month',
}
const MONEY: BudgetLimit = { ...QUOTA, key: 'money:month', measure: 'money', quota: 4_000_000 }
const SLOTS: Limit = { ...common, kind: 'concurrency', key: 'concurrency', measure: 'concurrency', quota: 10 }

const KINDS = [
  { what: 'a rate of requests', limit: RATE, units: 1, used: 1 },
  { what: 'a rate of tokens', limit: TOKENS, units: 300, used: 100 },
  { what: 'a quota', limit: QUOTA, units: 1, used: 1 },
  { what: 'a budget', limit: MONEY, units: 300_000, used: 100_000 },
] as const

/** @param open two instances, of this version and of the previous one, over the same counters */
function limitsConform(open: () => readonly [Instance, Instance]): void {
  const claimsOf = (limit: Limit, units: number): Claim[] => [
    { subject: { id: unique('consumer'), limits: [limit] }, limit, units },
  ]

  test.each(KINDS)(
    'keep $what exactly when they take turns: admitted while there is room, to the last',
    async (kind) => {
      const { limit, units, used } = kind
      const instances = open()
      const claims = claimsOf(limit, units)
      const size = limit.kind === 'rate' ? limit.capacity : limit.quota
      let spent = 0
      let refused = 0
      for (let turn = 0; turn < 60 && refused < 2; turn += 1) {
        const settle = await soon(() => instances[turn % 2]?.ask(claims), 5)
        if (settle === undefined) {
          refused += 1
          continue
        }
        expect(refused).toBe(0)
        spent += used
        await settle(used)
      }
      expect(refused).toBe(2)
      expect(spent).toBeLessThanOrEqual(size)
      expect(spent).toBeGreaterThan(size - units)
    },
  )

  test.each(KINDS)(
    'never exceed $what when both are asked at once, again and again',
    async ({ limit, units, used }) => {
      const instances = open()
      const claims = claimsOf(limit, units)
      const size = limit.kind === 'rate' ? limit.capacity : limit.quota
      let spent = 0
      let full = 0
      for (let round = 0; round < 40 && full < 2; round += 1) {
        const asked = await Promise.all(Array.from({ length: 30 }, (_, index) => instances[index % 2]?.ask(claims)))
        const settlements = asked.filter((settle) => settle !== undefined)
        expect(spent + settlements.length * units).toBeLessThanOrEqual(size)
        spent += settlements.length * used
        await Promise.all(settlements.map((settle) => settle(used)))
        if (spent > size - 2 * units) full += 1
      }
      expect(full).toBe(2)
      expect(spent).toBeGreaterThan(size - 2 * units)
    },
  )

  test('never let more run at once than may, and a slot that either gives back serves the other', async () => {
    const [current, previous] = open()
    const claims = claimsOf(SLOTS, 1)
    for (const [first, second] of [
      [current, previous],
      [previous, current],
    ] as const) {
      const asked = await Promise.all(
        Array.from({ length: 30 }, (_, index) => (index % 2 ? first : second).ask(claims)),
      )
      const running = asked.filter((settle) => settle !== undefined)
      expect(running.length).toBeLessThanOrEqual(SLOTS.quota)
      while (running.length < SLOTS.quota) {
        const settle = await soon(() => second.ask(claims))
        if (settle === undefined) break
        running.push(settle)
      }
      expect(running).toHaveLength(SLOTS.quota)
      for (const each of [first, second]) expect(await each.ask(claims)).toBeUndefined()
      await Promise.all(running.map((settle) => settle(0)))
      // Each gives back its own at once; the other finds them there.
      for (const each of [first, second]) {
        const all = await Promise.all(Array.from({ length: SLOTS.quota }, () => soon(() => each.ask(claims))))
        expect(all.filter((settle) => settle !== undefined)).toHaveLength(SLOTS.quota)
        await Promise.all(all.map((settle) => settle?.(0)))
      }
    }
  })
}

/** Asks again for a while: what the other gave back arrives within two round trips, which a busy machine makes slow. */
async function soon<T>(ask: () => Promise<T | undefined> | undefined, most = 100): Promise<T | undefined> {
  for (let tries = 0; tries < most; tries += 1) {
    const settle = await ask()
    if (settle !== undefined) return settle
    await new Promise((resolve) => setTimeout(resolve, 20))
  }
  return undefined
}

const inProcess = (gate: Limiter): Instance => ({
  async ask(claims) {
    const decision = await gate.admit(claims)
    return decision.admitted ? async (used) => decision.settle(() => used) : undefined
  },
})

/** A limiter in a process of its own, over the tables that all tests share. */
async function inOtherProcess(index: string): Promise<Instance & { readonly process: ChildProcess }> {
  const child = fork(join(import.meta.dirname, 'instance.ts'), {
    env: cleanEnv({ INDEX: index, STORAGE: inject('azurite') }),
    execArgv: [],
  })
  const waiting = new Map<number, (reply: Reply) => void>()
  let orders = 0
  child.on('message', (reply: Reply) => waiting.get(reply.id)?.(reply))
  const tell = (order: (id: number) => Order) => {
    orders += 1
    const id = orders
    return new Promise<Reply>((resolve) => {
      waiting.set(id, resolve)
      child.send(order(id))
    })
  }
  await once(child, 'message')
  return {
    process: child,
    async ask(claims) {
      const { id: admitted, admitted: isAdmitted } = await tell((id) => ({ id, kind: 'admit', claims }))
      if (isAdmitted === undefined) throw new Error('The limiter was unavailable')
      if (!isAdmitted) return undefined
      return async (used) => void (await tell((id) => ({ id, kind: 'settle', admitted, used })))
    },
  }
}

async function simulate(...args: string[]): Promise<string> {
  const script = join(ROOT, 'test/simulator/run.ts')
  return promisify(execFile)(process.execPath, [script, ...args]).then(
    ({ stdout }) => stdout,
    ({ stdout, stderr }) => stdout + stderr,
  )
}

describe.skipIf(noPrevious)(noPrevious ?? 'this version beside the previous one, over the same rows', () => {
  let previous: PreviousVersion
  beforeAll(() => {
    previous = previousVersion()
  })
  afterAll(() => previous?.remove())

  describe('under the simulator', () => {
    test('keeps what limits promise, whatever fails, while every second instance is of the other', async () => {
      const output = await simulate('--beside', previous.middleware, '--schedules', '80', '--seed', '1')
      expect(output).toContain('80 schedules from seed 1: 0 with violations')
      const [, admitted, refused] = /(\d+) requests admitted, (\d+) refused/.exec(output) ?? []
      expect(Number(admitted)).toBeGreaterThan(10_000)
      expect(Number(refused)).toBeGreaterThan(10_000)
    }, 140_000)

    test('is noticed to break them where the other does not keep to the row', async () => {
      const broken = join(previous.root, 'packages/middleware/broken')
      cpSync(previous.middleware, broken, { recursive: true, filter: (path) => !path.endsWith('.test.ts') })
      const file = join(broken, 'limits/leases/flight.ts')
      const text = readFileSync(file, 'utf8')
      writeFileSync(file, text.replace('if (written?.etag !== undefined) {', 'if (written !== undefined) {'))
      expect(readFileSync(file, 'utf8')).not.toBe(text)
      const output = await simulate('--beside', broken, '--first', '--schedules', '40', '--seed', '1')
      expect(output).toMatch(/^seed \d+: \d+ ms: /)
    }, 60_000)
  })

  describe('in one process, over counters in memory', () => {
    let other: (options: Parameters<typeof limiter>[0]) => Limiter
    beforeAll(async () => {
      const { href } = pathToFileURL(join(previous.middleware, 'limits/leases/limiter.ts'))
      other = (await import(/* @vite-ignore */ href)).limiter
    })
    limitsConform(() => {
      const store = memoryCounterStore({ wallClock: Date.now, now: () => performance.now() })
      const options = { store, deadlineMs: 20_000 }
      return [inProcess(limiter(options)), inProcess(other(options))]
    })
  })

  describe('in two processes, over the same tables', () => {
    let instances: Awaited<ReturnType<typeof inOtherProcess>>[] = []
    beforeAll(async () => {
      const sources = [join(ROOT, 'packages/middleware/src'), previous.middleware]
      instances = await Promise.all(sources.map((source) => inOtherProcess(join(source, 'index.ts'))))
    })
    afterAll(() => {
      for (const each of instances) each.process.kill()
    })
    limitsConform(() => {
      const [current, other] = instances
      if (current === undefined || other === undefined) throw new Error('No two processes')
      return [current, other]
    })
  })

  describe('as two hosts, over the same tables', () => {
    const open = openAccount(inject('azurite'))
    let upstream: Upstream
    let hosts: RunningHost[] = []
    beforeAll(async () => {
      previous.build()
      upstream = await startUpstream()
      const settings = {
        TOLLGATE_STORAGE: inject('azurite'),
        OPENAI_BASE_URL: upstream.baseUrl,
        OPENAI_API_KEY: 'sk-test',
        // The default deadline would make a slow moment of a busy test machine look like a miss.
        TOLLGATE_CACHE_DEADLINE_MS: '5000',
      }
      hosts = await Promise.all([
        startHost(settings, BARE_HOST),
        startHost({ ...settings, APP_ROOT: previous.root }, BARE_HOST),
      ])
    })
    afterAll(async () => {
      await Promise.all(hosts.map((host) => host.stop()))
      await upstream?.close()
    })
    const [THIS, PREVIOUS] = [0, 1]
    const ask = (host: number, key: string, body: object) => {
      const at = hosts[host]
      if (at === undefined) throw new Error('No such host')
      return generate(at, JSON.stringify(body), { 'x-api-key': key })
    }

    test('admit together what one may: of 60 at once on 10 a minute and a burst of 5, 15 and the refill', async () => {
      const key = await newKey(open, unique('crowd'))
      const started = performance.now()
      const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(i % 2, key, { prompt: `${i}` })))
      const seconds = (performance.now() - started) / 1_000
      const count = (status: number) => answers.filter((answer) => answer.status === status).length
      expect(count(200)).toBeGreaterThanOrEqual(15)
      expect(count(200)).toBeLessThanOrEqual(15 + Math.floor(seconds / 6))
      expect(count(200) + count(429)).toBe(60)
    })

    test('a key of scope read calls through neither, one of scope call through both', async () => {
      const body = { prompt: unique('prompt') }
      const [calls, reads] = [
        await newKey(open, unique('app')),
        await newKey(open, unique('grafana'), undefined, ['read']),
      ]
      expect((await ask(THIS, calls, body)).status).toBe(200)
      expect((await ask(PREVIOUS, calls, body)).status).toBe(200)
      expect(await ask(THIS, reads, body)).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
      expect((await ask(PREVIOUS, reads, body)).status).toBe(401)
    })

    test('a narrowed key does through this version what it may, and nothing through the previous one', async () => {
      const store = tableConsumerStore(open)
      const make = async (grant: Narrowing) => {
        const options = { consumer: unique('narrowed'), plan: 'default', plans: ['default'], defaultPlan: undefined }
        return (await issueKey(store, { ...options, now: Date.now(), grant })).key
      }
      const body = { prompt: unique('prompt') }
      const [chats, generates] = [await make({ routes: ['chat'] }), await make({ routes: ['generate'] })]
      expect((await ask(THIS, generates, body)).status).toBe(200)
      expect(await ask(THIS, chats, body)).toMatchObject({ status: 403, body: { code: 'route_not_allowed' } })
      for (const key of [chats, generates]) expect((await ask(PREVIOUS, key, body)).status).toBe(401)
      // What the previous version changes of such a key holds, and loosens nothing.
      const { publicId = '' } = parseKey(generates) ?? {}
      const before = await import(/* @vite-ignore */ pathToFileURL(join(previous.middleware, 'index.ts')).href)
      const itsStore = before.tableConsumerStore(
        before.openTables(before.storageLocation({ TOLLGATE_STORAGE: inject('azurite') })),
      )
      for (const disabled of [true, false]) expect(await itsStore.updateKey(publicId, { disabled })).toBe(true)
      expect((await store.findKey(publicId))?.grant).toEqual({ routes: ['generate'] })
    })

    test.each([
      ['the previous version', PREVIOUS, THIS],
      ['this version', THIS, PREVIOUS],
    ])('a completion that %s stored is read or missed by the other, and never wrong', async (_what, writer, reader) => {
      const [key, other] = [await newKey(open, unique('reader')), await newKey(open, unique('other'))]
      const bodies = ['One?', 'Two?'].map((prompt) => ({ prompt: `${prompt} ${unique('prompt')}` }))
      for (const body of bodies) expect((await ask(writer, key, body)).status).toBe(200)
      for (const body of bodies) {
        const answer = await ask(reader, key, body)
        expect(answer.status).toBe(200)
        // The model repeats the prompt.
        expect(JSON.stringify(answer.body)).toContain(body.prompt)
        expect(answer.headers.get('cache-status')).toMatch(/^tollgate; (?:hit|fwd=miss)/)
        // Nobody else's, whichever version stored it.
        const asked = upstream.calls.length
        expect((await ask(reader, other, body)).headers.get('cache-status')).toContain('fwd=miss')
        expect(upstream.calls).toHaveLength(asked + 1)
      }
    })
  })
})
