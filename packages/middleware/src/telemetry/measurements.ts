import { type FinishedRequest, outcomeOf } from '../pipeline/index.ts'
import { type Attributes, callOf, errorOf } from './spans.ts'

/*
 * What a request's end adds to metrics. Every dimension has a bound: the policy's models, the targets' own names of them, and
 * known words. None is of a consumer: backends bound how many series there may be, and the ledger has the rest.
 */

export interface Metric {
  readonly kind: 'counter' | 'histogram'
  readonly unit: string
  readonly description: string
  /** Upper bounds of a histogram's buckets. */
  readonly bounds?: readonly number[]
}

/** In seconds, as the GenAI conventions have them. */
const SECONDS = [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 40.96, 81.92]
const TOKENS = [1, 4, 16, 64, 256, 1_024, 4_096, 16_384, 65_536, 262_144, 1_048_576, 4_194_304, 16_777_216, 67_108_864]

export const METRICS = {
  'tollgate.requests': { kind: 'counter', unit: '{request}', description: 'Requests that have ended.' },
  // Whole numbers: their sum is the log lines' to the last digit.
  'tollgate.cost': { kind: 'counter', unit: 'nUSD', description: 'What calls to models cost, in nano-dollars.' },
  'gen_ai.client.token.usage': {
    kind: 'histogram',
    unit: '{token}',
    description: 'Tokens that a call to a model read (input) and wrote (output).',
    bounds: TOKENS,
  },
  'gen_ai.client.operation.duration': {
    kind: 'histogram',
    unit: 's',
    description: 'How long a call to a model took.',
    bounds: SECONDS,
  },
  'gen_ai.client.operation.time_to_first_chunk': {
    kind: 'histogram',
    unit: 's',
    description: 'Until the first event of a streamed call to a model came.',
    bounds: SECONDS,
  },
} as const satisfies Readonly<Record<string, Metric>>

export type MetricName = keyof typeof METRICS

export interface Measurement {
  readonly metric: MetricName
  readonly value: number
  readonly attributes: Attributes
}

/** Models' services have codes of their own; these are told, and all others as one. */
const KNOWN_ERRORS: ReadonlySet<string> = new Set([
  'timeout',
  'connection_failed',
  'request_failed',
  'address_not_allowed',
  'invalid_response',
  'answer_too_large',
  'stream_cut',
  'error_event',
  'client_left',
  'slot_lost',
  'reservation_exceeded',
  'shutting_down',
  'request_timeout',
  'rate_limit_exceeded',
  'insufficient_quota',
  'content_filter',
  'context_length_exceeded',
  'model_not_found',
  'server_error',
])

/** What the conventions call an error of no known kind. */
const OTHER = '_OTHER'

function boundedError(error: string): string {
  return KNOWN_ERRORS.has(error) || /^[1-5]\d\d$/.test(error) ? error : OTHER
}

export function measurementsOf(request: FinishedRequest): readonly Measurement[] {
  const { facts, story, call } = request
  const measured: Measurement[] = []
  const add = (metric: MetricName, value: number, attributes: Attributes) =>
    measured.push({ metric, value, attributes })
  if (call === 0) {
    add('tollgate.requests', 1, {
      'tollgate.model': facts.model ?? '',
      'tollgate.outcome': outcomeOf(request),
      ...(request.refusal === undefined ? {} : { 'tollgate.refusal': request.refusal }),
      'tollgate.cache': facts.cache ?? 'none',
    })
  }
  for (const attempt of facts.attempts ?? []) {
    const { usage, failure, costNanoUsd, firstTokenMs, ms } = attempt
    const of = { ...callOf(attempt, story.operation), 'tollgate.model': attempt.model }
    add('gen_ai.client.operation.duration', ms / 1_000, {
      ...of,
      ...(failure === undefined ? {} : { 'error.type': boundedError(errorOf(failure)) }),
    })
    if (firstTokenMs !== undefined) add('gen_ai.client.operation.time_to_first_chunk', firstTokenMs / 1_000, of)
    if (usage !== undefined) {
      add('gen_ai.client.token.usage', usage.input, { ...of, 'gen_ai.token.type': 'input' })
      add('gen_ai.client.token.usage', usage.output, { ...of, 'gen_ai.token.type': 'output' })
    }
    if (costNanoUsd !== undefined) add('tollgate.cost', costNanoUsd, { 'tollgate.model': attempt.model })
  }
  return measured
}
