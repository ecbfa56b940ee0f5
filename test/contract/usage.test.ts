import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, type Upstream } from '../support/upstream.ts'

/* What requests came to, by HTTP: the bundle on the local host, over real tables and a real HTTP upstream. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
let reader: string
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/usage.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
  reader = await newKey(open, unique('grafana'), 'ample', ['read'])
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})

const usage = (path: string, key: string | undefined = reader, init: RequestInit = {}) =>
  fetch(`${host.url}/api/usage${path}`, { ...init, headers: key === '' ? {} : { 'x-api-key': key } })

const bodyOf = async (response: Response) => (await response.json()) as Record<string, unknown>

interface Figures {
  readonly requests: number
  readonly hits: number
  readonly refused: number
  readonly tokens: { readonly input: number; readonly output: number }
  readonly costNanoUsd: number
  readonly costUsd: string
}

interface Report {
  readonly asOf: string
  readonly rows: readonly (Figures & { readonly name: string })[]
  readonly total: Figures
}

/** A report that has as many requests: what has ended is in it within 10 seconds. */
async function reportOf(query: string, requests: number): Promise<Report> {
  const deadline = Date.now() + 30_000
  for (;;) {
    const response = await usage(query)
    expect(response.status).toBe(200)
    const report = (await response.json()) as Report
    if (report.total.requests >= requests || Date.now() > deadline) return report
    await new Promise((resolve) => setTimeout(resolve, 1_100))
  }
}

test('what a consumer asked, by consumer, model and target, to the token and nano-dollar', async () => {
  const consumer = unique('spender')
  const key = await newKey(open, consumer, 'ample')
  const prompts = [unique('one'), unique('two')]
  const asking = (prompt: string) => generate(host, JSON.stringify({ prompt }), { 'x-api-key': key })
  const costs: string[] = []
  const before = upstream.calls.length
  for (const prompt of [...prompts, ...prompts, '']) {
    const { status, headers } = await asking(prompt)
    expect(status).toBe(prompt === '' ? 400 : 200)
    costs.push(headers.get('x-tollgate-cost') ?? '0')
  }
  expect(upstream.calls.length - before).toBe(2)
  const nano = costs.reduce((sum, cost) => sum + Math.round(Number(cost) * 1e9), 0)
  expect(nano).toBeGreaterThan(0)

  const query = `?since=1h&consumer=${consumer}`
  const byConsumer = await reportOf(query, 5)
  expect(byConsumer.rows).toEqual([
    expect.objectContaining({ name: consumer, requests: 5, answered: 4, hits: 2, refused: 1, failed: 0 }),
  ])
  expect(byConsumer.total).toMatchObject({ requests: 5, costNanoUsd: nano, costUsd: String(nano / 1e9) })
  expect(Date.parse(byConsumer.asOf)).toBeGreaterThan(Date.now() - 30_000)
  const byModel = await reportOf(`${query}&by=model`, 5)
  expect(byModel.rows.map(({ name, requests }) => [name, requests])).toEqual([
    ['default', 4],
    ['', 1],
  ])
  expect(byModel.total).toEqual(byConsumer.total)
  const byTarget = await reportOf(`${query}&by=target`, 2)
  expect(byTarget.rows).toEqual([
    expect.objectContaining({ name: expect.stringMatching(/^openai:test-model/), requests: 2, costNanoUsd: nano }),
  ])

  const csv = await (await usage(`${query}&format=csv`)).text()
  expect(csv).toMatch(new RegExp(`\\r\\n"${consumer}",5,4,2,0,1,0,.*,${nano},`))
})

test('the page shows the fields that there are', async () => {
  const page = readFileSync(join(ROOT, 'docs/usage.md'), 'utf8')
  const [, shown = ''] = /```json\n([\s\S]*?)```/.exec(page) ?? []
  const fields = ({ rows: [row], total, ...report }: Report) => ({ report, row, total: Object.keys(total) })
  const { report, row, total } = fields(JSON.parse(shown))
  const real = fields(await reportOf('?since=1h', 1))
  expect([Object.keys(report), Object.keys(row ?? {}), total]).toEqual([
    Object.keys(real.report),
    Object.keys(real.row ?? {}),
    real.total,
  ])
})

