import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { modelFigures, NO_SUMS, SOME_TOTALS } from '../../../../test/support/model-figures.ts'
import { NO_PROMETHEUS, parseMetrics, promtoolSays, type Series } from '../../../../test/support/prometheus.ts'
import {
  type Exposition,
  LATENCY_BOUNDS_MS,
  type ModelFigures,
  metricsText,
  type Unattributed,
  type UsageSums,
  type UsageTotals,
} from './index.ts'

const OWN: Exposition = { names: 'tollgate', openMetrics: false, maxBytes: 4 * 1024 * 1024 }
const totals = (...models: ModelFigures[]): UsageTotals => ({
  models,
  asOf: 1_764_000_000_500,
  unattributed: [],
  unreadable: [],
  targets: [],
})

function seriesOf(text: string): Series[] {
  return parseMetrics(text).flatMap(({ series }) => series)
}

/** The value of the one series that has the name and these labels, maybe among others. */
function numberOf(series: readonly Series[], name: string, labels: Readonly<Record<string, string>> = {}): number {
  const found = series.filter(
    (one) => one.name === name && Object.entries(labels).every(([label, value]) => one.labels[label] === value),
  )
  expect([name, labels, found.length]).toEqual([name, labels, 1])
  return found[0]?.value ?? Number.NaN
}

test('a model’s figures are written as Prometheus reads them', () => {
  const small = modelFigures('small', {
    sums: {
      requests: 10,
      answered: 7,
      hits: 3,
      collapsed: 1,
      refused: 2,
      failed: 1,
      tokens: { input: 900, cachedInput: 500, output: 80, reasoning: 30 },
      costNanoUsd: 1_234_567_890,
      savedNanoUsd: 5,
    },
    duration: { counts: [2, ...LATENCY_BOUNDS_MS.slice(1).map(() => 0), 8], sumMs: 3_210_500 },
    refusedBy: { 'usd-month': 2 },
    targets: { eu: { sums: { ...NO_SUMS, requests: 4 }, failed: 1 } },
  })
  const text = metricsText(totals(small), OWN)
  for (const line of [
    '# TYPE tollgate_requests_total counter',
    'tollgate_requests_total{model="small",outcome="answered",cache="hit"} 3',
    'tollgate_requests_total{model="small",outcome="answered",cache="collapsed"} 1',
    'tollgate_requests_total{model="small",outcome="answered",cache="none"} 3',
    'tollgate_requests_total{model="small",outcome="refused",cache="none"} 2',
    'tollgate_requests_total{model="small",outcome="failed",cache="none"} 1',
    'tollgate_refusals_total{model="small",limit="usd-month"} 2',
    'tollgate_tokens_total{model="small",direction="input"} 900',
    'tollgate_tokens_total{model="small",direction="output"} 80',
    'tollgate_tokens_by_kind_total{model="small",kind="cachedInput"} 500',
    'tollgate_tokens_by_kind_total{model="small",kind="reasoning"} 30',
    'tollgate_cost_usd_total{model="small"} 1.23456789',
    'tollgate_saved_usd_total{model="small"} 5e-9',
    'tollgate_upstream_calls_total{model="small",target="eu"} 4',
    'tollgate_upstream_failures_total{model="small",target="eu"} 1',
    'tollgate_request_duration_seconds_bucket{model="small",le="0.005"} 2',
    'tollgate_request_duration_seconds_bucket{model="small",le="320.0"} 2',
    'tollgate_request_duration_seconds_bucket{model="small",le="+Inf"} 10',
    'tollgate_request_duration_seconds_sum{model="small"} 3210.5',
    'tollgate_request_duration_seconds_count{model="small"} 10',
    'tollgate_usage_as_of_timestamp_seconds 1764000000.5',
    'tollgate_models_left_out 0',
  ]) {
    expect(text.split('\n')).toContain(line)
  }
})

