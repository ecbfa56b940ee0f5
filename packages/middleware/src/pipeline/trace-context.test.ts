import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { newSpanId, newTraceId, readTraceparent, traceHeaders } from './trace-context.ts'

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const SPAN = 'b7ad6b7169203331'
const trace = { traceId: TRACE, parentId: SPAN, spanId: undefined, isSampled: true, state: undefined }

describe('a traceparent', () => {
  test.each([
    ['as it is', `00-${TRACE}-${SPAN}-01`, true],
    ['of a trace that is not recorded', `00-${TRACE}-${SPAN}-00`, false],
    ['whose trace id is random, by its second flag', `00-${TRACE}-${SPAN}-03`, true],
    ['of a later version', `cc-${TRACE}-${SPAN}-01`, true],
    ['of a later version with more to it', `cc-${TRACE}-${SPAN}-00-what-comes`, false],
  ])('is read: %s', (_what, text, isSampled) => {
    expect(readTraceparent(text)).toEqual({ traceId: TRACE, parentId: SPAN, isSampled })
  })

  test.each([
    ['none', null],
    ['nothing', ''],
    ['two of them', `00-${TRACE}-${SPAN}-01, 00-${TRACE}-${SPAN}-01`],
    ['more than its version has', `00-${TRACE}-${SPAN}-01-00`],
    ['a version that can’t be', `ff-${TRACE}-${SPAN}-01`],
    ['no trace', `00-${'0'.repeat(32)}-${SPAN}-01`],
    ['no span', `00-${TRACE}-${'0'.repeat(16)}-01`],
    ['capitals', `00-${TRACE.toUpperCase()}-${SPAN}-01`],
    ['too short', `00-${TRACE.slice(1)}-${SPAN}-01`],
    ['no flags', `00-${TRACE}-${SPAN}`],
    ['spaces', ` 00-${TRACE}-${SPAN}-01`],
    ['something else', 'hello'],
  ])('is none: %s', (_what, text) => {
    expect(readTraceparent(text)).toBeUndefined()
  })

  test('of any text neither throws, nor comes to anything but ids', () => {
    const nearly = fc.stringMatching(/^[0-9a-f-]{50,60}$/)
    fc.assert(
      fc.property(fc.oneof(fc.string({ unit: 'binary' }), nearly), (text) => {
        const read = readTraceparent(text)
        if (read !== undefined) expect(`${read.traceId} ${read.parentId}`).toMatch(/^[\da-f]{32} [\da-f]{16}$/)
      }),
    )
  })
})

describe('what is passed on', () => {
  test('names the call’s own span; without one, the span that came', () => {
    expect(traceHeaders(trace, 'c'.repeat(16))).toEqual(['traceparent', `00-${TRACE}-${'c'.repeat(16)}-01`])
    expect(traceHeaders({ ...trace, isSampled: false })).toEqual(['traceparent', `00-${TRACE}-${SPAN}-00`])
    expect(traceHeaders({ ...trace, parentId: undefined })).toEqual([])
  })

  test.each([
    ['a vendor’s', 'congo=t61rcWkgMzE'],
    ['several, with spaces and none between', 'rojo=00f067aa0ba902b7 , ,tenant@vendor=a b=c'.replace('b=c', 'b')],
  ])('holds the tracestate as it came: %s', (_what, state) => {
    expect(traceHeaders({ ...trace, state }).slice(2)).toEqual(['tracestate', state])
  })

  test.each([
    ['no pair', 'congo'],
    ['control characters', 'congo=a\tb'],
    ['a line of its own', 'congo=a\r\nx-api-key: k'],
    ['what is no ASCII', 'congo=é'],
    ['a key in capitals', 'Congo=a'],
    ['too many', Array.from({ length: 33 }, (_, index) => `k${index}=v`).join()],
    ['too long', `k=${'v'.repeat(511)}`],
  ])('leaves out a tracestate that is none: %s', (_what, state) => {
    expect(traceHeaders({ ...trace, state })).toHaveLength(2)
  })

  test('of any tracestate is no header that ends another', () => {
    fc.assert(
      fc.property(fc.string({ unit: 'binary' }), (state) => {
        for (const value of traceHeaders({ ...trace, state })) expect(value).toMatch(/^[\x20-\x7e]*$/)
      }),
    )
  })
})

test('new ids are what the standard asks for, and differ', () => {
  const ids = Array.from({ length: 1_000 }, () => [newTraceId(), newSpanId()])
  expect(ids.filter(([trace = '', span = '']) => !/^[\da-f]{32}$/.test(trace) || !/^[\da-f]{16}$/.test(span))).toEqual(
    [],
  )
  expect(new Set(ids.flat()).size).toBe(2_000)
})
