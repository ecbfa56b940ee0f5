import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { listText, OperatorError } from '@tollgate/middleware'
import { readSettings, type Settings } from '../../../../functions/settings.ts'
import { type Examined, UNSEEN } from './environment.ts'
import { fault, ok, type Seen, warn } from './finding.ts'

/* What the settings say by themselves: nothing is asked. */

/** The settings as the app reads them, or why it would refuse them. */
export function settingsOf({ env, root }: Examined): Settings | OperatorError {
  try {
    return readSettings(env, root)
  } catch (error) {
    if (error instanceof OperatorError) return error
    throw error
  }
}

export function settingsSeen(
  settings: Settings | OperatorError,
  { env, isExported, unseen }: Examined,
): readonly Seen[] {
  const kept = unseen.length === 0 ? [] : [ok(`in Key Vault, and not seen from here: ${listText(unseen)}`)]
  if (settings instanceof OperatorError) {
    const where = isExported ? 'az functionapp config appsettings set' : 'the shell or local.settings.json'
    return [fault(settings.message, `Correct what is named, by ${where}. docs/settings.md has all settings.`), ...kept]
  }
  const own = Object.keys(env).filter((name) => /^(?:TOLLGATE|OPENAI)_/.test(name))
  const read = own.length === 0 ? 'none is set: the defaults' : `${own.length} read: ${listText(own.toSorted())}`
  const hints = settings.hints.map((hint) => warn(hint, 'Rename it, or unset it.'))
  return [ok(read), ...hints, ...kept]
}

/** Node, and the platform's bound on how long a worker may be busy. */
export function hostSeen(settings: Settings | OperatorError, { root, isExported }: Examined): readonly Seen[] {
  const [major = 0] = process.versions.node.split('.').map(Number)
  const node =
    major >= LEAST_NODE
      ? ok(`Node ${process.versions.node}${isExported ? ' on this machine; the app has its own' : ''}`)
      : fault(`Node ${process.versions.node}`, `Install Node ${LEAST_NODE} or later.`)
  return [node, timeoutSeen(settings, root)]
}

const LEAST_NODE = 22
/** What a request may take beside its stream, in milliseconds: its upload, and its client's reading. */
const BESIDE_STREAM_MS = 300_000

function timeoutSeen(settings: Settings | OperatorError, root: string): Seen {
  let text: unknown
  try {
    text = (JSON.parse(readFileSync(join(root, 'host.json'), 'utf8')) as { functionTimeout?: unknown }).functionTimeout
  } catch (error) {
    const what =
      error instanceof SyntaxError ? 'is no JSON' : `can't be read (${(error as NodeJS.ErrnoException).code})`
    return fault(`host.json ${what}`, 'Restore it: git checkout host.json')
  }
  if (settings instanceof OperatorError)
    return ok('host.json is there; its functionTimeout is not held against settings that are at fault')
  const streamMs = settings.streamTotalMs
  if (text === '-1') return ok('functionTimeout has no bound')
  const ms = timeoutMs(text)
  if (ms === undefined) {
    return warn('host.json has no functionTimeout of the form hh:mm:ss', 'Write "functionTimeout": "01:10:00".')
  }
  const saw = `functionTimeout ${text}, streams last ${streamMs / 60_000} min at most`
  if (ms > streamMs + BESIDE_STREAM_MS) return ok(saw)
  const most = Math.max(100, ms - BESIDE_STREAM_MS - 60_000)
  const fix = `Set TOLLGATE_STREAM_TOTAL_MS=${most}, or a longer functionTimeout in host.json.`
  // The host restarts the worker, with all that is in flight.
  return ms > streamMs
    ? warn(`${saw}, which leaves less than 5 min for uploads and slow readers`, fix)
    : fault(saw, fix)
}

/** Of `hh:mm:ss` or `d.hh:mm:ss`. */
function timeoutMs(text: unknown): number | undefined {
  const [, days = 0, hours, minutes, seconds] = /^(?:(\d+)\.)?(\d\d):(\d\d):(\d\d)$/.exec(String(text)) ?? []
  if (hours === undefined) return undefined
  return (((Number(days) * 24 + Number(hours)) * 60 + Number(minutes)) * 60 + Number(seconds)) * 1_000
}

const SHORTEST_SECRET = 32
const NO_SECRET = /^(?:change.?me|secret|password|example|test|todo|xxx|your[-_ ]|<)|long random text/i

export function cacheSecretSeen({ env, isExported, unseen }: Examined): Seen {
  const secret = env.TOLLGATE_CACHE_SECRET || undefined
  const make = `node -e "console.log(crypto.randomBytes(32).toString('base64url'))"`
  const fix = `Set TOLLGATE_CACHE_SECRET to what this prints, the same for all instances: ${make}. It empties the cache.`
  if (secret === UNSEEN || unseen.includes('TOLLGATE_CACHE_SECRET')) return ok('is set, by Key Vault')
  if (secret === undefined) {
    const saw =
      'TOLLGATE_CACHE_SECRET is not set: whoever reads tables or logs can confirm a guessed prompt by its hash'
    return isExported ? warn(saw, fix) : ok(`${saw}. On a machine of one's own that is well`)
  }
  if (NO_SECRET.test(secret) || new Set(secret).size < 8)
    return warn('TOLLGATE_CACHE_SECRET looks like an example', fix)
  if (secret.length < SHORTEST_SECRET) {
    return warn(`TOLLGATE_CACHE_SECRET has ${secret.length} characters, fewer than ${SHORTEST_SECRET}`, fix)
  }
  return ok('is set')
}

export function telemetrySeen({ env, isExported }: Examined): readonly Seen[] {
  const insights = env.APPLICATIONINSIGHTS_CONNECTION_STRING
  const collector = Object.keys(env).find((name) => /^OTEL_EXPORTER_OTLP_(?:\w+_)?ENDPOINT$/.test(name) && env[name])
  const seen: Seen[] = []
  if (env.OTEL_SDK_DISABLED?.trim().toLowerCase() === 'true') return [ok('OTEL_SDK_DISABLED: nothing is sent')]
  if (insights !== undefined && insights !== '') {
    const isWhole = /(?:^|;)\s*InstrumentationKey=[\da-f-]{36}/i.test(insights)
    const fix = "Copy it whole from the resource's page Overview: InstrumentationKey=…;IngestionEndpoint=…"
    const off = env.TOLLGATE_APPLICATION_INSIGHTS?.trim().toLowerCase() === 'off'
    if (!isWhole) seen.push(fault('APPLICATIONINSIGHTS_CONNECTION_STRING is no connection string', fix))
    else seen.push(ok(off ? 'the host alone sends to Application Insights' : 'goes to Application Insights'))
  }
  if (collector !== undefined) {
    const address = env[collector] ?? ''
    if (!URL.canParse(address)) seen.push(fault(`${collector} is no URL`, `Set it to such as http://localhost:4318.`))
    else if (URL.parse(address)?.port === '4317') {
      seen.push(
        warn(`${collector} names port 4317, which is for gRPC`, `Set ${collector} to port 4318, for OTLP over HTTP.`),
      )
    } else seen.push(ok(`goes to the collector of ${collector}`))
  }
  if (seen.length > 0) return seen
  const none = 'neither Application Insights nor a collector is set: the log alone tells'
  return [
    isExported ? warn(none, 'Set APPLICATIONINSIGHTS_CONNECTION_STRING, or OTEL_EXPORTER_OTLP_ENDPOINT.') : ok(none),
  ]
}
