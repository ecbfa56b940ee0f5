import {
  type Histogram,
  LATENCY_BOUNDS_MS,
  type ModelFigures,
  type Unattributed,
  type UsageReader,
  type UsageSums,
} from './figures.ts'

/** `litellm`: the names and labels by which LiteLLM's users have dashboards. */
export type MetricNames = 'tollgate' | 'litellm'

/** What all requests came to. */
export type UsageTotals = Awaited<ReturnType<UsageReader['totals']>>

export interface Exposition {
  readonly names: MetricNames
  /** OpenMetrics 1.0 instead of Prometheus' text format 0.0.4. */
  readonly openMetrics: boolean
  /** Models that don't fit are left out, those with the fewest requests first. */
  readonly maxBytes: number
}

/** The media types of both formats. */
export const METRICS_TYPE = 'text/plain; version=0.0.4; charset=utf-8'
export const OPEN_METRICS_TYPE = 'application/openmetrics-text; version=1.0.0; charset=utf-8'

type Labels = Readonly<Record<string, string>>

interface Sample {
  /** After the metric's name: `_bucket`, `_sum`, `_count` of a histogram. */
  readonly suffix?: string
  readonly labels: Labels
  readonly value: number
}

interface Metric<Of> {
  /** As its samples are named, without a histogram's suffixes. */
  readonly name: string
  readonly type: 'counter' | 'gauge' | 'histogram'
  readonly help: string
  readonly samples: (of: Of) => Iterable<Sample>
}

const MS = 1_000
const NANO = 1e9

/**
 * What models came to, in Prometheus' text format. All of it is read from the tables, so that it makes no difference which instance
 * is asked. No label names a consumer: there is no bound to their number, and the largest of them with a remainder would make
 * counters fall when their order changes.
 *
 * @example tollgate_requests_total{model="small",outcome="answered",cache="hit"} 12
 */
export function metricsText(totals: UsageTotals, exposition: Exposition): string {
  const { models, asOf, unattributed = [], unreadable, targets } = totals
  const { names, openMetrics, maxBytes } = exposition
  const metrics = names === 'litellm' ? LITELLM : TOLLGATE
  const lines = metrics.map((metric) => [heading(metric, openMetrics)])
  let room = maxBytes
  let written = 0
  for (const model of models.toSorted(byRequests)) {
    const added = metrics.map((metric) => samplesText(metric, model))
    room -= added.reduce((bytes, text) => bytes + Buffer.byteLength(text), 0)
    if (room < 0) break
    for (const [index, text] of added.entries()) lines[index]?.push(text)
    written += 1
  }
  const state = { asOf, unattributed, unreadable: unreadable.length, targets, leftOut: models.length - written }
  const gauges = STATE.map((metric) => heading(metric, openMetrics) + samplesText(metric, state))
  return `${lines.flat().join('')}${gauges.join('')}${openMetrics ? '# EOF\n' : ''}`
}

/** The most first, and in one order in each answer. */
function byRequests(a: ModelFigures, b: ModelFigures): number {
  return b.sums.requests - a.sums.requests || (a.model < b.model ? -1 : 1)
}

function counter(name: string, help: string, samples: Metric<ModelFigures>['samples']): Metric<ModelFigures> {
  return { name, type: 'counter', help, samples }
}

/** A counter with one sample for each model. */
function modelCounter(name: string, help: string, value: (sums: UsageSums) => number): Metric<ModelFigures> {
  return counter(name, help, ({ model, sums }) => [{ labels: { model }, value: value(sums) }])
}

function histogram(name: string, help: string, of: (model: ModelFigures) => Histogram, labels = byModel) {
  return {
    name,
    type: 'histogram',
    help,
    samples: (model) => bucketsOf(of(model), labels(model)),
  } satisfies Metric<ModelFigures> as Metric<ModelFigures>
}

const byModel = ({ model }: ModelFigures): Labels => ({ model })

