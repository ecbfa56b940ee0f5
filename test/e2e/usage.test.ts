import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import type { ServerResponse } from 'node:http'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import {
  type CounterStore,
  openUsage,
  outlinePolicy,
  rollUp,
  tableConsumerStore,
  tableCounterStore,
  type UsageReport,
} from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { type OtlpReceiver, startOtlpReceiver } from '../support/otlp-receiver.ts'
import { parseMetrics } from '../support/prometheus.ts'
import { openAccount } from '../support/tables.ts'
import { type ReceivedCall, startUpstream, type Upstream } from '../support/upstream.ts'

const REQUESTS = Number(process.env.TOLLGATE_USAGE_REQUESTS ?? 2_000)
const MODEL = unique('counted')
/** Nano-dollars a token: a dollar a million read, and two a million written. */
const [INPUT, OUTPUT] = [1_000, 2_000]
const MAX_TOKENS = 64
/** The most that a request's prompt comes to, counted by its bytes and what the gateway adds. */
const MOST_INPUT = 200
const RESERVED = MOST_INPUT * INPUT + MAX_TOKENS * OUTPUT
/** So small that a lease holds hardly more than what is asked for: 0.2 % of it. */
const BUDGET_USD = 0.05
const SURPLUS = BUDGET_USD * 1e9 * 0.002
const IN_FLIGHT = 8

const folder = mkdtempSync(join(tmpdir(), 'tollgate-usage-'))
const policy = join(folder, 'tollgate.policy.yaml')
const open = openAccount(inject('azurite'))
const table = open('tollgateusage')
const signal = new AbortController().signal
const started = Date.now()
let model: Upstream
let settings: Record<string, string>

/** What the model has counted by itself, by what each prompt is marked with. */
interface Count {
  requests: number
  input: number
  output: number
  nanoUsd: number
}
const counts = new Map<string, Count>()

beforeAll(async () => {
  model = await startUpstream()
  model.reply = (call, response) => answer(call, response)
  writeFileSync(
    policy,
    // JSON is YAML.
    JSON.stringify({
      plans: {
        free: { limits: [{ requests: 1_000_000, per: '1m' }, { concurrent: 500 }] },
        money: { limits: [{ usd: BUDGET_USD, per: 'month' }] },
      },
      models: {
        [MODEL]: {
          targets: [{ openai: { model: 'm', baseUrl: model.baseUrl, key: { env: 'OPENAI_API_KEY' } } }],
          price: { input: 1, output: 2 },
        },
      },
    }),
  )
  settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: policy,
    OPENAI_BASE_URL: model.baseUrl,
    OPENAI_API_KEY: 'k',
    TOLLGATE_STORE_DEADLINE_MS: '10000',
    TOLLGATE_CACHE_DEADLINE_MS: '5000',
  }
}, 60_000)
afterAll(async () => {
  await model?.close()
  rmSync(folder, { recursive: true, force: true })
})

/** Says something whose length only the model knows, and counts it. */
function answer({ body, text }: ReceivedCall, response: ServerResponse): void {
  const [mark = ''] = /mark-[\w-]+/.exec(text) ?? []
  const [, index = '0'] = /question (\d+)/.exec(text) ?? []
  const usage = { prompt_tokens: 10 + (Number(index) % 7), completion_tokens: 1 + (Number(index) % 60) }
  const count = countOf(mark)
  count.requests += 1
  count.input += usage.prompt_tokens
  count.output += usage.completion_tokens
  count.nanoUsd += usage.prompt_tokens * INPUT + usage.completion_tokens * OUTPUT
  const told = { ...usage, total_tokens: usage.prompt_tokens + usage.completion_tokens }
  const common = { id: 'c', model: 'm', created: 1 }
  if (body.stream !== true) {
    const choices = [{ index: 0, message: { role: 'assistant', content: `answer ${index}` }, finish_reason: 'stop' }]
    response.writeHead(200, { 'content-type': 'application/json' })
    response.end(JSON.stringify({ ...common, object: 'chat.completion', choices, usage: told }))
    return
  }
  const event = (more: object) => `data: ${JSON.stringify({ ...common, object: 'chat.completion.chunk', ...more })}\n\n`
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.write(event({ choices: [{ index: 0, delta: { content: `answer ${index}` }, finish_reason: null }] }))
  response.write(event({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }))
  response.end(`${event({ choices: [], usage: told })}data: [DONE]\n\n`)
}

