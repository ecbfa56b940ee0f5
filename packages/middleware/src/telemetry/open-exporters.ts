import { randomUUID } from 'node:crypto'
import { DiagLogLevel, diag } from '@opentelemetry/api'
import { detectResources, envDetector, type Resource, resourceFromAttributes } from '@opentelemetry/resources'
import { describeFault, type Log } from '../pipeline/index.ts'
import type { ApplicationInsights } from './application-insights.ts'
import type { Exporter } from './exporter.ts'
import type { Otlp } from './otlp.ts'

/*
 * All that is exported by: a file of its own beside the app's, since loading it takes 0.15 s.
 */

export interface ExporterOptions {
  readonly applicationInsights?: ApplicationInsights
  readonly otlp?: Otlp
  /** Of the process, where OTEL_SERVICE_NAME or OTEL_RESOURCE_ATTRIBUTES say nothing else. */
  readonly serviceName: string
  readonly log: Log
}

/** One that can't be opened is logged, and left out. */
export async function openExporters(options: ExporterOptions): Promise<readonly Exporter[]> {
  const { applicationInsights, otlp, serviceName, log } = options
  tellTroubles(log)
  const resource = resourceOf(serviceName)
  const exporters: Exporter[] = []
  const open = async (to: string, opening: () => Promise<Exporter>) => {
    // Others are answered meanwhile.
    await new Promise((resolve) => setImmediate(resolve))
    try {
      exporters.push(await opening())
    } catch (fault) {
      log('error', 'telemetry not opened', { to, ...describeFault(fault) })
    }
  }
  if (otlp !== undefined) await open('otlp', async () => (await import('./otlp.ts')).otlp(otlp, resource))
  if (applicationInsights !== undefined) {
    await open('application insights', async () =>
      (await import('./application-insights.ts')).applicationInsights(applicationInsights, resource),
    )
  }
  return exporters
}

function resourceOf(serviceName: string): Resource {
  // A process is a series of its own: counters of two that are called alike would jump.
  const own = resourceFromAttributes({ 'service.name': serviceName, 'service.instance.id': randomUUID() })
  return own.merge(detectResources({ detectors: [envDetector] }))
}

/** So often at most a trouble is logged, in milliseconds. */
const TROUBLES_EVERY_MS = 60_000

/** What the SDK says of troubles can repeat what was sent, or a header: its kind alone is logged. */
function tellTroubles(log: Log): void {
  let toldAt = Number.NEGATIVE_INFINITY
  let untold = 0
  const trouble = (...said: readonly unknown[]) => {
    untold += 1
    const now = performance.now()
    if (now - toldAt < TROUBLES_EVERY_MS) return
    toldAt = now
    const [code] = /\b(?:E[A-Z]{4,20}|[45]\d\d)\b/.exec(said.map(String).join(' ')) ?? []
    log('warn', 'telemetry not sent', { ...(code === undefined ? {} : { code }), times: untold })
    untold = 0
  }
  const nothing = () => {}
  const logger = { error: trouble, warn: trouble, info: nothing, debug: nothing, verbose: nothing }
  diag.setLogger(logger, { logLevel: DiagLogLevel.WARN, suppressOverrideMessage: true })
}
