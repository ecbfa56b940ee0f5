import { describeFault, type FinishedRequest, isTimeout, withDeadline } from '../pipeline/index.ts'
import type { Exporter } from './exporter.ts'
import { measurementsOf } from './measurements.ts'
import type { ExporterOptions } from './open-exporters.ts'
import type { Exported } from './request-trace.ts'
import { type SpanOptions, spansOf } from './spans.ts'
import type { Telemetry } from './trace.ts'

export interface TelemetryOptions extends ExporterOptions, SpanOptions, Exported {
  /** How long after the end of the first request what exports is loaded, in milliseconds. */
  readonly loadAfterMs?: number
}

export interface ExportedTelemetry extends Telemetry {
  /** Sends what waits, as far as that can be done in so many milliseconds. Loads nothing: that would hold up all else. */
  flush(withinMs: number): Promise<void>
  /** Loads what exports, where that is not there yet, sends what waits, and ends. */
  close(withinMs: number): Promise<void>
}

/** A first answer is on its way by then, and what loads holds up nothing that a cold start waits for. */
const LOAD_AFTER_MS = 500
/** What waits to be told to the exporters, in requests. More are not told, and counted in the log. */
const MOST_WAITING = 2_048

/**
 * Exports what requests came to. What exports is loaded when the first has ended; what ended before waits, and a request never
 * waits for any of it.
 */
export function exportTelemetry(options: TelemetryOptions): ExportedTelemetry {
  const { sampler, hasHostRequest, log, loadAfterMs = LOAD_AFTER_MS } = options
  let waiting: FinishedRequest[] = []
  let dropped = 0
  let exporters: readonly Exporter[] | undefined
  let opening: Promise<void> | undefined
  let isScheduled = false

  async function load(): Promise<void> {
    try {
      const { openExporters } = await import('./open-exporters.ts')
      exporters = await openExporters(options)
    } catch (fault) {
      exporters = []
      log('error', 'telemetry not opened', describeFault(fault))
    }
    record()
  }

  function opened(): Promise<void> {
    opening ??= load()
    return opening
  }

  function record(): void {
    isScheduled = false
    const ended = waiting
    waiting = []
    for (const request of ended) {
      try {
        const [spans, measurements] = [spansOf(request, options), measurementsOf(request)]
        for (const exporter of exporters ?? []) exporter.record(spans, measurements)
      } catch (fault) {
        log('error', 'fault', describeFault(fault))
      }
    }
    if (dropped === 0) return
    log('warn', 'telemetry dropped', { requests: dropped })
    dropped = 0
  }

  function schedule(): void {
    if (isScheduled) return
    isScheduled = true
    // After the answer's own turn, and for all that end in one turn together.
    if (exporters !== undefined) setImmediate(record)
    else setTimeout(opened, loadAfterMs).unref()
  }

  async function send(how: 'flush' | 'close', withinMs: number): Promise<void> {
    try {
      await withDeadline(withinMs, async () => {
        if (how === 'close') await opened()
        record()
        await Promise.all((exporters ?? []).map((exporter) => exporter[how]()))
      })
    } catch (fault) {
      log('warn', 'telemetry not sent', isTimeout(fault) ? { code: 'timeout' } : describeFault(fault))
    }
  }

  return {
    sampler,
    hasHostRequest,
    finished(request) {
      if (waiting.length >= MOST_WAITING) dropped += 1
      else waiting.push(request)
      schedule()
    },
    async flush(withinMs) {
      if (exporters !== undefined) await send('flush', withinMs)
    },
    async close(withinMs) {
      if (waiting.length > 0 || opening !== undefined) await send('close', withinMs)
    },
  }
}