describe('whatever the ledger has', () => {
  const count = fc.nat({ max: Number.MAX_SAFE_INTEGER })
  /** Of which several are added up. */
  const part = fc.nat({ max: 2 ** 40 })
  const name = fc.oneof(
    fc.string({ unit: 'binary', maxLength: 20 }).map((text) => text.toWellFormed()),
    fc.constantFrom('', 'a"b', 'a\\', '\n', '\\n', 'a\r\nb', '{le="1"} 5', '# EOF'),
  )
  const histogram = fc.record({
    counts: fc.array(part, { minLength: LATENCY_BOUNDS_MS.length + 1, maxLength: LATENCY_BOUNDS_MS.length + 1 }),
    sumMs: count,
  })
  const sums = fc
    .record({
      parts: fc.tuple(part, part, part, part, part),
      tokens: fc.record({ input: part, cachedInput: part, output: part, reasoning: part }),
      figures: fc.record({ costNanoUsd: count, savedNanoUsd: count, unpriced: count, uncertain: count }),
    })
    .map(({ parts: [hits, collapsed, called, refused, failed], tokens, figures }): UsageSums => {
      const answered = hits + collapsed + called
      return {
        requests: answered + refused + failed,
        answered,
        hits,
        collapsed,
        refused,
        failed,
        tokens,
        ...figures,
      }
    })
  const model = fc.record({
    model: name,
    sums,
    duration: histogram,
    firstToken: histogram,
    refusedBy: fc.dictionary(name, count, { maxKeys: 3 }),
    targets: fc.dictionary(name, fc.record({ sums, failed: count }), { maxKeys: 3 }),
  })
  const models = fc.uniqueArray(model, { maxLength: 4, selector: ({ model }) => model })
  const unattributed = fc.array(
    fc.record<Unattributed>({
      subject: fc.constantFrom('consumer:alice', 'consumer:bob', 'global'),
      limit: fc.constantFrom('usd', 'tokens', 'a"b\n'),
      measure: fc.constantFrom('tokens', 'input', 'output', 'money'),
      windowStart: count,
      units: part,
    }),
    { maxLength: 6 },
  )
  const unreadable = fc.array(name, { maxLength: 3 })
  const state = fc.record<UsageTotals['targets'][number]>({
    instance: fc.constantFrom('a', 'b', 'c'),
    target: name,
    state: fc.constantFrom('blocked', 'open'),
    since: count,
    until: count,
  })
  const any = fc.record<UsageTotals>({
    models,
    asOf: count,
    unattributed,
    unreadable,
    targets: fc.array(state, { maxLength: 6 }),
  })

  test.each([false, true])('is read back with the same numbers (OpenMetrics: %s)', (openMetrics) => {
    fc.assert(
      fc.property(any, (given) => {
        const series = seriesOf(metricsText(given, { ...OWN, openMetrics }))
        const value = (name: string, labels = {}) => numberOf(series, `tollgate_${name}`, labels)
        const nano = (name: string, labels = {}) => Math.round(value(name, labels) * 1e9)
        for (const { model, sums, duration, firstToken, refusedBy, targets } of given.models) {
          const requests = series.filter((one) => one.name === 'tollgate_requests_total' && one.labels.model === model)
          expect(requests.reduce((sum, { value }) => sum + value, 0)).toBe(sums.requests)
          for (const [outcome, cache, expected] of [
            ['answered', 'hit', sums.hits],
            ['answered', 'collapsed', sums.collapsed],
            ['refused', 'none', sums.refused],
            ['failed', 'none', sums.failed],
          ]) {
            expect(value('requests_total', { model, outcome, cache })).toBe(expected)
          }
          const { input, output, ...kinds } = sums.tokens
          expect(value('tokens_total', { model, direction: 'input' })).toBe(input)
          expect(value('tokens_total', { model, direction: 'output' })).toBe(output)
          for (const [kind, count] of Object.entries(kinds)) {
            expect(value('tokens_by_kind_total', { model, kind })).toBe(count)
          }
          // A double holds 15 digits and a half: up to a million dollars each nano-dollar.
          const slack = Math.max(1, sums.costNanoUsd / 2 ** 50)
          expect(Math.abs(nano('cost_usd_total', { model }) - sums.costNanoUsd)).toBeLessThan(slack)
          expect(value('unpriced_calls_total', { model })).toBe(sums.unpriced)
          expect(value('uncertain_requests_total', { model })).toBe(sums.uncertain)
          for (const limit in refusedBy) expect(value('refusals_total', { model, limit })).toBe(refusedBy[limit])
          for (const [target, { sums, failed }] of Object.entries(targets)) {
            expect(value('upstream_calls_total', { model, target })).toBe(sums.requests)
            expect(value('upstream_failures_total', { model, target })).toBe(failed)
          }
          for (const [name, { counts, sumMs }] of [
            ['request_duration_seconds', duration],
            ['time_to_first_token_seconds', firstToken],
          ] as const) {
            const buckets = series.filter((one) => one.name === `tollgate_${name}_bucket` && one.labels.model === model)
            const bounds = buckets.map(({ labels: { le } }) => (le === '+Inf' ? le : Number(le) * 1_000))
            expect(bounds).toEqual([...LATENCY_BOUNDS_MS, '+Inf'])
            const single = buckets.map(({ value }, index) => value - (buckets[index - 1]?.value ?? 0))
            expect(single).toEqual(counts)
            expect(value(`${name}_count`, { model })).toBe(counts.reduce((sum, count) => sum + count, 0))
            expect(value(`${name}_sum`, { model })).toBe(sumMs / 1_000)
          }
        }
        const [tokens, money] = [0, 0].map((_, index) =>
          (given.unattributed ?? [])
            .filter(({ measure }) => (measure === 'money') === (index === 1))
            .reduce((sum, { units }) => sum + units, 0),
        )
        const all = (name: string) =>
          series.filter((one) => one.name === name).reduce((sum, { value }) => sum + value, 0)
        expect(all('tollgate_unattributed_tokens')).toBe(tokens)
        expect(all('tollgate_unattributed_usd') * 1e9).toBeCloseTo(money ?? 0, -3)
        expect(value('usage_as_of_timestamp_seconds')).toBe(given.asOf / 1_000)
        expect(value('unreadable_rows')).toBe(given.unreadable.length)
        for (const { target, state } of given.targets) {
          const same = given.targets.filter((each) => each.target === target && each.state === state)
          const instances = new Set(same.map(({ instance }) => instance)).size
          expect(value('target_blocked', { target, state })).toBe(instances)
        }
      }),
      { numRuns: 100 },
    )
  })

  test('is in the format under LiteLLM’s names too', () => {
    fc.assert(
      fc.property(any, fc.boolean(), (given, openMetrics) => {
        const series = seriesOf(metricsText(given, { ...OWN, names: 'litellm', openMetrics }))
        for (const { model, sums } of given.models) {
          const requested = { requested_model: model }
          expect(numberOf(series, 'litellm_proxy_total_requests_metric_total', requested)).toBe(sums.requests)
          const { input, output } = sums.tokens
          expect(numberOf(series, 'litellm_total_tokens_metric_total', { model, ...requested })).toBe(input + output)
        }
      }),
      { numRuns: 50 },
    )
  })

  test('names no consumer', () => {
    fc.assert(
      fc.property(any, (given) => {
        for (const { labels } of seriesOf(metricsText(given, OWN))) {
          expect(Object.keys(labels)).not.toContain('consumer')
          expect(Object.values(labels)).not.toContain('consumer:alice')
        }
      }),
      { numRuns: 50 },
    )
  })
})

