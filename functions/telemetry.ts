import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import {
  DEFAULT_SAMPLER,
  type ExportedTelemetry,
  exportTelemetry,
  type Log,
  OperatorError,
  samplerOf,
} from '@tollgate/middleware'

type Environment = Readonly<Record<string, string | undefined>>

/**
 * What exports spans and metrics, by the settings of the platform and of OpenTelemetry; `undefined` where nothing is to be
 * exported. Never throws: a wrong setting is logged, and has its default.
 *
 * @param hasHostRequest whether the host records each request itself
 */
export function telemetryFrom(env: Environment, hasHostRequest: boolean, log: Log): ExportedTelemetry | undefined {
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === 'true') return undefined
  const connectionString = isSwitchedOff(env) ? undefined : env.APPLICATIONINSIGHTS_CONNECTION_STRING || undefined
  const traces = isExported(env, 'TRACES')
  const metrics = isExported(env, 'METRICS')
  if (connectionString === undefined && !traces && !metrics) return undefined
  const { OTEL_EXPORTER_OTLP_PROTOCOL: protocol = PROTOCOL } = env
  if ((traces || metrics) && protocol !== PROTOCOL) {
    log('warn', 'telemetry setting', { message: `OTEL_EXPORTER_OTLP_PROTOCOL can only be ${PROTOCOL}, which is used.` })
  }
  const identity = identityOf(env.APPLICATIONINSIGHTS_AUTHENTICATION_STRING)
  const { sampler, part } = chosenSampler(env, log)
  return exportTelemetry({
    sampler,
    hasHostRequest,
    stores: storesOf(env),
    serviceName: env.WEBSITE_SITE_NAME || 'tollgate',
    ...(connectionString !== undefined && {
      applicationInsights: { connectionString, sampledPart: part, ...(identity !== undefined && { identity }) },
    }),
    ...((traces || metrics) && { otlp: { traces, metrics, metricsEveryMs: metricsEveryMs(env) } }),
    log,
  })
}

/** @throws OperatorError for what is neither `on` nor `off` */
export function checkTelemetry(env: Environment): void {
  const { TOLLGATE_APPLICATION_INSIGHTS: text = '' } = env
  if (text === '' || text === 'on' || text === 'off') return
  throw new OperatorError('TOLLGATE_APPLICATION_INSIGHTS must be on or off.')
}

/** The connection string is the host's, too, which goes on to send by it. */
function isSwitchedOff({ TOLLGATE_APPLICATION_INSIGHTS: text }: Environment): boolean {
  return text === 'off'
}

/** OpenTelemetry's protocol has an address of its own for each signal, or one for all, and each can be switched off. */
function isExported(env: Environment, signal: 'TRACES' | 'METRICS'): boolean {
  if (env[`OTEL_${signal}_EXPORTER`]?.trim() === 'none') return false
  return Boolean(env[`OTEL_EXPORTER_OTLP_${signal}_ENDPOINT`] || env.OTEL_EXPORTER_OTLP_ENDPOINT)
}

/** @example ClientId=00000000-0000-0000-0000-000000000000;Authorization=AAD */
function identityOf(text = ''): { readonly clientId: string | undefined } | undefined {
  const parts = new Map(
    text.split(';').map((part): [string, string] => {
      const [name = '', ...value] = part.split('=')
      return [name.trim().toLowerCase(), value.join('=').trim()]
    }),
  )
  if (parts.get('authorization')?.toLowerCase() !== 'aad') return undefined
  return { clientId: parts.get('clientid') || undefined }
}

function chosenSampler({ OTEL_TRACES_SAMPLER: name, OTEL_TRACES_SAMPLER_ARG: part }: Environment, log: Log) {
  const chosen = samplerOf(name || DEFAULT_SAMPLER, part || undefined)
  if (chosen !== undefined) return chosen
  const message = `OTEL_TRACES_SAMPLER and its _ARG name none of OpenTelemetry's own samplers: all traces are sent.`
  log('warn', 'telemetry setting', { message })
  return { sampler: () => true, part: 1 }
}

/** The collector listens for it on port 4318; 4317 is for gRPC. */
const PROTOCOL = 'http/protobuf'
const METRICS_EVERY_MS = 60_000

function metricsEveryMs({ OTEL_METRIC_EXPORT_INTERVAL: text = '' }: Environment): number {
  return /^[1-9]\d{2,8}$/.test(text) ? Number(text) : METRICS_EVERY_MS
}

const TABLES = 'azure.tables'
const REDIS = 'redis'

/** What keys, counters and completions are kept in, as spans name it. */
function storesOf({ TOLLGATE_STORAGE, TOLLGATE_REDIS }: Environment) {
  const tables = TOLLGATE_STORAGE?.startsWith('memory:') ? undefined : TABLES
  const shared = TOLLGATE_REDIS ? REDIS : tables
  return { keys: tables, counters: shared, completions: shared }
}

/**
 * Whether the Functions host records each request: by Application Insights, or, where `host.json` says so, by OpenTelemetry.
 *
 * @param root the app's folder
 */
export function hostRecords(env: Environment, root: string): boolean {
  if (env.APPLICATIONINSIGHTS_CONNECTION_STRING) return true
  return isOpenTelemetry(env.AzureFunctionsJobHost__telemetryMode ?? telemetryMode(root))
}

function isOpenTelemetry(mode: unknown): boolean {
  return typeof mode === 'string' && mode.toLowerCase() === 'opentelemetry'
}

function telemetryMode(root: string): unknown {
  try {
    return (JSON.parse(readFileSync(join(root, 'host.json'), 'utf8')) as { readonly telemetryMode?: unknown })
      .telemetryMode
  } catch {
    return undefined
  }
}
