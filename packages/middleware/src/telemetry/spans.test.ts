import { describe, expect, test } from 'vitest'
import { attempt, finishedRequest, TRACE } from '../../../../test/support/traced-request.ts'
import { type FinishedRequest, outcomeOf } from '../pipeline/index.ts'
import { type SpanOptions, spansOf } from './spans.ts'

const STORES = { keys: 'azure.tables', counters: 'redis', completions: 'redis' }
const underHost: SpanOptions = { hasHostRequest: true, stores: STORES }
const alone: SpanOptions = { hasHostRequest: false, stores: STORES }

describe('the span of a request', () => {
  test('stands under the host’s own, and tells what the line tells', () => {
    const [span] = spansOf(finishedRequest(), underHost)
    expect(span).toMatchObject({
      name: 'tollgate chat-completions',
      kind: 'internal',
      traceId: TRACE.traceId,
      spanId: TRACE.spanId,
      parentId: TRACE.parentId,
      startedAt: 1_800_000_000_000,
      ms: 1_300,
      failed: false,
      exceptions: [],
    })
    expect(span?.attributes).toEqual({
      'http.response.status_code': 200,
      'tollgate.request_id': 'r-1',
      'tollgate.outcome': 'answered',
      'tollgate.status': 200,
      'tollgate.surface': 'chat-completions',
      'tollgate.route': 'chat',
      'tollgate.consumer': 'alice',
      'tollgate.plan': 'pro',
      'tollgate.model': 'chat',
      'tollgate.cache': 'miss',
      'tollgate.cost_nano_usd': 123_456,
    })
  })

  test('is the request itself where the host records none', () => {
    const [span] = spansOf(finishedRequest({ trace: { ...TRACE, parentId: undefined } }), alone)
    expect(span).toMatchObject({ kind: 'server', parentId: undefined, attributes: { 'http.request.method': 'POST' } })
  })

  test.each<[string, Partial<FinishedRequest>, string, string | undefined]>([
    ['that a limit refused', { status: 429, refusal: 'rate_limit_exceeded' }, 'refused', undefined],
    ['whose model failed', { status: 502, refusal: 'upstream_failed' }, 'failed', 'upstream_failed'],
    ['whose client left before its answer', { status: 499, refusal: 'client_left' }, 'refused', undefined],
    ['whose client left its stream', { stream: 'client_left' }, 'answered', undefined],
    ['whose stream broke', { stream: 'broken' }, 'failed', 'broken'],
    ['whose stream came whole', { stream: 'complete' }, 'answered', undefined],
  ])('of one %s says so', (_what, change, outcome, error) => {
    const request = finishedRequest(change)
    const [span] = spansOf(request, underHost)
    expect([outcomeOf(request), span?.attributes['tollgate.outcome'], span?.failed]).toEqual([
      outcome,
      outcome,
      error !== undefined,
    ])
    expect([span?.attributes['error.type'], span?.attributes['tollgate.refusal']]).toEqual([error, change.refusal])
  })

  test('has its faults, as far as the log shows them', () => {
    const faults = [
      { fault: 'TypeError', message: 'x is not a function', at: ['at f (a.ts:1:2)'] },
      { fault: 'string' },
    ]
    const [span] = spansOf(finishedRequest({ status: 500, refusal: 'internal_error', faults }), underHost)
    expect(span?.exceptions).toEqual([
      {
        'exception.type': 'TypeError',
        'exception.message': 'x is not a function',
        'exception.stacktrace': 'TypeError: x is not a function\n    at f (a.ts:1:2)',
      },
      { 'exception.type': 'string', 'exception.message': 'string', 'exception.stacktrace': 'string: string' },
    ])
  })

  test.each([
    ['no trace', undefined],
    ['a trace that is not kept', { ...TRACE, isSampled: false }],
    ['a trace that is only passed on', { ...TRACE, spanId: undefined }],
  ])('is none with %s', (_what, trace) => {
    const { trace: _, ...request } = finishedRequest()
    expect(spansOf({ ...request, ...(trace && { trace }) }, underHost)).toEqual([])
  })
})