test('what consumers and plans have unattributed is summed up by limit', () => {
  const each = { windowStart: 0, limit: 'usd', measure: 'money' } as const
  const unattributed: Unattributed[] = [
    { ...each, subject: 'consumer:alice', units: 2_000_000_000 },
    { ...each, subject: 'consumer:bob', units: 500_000_000 },
    { ...each, subject: 'plan:pro', limit: 'plan-usd', units: 1 },
    { ...each, subject: 'consumer:bob', limit: 'tokens', measure: 'tokens', units: 7 },
  ]
  const series = seriesOf(metricsText({ ...totals(), unattributed }, OWN))
  expect(numberOf(series, 'tollgate_unattributed_usd', { limit: 'usd' })).toBe(2.5)
  expect(numberOf(series, 'tollgate_unattributed_usd', { limit: 'plan-usd' })).toBe(1e-9)
  expect(numberOf(series, 'tollgate_unattributed_tokens', { limit: 'tokens', measure: 'tokens' })).toBe(7)
})

test('a policy’s thousand models fit as far as there is room, the busiest first, and the rest is told', () => {
  const many = Array.from({ length: 1_000 }, (_, index) => modelFigures(`m${index}`, { sums: { requests: index } }))
  const maxBytes = 256 * 1024
  const text = metricsText(totals(...many), { ...OWN, maxBytes })
  expect(Buffer.byteLength(text)).toBeLessThan(maxBytes + 4_096)
  const series = seriesOf(text)
  const names = new Set(series.map(({ labels }) => labels.model).filter((model) => model !== undefined))
  expect(names.size).toBeGreaterThan(10)
  expect(names).toContain('m999')
  expect(names).not.toContain('m0')
  expect(numberOf(series, 'tollgate_models_left_out')).toBe(1_000 - names.size)
})

test('OpenMetrics names a counter’s family without _total, and ends', () => {
  const text = metricsText(totals(modelFigures('small')), { ...OWN, openMetrics: true })
  expect(text).toContain('\n# TYPE tollgate_cost_usd counter\ntollgate_cost_usd_total{model="small"} 0\n')
  expect(text).toMatch(/\n# EOF\n$/)
  expect(metricsText(totals(), OWN)).not.toContain('EOF')
})

if (NO_PROMETHEUS) console.info(`promtool looked at no metrics: ${NO_PROMETHEUS}.`)

test.skipIf(NO_PROMETHEUS)('promtool finds no fault, in the format or in the names', () => {
  const odd = modelFigures('a"\\\n', { refusedBy: { usd: 1 }, targets: { eu: { sums: NO_SUMS, failed: 0 } } })
  expect(promtoolSays(metricsText({ ...SOME_TOTALS, models: [...SOME_TOTALS.models, odd] }, OWN))).toBe('')
  // That it finds one.
  expect(promtoolSays('tollgate_requests 1\n')).toContain('no help text')
})