const TOLLGATE: readonly Metric<ModelFigures>[] = [
  counter(
    'tollgate_requests_total',
    'Requests that have ended. outcome: answered, refused (by the gateway) or failed; cache: hit, collapsed (by another request’s call) or none.',
    ({ model, sums: { answered, hits, collapsed, refused, failed } }) => [
      { labels: { model, outcome: 'answered', cache: 'hit' }, value: hits },
      { labels: { model, outcome: 'answered', cache: 'collapsed' }, value: collapsed },
      { labels: { model, outcome: 'answered', cache: 'none' }, value: answered - hits - collapsed },
      { labels: { model, outcome: 'refused', cache: 'none' }, value: refused },
      { labels: { model, outcome: 'failed', cache: 'none' }, value: failed },
    ],
  ),
  counter('tollgate_refusals_total', 'Requests that a limit refused, by the limit’s name.', ({ model, refusedBy }) =>
    Object.entries(refusedBy).map(([limit, value]) => ({ labels: { model, limit }, value })),
  ),
  counter('tollgate_tokens_total', 'Tokens that models read (input) and wrote (output).', ({ model, sums }) => [
    { labels: { model, direction: 'input' }, value: sums.tokens.input },
    { labels: { model, direction: 'output' }, value: sums.tokens.output },
  ]),
  counter(
    'tollgate_tokens_by_kind_total',
    'Of those tokens, the ones of a kind with a price or a name of its own: cachedInput, cacheWrite, reasoning and others.',
    ({ model, sums: { tokens } }) =>
      Object.entries(tokens)
        .filter(([kind]) => kind !== 'input' && kind !== 'output')
        .map(([kind, value]) => ({ labels: { model, kind }, value })),
  ),
  modelCounter(
    'tollgate_cost_usd_total',
    'What models cost, in US dollars, by the policy’s prices.',
    ({ costNanoUsd }) => costNanoUsd / NANO,
  ),
  modelCounter(
    'tollgate_saved_usd_total',
    'What hits and shared calls spared, in US dollars.',
    ({ savedNanoUsd }) => savedNanoUsd / NANO,
  ),
  modelCounter(
    'tollgate_unpriced_calls_total',
    'Calls of a model without a price: their cost is in no figure.',
    ({ unpriced }) => unpriced,
  ),
  modelCounter(
    'tollgate_uncertain_requests_total',
    'Requests that were charged all that was reserved, since the model told no usage.',
    ({ uncertain }) => uncertain,
  ),
  counter('tollgate_upstream_calls_total', 'Calls to a target, those that failed among them.', ({ model, targets }) =>
    Object.entries(targets).map(([target, { sums }]) => ({ labels: { model, target }, value: sums.requests })),
  ),
  counter('tollgate_upstream_failures_total', 'Calls to a target that failed.', ({ model, targets }) =>
    Object.entries(targets).map(([target, { failed }]) => ({ labels: { model, target }, value: failed })),
  ),
  histogram(
    'tollgate_request_duration_seconds',
    'How long requests took, to a stream’s own end.',
    ({ duration }) => duration,
  ),
  histogram(
    'tollgate_time_to_first_token_seconds',
    'How long streams took until their first byte.',
    ({ firstToken }) => firstToken,
  ),
]

const byRequestedModel = ({ model }: ModelFigures): Labels => ({ model, requested_model: model })

/**
 * LiteLLM's counters end in `_total` on the wire, whatever its page says. A label that Tollgate can't fill (keys, teams, users, a
 * status) is left out: a wrong value would be worse than none.
 */
const LITELLM: readonly Metric<ModelFigures>[] = [
  counter('litellm_spend_metric_total', 'US dollars that models cost.', ({ model, sums }) => [
    { labels: { model }, value: sums.costNanoUsd / NANO },
  ]),
  ...(
    [
      ['input', 'Tokens that models read.', ({ input }) => input],
      ['output', 'Tokens that models wrote.', ({ output }) => output],
      ['total', 'Tokens that models read and wrote.', ({ input, output }) => input + output],
    ] satisfies [string, string, (tokens: UsageSums['tokens']) => number][]
  ).map(([which, help, value]) =>
    counter(`litellm_${which}_tokens_metric_total`, help, (figures) => [
      { labels: byRequestedModel(figures), value: value(figures.sums.tokens) },
    ]),
  ),
  counter('litellm_proxy_total_requests_metric_total', 'Requests that have ended.', ({ model, sums }) => [
    { labels: { requested_model: model }, value: sums.requests },
  ]),
  counter('litellm_proxy_failed_requests_metric_total', 'Requests refused or failed.', ({ model, sums }) => [
    { labels: { requested_model: model }, value: sums.refused + sums.failed },
  ]),
  histogram(
    'litellm_request_total_latency_metric',
    'How long requests took, in seconds.',
    ({ duration }) => duration,
    byRequestedModel,
  ),
]

interface State {
  readonly asOf: number
  readonly unattributed: readonly Unattributed[]
  readonly unreadable: number
  readonly targets: UsageTotals['targets']
  readonly leftOut: number
}

