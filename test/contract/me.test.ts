import { execFile } from 'node:child_process'
import { hash } from 'node:crypto'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { issueKey, type Me, meSchema, showLimits, type ToldLimit, tableConsumerStore } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { type Answer, BARE_HOST, cleanEnv, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount, tableClient } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* What a caller is told of itself, by HTTP: the bundle on the local host, over real tables and a real HTTP upstream. */

const POLICY = 'test/contract/me.yaml'
const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: POLICY,
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})

const asking = (key: string, init: RequestInit = {}) =>
  fetch(`${host.url}/api/me`, { ...init, headers: key === '' ? {} : { 'x-api-key': key } })

async function tellMe(key: string): Promise<Me> {
  const response = await asking(key)
  expect(response.status).toBe(200)
  return meSchema.parse(await response.json())
}

/** As soon as the ledger has as many requests: what has ended is in it within 10 seconds, and is told again for as long. */
async function tellMeOf(key: string, requests: number): Promise<Me & { readonly spent: NonNullable<Me['spent']> }> {
  const deadline = Date.now() + 45_000
  for (;;) {
    const told = await tellMe(key)
    const { spent } = told
    if (spent !== null && (spent.total.requests >= requests || Date.now() > deadline)) return { ...told, spent }
    await new Promise((resolve) => setTimeout(resolve, 1_300))
  }
}

const ask = (key: string, body: object = {}): Promise<Answer> =>
  generate(host, JSON.stringify({ prompt: unique('Why?'), max_tokens: 20, ...body }), { 'x-api-key': key })

function limitOf({ limits }: Pick<Me, 'limits'>, name: string, subject?: string): ToldLimit {
  const found = limits.find((each) => each.limit === name && (subject === undefined || each.subject === subject))
  if (found === undefined) throw new Error(`No limit ${name}`)
  return found
}

/** What an answer's RateLimit header says is left, by the limits' names. */
function remainingIn({ headers }: Answer): Map<string, number> {
  const members = [...(headers.get('ratelimit') ?? '').matchAll(/"([^"]+)";r=(\d+)/g)]
  return new Map(members.map(([, name = '', units]) => [name, Number(units)]))
}

