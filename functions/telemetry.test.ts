import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { readSettings } from './settings.ts'
import { hostRecords, telemetryFrom } from './telemetry.ts'

const CONNECTION = 'InstrumentationKey=0a7f1c1e-8e2b-4b7e-9d55-3f0c5d1b2a60'
const OTLP = 'http://127.0.0.1:4318'

function opened(env: Record<string, string>) {
  const lines: unknown[] = []
  const telemetry = telemetryFrom(env, true, (level, event) => lines.push(`${level} ${event}`))
  return { telemetry, lines }
}

describe('telemetry is exported', () => {
  test.each<[string, Record<string, string>, boolean]>([
    ['not by default', {}, false],
    ['where Application Insights has a connection string', { APPLICATIONINSIGHTS_CONNECTION_STRING: CONNECTION }, true],
    ['not for one that is empty', { APPLICATIONINSIGHTS_CONNECTION_STRING: '' }, false],
    [
      'not where that is the host’s alone',
      { APPLICATIONINSIGHTS_CONNECTION_STRING: CONNECTION, TOLLGATE_APPLICATION_INSIGHTS: 'off' },
      false,
    ],
    ['where a collector is named', { OTEL_EXPORTER_OTLP_ENDPOINT: OTLP }, true],
    ['where one is named for traces', { OTEL_EXPORTER_OTLP_TRACES_ENDPOINT: `${OTLP}/v1/traces` }, true],
    ['where one is named for metrics', { OTEL_EXPORTER_OTLP_METRICS_ENDPOINT: `${OTLP}/v1/metrics` }, true],
    [
      'not where both signals are switched off',
      { OTEL_EXPORTER_OTLP_ENDPOINT: OTLP, OTEL_TRACES_EXPORTER: 'none', OTEL_METRICS_EXPORTER: 'none' },
      false,
    ],
    ['where one of them is', { OTEL_EXPORTER_OTLP_ENDPOINT: OTLP, OTEL_TRACES_EXPORTER: 'none' }, true],
    [
      'not where OpenTelemetry is switched off',
      {
        OTEL_EXPORTER_OTLP_ENDPOINT: OTLP,
        APPLICATIONINSIGHTS_CONNECTION_STRING: CONNECTION,
        OTEL_SDK_DISABLED: 'True',
      },
      false,
    ],
  ])('%s', (_what, env, expected) => {
    const { telemetry, lines } = opened(env)
    expect([telemetry !== undefined, lines]).toEqual([expected, []])
  })
})

test('all traces are kept, unless a sampler says less; one that is none is said, and keeps all', () => {
  const kept = (env: Record<string, string>) => {
    const { telemetry, lines } = opened({ OTEL_EXPORTER_OTLP_ENDPOINT: OTLP, ...env })
    return [telemetry?.sampler('0'.repeat(31).concat('1'), undefined), lines]
  }
  expect(kept({})).toEqual([true, []])
  expect(kept({ OTEL_TRACES_SAMPLER: 'always_off' })).toEqual([false, []])
  expect(kept({ OTEL_TRACES_SAMPLER: 'parentbased_traceidratio', OTEL_TRACES_SAMPLER_ARG: '0' })).toEqual([false, []])
  expect(kept({ OTEL_TRACES_SAMPLER: 'microsoft.fixed_percentage', OTEL_TRACES_SAMPLER_ARG: '0.1' })).toEqual([
    true,
    ['warn telemetry setting'],
  ])
})

test('another protocol than the one that is spoken is said', () => {
  const linesWith = (protocol: string) =>
    opened({ OTEL_EXPORTER_OTLP_ENDPOINT: OTLP, OTEL_EXPORTER_OTLP_PROTOCOL: protocol }).lines
  expect([linesWith('http/protobuf'), linesWith('grpc')]).toEqual([[], ['warn telemetry setting']])
})

test('TOLLGATE_APPLICATION_INSIGHTS is on or off', () => {
  const read = (value: string) =>
    readSettings({ TOLLGATE_STORAGE: 'memory:', TOLLGATE_APPLICATION_INSIGHTS: value }, '/nowhere')
  for (const value of ['', 'on', 'off']) expect(() => read(value)).not.toThrow()
  expect(() => read('false')).toThrow('TOLLGATE_APPLICATION_INSIGHTS must be on or off.')
})

describe('the host records requests itself', () => {
  const root = mkdtempSync(join(tmpdir(), 'tollgate-telemetry-'))
  afterAll(() => rmSync(root, { recursive: true, force: true }))
  const hostJson = (content: object) => writeFileSync(join(root, 'host.json'), JSON.stringify(content))
  beforeAll(() => hostJson({ version: '2.0' }))

  test('by Application Insights, whether the app does or not', () => {
    expect(hostRecords({ APPLICATIONINSIGHTS_CONNECTION_STRING: CONNECTION }, root)).toBe(true)
    expect(hostRecords({}, root)).toBe(false)
    expect(hostRecords({}, '/nowhere')).toBe(false)
  })

  test('by OpenTelemetry, where host.json or a setting says so', () => {
    expect(hostRecords({ AzureFunctionsJobHost__telemetryMode: 'OpenTelemetry' }, root)).toBe(true)
    hostJson({ version: '2.0', telemetryMode: 'openTelemetry' })
    expect(hostRecords({}, root)).toBe(true)
    expect(hostRecords({ AzureFunctionsJobHost__telemetryMode: 'ApplicationInsights' }, root)).toBe(false)
  })
})
