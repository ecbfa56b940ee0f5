import { describe, expect, test } from 'vitest'
import { request } from '../../../../test/support/base-context.ts'
import type { GatewayRequest } from '../pipeline/index.ts'
import { requestTrace, type Sampler } from './request-trace.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'
const HOST = 'c0ffee0000000001'

function asked(headers: Record<string, string>, hostSpan?: GatewayRequest['hostSpan']): GatewayRequest {
  return { ...request, headers: new Headers(headers), hostSpan }
}
const traceparent = (flags: string, span = SPAN) => `00-${TRACE}-${span}-${flags}`
const parentBased = { sampler: ((_traceId, parent) => parent ?? true) satisfies Sampler, hasHostRequest: true }

describe('where no spans are exported', () => {
  test('a request is in no trace, unless it came with one', () => {
    expect(requestTrace(asked({}))).toBeUndefined()
    expect(requestTrace(asked({ traceparent: 'x', tracestate: 'a=b' }))).toBeUndefined()
  })

  test('what came is kept as it is', () => {
    expect(requestTrace(asked({ traceparent: traceparent('01'), tracestate: 'a=b' }))).toEqual({
      traceId: TRACE,
      parentId: SPAN,
      spanId: undefined,
      isSampled: true,
      state: 'a=b',
    })
  })

  test('the host’s own span counts before the client’s header', () => {
    const hostSpan = { traceparent: traceparent('00', HOST) }
    const trace = requestTrace(asked({ traceparent: traceparent('01'), tracestate: 'a=b' }, hostSpan))
    expect(trace).toMatchObject({ parentId: HOST, isSampled: false, state: undefined })
  })

  test.each([[{}], [{ traceparent: '' }], [{ traceparent: 'x', tracestate: 'a=b' }]])(
    'a host that has none (%j) leaves it to the header',
    (hostSpan) => {
      const trace = requestTrace(asked({ traceparent: traceparent('01') }, hostSpan))
      expect(trace).toMatchObject({ parentId: SPAN, state: undefined })
    },
  )
})

describe('where spans are exported', () => {
  test('a request begins a trace, or goes on with its client’s', () => {
    const own = { traceId: expect.stringMatching(/^[\da-f]{32}$/), spanId: expect.stringMatching(/^[\da-f]{16}$/) }
    const begun = requestTrace(asked({ traceparent: 'x', tracestate: 'a=b' }), parentBased)
    expect(begun).toEqual({ ...own, parentId: undefined, isSampled: true, state: undefined })
    const went = requestTrace(asked({ traceparent: traceparent('00') }), parentBased)
    expect(went).toEqual({ ...own, traceId: TRACE, parentId: SPAN, isSampled: false, state: undefined })
  })

  test.each([
    ['that says it is recorded', '01', true],
    // The classic host leaves the flag unset whether it records or not.
    ['whose flag is not set', '00', undefined],
  ])('a sampler is told of a host’s span %s', (_what, flags, expected) => {
    const told: unknown[] = []
    const sampler: Sampler = (_traceId, parent) => told.push(parent) > 0
    requestTrace(asked({}, { traceparent: traceparent(flags, HOST) }), { sampler, hasHostRequest: true })
    expect(told).toEqual([expected])
  })

  test('the span of a host that records none is no parent: what its client sent is', () => {
    const exported = { ...parentBased, hasHostRequest: false }
    const hostSpan = { traceparent: `00-${'a'.repeat(32)}-${HOST}-00` }
    expect(requestTrace(asked({ traceparent: traceparent('01') }, hostSpan), exported)).toMatchObject({
      traceId: TRACE,
      parentId: SPAN,
    })
    expect(requestTrace(asked({}, hostSpan), exported)).toMatchObject({ parentId: undefined })
  })
})
