import { describe, expect, test } from 'vitest'
import { type HttpResponse, type Refusal, upstreamFailed } from '../pipeline/index.ts'
import { azureRefusal, openaiFailure, openaiRefusal } from './openai-error.ts'

const refusal = (code: Refusal['code'], status: number, more: Partial<Refusal> = {}): Refusal => ({
  kind: 'refusal',
  code,
  status,
  message: 'Why.',
  ...more,
})
const bodyOf = ({ body }: HttpResponse) => JSON.parse(String(body))
const failed = (upstream: Parameters<typeof upstreamFailed>[0]) => upstreamFailed(upstream)

describe('as OpenAI writes it', () => {
  test('a limit of the policy reads as a rate limit, on requests or on tokens', () => {
    const details = "limit 'requests': 10 per 1m; come back in 6 s"
    const limited = refusal('rate_limit_exceeded', 429, { details, counted: 'tokens', headers: { 'retry-after': '6' } })
    const { status, headers, body } = openaiRefusal(limited)
    expect([status, headers]).toEqual([429, { 'content-type': 'application/json', 'retry-after': '6' }])
    expect(JSON.parse(String(body))).toEqual({
      error: {
        message: `Rate limit reached: ${details}. Please retry after 6 seconds.`,
        type: 'tokens',
        param: null,
        code: 'rate_limit_exceeded',
      },
    })
    const { counted: _, ...ofRequests } = limited
    expect(bodyOf(openaiRefusal(ofRequests)).error.type).toBe('requests')
  })

  test('a spent budget reads as quota, and is not to be tried again', () => {
    const spent = refusal('insufficient_quota', 429, { details: '5 USD per month', headers: { 'retry-after': '9' } })
    expect(openaiRefusal(spent).headers).toMatchObject({ 'retry-after': '9', 'x-should-retry': 'false' })
    expect(bodyOf(openaiRefusal(spent))).toEqual({
      error: {
        message: 'Why. (5 USD per month)',
        type: 'insufficient_quota',
        param: null,
        code: 'insufficient_quota',
      },
    })
  })

  test('a field at fault is named', () => {
    const { status, body } = openaiRefusal(refusal('invalid_request', 400, { param: 'n' }))
    expect([status, JSON.parse(String(body))]).toEqual([
      400,
      { error: { message: 'Why.', type: 'invalid_request_error', param: 'n', code: 'invalid_request' } },
    ])
  })

  test.each([400, 413, 415, 422, 451])('what the model’s service says of the request (%d) goes on whole', (status) => {
    const said = {
      message: 'The response was filtered',
      type: null,
      param: 'prompt',
      code: 'content_filter',
      innererror: { code: 'ResponsibleAIPolicyViolation', content_filter_result: { hate: { filtered: true } } },
    }
    const answer = openaiRefusal({ ...failed({ status, code: 'content_filter' }), said })
    expect([answer.status, bodyOf(answer)]).toEqual([status, { error: said }])
    expect(bodyOf(azureRefusal({ ...failed({ status }), said }))).toEqual({ error: said })
  })

  test('a service at its own limit is one, and its wait is passed on', () => {
    const answer = openaiRefusal(failed({ status: 429, code: 'rate_limit_exceeded', retryAfterMs: 1_500 }))
    expect(answer).toMatchObject({ status: 429, headers: { 'retry-after': '2', 'retry-after-ms': '1500' } })
    expect(bodyOf(answer).error).toMatchObject({ type: 'requests', code: 'rate_limit_exceeded' })
  })

  test.each([
    ['the operator’s key', { status: 401, code: 'invalid_api_key' }],
    ['the operator’s empty account', { status: 429, code: 'insufficient_quota' }],
    ['a failure', { status: 500 }],
    ['no connection', { code: 'connection_failed' }],
  ])('%s is a 502, told by its status and code alone', (_what, upstream) => {
    const answer = openaiRefusal(failed(upstream))
    expect(answer.status).toBe(502)
    expect(bodyOf(answer).error).toMatchObject({ type: 'server_error', code: 'upstream_failed' })
  })
})

