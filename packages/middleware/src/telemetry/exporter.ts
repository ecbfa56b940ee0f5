import {
  type Attributes,
  type HrTime,
  type Meter,
  ROOT_CONTEXT,
  SpanKind,
  SpanStatusCode,
  TraceFlags,
  type Tracer,
  trace,
} from '@opentelemetry/api'
import { METRICS, type Measurement, type Metric, type MetricName } from './measurements.ts'
import type { Span } from './spans.ts'

/** Where spans and metrics go. */
export interface Exporter {
  record(spans: readonly Span[], measurements: readonly Measurement[]): void
  /** Sends what waits. Rejects where that fails. */
  flush(): Promise<void>
  /** Sends what waits, and ends. */
  close(): Promise<void>
}

/** The parts of OpenTelemetry that an exporter is made of; without a tracer no spans go there, without a meter no metrics. */
export interface Providers {
  readonly tracer: Tracer | undefined
  readonly meter: Meter | undefined
  /** What each span has beside its own. */
  readonly attributes?: Attributes
  readonly flush: () => Promise<unknown>
  readonly close: () => Promise<unknown>
}

/** The name of what told it: the instrumentation scope. */
export const SCOPE = 'tollgate'

export function exporterTo({ tracer, meter, attributes, flush, close }: Providers): Exporter {
  const instruments = meter && instrumentsOf(meter)
  return {
    record(spans, measurements) {
      if (tracer !== undefined) for (const span of spans) recordSpan(tracer, span, attributes)
      if (instruments === undefined) return
      for (const measured of measurements) instruments[measured.metric](measured.value, measured.attributes)
    },
    flush: async () => void (await flush()),
    close: async () => void (await close()),
  }
}

const KINDS = { server: SpanKind.SERVER, internal: SpanKind.INTERNAL, client: SpanKind.CLIENT } as const

function recordSpan(tracer: Tracer, { traceId, spanId, parentId, ...span }: Span, more: Attributes = {}): void {
  const own = { traceId, spanId, traceFlags: TraceFlags.SAMPLED }
  const end = hrTime(span.startedAt + span.ms)
  const options = {
    kind: KINDS[span.kind],
    startTime: hrTime(span.startedAt),
    attributes: { ...span.attributes, ...more },
  }
  const parent = trace.setSpanContext(ROOT_CONTEXT, { ...own, spanId: parentId ?? spanId })
  const recorded = tracer.startSpan(span.name, options, parent)
  // Its id was told to the model's service before the SDK was there, which makes one of its own.
  Object.assign(recorded, { spanContext: () => own }, parentId === undefined && { parentSpanContext: undefined })
  for (const exception of span.exceptions) recorded.addEvent('exception', exception, end)
  if (span.failed) recorded.setStatus({ code: SpanStatusCode.ERROR })
  recorded.end(end)
}

/** The SDK takes a small number for one of its process's own clock. */
function hrTime(ms: number): HrTime {
  const seconds = Math.floor(ms / 1_000)
  return [seconds, Math.round((ms - seconds * 1_000) * 1e6)]
}

type Instruments = Readonly<Record<MetricName, (value: number, attributes: Attributes) => void>>

function instrumentsOf(meter: Meter): Instruments {
  const made = Object.entries<Metric>(METRICS).map(([name, { kind, unit, description, bounds }]) => {
    if (kind === 'counter') {
      const counter = meter.createCounter(name, { unit, description })
      return [name, (value: number, attributes: Attributes) => counter.add(value, attributes)]
    }
    const advice = bounds === undefined ? {} : { advice: { explicitBucketBoundaries: [...bounds] } }
    const histogram = meter.createHistogram(name, { unit, description, ...advice })
    return [name, (value: number, attributes: Attributes) => histogram.record(value, attributes)]
  })
  return Object.fromEntries(made) as Instruments
}