/** What is no single model's. */
const STATE: readonly Metric<State>[] = [
  {
    name: 'tollgate_usage_as_of_timestamp_seconds',
    type: 'gauge',
    help: 'Up to when ended requests are counted here, in seconds since 1970.',
    samples: ({ asOf }) => [{ labels: {}, value: asOf / MS }],
  },
  {
    name: 'tollgate_unattributed_tokens',
    type: 'gauge',
    help: 'Tokens that limits charged in their present window and no request that is counted here tells of.',
    samples: ({ unattributed }) => {
      const tokens = unattributed.filter(({ measure }) => measure !== 'money')
      const sums = summedBy(tokens, ({ limit, measure }) => `${measure} ${limit}`)
      return sums.map(([{ limit, measure }, value]) => ({ labels: { limit, measure }, value }))
    },
  },
  {
    name: 'tollgate_unattributed_usd',
    type: 'gauge',
    help: 'US dollars that limits charged in their present window and no request that is counted here tells of.',
    samples: ({ unattributed }) => {
      const money = unattributed.filter(({ measure }) => measure === 'money')
      return summedBy(money, ({ limit }) => limit).map(([{ limit }, units]) => ({
        labels: { limit },
        value: units / NANO,
      }))
    },
  },
  {
    name: 'tollgate_target_blocked',
    type: 'gauge',
    help: 'Instances that do not ask a target now. state: blocked (its service said when to come back) or open (it failed again and again).',
    samples: ({ targets }) => {
      const groups = Map.groupBy(targets, ({ target, state }) => `${state} ${target}`)
      return Array.from(groups.values(), (group) => {
        const [{ target, state }] = group as [(typeof group)[number]]
        return { labels: { target, state }, value: new Set(group.map(({ instance }) => instance)).size }
      })
    },
  },
  {
    name: 'tollgate_unreadable_rows',
    type: 'gauge',
    help: 'Rows of the ledger that can’t be read: what only they hold is not counted here.',
    samples: ({ unreadable }) => [{ labels: {}, value: unreadable }],
  },
  {
    name: 'tollgate_models_left_out',
    type: 'gauge',
    help: 'Models that this answer has no room for.',
    samples: ({ leftOut }) => [{ labels: {}, value: leftOut }],
  },
]

/** Units over all subjects, each sum with the first of its members. */
function summedBy<Each extends { readonly units: number }>(
  all: readonly Each[],
  key: (each: Each) => string,
): [Each, number][] {
  const groups = Map.groupBy(all, key).values()
  return Array.from(groups, (group) => [group[0] as Each, group.reduce((sum, { units }) => sum + units, 0)])
}

/** Each bucket counts those below it too; the ledger's doesn't. */
function* bucketsOf({ counts, sumMs }: Histogram, labels: Labels): Generator<Sample> {
  let count = 0
  for (const [index, boundMs] of LATENCY_BOUNDS_MS.entries()) {
    count += counts[index] ?? 0
    yield { suffix: '_bucket', labels: { ...labels, le: canonical(boundMs / MS) }, value: count }
  }
  count += counts[LATENCY_BOUNDS_MS.length] ?? 0
  yield { suffix: '_bucket', labels: { ...labels, le: '+Inf' }, value: count }
  yield { suffix: '_sum', labels, value: sumMs / MS }
  yield { suffix: '_count', labels, value: count }
}

/** As OpenMetrics wants a bound: `1.0`. In both formats, so that a scraper that changes them keeps its series. */
function canonical(bound: number): string {
  return Number.isInteger(bound) ? `${bound}.0` : String(bound)
}

/** OpenMetrics names a counter without the `_total` of its samples. */
function heading({ name, type, help }: Metric<never>, openMetrics: boolean): string {
  const family = openMetrics && type === 'counter' ? name.replace(/_total$/, '') : name
  return `# HELP ${family} ${help}\n# TYPE ${family} ${type}\n`
}

function samplesText<Of>({ name, samples }: Metric<Of>, of: Of): string {
  let text = ''
  for (const { suffix = '', labels, value } of samples(of)) text += `${name}${suffix}${labelsText(labels)} ${value}\n`
  return text
}

function labelsText(labels: Labels): string {
  const pairs = Object.entries(labels).map(([label, value]) => `${label}="${escaped(value)}"`)
  return pairs.length === 0 ? '' : `{${pairs.join(',')}}`
}

function escaped(value: string): string {
  return value.replace(/[\\"\n]/g, (character) => (character === '\n' ? '\\n' : `\\${character}`))
}
