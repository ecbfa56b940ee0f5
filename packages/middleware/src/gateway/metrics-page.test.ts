import fc from 'fast-check'
import { expect, test } from 'vitest'
import { baseContext, replyText, request } from '../../../../test/support/base-context.ts'
import { finishedRequest } from '../../../../test/support/finished-request.ts'
import { parseMetrics } from '../../../../test/support/prometheus.ts'
import { type HttpResponse, isRefusal, StoreUnavailable, type Time } from '../pipeline/index.ts'
import { memoryTable } from '../storage/index.ts'
import { ledger, rollUp, type UsageReader, usageReader } from '../usage/index.ts'
import { metricsPage } from './metrics-page.ts'

const EMPTY = { models: [], asOf: 5_000, unattributed: [], unreadable: [], targets: [] }

/** A page over tables that the test plays, with a clock that the test sets. */
function page(totals: UsageReader['totals']) {
  const time = { now: 0 }
  const reads = { begun: 0 }
  const handler = metricsPage({
    usage: {
      totals: (signal) => {
        reads.begun += 1
        return totals(signal)
      },
    },
    deadlineMs: 50,
    maxAgeMs: 5_000,
    maxBytes: 1_000_000,
    now: () => time.now,
  })
  const lines: string[] = []
  const context = { ...baseContext(), log: (_level: string, event: string) => void lines.push(event) }
  async function ask(query = '', headers: Record<string, string> = {}, method = 'GET') {
    const url = new URL(`https://tollgate.test/api/metrics${query}`)
    return handler({ ...request, method, url, headers: new Headers(headers) }, context)
  }
  return { time, reads, lines, ask }
}