function countOf(mark: string): Count {
  const count = counts.get(mark) ?? { requests: 0, input: 0, output: 0, nanoUsd: 0 }
  counts.set(mark, count)
  return count
}

interface Caller {
  readonly consumer: string
  readonly key: string
}

async function caller(plan: string): Promise<Caller> {
  const consumer = unique('mark')
  return { consumer, key: await newKey(open, consumer, plan) }
}

/** The status; 0 where the host was killed meanwhile. */
async function ask({ consumer, key }: Caller, host: RunningHost, question: number, stream = false): Promise<number> {
  const content = `${consumer} question ${question}`
  try {
    const response = await fetch(`${host.url}/api/v1/chat/completions`, {
      method: 'POST',
      headers: { authorization: `Bearer ${key}`, 'content-type': 'application/json' },
      body: JSON.stringify({ model: MODEL, max_tokens: MAX_TOKENS, messages: [{ role: 'user', content }], stream }),
    })
    await response.text()
    return response.status
  } catch {
    return 0
  }
}

/** Has so many callers ask one after the other, until there is nothing more to ask. */
async function inParallel(callers: number, next: () => (() => Promise<unknown>) | undefined): Promise<void> {
  const work = async () => {
    for (let one = next(); one !== undefined; one = next()) await one()
  }
  await Promise.all(Array.from({ length: callers }, work))
}

/** As a command reads it, when so much more time has passed for the counters. */
function reader({ laterMs = 0 } = {}) {
  const counters = tableCounterStore({ open, now: () => performance.now() })
  const later: CounterStore = {
    ...counters,
    async read(...args) {
      const { time, ...read } = await counters.read(...args)
      return { ...read, time: time && { ...time, date: time.date + laterMs } }
    },
  }
  const outline = outlinePolicy({ root: folder, path: policy })
  return openUsage({ table, counters: later, consumers: tableConsumerStore(open), policy: () => outline })
}

function report(query: { readonly by: 'consumer' | 'model' | 'target'; readonly consumer?: string }, from = reader()) {
  return from.report({ ...query, since: started, until: Date.now() + 60_000, model: MODEL }, signal)
}

const countIn = ({ requests, tokens, costNanoUsd }: UsageReport['total']): Count => ({
  requests,
  input: tokens.input,
  output: tokens.output,
  nanoUsd: costNanoUsd,
})

/** What `/api/metrics` tells of the model. */
async function metricsOf({ url }: RunningHost): Promise<Count> {
  const key = await newKey(open, unique('reader'), 'free', ['read'])
  const text = await (await fetch(`${url}/api/metrics`, { headers: { authorization: `Bearer ${key}` } })).text()
  const series = parseMetrics(text).flatMap((family) => family.series)
  const sum = (metric: string, more: Readonly<Record<string, string>> = {}) =>
    series
      .filter(({ name, labels }) => name === metric && isOf({ ...labels }, { model: MODEL, ...more }))
      .reduce((total, { value }) => total + value, 0)
  return {
    requests: sum('tollgate_requests_total'),
    input: sum('tollgate_tokens_total', { direction: 'input' }),
    output: sum('tollgate_tokens_total', { direction: 'output' }),
    nanoUsd: Math.round(sum('tollgate_cost_usd_total') * 1e9),
  }
}

/** What all points of OpenTelemetry's metrics come to, each of which tells what is new since the one before. */
function pointsOf({ points }: OtlpReceiver): Count {
  const sum = (metric: string, more: Readonly<Record<string, string>> = {}) =>
    points
      .filter((point) => point.metric === metric && isOf({ ...point.attributes }, { 'tollgate.model': MODEL, ...more }))
      .reduce((total, point) => total + point.sum, 0)
  return {
    requests: sum('tollgate.requests'),
    input: sum('gen_ai.client.token.usage', { 'gen_ai.token.type': 'input' }),
    output: sum('gen_ai.client.token.usage', { 'gen_ai.token.type': 'output' }),
    nanoUsd: sum('tollgate.cost'),
  }
}