describe('a caller', () => {
  test('is told its plan, models and each limit that holds, the shared ones too, before it has asked anything', async () => {
    const consumer = unique('fresh')
    const told = await tellMe(await newKey(open, consumer, 'own'))
    expect(told).toMatchObject({ consumer, plan: 'own', planMissing: false, scope: 'call', groups: {}, grant: null })
    expect(told.models).toEqual(['default', 'small'])
    expect(told.limits.map(({ subject, limit }) => [subject, limit])).toEqual([
      [`consumer:${consumer}`, 'requests'],
      [`consumer:${consumer}`, 'usd'],
      [`consumer:${consumer}`, 'tokens'],
      [`consumer:${consumer}`, 'concurrent'],
      ['plan:own', 'plan-usd'],
      ['global', 'global-requests'],
    ])
    const month = new Date().toISOString().slice(0, 7)
    expect(limitOf(told, 'usd')).toMatchObject({
      counts: 'nanoUsd',
      of: 5e9,
      most: 5e9,
      window: { kind: 'calendar', per: 'month', from: `${month}-01T00:00:00.000Z` },
      state: 'uncounted',
      used: 0,
      held: 0,
      left: 5e9,
      moreAt: null,
    })
    const { resetsAt, resetsInSeconds } = limitOf(told, 'usd')
    expect(Math.abs(Date.parse(resetsAt ?? '') - Date.now() - (resetsInSeconds ?? 0) * 1_000)).toBeLessThan(5_000)
    expect(limitOf(told, 'requests')).toMatchObject({
      of: 10,
      most: 15,
      left: 15,
      window: { kind: 'bucket', seconds: 3_600 },
    })
    expect(limitOf(told, 'concurrent')).toMatchObject({ of: 4, left: 4, window: null, resetsAt: null })
    expect(told.spent).toMatchObject({ since: `${month}-01T00:00:00.000Z`, byModel: [], byDay: [], isWhole: true })
    expect(told.spent?.total).toMatchObject({ requests: 0, costNanoUsd: 0 })
  })

  test('is told to the token and nano-dollar what it asked, by model and day, and what that left of its limits', async () => {
    const [consumer, neighbour] = [unique('spender'), unique('neighbour')]
    const [key, other] = [await newKey(open, consumer, 'own'), await newKey(open, neighbour, 'own')]
    const prompt = unique('prompt')
    const answers = [
      await ask(key, { prompt }),
      await ask(key, { prompt }),
      await ask(key),
      await ask(key, { model: 'small' }),
      await ask(key, { model: 'other' }),
    ]
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 200, 200, 403])
    expect((await ask(other)).status).toBe(200)
    const costs = answers.map(({ headers }) => Math.round(Number(headers.get('x-tollgate-cost') ?? 0) * 1e9))
    const cost = costs.reduce((sum, each) => sum + each, 0)
    expect(cost).toBeGreaterThan(0)
    const asked = upstream.calls.filter(({ body }) => JSON.stringify(body).includes(prompt)).length
    expect(asked).toBe(1)

    const told = await tellMeOf(key, 5)
    const { total, byModel, byDay } = told.spent
    // The upstream counts 11 tokens in and 7 out for each of its three calls.
    expect(total).toMatchObject({
      requests: 5,
      answered: 4,
      hits: 1,
      refused: 1,
      failed: 0,
      tokens: { input: 33, output: 21 },
      costNanoUsd: cost,
      costUsd: String(cost / 1e9),
    })
    expect(total.savedNanoUsd).toBe(costs[0])
    expect(byModel.map(({ name, requests }) => [name, requests])).toEqual([
      ['default', 3],
      ['small', 1],
      ['other', 1],
    ])
    expect(byDay.map(({ requests }) => requests).reduce((sum, each) => sum + each, 0)).toBe(5)
    expect(byDay.map(({ day }) => day)).toContain(new Date().toISOString().slice(0, 10))
    const [today] = byDay.slice(-1)
    expect(today?.byModel.reduce((sum, { costNanoUsd }) => sum + costNanoUsd, 0)).toBe(today?.costNanoUsd)

    // What the limits count is what the ledger shows: the plan's is the neighbour's too, whose name is nowhere.
    const usd = limitOf(told, 'usd')
    expect((usd.used ?? 0) + (usd.held ?? 0) + (usd.left ?? 0)).toBe(5e9)
    expect(usd.left).toBeLessThanOrEqual(5e9 - cost)
    const settled = await until(
      () => tellMe(key),
      (me) => limitOf(me, 'usd').held === 0 && limitOf(me, 'tokens').held === 0,
    )
    expect(limitOf(settled, 'usd').used).toBe(cost)
    expect(limitOf(settled, 'tokens').used).toBe(54)
    expect(limitOf(settled, 'plan-usd').used).toBeGreaterThanOrEqual(cost)
    expect(JSON.stringify(settled)).not.toContain(neighbour)
  })

  test("is told of what is left what its answers' RateLimit headers say, within what instances hold", async () => {
    const key = await newKey(open, unique('header'), 'own')
    let compared = 0
    for (let times = 0; times < 3; times += 1) {
      const answer = await ask(key)
      const remaining = remainingIn(answer)
      // Longer than an answer is told again.
      await new Promise((resolve) => setTimeout(resolve, 2_100))
      const told = await tellMe(key)
      for (const name of ['requests', 'tokens', 'usd']) {
        const { counts, left, held } = limitOf(told, name)
        const scale = counts === 'nanoUsd' ? 1_000 : 1
        const [least, most] = [(left ?? 0) / scale, ((left ?? 0) + (held ?? 0)) / scale]
        // Since the header was sent, the answer has ended: what was reserved and not spent came back, and an hourly request may have.
        expect(remaining.get(name)).toBeLessThanOrEqual(most + 1)
        if (name === 'requests') expect(remaining.get(name)).toBeGreaterThanOrEqual(least - 1)
        compared += 1
      }
    }
    expect(compared).toBe(9)
  })

  test('takes nothing from any limit by asking', async () => {
    const key = await newKey(open, unique('curious'), 'own')
    const before = await tellMe(key)
    for (let times = 0; times < 20; times += 1) await tellMe(key)
    await new Promise((resolve) => setTimeout(resolve, 2_100))
    const ofIt = ({ limits }: Me) => limits.slice(0, 5).map(({ used, held, left }) => [used, held, left])
    expect(ofIt(await tellMe(key)).slice(0, 4)).toEqual(ofIt(before).slice(0, 4))
  })

  test('on a plan that the policy lacks is told so', async () => {
    const told = await tellMe(await newKey(open, unique('stranded'), 'gone'))
    expect(told).toMatchObject({ plan: 'gone', planMissing: true, models: [], limits: [] })
  })

  test('with a key that may only read sees itself, and no model', async () => {
    const consumer = unique('reader')
    const told = await tellMe(await newKey(open, consumer, 'own', ['read']))
    expect(told).toMatchObject({ consumer, scope: 'read', models: [] })
    expect(told.limits).toHaveLength(6)
  })

  test('without limits of its own is told those of all', async () => {
    const told = await tellMe(await newKey(open, unique('bare'), 'bare'))
    expect(told.limits.map(({ subject }) => subject)).toEqual(['global'])
    expect(told.models).toEqual(['default', 'small', 'other'])
  })
})