test('the format is the one that is asked for', async () => {
  const { ask } = page(async () => EMPTY)
  const plain = (await ask()) as HttpResponse
  expect(plain.headers).toEqual({
    'content-type': 'text/plain; version=0.0.4; charset=utf-8',
    'cache-control': 'no-store',
  })
  expect(parseMetrics(await replyText(plain)).map(({ name }) => name)).toContain('tollgate_requests_total')
  const open = (await ask('', { accept: 'application/openmetrics-text;version=1.0.0,*/*;q=0.1' })) as HttpResponse
  expect(open.headers['content-type']).toBe('application/openmetrics-text; version=1.0.0; charset=utf-8')
  expect(await replyText(open)).toMatch(/# EOF\n$/)
})

test('another method is a 405, and reads nothing', async () => {
  const { ask, reads } = page(async () => EMPTY)
  expect(await ask('', {}, 'POST')).toMatchObject({ kind: 'refusal', status: 405, headers: { allow: 'GET' } })
  expect(reads.begun).toBe(0)
})

test('the names are Tollgate’s, or LiteLLM’s, and no others', async () => {
  const { ask, reads } = page(async () => EMPTY)
  expect(await replyText((await ask('?names=litellm')) as HttpResponse)).toContain('# TYPE litellm_spend_metric_total')
  for (const query of [
    '?names=prometheus',
    '?name=litellm',
    '?names=litellm&names=tollgate',
    '?names=litellm&by=model',
  ]) {
    const refused = await ask(query)
    expect([query, isRefusal(refused), refused.status, reads.begun]).toEqual([query, true, 400, 1])
  }
})

test('many scrapers share a read, and its answer for its age', async () => {
  const { promise, resolve } = Promise.withResolvers<typeof EMPTY>()
  const { ask, reads, time } = page(() => promise)
  const asking = [ask(), ask(), ask('?names=litellm')]
  time.now = 60_000
  resolve(EMPTY)
  expect((await Promise.all(asking)).map(({ status }) => status)).toEqual([200, 200, 200])
  time.now += 4_999
  await ask()
  expect(reads.begun).toBe(1)
  time.now += 1
  await ask()
  expect(reads.begun).toBe(2)
})

test.each<[string, UsageReader['totals']]>([
  ['are down', async () => Promise.reject(new StoreUnavailable())],
  ['hang', () => new Promise(() => {})],
])('tables that %s are a 503 without a number, asked for again after its age', async (_how, fail) => {
  let isDown = true
  const { ask, reads, time, lines } = page((signal) => (isDown ? fail(signal) : Promise.resolve(EMPTY)))
  expect(await ask()).toMatchObject({ kind: 'refusal', status: 503, code: 'store_unavailable' })
  expect(await ask()).toMatchObject({ status: 503 })
  expect([reads.begun, lines]).toEqual([1, ['usage not read', 'usage not read']])
  isDown = false
  time.now += 5_000
  expect(await ask()).toMatchObject({ kind: 'response', status: 200 })
})

test('a defect is no outage', async () => {
  const { ask } = page(async () => Promise.reject(new TypeError('x is not a function')))
  await expect(ask()).rejects.toThrow(TypeError)
})

test('counters never fall, whichever instance is asked, and end at what was asked', async () => {
  const HOUR_MS = 3_600_000
  const instance = fc.nat({ max: 2 })
  const act = fc.oneof(
    { weight: 3, arbitrary: fc.record({ what: fc.constantFrom('request', 'request and write'), instance }) },
    { weight: 4, arbitrary: fc.record({ what: fc.constantFrom('write', 'scrape', 'scrape', 'roll up'), instance }) },
    {
      weight: 1,
      arbitrary: fc.record({ what: fc.constant('wait'), ms: fc.constantFrom(30_000, HOUR_MS, 26 * HOUR_MS) }),
    },
  )
  await fc.assert(
    fc.asyncProperty(fc.array(act, { minLength: 5, maxLength: 40 }), async (acts) => {
      let now = Date.UTC(2026, 10, 29, 21, 30)
      const wallClock = () => now
      const time: Time = { now: wallClock, wallClock, after: () => () => {}, every: () => () => {} }
      const table = memoryTable({ wallClock })
      const usage = usageReader({
        table,
        kept: () => ({ detailMs: 30 * 24 * HOUR_MS, hoursMs: 400 * 24 * HOUR_MS }),
        wallClock,
      })
      const instances = [0, 1, 2].map((index) => ({
        book: ledger({ table, time, instance: `i${index}`, log: () => {} }),
        page: metricsPage({ usage, deadlineMs: 5_000, maxAgeMs: 5_000, maxBytes: 1_000_000, now: wallClock }),
      }))
      const url = new URL('https://tollgate.test/api/metrics')
      const seen = new Map<string, number>()
      const scrape = async (instance: number) => {
        now += 10_000
        const reply = await instances[instance]?.page({ ...request, method: 'GET', url }, baseContext())
        const families = parseMetrics(await replyText(reply as HttpResponse))
        for (const { type, series } of families) {
          if (type === 'gauge') continue
          for (const { name, labels, value } of series) {
            const key = JSON.stringify([name, labels])
            expect([key, value]).toEqual([key, Math.max(value, seen.get(key) ?? 0)])
            seen.set(key, value)
          }
        }
      }
      let requests = 0
      for (const step of acts) {
        if ('ms' in step) now += step.ms
        else if (step.what === 'scrape') await scrape(step.instance)
        else if (step.what === 'write') await instances[step.instance]?.book.flush()
        else if (step.what === 'roll up') await rollUp({ table, now, signal: request.signal })
        else {
          requests += 1
          const { book } = instances[step.instance] as (typeof instances)[number]
          book.record(finishedRequest({ startedAt: now - 5, ms: 5 }))
          if (step.what === 'request and write') await book.flush()
        }
      }
      for (const { book } of instances) await book.close()
      // What was late is looked for again.
      now += 2 * HOUR_MS
      await rollUp({ table, now, signal: request.signal })
      for (const instance of [0, 1, 2]) await scrape(instance)
      const counted = [...seen].filter(([key]) => key.startsWith('["tollgate_requests_total"'))
      expect(counted.reduce((sum, [, value]) => sum + value, 0)).toBe(requests)
    }),
    {
      numRuns: 40,
      // An instance that writes its first requests when the ledger has gone on without it for more than a day, into another month.
      examples: [
        [
          [
            { what: 'request', instance: 1 },
            { what: 'wait', ms: 26 * HOUR_MS },
            { what: 'wait', ms: HOUR_MS },
            { what: 'request and write', instance: 0 },
            { what: 'roll up', instance: 0 },
          ],
        ],
      ],
    },
  )
})

test('what the limits’ store can’t tell is left out, and all else is told', async () => {
  const down = async () => Promise.reject(new StoreUnavailable())
  const reader = usageReader({ table: memoryTable(), kept: () => ({ detailMs: 1, hoursMs: 1 }), unattributed: down })
  const { ask } = page((signal) => reader.totals(signal))
  const families = parseMetrics(await replyText((await ask()) as HttpResponse))
  const samples = (metric: string) => families.find(({ name }) => name === metric)?.series.length
  expect([samples('tollgate_unattributed_usd'), samples('tollgate_models_left_out')]).toEqual([0, 1])
})