function isOf(labels: Readonly<Record<string, unknown>>, wanted: Readonly<Record<string, string>>): boolean {
  return Object.entries(wanted).every(([name, value]) => labels[name] === value)
}

describe('the ledger beside what the model counts by itself', () => {
  test(`is the same for ${REQUESTS} requests over three instances, in requests, tokens and dollars, as metrics and telemetry are`, {
    timeout: 240_000,
  }, async () => {
    const collector = await startOtlpReceiver()
    const exporting = {
      ...settings,
      OTEL_EXPORTER_OTLP_ENDPOINT: collector.url,
      OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE: 'delta',
    }
    const hosts = await Promise.all([1, 2, 3].map(() => startHost(exporting, BARE_HOST)))
    const callers = await Promise.all(Array.from({ length: 10 }, () => caller('free')))
    let asked = 0
    const statuses = new Map<number, number>()
    await inParallel(24, () => {
      if (asked >= REQUESTS) return undefined
      asked += 1
      const index = asked
      const [host, who] = [hosts[index % 3] as RunningHost, callers[index % 10] as Caller]
      // About one of ten was not asked before.
      const question = (index * 7_919) % Math.max(1, Math.floor(REQUESTS / 100))
      return async () => {
        const status = await ask(who, host, question, index % 4 === 0)
        statuses.set(status, (statuses.get(status) ?? 0) + 1)
      }
    })
    expect([...statuses]).toEqual([[200, REQUESTS]])

    // At most ten seconds old, while the instances live.
    await vi.waitFor(async () => expect((await report({ by: 'model' })).total.requests).toBe(REQUESTS), {
      timeout: 15_000,
      interval: 500,
    })
    const own = sumOf(callers.map(({ consumer }) => countOf(consumer)))
    const all = { ...own, requests: REQUESTS }
    expect(await metricsOf(hosts[0] as RunningHost)).toEqual(all)
    await Promise.all(hosts.map((host) => host.stop()))
    expect(pointsOf(collector)).toEqual(all)
    const spans = collector.spans.filter(({ attributes }) => attributes['tollgate.model'] === MODEL)
    expect(spans.filter(({ kind }) => kind === 3 /* client */)).toHaveLength(own.requests)
    await collector.close()
    const check = async () => {
      const targets = await report({ by: 'target' })
      expect(countIn(targets.total)).toEqual(own)
      const [consumers, models] = [await report({ by: 'consumer' }), await report({ by: 'model' })]
      expect(consumers.total).toEqual(models.total)
      expect(countIn(models.total)).toEqual({ ...own, requests: REQUESTS })
      expect(models.total.answered).toBe(REQUESTS)
      for (const { name, ...sums } of consumers.rows) {
        const { requests: _, ...taken } = countOf(name)
        expect(countIn(sums)).toMatchObject(taken)
      }
      const { models: totals } = await reader().totals(signal)
      expect(totals.find((each) => each.model === MODEL)?.sums).toEqual(models.total)
    }
    await check()
    // The same when the hour is over.
    await rollUp({ table, now: Date.now() + 2 * 3_600_000, signal })
    await check()
  })

  test('with three instances killed shows what budgets charged as unattributed, and lacks the last ten seconds of others', {
    timeout: 120_000,
  }, async () => {
    const hosts = await Promise.all([1, 2, 3, 4].map(() => startHost(settings, BARE_HOST)))
    const [money, free] = await Promise.all([caller('money'), caller('free')])
    /** When the model had answered for a consumer without a budget, by host. */
    const answeredAt = new Map<RunningHost, number[]>()
    const killed = new Map<RunningHost, number>()
    let question = 0
    let over = false
    const loads = hosts.map((host) =>
      inParallel(IN_FLIGHT / 2, () => {
        if (over || killed.has(host)) return undefined
        return async () => {
          question += 1
          await ask(money, host, question)
          question += 1
          if ((await ask(free, host, question)) === 200) {
            answeredAt.set(host, [...(answeredAt.get(host) ?? []), Date.now()])
          }
          // Else the budget were spent before the first is killed.
          await new Promise((resolve) => setTimeout(resolve, 500))
        }
      }),
    )
    await new Promise((resolve) => setTimeout(resolve, 14_000))
    for (const host of hosts.slice(0, 3)) {
      killed.set(host, Date.now())
      await host.stop('SIGKILL')
      await new Promise((resolve) => setTimeout(resolve, 700))
    }
    over = true
    await Promise.all(loads)
    await hosts[3]?.stop()

    const own = countOf(money.consumer)
    expect(own.requests).toBeGreaterThan(100)
    // The leases of the dead are over, and nothing moves any more.
    const later = reader({ laterMs: 120_000 })
    const { total, unattributed = [] } = await report({ by: 'consumer', consumer: money.consumer }, later)
    expect(unattributed).toEqual([
      {
        subject: `consumer:${money.consumer}`,
        limit: 'usd',
        measure: 'money',
        windowStart: expect.any(Number),
        units: expect.any(Number),
      },
    ])
    const shown = total.costNanoUsd + (unattributed[0]?.units ?? 0)
    expect(total.costNanoUsd).toBeLessThan(own.nanoUsd)
    expect(shown).toBeGreaterThanOrEqual(own.nanoUsd)
    expect(shown).toBeLessThanOrEqual(own.nanoUsd + 3 * (IN_FLIGHT * RESERVED + SURPLUS))

    const others = await report({ by: 'consumer', consumer: free.consumer }, later)
    expect(others.unattributed).toEqual([])
    const lost = countOf(free.consumer).requests - others.total.requests
    let late = 0
    for (const [host, at] of killed) late += (answeredAt.get(host) ?? []).filter((each) => each > at - 11_000).length
    expect(lost).toBeGreaterThan(0)
    expect(lost).toBeLessThanOrEqual(late + 3 * IN_FLIGHT)
    expect(late).toBeLessThan(countOf(free.consumer).requests)
  })
})