describe('who asks wrongly', () => {
  test('is refused in the shape of /api/generate, whatever the method', async () => {
    const anonymous = await asking('')
    expect(anonymous.status).toBe(401)
    expect(await anonymous.json()).toEqual({ error: expect.any(String), code: 'invalid_api_key' })
    const key = await newKey(open, unique('poster'), 'own')
    for (const method of ['POST', 'PUT', 'DELETE', 'PATCH']) {
      const response = await asking(key, { method })
      expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET'])
      expect(await response.json()).toMatchObject({ code: 'method_not_allowed' })
    }
  })

  test('too often is told when to come back, and holds up nobody else', async () => {
    const [key, other] = [await newKey(open, unique('flood'), 'own'), await newKey(open, unique('calm'), 'own')]
    const statuses = await Promise.all(Array.from({ length: 90 }, async () => (await asking(key)).status))
    expect(statuses.filter((status) => status === 200).length).toBeLessThanOrEqual(75)
    expect(statuses).toContain(429)
    const refused = await asking(key)
    if (refused.status === 429) expect(Number(refused.headers.get('retry-after'))).toBeGreaterThan(0)
    expect((await asking(other)).status).toBe(200)
  })
})

describe('a row of the counters', () => {
  const rowOf = (subject: string) => ({ partitionKey: hash('sha256', subject, 'base64url'), rowKey: 'counters' })

  test('that is damaged is told as unreadable, and all else all the same', async () => {
    const consumer = unique('damaged')
    const key = await newKey(open, consumer, 'own')
    const subject = `consumer:${consumer}`
    await tableClient(inject('azurite'), 'tollgatecounters').createEntity({
      ...rowOf(subject),
      subject,
      text: '{"v":9',
    })
    const told = await tellMe(key)
    expect(limitOf(told, 'usd')).toMatchObject({ state: 'unreadable', used: null, held: null, left: null, of: 5e9 })
    expect(limitOf(told, 'plan-usd').state).not.toBe('unreadable')
    const { out } = await tollgate('limits', 'show', '--consumer', consumer)
    expect(out).toContain('unreadable: the row in tollgatecounters is damaged')
  })

  test('that was removed is told as missing once the ledger has what it counted', async () => {
    const consumer = unique('vanished')
    const key = await newKey(open, consumer, 'own')
    expect((await ask(key)).status).toBe(200)
    await tellMeOf(key, 1)
    await tableClient(inject('azurite'), 'tollgatecounters').deleteEntity(
      rowOf(`consumer:${consumer}`).partitionKey,
      'counters',
    )
    const { out } = await tollgate('limits', 'show', '--consumer', consumer)
    expect(out).toContain('missing: the counters have no row')
  })
})

async function until<T>(look: () => Promise<T>, holds: (value: T) => boolean): Promise<T> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const value = await look()
    if (holds(value) || Date.now() > deadline) return value
    await new Promise((resolve) => setTimeout(resolve, 1_100))
  }
}

interface Run {
  readonly code: number
  readonly out: string
  readonly err: string
}

const tollgate = (...args: string[]): Promise<Run> =>
  promisify(execFile)(process.execPath, [join(ROOT, 'packages/cli/src/tollgate.ts'), ...args], {
    cwd: ROOT,
    env: cleanEnv({ TOLLGATE_STORAGE: inject('azurite'), TOLLGATE_POLICY: join(ROOT, POLICY) }),
  }).then(
    ({ stdout, stderr }) => ({ code: 0, out: stdout.trim(), err: stderr.trim() }),
    (error) => ({ code: error.code, out: error.stdout.trim(), err: error.stderr.trim() }),
  )

