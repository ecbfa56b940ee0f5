import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { type OtlpReceiver, startOtlpReceiver } from '../../../../test/support/otlp-receiver.ts'
import { finishedRequest, TRACE } from '../../../../test/support/traced-request.ts'
import { newSpanId } from '../pipeline/index.ts'
import { type ExportedTelemetry, exportTelemetry, type TelemetryOptions } from './export-telemetry.ts'

let receiver: OtlpReceiver
const lines: Record<string, unknown>[] = []
beforeEach(async () => {
  receiver = await startOtlpReceiver()
  vi.stubEnv('OTEL_EXPORTER_OTLP_ENDPOINT', receiver.url)
  lines.length = 0
})
afterEach(async () => {
  vi.unstubAllEnvs()
  await receiver.close()
})

function options(change: Partial<TelemetryOptions> = {}): TelemetryOptions {
  return {
    sampler: () => true,
    hasHostRequest: false,
    stores: { keys: undefined, counters: undefined, completions: undefined },
    serviceName: 'test',
    otlp: { traces: true, metrics: true, metricsEveryMs: 60_000 },
    log: (level, event, fields) => lines.push({ level, event, ...fields }),
    ...change,
  }
}

/** One of many, told apart by its id. */
function request(id: string) {
  return finishedRequest({ requestId: id, trace: { ...TRACE, spanId: newSpanId() }, facts: { attempts: [] } })
}

/** Resolves when what has ended was sent. */
async function isLoaded(telemetry: ExportedTelemetry): Promise<void> {
  await vi.waitFor(
    async () => {
      await telemetry.flush(20_000)
      expect(receiver.spans.length).toBeGreaterThan(0)
    },
    { timeout: 20_000 },
  )
}

const idsSent = () => receiver.spans.map(({ attributes }) => attributes['tollgate.request_id'])

describe('telemetry', () => {
  test('keeps what ended before it was loaded, and sends each once', async () => {
    const telemetry = exportTelemetry(options({ loadAfterMs: 60_000 }))
    telemetry.finished(request('a'))
    telemetry.finished(request('b'))
    // That would take a while.
    await telemetry.flush(1)
    expect(receiver.requests).toEqual([])
    await telemetry.close(20_000)
    expect(idsSent()).toEqual(['a', 'b'])
    expect(lines).toEqual([])
  })

  test('is loaded by itself after the first request’s end, and then told of each in the background, once', async () => {
    const telemetry = exportTelemetry(options({ loadAfterMs: 0 }))
    telemetry.finished(request('a'))
    await isLoaded(telemetry)
    telemetry.finished(request('b'))
    telemetry.finished(request('c'))
    expect(idsSent()).toEqual(['a'])
    await telemetry.flush(20_000)
    await telemetry.close(20_000)
    expect(idsSent()).toEqual(['a', 'b', 'c'])
  })

  test('keeps a bounded number of requests that wait, and says how many more there were', async () => {
    const telemetry = exportTelemetry(
      options({ loadAfterMs: 60_000, otlp: { traces: false, metrics: true, metricsEveryMs: 60_000 } }),
    )
    for (let count = 0; count < 3_000; count += 1) telemetry.finished(request(String(count)))
    await telemetry.close(20_000)
    const counted = receiver.points.filter(({ metric }) => metric === 'tollgate.requests')
    expect(counted.reduce((sum, point) => sum + point.sum, 0)).toBe(2_048)
    expect(lines).toEqual([{ level: 'warn', event: 'telemetry dropped', requests: 952 }])
  })

  test('loads nothing where nothing has ended', async () => {
    const telemetry = exportTelemetry(options())
    await telemetry.close(1)
    expect([receiver.requests, lines]).toEqual([[], []])
  })

  test('tells faults as exceptions of the request', async () => {
    const telemetry = exportTelemetry(options())
    telemetry.finished({ ...request('a'), status: 500, faults: [{ fault: 'TypeError', message: 'x', at: [] }] })
    await telemetry.close(20_000)
    expect(receiver.spans).toMatchObject([
      {
        failed: true,
        events: [{ name: 'exception', attributes: { 'exception.type': 'TypeError', 'exception.message': 'x' } }],
      },
    ])
  })

  test('says that it could not send, without a word of what the server said', async () => {
    receiver.status = 400
    const telemetry = exportTelemetry(options())
    telemetry.finished(request('a'))
    await telemetry.close(20_000)
    expect(lines.length).toBeGreaterThan(0)
    for (const line of lines) expect(line).toMatchObject({ level: 'warn', event: 'telemetry not sent' })
    expect(JSON.stringify(lines)).not.toContain(receiver.url)
  })

  test('ends when its time is up, whatever it waits for', async () => {
    const telemetry = exportTelemetry(options({ loadAfterMs: 0 }))
    telemetry.finished(request('a'))
    await isLoaded(telemetry)
    receiver.status = 0
    const started = performance.now()
    telemetry.finished(request('b'))
    await telemetry.close(200)
    expect(performance.now() - started).toBeLessThan(2_000)
    expect(lines).toContainEqual({ level: 'warn', event: 'telemetry not sent', code: 'timeout' })
  })

  test('leaves out what can’t be opened, and says so', async () => {
    const telemetry = exportTelemetry(options({ applicationInsights: { connectionString: 'SECRET' } }))
    telemetry.finished(request('a'))
    await telemetry.close(20_000)
    expect(idsSent()).toEqual(['a'])
    expect(lines).toContainEqual(
      expect.objectContaining({ level: 'error', event: 'telemetry not opened', to: 'application insights' }),
    )
    expect(JSON.stringify(lines)).not.toContain('SECRET')
  })
})