test('each way in is written down, with its steps', { timeout: 60_000 }, async () => {
  const host = await startHost(settings, BARE_HOST)
  const { consumer, key } = await caller('free')
  const chat = { model: MODEL, messages: [{ role: 'user', content: 'Hello' }] }
  const ways: readonly (readonly [
    path: string,
    body: object | undefined,
    headers: Record<string, string>,
    seen: object,
  ])[] = [
    ['generate', { prompt: 'Hello', model: MODEL }, {}, { surface: 'generate', route: 'generate', cache: 'miss' }],
    ['v1/chat/completions', chat, {}, { surface: 'chat-completions', route: 'chat', model: MODEL }],
    ['openai/v1/chat/completions', chat, {}, { route: 'chat', model: MODEL }],
    ['v1/models', undefined, {}, { outcome: 'answered', consumer }],
    ['v1/chat/completions', chat, { 'x-tollgate-dry-run': 'true' }, { dryRun: true }],
    [
      'v1/chat/completions',
      chat,
      { authorization: 'Bearer none' },
      { outcome: 'refused', status: 401, refusal: 'invalid_api_key' },
    ],
  ]
  const sent: [id: string, seen: object][] = []
  for (const [path, body, headers, seen] of ways) {
    const id = unique('way')
    sent.push([id, seen])
    await fetch(`${host.url}/api/${path}`, {
      method: body === undefined ? 'GET' : 'POST',
      headers: { authorization: `Bearer ${key}`, 'x-request-id': id, 'content-type': 'application/json', ...headers },
      ...(body && { body: JSON.stringify(body) }),
    }).then((response) => response.text())
  }
  await host.stop()
  for (const [id, seen] of sent) {
    const rows = await reader().why(id, { since: started, until: Date.now() }, signal)
    expect(rows).toEqual([expect.objectContaining({ requestId: id, ...seen })])
    expect(rows[0]?.steps[0]?.name).toBe('key')
  }
})

function sumOf(all: readonly Count[]): Count {
  const sum = { requests: 0, input: 0, output: 0, nanoUsd: 0 }
  for (const each of all)
    for (const figure of ['requests', 'input', 'output', 'nanoUsd'] as const) sum[figure] += each[figure]
  return sum
}
