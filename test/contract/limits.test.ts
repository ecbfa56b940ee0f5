import { request } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { type Answer, BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* Limits on requests and concurrency, by the bundle on the local host, over real tables and a real HTTP upstream. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
const start = () =>
  startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/limits.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_FIRST_BYTE_MS: '400',
      TOLLGATE_TOTAL_MS: '400',
      TOLLGATE_IDLE_MS: '400',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
    },
    BARE_HOST,
  )
beforeAll(async () => {
  upstream = await startUpstream()
  host = await start()
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = answering()
})

const consumer = (plan: string) => newKey(open, unique(plan), plan)
const ask = (key: string, body: object = {}, to = host): Promise<Answer> =>
  generate(to, JSON.stringify({ prompt: unique('Why?'), ...body }), { 'x-api-key': key })
const askTimes = (key: string, times: number) => Promise.all(Array.from({ length: times }, () => ask(key)))
const count = (answers: readonly Answer[], status: number) => answers.filter((each) => each.status === status).length
const limitsOf = ({ headers }: Answer) => headers.get('ratelimit')

const GLOBAL = '"global-requests";q=1000;w=1'
const TOO_MANY = 'Too many requests. Please try again later.'

describe('requests', () => {
  test('of user A are 10 a minute, of user B 60, and all together 1,000 a second', async () => {
    const [a, b] = [await consumer('ten'), await consumer('sixty')]
    const started = performance.now()
    const [ofA, ofB] = await Promise.all([askTimes(a, 25), askTimes(b, 90)])
    const seconds = (performance.now() - started) / 1000
    expect(count(ofA, 200)).toBeGreaterThanOrEqual(10)
    expect(count(ofA, 200)).toBeLessThanOrEqual(10 + seconds / 6)
    expect(count(ofB, 200)).toBeGreaterThanOrEqual(60)
    expect(count(ofB, 200)).toBeLessThanOrEqual(60 + seconds)
    expect([count(ofA, 200) + count(ofA, 429), count(ofB, 200) + count(ofB, 429)]).toEqual([25, 90])
    expect(ofA[0]?.headers.get('ratelimit-policy')).toBe(`"requests";q=10;w=60, ${GLOBAL}`)
    expect(ofB[0]?.headers.get('ratelimit-policy')).toBe(`"requests";q=60;w=60, ${GLOBAL}`)
  })

  test('that are refused name the limit, its size, and when to come back', async () => {
    const key = await consumer('ten')
    const refused = (await askTimes(key, 15)).find(({ status }) => status === 429)
    const seconds = Number(refused?.headers.get('retry-after'))
    expect(seconds).toBeGreaterThanOrEqual(1)
    expect(seconds).toBeLessThanOrEqual(8)
    expect(refused?.body).toEqual({
      error: TOO_MANY,
      code: 'rate_limit_exceeded',
      details: `limit 'requests': 10 per 1m; come back in ${seconds} s`,
    })
    expect(refused?.headers.has('x-should-retry')).toBe(false)
    expect(Object.fromEntries(refused?.headers ?? [])).toMatchObject({
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': expect.stringMatching(/^1m\ds$|^5\ds$/),
    })
    const id = refused?.headers.get('x-request-id') ?? ''
    await expect
      .poll(() => logged(id))
      .toMatchObject({ refusal: 'rate_limit_exceeded', limit: 'requests', status: 429 })
  })

  test('of a bucket that takes longer than a minute are told not to be retried by themselves', async () => {
    const key = await consumer('hourly')
    await ask(key)
    const { body, headers } = await ask(key)
    expect(body).toEqual({
      error: TOO_MANY,
      code: 'rate_limit_exceeded',
      details: expect.stringMatching(/^limit 'requests': 1 per 1h; come back in (?:\d\d min|1 h)/),
    })
    expect(headers.get('x-should-retry')).toBe('false')
  })

  test('of a spent budget are told so', async () => {
    const key = await consumer('daily')
    await ask(key)
    const { status, body, headers } = await ask(key)
    expect(status).toBe(429)
    expect(body).toEqual({
      error: "The budget 'requests' is spent.",
      code: 'insufficient_quota',
      details: expect.stringMatching(/^limit 'requests': 1 per day; come back in \d+ (?:s|min|h)/),
    })
    expect([headers.get('x-should-retry'), headers.get('retry-after')]).toEqual([
      'false',
      expect.stringMatching(/^\d+$/),
    ])
    expect(headers.get('ratelimit-policy')).toBe(`"requests";q=1;w=86400, ${GLOBAL}`)
    const id = headers.get('x-request-id') ?? ''
    await expect.poll(() => logged(id)).toMatchObject({ refusal: 'insufficient_quota' })
  })

  test('are counted for all consumers of a plan together, where it says so', async () => {
    const [one, other] = [await consumer('crew'), await consumer('crew')]
    expect([(await ask(one)).status, (await ask(other)).status, (await ask(one)).status]).toEqual([200, 200, 200])
    const { status, body, headers } = await ask(other)
    expect(status).toBe(429)
    expect(body.details).toContain("limit 'plan-requests': 3 per 1d")
    expect(headers.get('ratelimit')).toMatch(/^"requests";r=49;t=\d+, "plan-requests";r=0;/)
  })

  test('for one model are counted beside all, and a refusal takes none from those', async () => {
    const key = await consumer('model')
    const first = await ask(key, { model: 'second' })
    expect(first.headers.get('ratelimit-policy')).toBe(
      `"requests";q=50;w=86400, ${GLOBAL}, "requests:second";q=1;w=86400`,
    )
    expect(limitsOf(first)).toMatch(/^"requests";r=49;.*"requests:second";r=0;/)
    expect(first.headers.get('x-ratelimit-remaining-requests')).toBe('0')
    for (let i = 0; i < 3; i += 1) {
      const refused = await ask(key, { model: 'second' })
      expect([refused.status, refused.body.details]).toEqual([
        429,
        expect.stringContaining("limit 'requests:second': 1 per 1d"),
      ])
    }
    const other = await ask(key)
    expect(other.status).toBe(200)
    expect(limitsOf(other)).toMatch(/^"requests";r=48;[^,]*, "global-requests";[^,]*$/)
  })

  test('that an instance held for what might have come are given back when it ends', async () => {
    const key = await consumer('plenty')
    const other = await start()
    for (let i = 0; i < 20; i += 1) await ask(key, {}, other)
    // It holds some for those that may come next.
    expect(Number(/r=(\d+)/.exec(limitsOf(await ask(key)) ?? '')?.[1])).toBeLessThan(100_000 - 21)
    await other.stop()
    await expect
      .poll(async () => Number(/r=(\d+)/.exec(limitsOf(await ask(key)) ?? '')?.[1]), { timeout: 10_000, interval: 300 })
      .toBeGreaterThan(100_000 - 60)
  })

  test('count whatever becomes of them, and every answer tells', async () => {
    const key = await consumer('slot')
    const prompt = unique('Again?')
    const answers = [await ask(key, { prompt }), await ask(key, { prompt }), await ask(key, { prompt: '' })]
    upstream.reply = failing(500)
    answers.push(await ask(key))
    expect(answers.map(({ status }) => status)).toEqual([200, 200, 400, 502])
    expect(answers[1]?.headers.get('cache-status')).toContain('hit')
    expect(answers.map((each) => /"requests";r=(\d+)/.exec(limitsOf(each) ?? '')?.[1])).toEqual([
      '49',
      '48',
      '47',
      '46',
    ])
  })
})

