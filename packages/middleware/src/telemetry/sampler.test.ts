import { ROOT_CONTEXT } from '@opentelemetry/api'
import { TraceIdRatioBasedSampler } from '@opentelemetry/sdk-trace-base'
import { describe, expect, test } from 'vitest'
import { newTraceId } from '../pipeline/index.ts'
import { DEFAULT_SAMPLER, samplerOf } from './sampler.ts'

const TRACE = newTraceId()

describe('a sampler', () => {
  test.each([
    ['parentbased_always_on', true, false, true],
    ['parentbased_always_off', false, false, true],
    ['always_on', true, true, true],
    ['always_off', false, false, false],
  ])(
    '%s keeps what begins (%j), what its caller does not keep (%j), and what it does (%j)',
    (name, begun, not, kept) => {
      const sampler = samplerOf(name)?.sampler
      expect([undefined, false, true].map((parent) => sampler?.(TRACE, parent))).toEqual([begun, not, kept])
    },
  )

  test.each(['0', '0.1', '.25', '0.5', '0.999', '1', '1.0'])(
    'of a ratio of %s keeps the traces that OpenTelemetry’s own keeps',
    (ratio) => {
      const theirs = new TraceIdRatioBasedSampler(Number(ratio))
      const [ours, parentBased] = [
        samplerOf('traceidratio', ratio)?.sampler,
        samplerOf('parentbased_traceidratio', ratio)?.sampler,
      ]
      for (let count = 0; count < 2_000; count += 1) {
        const traceId = newTraceId()
        const { decision } = theirs.shouldSample(ROOT_CONTEXT, traceId)
        expect([ours?.(traceId, true), parentBased?.(traceId, undefined)]).toEqual([decision > 0, decision > 0])
      }
      expect([parentBased?.(TRACE, true), parentBased?.(TRACE, false)]).toEqual([true, false])
    },
  )

  test.each([
    ['microsoft.fixed_percentage', '0.1'],
    ['parentbased_toString', undefined],
    ['traceidratio', '10%'],
    ['traceidratio', '1.5'],
    ['traceidratio', '-0.1'],
  ])('is none: %s, %s', (name, part) => {
    expect(samplerOf(name, part)).toBeUndefined()
  })

  test('keeps all by default', () => {
    expect(samplerOf(DEFAULT_SAMPLER)).toEqual({ sampler: expect.any(Function), part: 1 })
    expect(samplerOf(DEFAULT_SAMPLER)?.sampler(TRACE, undefined)).toBe(true)
  })
})