describe('the span of a call', () => {
  const callOf = (change: Parameters<typeof attempt>[0], request: Partial<FinishedRequest> = {}) =>
    spansOf(finishedRequest({ ...request, facts: { attempts: [attempt(change)] } }), underHost).at(-1)

  test('is named and described by the GenAI conventions', () => {
    const span = callOf({})
    expect(span).toMatchObject({
      name: 'chat gpt-5-mini',
      kind: 'client',
      spanId: 'c0ffee0000000002',
      parentId: TRACE.spanId,
      startedAt: 1_800_000_000_020,
      ms: 1_234.5,
      failed: false,
    })
    expect(span?.attributes).toEqual({
      'gen_ai.operation.name': 'chat',
      'gen_ai.provider.name': 'azure.ai.openai',
      'gen_ai.system': 'azure.ai.openai',
      'gen_ai.request.model': 'gpt-5-mini',
      'gen_ai.usage.input_tokens': 100,
      'gen_ai.usage.output_tokens': 20,
      'gen_ai.usage.cache_read.input_tokens': 40,
      'gen_ai.usage.cache_creation.input_tokens': 5,
      'gen_ai.usage.reasoning.output_tokens': 7,
      'http.request.method': 'POST',
      'http.response.status_code': 200,
      'server.address': 'res.openai.azure.com',
      'server.port': 443,
      'tollgate.model': 'chat',
      'tollgate.target': 'azure/gpt',
      'tollgate.cost_nano_usd': 123_456,
    })
  })

  test.each([
    ['by a code', { status: 429, code: 'rate_limit_exceeded' }, 'rate_limit_exceeded', 429, true],
    ['by a status', { status: 503 }, '503', 503, true],
    ['without an answer', { code: 'timeout' }, 'timeout', undefined, true],
    ['as its client left', { code: 'client_left' }, 'client_left', undefined, false],
  ])('that failed %s tells it', (_what, failure, error, status, failed) => {
    const span = callOf({ failure })
    expect(span?.failed).toBe(failed)
    expect(span?.attributes['tollgate.error']).toBe(error)
    expect(span?.attributes['http.response.status_code']).toBe(status)
    expect(span?.attributes['error.type']).toBe(failed ? error : undefined)
  })

  test.each([
    ['responses', 'chat'],
    ['embeddings', 'embeddings'],
  ])('of %s is called %s', (operation, name) => {
    expect(callOf({}, { story: { operation, steps: [] } })?.name).toBe(`${name} gpt-5-mini`)
  })

  test('that went on when its client had left has no request’s span again', () => {
    const spans = spansOf(finishedRequest({ call: 1 }), underHost)
    expect(spans.map(({ name, parentId }) => [name, parentId])).toEqual([['chat gpt-5-mini', TRACE.spanId]])
  })
})

describe('what a request waited for in a store', () => {
  const steps = [
    { name: 'key', decision: 'known', ms: 12 },
    { name: 'limits', decision: 'admitted', ms: 0.4 },
    { name: 'body', decision: 'decoded', ms: 3 },
    { name: 'route', decision: 'named', ms: 0.1 },
    { name: 'cache', decision: 'miss', ms: 5.5 },
    { name: 'budget', decision: 'reserved', ms: 2 },
    { name: 'attempts', decision: 'answered', ms: 1_200 },
    { name: 'settle', decision: 'certain', ms: 0.2 },
    { name: 'store', decision: 'stored', ms: 4 },
  ] as const
  const waits = (change: Partial<FinishedRequest> = {}, options = underHost) =>
    spansOf(finishedRequest({ facts: { attempts: [] }, story: { steps }, ...change }), options).slice(1)

  test('is a span for each step that was longer than a look into memory', () => {
    expect(
      waits().map(({ name, startedAt, ms, attributes }) => [name, startedAt, ms, attributes['db.system.name']]),
    ).toEqual([
      ['tollgate key', 1_800_000_000_000, 12, 'azure.tables'],
      ['tollgate cache', 1_800_000_000_000 + 15.5, 5.5, 'redis'],
      ['tollgate budget', 1_800_000_000_000 + 21, 2, 'redis'],
      ['tollgate store', expect.closeTo(1_800_000_000_000 + 1_223.2, 3), 4, 'redis'],
    ])
  })

  test('is no span once the answer was sent, nor in memory, nor where another’s call was waited for', () => {
    expect(waits({ ms: 1_224 }).map(({ name }) => name)).not.toContain('tollgate store')
    const memory = { keys: undefined, counters: undefined, completions: undefined }
    expect(waits({}, { ...underHost, stores: memory })).toEqual([])
    expect(waits({ story: { steps: [{ name: 'cache', decision: 'collapsed', ms: 900 }] } })).toEqual([])
  })
})