describe('a slot', () => {
  const never: Upstream['reply'] = () => {}
  const piece = () => streaming(['a'], { end: () => {} })

  /** Sends a request and leaves when the model has been asked, or when the first bytes are there. */
  async function leave(key: string, stream: boolean): Promise<void> {
    const sent = request(`${host.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key } })
    sent.on('error', () => {})
    const begun = new Promise<void>((resolve) =>
      sent.on('response', (response) => {
        response.on('error', () => {}).once('data', () => resolve())
      }),
    )
    sent.end(JSON.stringify({ prompt: unique('Why?'), stream }))
    if (stream) await begun
    else await expect.poll(() => upstream.calls.length, { interval: 10 }).toBe(1)
    sent.destroy()
  }

  test('is taken while a request is in flight, and the refusal says so', async () => {
    const key = await consumer('slot')
    let answer!: () => void
    upstream.reply = (call, response) => {
      answer = () => answering()(call, response)
    }
    const first = ask(key)
    await expect.poll(() => upstream.calls.length, { interval: 10 }).toBe(1)
    const refused = await ask(key)
    expect([refused.status, refused.headers.get('retry-after')]).toEqual([429, '1'])
    expect(refused.body).toEqual({
      error: TOO_MANY,
      code: 'rate_limit_exceeded',
      details: "limit 'concurrent': 1 at once; come back in 1 s",
    })
    expect(refused.headers.get('ratelimit-policy')).toContain('"concurrent";q=1;qu="concurrent-requests"')
    answer()
    expect((await first).status).toBe(200)
  })

  test.each<[string, Upstream['reply'], (key: string) => Promise<unknown>]>([
    ['an answer', answering(), (key) => ask(key)],
    ['a refusal of its body', answering(), (key) => ask(key, { prompt: 7 })],
    ['an error of the model', failing(500), (key) => ask(key)],
    ['a timeout', never, (key) => ask(key)],
    ['a cut connection', (_call, response) => response.destroy(), (key) => ask(key)],
    ['a client that left', never, (key) => leave(key, false)],
    ['a stream', streaming(['a']), (key) => read(key)],
    ['a stream that broke', streaming(['a'], { end: (response) => response.destroy() }), (key) => read(key)],
    ['a stream that fell silent', piece(), (key) => read(key)],
    ['a stream whose client left', piece(), (key) => leave(key, true)],
  ])('comes back after %s', async (_what, reply, end) => {
    const key = await consumer('slot')
    upstream.reply = reply
    await end(key)
    upstream.reply = answering()
    // How soon a client's leaving is noticed is the network's affair.
    await expect.poll(async () => (await ask(key)).status, { interval: 20, timeout: 2_000 }).toBe(200)
  })

  async function read(key: string): Promise<void> {
    const body = JSON.stringify({ prompt: unique('Why?'), stream: true })
    const response = await fetch(`${host.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key }, body })
    await response.text().catch(() => {})
  }
})

/** The line that the gateway logs of a finished request. */
function logged(requestId: string): unknown {
  const line = host
    .output()
    .split('\n')
    .find((each) => each.includes(requestId) && each.includes('"event":"request"'))
  return line === undefined ? undefined : JSON.parse(line.slice(line.indexOf('{')))
}