describe('x-should-retry: false', () => {
  test.each<[string, Refusal, boolean]>([
    ['a 400', refusal('invalid_request', 400), true],
    ['a 401', refusal('invalid_api_key', 401), true],
    ['a 403', refusal('model_not_priced', 403), true],
    ['a 404', refusal('model_not_found', 404), true],
    ['a 413', refusal('request_too_large', 413), true],
    ['a spent budget', refusal('insufficient_quota', 429), true],
    ['nothing configured', refusal('not_configured', 500), true],
    ['nothing cached', refusal('not_cached', 504), true],
    ['65 minutes', refusal('request_timeout', 408), true],
    ['a wait of a minute', refusal('rate_limit_exceeded', 429, { headers: { 'retry-after': '60' } }), false],
    ['a longer wait', refusal('rate_limit_exceeded', 429, { headers: { 'retry-after': '61' } }), true],
    ['a target’s longer wait', failed({ status: 503, retryAfterMs: 61_000 }), true],
    ['a target’s wrong key', failed({ status: 401 }), true],
    ['a target that redirects', failed({ status: 307 }), true],
    ['a request that is too large for a target’s rate limit', failed({ status: 429, code: 'request_too_large' }), true],
    ['a target’s empty account', failed({ status: 429, code: 'insufficient_quota' }), true],
    ['a target’s limit', failed({ status: 429 }), false],
    ['a target’s time-out', failed({ status: 408 }), false],
    ['a target’s failure', failed({ status: 500 }), false],
    ['a time limit', failed({ code: 'timeout' }), false],
    ['too long an answer', failed({ status: 200, code: 'answer_too_large' }), true],
    ['a store that is down', refusal('store_unavailable', 503, { headers: { 'retry-after': '1' } }), false],
    ['an instance that ends', refusal('shutting_down', 503), false],
    ['a defect', refusal('internal_error', 500), false],
  ])('of %s', (_what, refused, isSaid) => {
    for (const render of [openaiRefusal, azureRefusal]) {
      expect(render(refused).headers['x-should-retry']).toBe(isSaid ? 'false' : undefined)
    }
  })
})

describe('as Azure OpenAI writes it', () => {
  test.each<[string, Refusal, number, object]>([
    [
      'a limit',
      refusal('rate_limit_exceeded', 429, { headers: { 'retry-after': '22' } }),
      429,
      {
        code: '429',
        message: 'Rate limit reached. Please retry after 22 seconds.',
        innererror: { code: 'rate_limit_exceeded' },
      },
    ],
    [
      'a key',
      refusal('invalid_api_key', 401),
      401,
      { code: '401', message: 'Why.', innererror: { code: 'invalid_api_key' } },
    ],
    ['a deployment', refusal('model_not_found', 404), 404, { code: 'DeploymentNotFound', message: 'Why.' }],
    ['a path', refusal('not_found', 404), 404, { code: '404', message: 'Why.', innererror: { code: 'not_found' } }],
    [
      'a spent budget',
      refusal('insufficient_quota', 429),
      429,
      { message: 'Why.', type: 'insufficient_quota', param: null, code: 'insufficient_quota' },
    ],
    [
      'a field',
      refusal('invalid_request', 400, { param: 'n' }),
      400,
      { message: 'Why.', type: 'invalid_request_error', param: 'n', code: 'invalid_request' },
    ],
    [
      'a defect',
      refusal('internal_error', 500),
      500,
      { code: '500', message: 'Why.', innererror: { code: 'internal_error' } },
    ],
  ])('%s', (_what, refused, status, error) => {
    const answer = azureRefusal(refused)
    expect([answer.status, bodyOf(answer)]).toEqual([status, { error }])
  })
})

test('the error of a stream says what broke, and never the service’s own text', () => {
  expect(openaiFailure({ status: 200, code: 'stream_cut' })).toEqual({
    error: {
      message: "The model's service failed to process the request (status 200, code stream_cut).",
      type: 'server_error',
      param: null,
      code: 'stream_cut',
    },
  })
})
