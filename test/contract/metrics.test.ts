import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { NO_PROMETHEUS, parseMetrics, type RunningPrometheus, startPrometheus } from '../support/prometheus.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { answering, failing, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * GET /api/metrics of the bundle on the local host, over real tables. All tests' requests stand in them, so that this file's have a
 * model of their own.
 */

const model = unique('metered')
const POLICY = {
  plans: { metered: { limits: [{ requests: 3, per: 'day', model }] } },
  models: {
    [model]: {
      targets: [{ openai: { model: 'm', baseUrl: { env: 'OPENAI_BASE_URL' }, key: { env: 'OPENAI_API_KEY' } } }],
      price: { input: 1, output: 2 },
      retry: false,
    },
  },
  routes: { generate: { model } },
}
/** What an answer of the model's server costs by that price: 11 tokens read and 7 written. */
const ANSWER_USD = 25e-6
/** Usage is in the tables after 10 s, and told after 5 more. */
const SOON = { timeout: 25_000, interval: 1_000 }

const open = openAccount(inject('azurite'))
const folder = mkdtempSync(join(tmpdir(), 'tollgate-metrics-'))
let upstream: Upstream
let proxy: StorageProxy
let host: RunningHost
let reader: string
let caller: string
beforeAll(async () => {
  upstream = await startUpstream()
  proxy = await startStorageProxy(inject('azurite'))
  const policy = join(folder, 'policy.yaml')
  writeFileSync(policy, JSON.stringify(POLICY))
  const openai = { OPENAI_BASE_URL: upstream.baseUrl, OPENAI_API_KEY: 'sk-upstream-secret' }
  const settings = { TOLLGATE_STORAGE: proxy.connectionString, TOLLGATE_POLICY: policy, ...openai }
  host = await startHost({ ...settings, TOLLGATE_CACHE_DEADLINE_MS: '2000' }, BARE_HOST)
  reader = await newKey(open, unique('prometheus'), 'metered', ['read'])
  caller = await newKey(open, unique('caller'), 'metered')
})
afterAll(async () => {
  await host?.stop()
  await proxy?.close()
  await upstream?.close()
  rmSync(folder, { recursive: true })
})

const scrape = (query = '', headers: Record<string, string> = { authorization: `Bearer ${reader}` }) =>
  fetch(`${host.url}/api/metrics${query}`, { headers })

/** This file's model's samples of a metric: their other labels and values. */
async function samplesOf(metric: string): Promise<Record<string, number>> {
  const text = await (await scrape()).text()
  const series = parseMetrics(text).flatMap(({ series }) => series)
  const own = series.filter(({ name, labels }) => name === metric && labels.model === model)
  return Object.fromEntries(
    own.map(({ labels: { model: _, ...labels }, value }) => [Object.values(labels).join(' '), value]),
  )
}

test('a key of scope read is needed', async () => {
  expect((await scrape('', {})).status).toBe(401)
  const refused = await scrape('', { 'x-api-key': caller })
  expect([refused.status, await refused.json()]).toMatchObject([403, { code: 'insufficient_scope' }])
  expect((await scrape()).status).toBe(200)
  expect((await scrape('?names=datadog')).status).toBe(400)
})

describe('when requests have ended', () => {
  beforeAll(async () => {
    const ask = async (prompt: string) => {
      const body = JSON.stringify({ prompt, model })
      return (await generate(host, body, { 'x-api-key': caller })).status
    }
    upstream.reply = answering((answer) => ({
      ...answer,
      usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
    }))
    const statuses = [await ask('Why?'), await ask('Why?')]
    upstream.reply = failing(500)
    statuses.push(await ask('How?'), await ask('Who?'))
    expect(statuses).toEqual([200, 200, 502, 429])
  })

  test('what they came to is told', async () => {
    await expect
      .poll(() => samplesOf('tollgate_requests_total'), SOON)
      .toEqual({ 'answered hit': 1, 'answered collapsed': 0, 'answered none': 1, 'refused none': 1, 'failed none': 1 })
    expect(await samplesOf('tollgate_saved_usd_total')).toEqual({ '': ANSWER_USD })
    const calls = await samplesOf('tollgate_upstream_calls_total')
    const [target = ''] = Object.keys(calls)
    expect([target, calls]).toEqual([expect.stringMatching(/^openai:m:/), { [target]: 2 }])
    expect(await samplesOf('tollgate_upstream_failures_total')).toEqual({ [target]: 1 })
    expect(Object.values(await samplesOf('tollgate_refusals_total'))).toEqual([1])
    expect(await samplesOf('tollgate_request_duration_seconds_count')).toEqual({ '': 4 })
  })

  test('a scrape is no request', async () => {
    const before = await (await scrape()).text()
    expect(before).not.toContain('prometheus')
    expect(host.output()).toContain('"event":"read"')
  })

  if (NO_PROMETHEUS) console.info(`no Prometheus asked for metrics: ${NO_PROMETHEUS}.`)

  describe.skipIf(NO_PROMETHEUS).each(['', '?names=litellm'])('a Prometheus that scrapes /api/metrics%s', (query) => {
    let prometheus: RunningPrometheus
    beforeAll(async () => {
      prometheus = await startPrometheus(new URL(`${host.url}/api/metrics${query}`), reader)
    })
    afterAll(() => prometheus?.stop())

    test('understands all of it', async () => {
      await expect.poll(() => prometheus.scraped(), SOON).toEqual({ health: 'up', error: '' })
      const [name, label] =
        query === ''
          ? ['tollgate_requests_total', 'model']
          : ['litellm_proxy_total_requests_metric_total', 'requested_model']
      await expect
        .poll(async () => (await prometheus.query(`sum(${name}{${label}="${model}"})`))[0]?.value[1], SOON)
        .toBe('4')
    })

    test.skipIf(query !== '')('runs each query of the dashboard', async () => {
      const { panels } = JSON.parse(readFileSync(join(ROOT, 'infra/grafana/tollgate.json'), 'utf8')) as {
        readonly panels: readonly { readonly targets: readonly { readonly expr: string }[] }[]
      }
      for (const { expr } of panels.flatMap(({ targets }) => targets)) {
        const asked = expr.replaceAll('$model', '.*').replaceAll('$__range', '1h').replaceAll('$__rate_interval', '1m')
        expect([asked, await prometheus.query(asked)]).toEqual([asked, expect.any(Array)])
      }
    })
  })
})

test('tables that can’t be read are a 503 without a number', async () => {
  const fault = proxy.inject({ kind: 'answer', status: 503, code: 'ServerBusy' }, { table: 'tollgateusage' })
  await expect.poll(async () => (await scrape()).status, SOON).toBe(503)
  const { status, headers, text } = await scrape().then(async (answer) => ({
    status: answer.status,
    headers: answer.headers,
    text: await answer.text(),
  }))
  expect([status, headers.get('retry-after'), JSON.parse(text)]).toMatchObject([
    503,
    '10',
    { code: 'store_unavailable' },
  ])
  fault.remove()
  await expect.poll(async () => (await scrape()).status, SOON).toBe(200)
})