test('why a request was refused: all requests of its id, the newest first', async () => {
  const consumer = unique('refused')
  const key = await newKey(open, consumer, 'single')
  const requestId = `${unique('id')}/?&#%`
  const asking = () => generate(host, '{"prompt":"a"}', { 'x-api-key': key, 'x-request-id': requestId })
  expect([(await asking()).status, (await asking()).status]).toEqual([200, 429])
  const deadline = Date.now() + 30_000
  let requests: Record<string, unknown>[] = []
  while (requests.length < 2 && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    const response = await usage(`/requests/${encodeURIComponent(requestId)}`)
    expect(response.status).toBe(200)
    requests = (await bodyOf(response)).requests as typeof requests
  }
  expect(requests).toMatchObject([
    {
      requestId,
      consumer,
      status: 429,
      outcome: 'refused',
      refusal: 'insufficient_quota',
      limit: 'requests',
      left: [{ limit: 'requests', counts: 'requests', of: 1, left: 0 }],
      steps: [
        { name: 'key', decision: 'known' },
        { name: 'limits', decision: 'insufficient_quota' },
      ],
    },
    { requestId, consumer, status: 200, outcome: 'answered', cache: 'miss', costUsd: expect.any(String) },
  ])
  expect(JSON.stringify(requests)).not.toContain(key)
})

describe('who may read', () => {
  test('a key of scope read, which may call nothing', async () => {
    expect((await usage('')).status).toBe(200)
    const called = await generate(host, '{"prompt":"a"}', { 'x-api-key': reader })
    expect(called).toMatchObject({ status: 403, body: { code: 'insufficient_scope' } })
    for (const path of ['v1/chat/completions', 'openai/deployments/default/chat/completions', 'v1/embeddings']) {
      const refused = await fetch(`${host.url}/api/${path}`, {
        method: 'POST',
        headers: { authorization: `Bearer ${reader}` },
        body: '{}',
      })
      expect([path, refused.status]).toEqual([path, 403])
      expect(await refused.json()).toMatchObject({
        error: { code: 'insufficient_scope', message: expect.stringContaining("not of scope 'call'") },
      })
    }
    const models = await fetch(`${host.url}/api/v1/models`, { headers: { authorization: `Bearer ${reader}` } })
    expect(models.status).toBe(403)
  })

  test('nobody without a key, and no key of scope call', async () => {
    const key = await newKey(open, unique('app'), 'ample')
    for (const path of ['', '/requests/x']) {
      const unknown = await usage(path, '')
      expect([unknown.status, (await bodyOf(unknown)).code]).toEqual([401, 'invalid_api_key'])
      const other = await usage(path, key)
      expect([other.status, other.headers.get('cache-control')]).toEqual([403, 'no-store'])
      expect(await other.json()).toEqual({
        error: expect.stringContaining("not of scope 'read'. Use a key that was made with --scope read"),
        code: 'insufficient_scope',
      })
    }
  })

  test('the reads themselves are in no report, and have a line of their own', async () => {
    const consumer = unique('prometheus')
    const key = await newKey(open, consumer, 'ample', ['read'])
    const requestId = unique('read')
    const read = await fetch(`${host.url}/api/usage`, { headers: { 'x-api-key': key, 'x-request-id': requestId } })
    expect([read.status, read.headers.get('x-request-id')]).toEqual([200, requestId])
    // What ended after it is there, and it is not.
    const caller = unique('later')
    await generate(host, '{"prompt":"a"}', { 'x-api-key': await newKey(open, caller, 'ample') })
    const { rows } = await reportOf(`?since=1h&consumer=${caller}`, 1)
    expect(rows).toHaveLength(1)
    expect((await reportOf(`?since=1h&consumer=${consumer}`, 0)).rows).toEqual([])
    const lines = host
      .output()
      .split('\n')
      .filter((line) => line.includes(requestId))
    expect(lines).toHaveLength(1)
    expect(lines[0]).toContain(`"event":"read","requestId":"${requestId}"`)
    expect(lines[0]).toContain(`"consumer":"${consumer}"`)
  })

  test('at most 60 times at once, and once a second from then on', async () => {
    const key = await newKey(open, unique('eager'), 'ample', ['read'])
    const answers = await Promise.all(Array.from({ length: 80 }, () => usage('/requests/x?since=1m', key)))
    const refused = answers.filter(({ status }) => status === 429)
    expect(answers.filter(({ status }) => status === 200).length).toBeGreaterThanOrEqual(60)
    expect(refused.length).toBeGreaterThan(0)
    expect(Number(refused[0]?.headers.get('retry-after'))).toBeGreaterThanOrEqual(1)
    // Another's reads go on.
    expect((await usage('/requests/x?since=1m')).status).toBe(200)
  })
})

test.each([
  ['?by=user', 400, "'by' must be consumer, model or target."],
  ['?since=7w', 400, "'since' must be a span back from now"],
  ['/nothing', 404, 'Nothing is served at this path.'],
])('GET /api/usage%s is a %i', async (path, status, error) => {
  const response = await usage(path)
  expect([response.status, (await bodyOf(response)).error]).toEqual([status, expect.stringContaining(error)])
})

test('another method is a 405', async () => {
  const response = await usage('', reader, { method: 'POST', body: '{}' })
  expect([response.status, response.headers.get('allow')]).toEqual([405, 'GET'])
})
