import { OTLPMetricExporter } from '@opentelemetry/exporter-metrics-otlp-proto'
import { OTLPTraceExporter } from '@opentelemetry/exporter-trace-otlp-proto'
import type { Resource } from '@opentelemetry/resources'
import { MeterProvider, PeriodicExportingMetricReader } from '@opentelemetry/sdk-metrics'
import { AlwaysOnSampler, BasicTracerProvider, BatchSpanProcessor } from '@opentelemetry/sdk-trace-base'
import { type Exporter, exporterTo, SCOPE } from './exporter.ts'

/** Where to, with which headers and temporality, the exporters read from OpenTelemetry's own variables. */
export interface Otlp {
  readonly traces: boolean
  readonly metrics: boolean
  /** How often metrics are sent, in milliseconds. */
  readonly metricsEveryMs: number
}

/** Sends by OpenTelemetry's protocol, over HTTP in its binary form. */
export function otlp({ traces, metrics, metricsEveryMs }: Otlp, resource: Resource): Exporter {
  const tracing = traces
    ? new BasicTracerProvider({
        resource,
        // What is not to be sent does not come here.
        sampler: new AlwaysOnSampler(),
        spanProcessors: [new BatchSpanProcessor(new OTLPTraceExporter())],
      })
    : undefined
  const metering = metrics
    ? new MeterProvider({
        resource,
        readers: [
          new PeriodicExportingMetricReader({
            exporter: new OTLPMetricExporter(),
            exportIntervalMillis: metricsEveryMs,
            exportTimeoutMillis: Math.min(metricsEveryMs, 30_000),
          }),
        ],
      })
    : undefined
  return exporterTo({
    tracer: tracing?.getTracer(SCOPE),
    meter: metering?.getMeter(SCOPE),
    flush: () => Promise.all([tracing?.forceFlush(), metering?.forceFlush()]),
    close: () => Promise.all([tracing?.shutdown(), metering?.shutdown()]),
  })
}
