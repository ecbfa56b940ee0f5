import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type CounterStore,
  type Decision,
  type Limit,
  limiter,
  memoryCounterStore,
  type RateLimit,
  redisCounterStore,
  tableCounterStore,
} from '@tollgate/middleware'
import { afterAll, afterEach, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'
import { describeWithRedis } from '../support/with-redis.ts'

/* One caller, one request after the other, each to another instance: no other caller takes anything meanwhile. */

const now = () => performance.now()
const tokens = (periodMs: number): RateLimit => ({
  kind: 'rate',
  key: `tokens:${periodMs}`,
  name: 'tokens',
  measure: 'tokens',
  model: undefined,
  quota: 3_000,
  burst: 0,
  capacity: 3_000,
  refill: 3_000,
  periodMs,
})
const MONEY: Limit = {
  kind: 'budget',
  key: 'money:month',
  name: 'usd',
  measure: 'money',
  model: undefined,
  quota: 3_000,
  per: 'month',
}
const ONE_AT_ONCE: Limit = {
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  model: undefined,
  quota: 1,
}

const INSTANCES = [1, 2, 3, 8]

const opened: { close(): Promise<void> }[] = []
afterEach(async () => {
  await Promise.all(opened.splice(0).map((each) => each.close()))
})

/** A caller of a subject of its own: its n-th request goes to the n-th of `count` limiters over one store, in turn. */
function caller(store: CounterStore, limit: Limit, count: number) {
  const limiters = Array.from({ length: count }, () => limiter({ store, deadlineMs: 20_000 }))
  opened.push(...limiters)
  const subject = { id: unique('alone'), limits: [limit] }
  let sent = 0
  return async (units: number): Promise<Decision> => {
    sent += 1
    const gate = limiters[(sent - 1) % count]
    if (gate === undefined) throw new Error('There is no limiter')
    return gate.admit([{ subject, limit, units }])
  }
}

function admitsLoneCallers(name: string, create: () => CounterStore): void {
  describe.each(INSTANCES)(`G2: over ${name} and %i instances, a caller alone`, (count) => {
    const cases: [string, Limit, number, number][] = [
      ['of a token bucket', tokens(60_000), 1_000, 300],
      ['of a budget', MONEY, 1_000, 300],
      ['of one slot', ONE_AT_ONCE, 1, 0],
    ]
    test.each(cases)('%s is admitted as often as there is room: 36 of 36', async (_what, limit, reserved, used) => {
      const admitted = await Promise.all(
        Array.from({ length: 6 }, async () => {
          const ask = caller(create(), limit, count)
          let right = 0
          // What six of them use is 1,800: the last one still finds its 1,000.
          for (let index = 0; index < 6; index += 1) {
            const decision = await ask(reserved)
            if (!decision.admitted) continue
            right += 1
            decision.settle(() => used)
          }
          return right
        }),
      )
      expect(admitted.reduce((sum, each) => sum + each)).toBe(36)
    })
  })

  test(`G2: over ${name}, a caller alone is told a true wait, and admitted when it comes back, wherever it comes`, async () => {
    await Promise.all(
      INSTANCES.map(async (count) => {
        const ask = caller(create(), tokens(10_000), count)
        for (let index = 0; index < 3; index += 1) {
          const decision = await ask(1_000)
          expect(decision.admitted).toBe(true)
          if (decision.admitted) decision.settle(() => 1_000)
        }
        const refused = await ask(1_000)
        if (refused.admitted) return
        // A bucket of 3,000 in 10 s brings 1,000 in 3.3 s; a `Date` tells the second only.
        expect(refused.retryAfterMs).toBeLessThan(6_000)
        await new Promise((resolve) => setTimeout(resolve, Math.ceil(refused.retryAfterMs / 1_000) * 1_000))
        expect((await ask(1_000)).admitted).toBe(true)
      }),
    )
  }, 30_000)
}

const memory = memoryCounterStore({ wallClock: Date.now, now })
admitsLoneCallers('memory', () => memory)
const open = openAccount(inject('azurite'))
admitsLoneCallers('Azurite', () => tableCounterStore({ open, now }))
describeWithRedis('on Redis', (redis) => {
  admitsLoneCallers('Redis', () => redisCounterStore({ redis, now }))
})

describe('G2: over three hosts, a caller alone', () => {
  let folder: string
  let upstream: Upstream
  let hosts: RunningHost[]
  beforeAll(async () => {
    upstream = await startUpstream()
    upstream.reply = answering((answer) => ({
      ...answer,
      usage: { prompt_tokens: 100, completion_tokens: 200, total_tokens: 300 },
    }))
    folder = mkdtempSync(join(tmpdir(), 'tollgate-lone-'))
    const policy = join(folder, 'policy.yaml')
    writeFileSync(policy, 'plans: { small: { limits: [ { tokens: 3000, per: 1m }, { concurrent: 1 } ] } }\n')
    const settings = {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: policy,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
      TOLLGATE_STORE_DEADLINE_MS: '10000',
    }
    hosts = await Promise.all([1, 2, 3].map(() => startHost(settings, BARE_HOST)))
  })
  afterAll(async () => {
    await Promise.all((hosts ?? []).map((host) => host.stop()))
    await upstream?.close()
    rmSync(folder, { recursive: true, force: true })
  })

  test('is admitted as often as there is room, and told when more comes back', async () => {
    const statuses: number[] = []
    for (let trial = 0; trial < 6; trial += 1) {
      const key = await newKey(open, unique('alone'), 'small')
      for (let index = 0; index < 6; index += 1) {
        const host = hosts[(trial + index) % 3] as RunningHost
        const body = JSON.stringify({ prompt: unique('Why?').padEnd(60, '?'), max_tokens: 900 })
        const { status, headers } = await generate(host, body, { 'x-api-key': key })
        statuses.push(status)
        expect(headers.get('ratelimit')).toMatch(/"tokens";r=\d+;t=[0-2]\b/)
        expect(Number.parseInt(headers.get('x-ratelimit-reset-tokens') ?? '', 10)).toBeLessThanOrEqual(60)
      }
    }
    expect(statuses.filter((status) => status === 200)).toHaveLength(36)
  }, 60_000)
})