describe('tollgate limits show', () => {
  test('says what the caller is told', async () => {
    const consumer = unique('shown')
    const key = await newKey(open, consumer, 'own')
    expect((await ask(key)).status).toBe(200)
    const told = await until(
      () => tellMe(key),
      (me) => limitOf(me, 'usd').held === 0,
    )
    const { code, out } = await tollgate('limits', 'show', '--consumer', consumer, '--json')
    expect(code).toBe(0)
    const shown = showLimits.output.parse(JSON.parse(out))
    const steady = ({ limits }: Pick<Me, 'limits'>) =>
      limits
        .filter(({ subject }) => subject === `consumer:${consumer}`)
        .map(({ limit, used, held, left, state }) => ({
          limit,
          state,
          ...(limit !== 'requests' && { used, held, left }),
        }))
    expect(steady(shown)).toEqual(steady(told))
    const table = await tollgate('limits', 'show', '--consumer', consumer)
    expect(table.out).toMatch(/WHOSE +LIMIT +SIZE +USED +HELD +LEFT +THEN/)
    expect(table.out).toMatch(
      new RegExp(`consumer:${consumer} +usd +\\$5\\.000000 a month +\\$0\\.000025 +\\$0 +\\$4\\.999975 +anew at`),
    )
    expect(table.out).toMatch(/plan:own +plan-usd +\$50\.000000 a day/)
  })

  test('of a key has its own cap, which its caller is told too', async () => {
    const consumer = unique('capped')
    const store = tableConsumerStore(open)
    const { key, id } = await issueKey(store, {
      consumer,
      plan: 'own',
      defaultPlan: undefined,
      plans: ['own'],
      now: Date.now(),
      grant: { models: ['small'], budget: { usd: 1, per: 'day' } },
      groups: { 'cost-centre': '4711' },
    })
    expect((await ask(key, { model: 'small' })).status).toBe(200)
    const told = await tellMe(key)
    expect(told.grant).toEqual({
      key: id,
      models: ['small'],
      zones: null,
      routes: null,
      budget: { usd: 1, per: 'day' },
    })
    expect(told.models).toEqual(['small'])
    expect(told.groups).toEqual({ 'cost-centre': '4711' })
    expect(limitOf(told, 'group-cost-centre-usd').subject).toBe('group:cost-centre:4711')
    expect(limitOf(told, 'key-usd')).toMatchObject({ subject: `key:${id}`, of: 1e9, window: { per: 'day' } })
    const { out } = await tollgate('limits', 'show', '--key', id)
    expect(out).toMatch(new RegExp(`key:${id} +key-usd +\\$1\\.000000 a day`))
    expect((await tollgate('limits', 'show', '--consumer', consumer)).out).not.toContain('key-usd')
  })

  test.each([
    [['--plan', 'own'], 'plan:own'],
    [['--group', 'cost-centre=4711'], 'group:cost-centre:4711'],
    [['--global'], 'global '],
  ])('%j', async (args, subject) => {
    const { code, out } = await tollgate('limits', 'show', ...args)
    expect([code, out]).toEqual([0, expect.stringContaining(subject)])
    expect(out).not.toContain('consumer:')
  })

  test.each([
    [[], 'Say whose limits to show: --consumer, --key, --plan, --group or --global.'],
    [['--plan', 'own', '--global'], '--plan and --global exclude each other.'],
    [['--consumer', 'nobody-at-all'], "There is no consumer 'nobody-at-all'."],
    [['--group', 'team=a'], "the policy has no group 'team'."],
    [['--plan', 'none'], "the policy has no plan 'none'. It has: own, bare."],
  ])('%j names the fault', async (args, fault) => {
    const { code, err } = await tollgate('limits', 'show', ...args)
    expect([code, err]).toEqual([1, expect.stringContaining(fault)])
  })
})

test('the page shows the fields that there are', async () => {
  const page = readFileSync(join(ROOT, 'docs/me.md'), 'utf8')
  const [, shown = ''] = /```json\n([\s\S]*?)```/.exec(page) ?? []
  expect(() => meSchema.parse(JSON.parse(shown))).not.toThrow()
})
