import './node-version.ts'
import { join } from 'node:path'
import { app } from '@azure/functions'
import { drainRequests } from '@tollgate/azure-functions'
import {
  createGateway,
  describeFault,
  type ExportedTelemetry,
  type Gateway,
  pause,
  systemTime,
  withDeadline,
} from '@tollgate/middleware'
import { consoleLog } from './console-log.ts'
import { policyOf } from './policy-in-force.ts'
import { registerAzureOpenai } from './routes/azure-openai.ts'
import { registerGenerate } from './routes/generate.ts'
import { registerHealth } from './routes/health.ts'
import { registerManage } from './routes/manage.ts'
import { registerMe } from './routes/me.ts'
import { registerMetrics } from './routes/metrics.ts'
import { registerOpenApi } from './routes/open-api.ts'
import { registerOpenai } from './routes/openai.ts'
import { registerProtectedResource } from './routes/protected-resource.ts'
import { registerUsageApi } from './routes/usage.ts'
import { readSettings } from './settings.ts'
import { hostRecords, telemetryFrom } from './telemetry.ts'
import { registerSweep } from './timers/sweep.ts'
import { registerUsage } from './timers/usage.ts'

/** The app's folder: this file is bundled to dist/index.js. */
const ROOT = join(__dirname, '..')

let opened: Gateway | undefined
function gateway(): Gateway {
  opened ??= open()
  return opened
}

function open(): Gateway {
  const settings = readSettings(process.env, ROOT)
  return createGateway({
    ...settings,
    policy: policyOf(settings),
    policyDocument: {
      name: settings.policyName,
      check: (text, source) => void settings.resolvePolicy({ text, source }),
    },
    log: consoleLog,
  })
}

let exported: { readonly to: ExportedTelemetry | undefined } | undefined
/** Apart from the gateway: what can't be configured is told, too. */
function telemetry(): ExportedTelemetry | undefined {
  exported ??= { to: telemetryFrom(process.env, hostRecords(process.env, ROOT), consoleLog) }
  return exported.to
}

// Before anything is registered: an answer goes out as it comes, and a client that leaves is noticed.
app.setup({ enableHttpStream: true })

app.hook.appStart(async () => {
  try {
    // Beside what else a start loads, so that the first request waits less for it. A developer is told what came of it.
    const looked = gateway().policy.refresh()
    if (process.env.AZURE_FUNCTIONS_ENVIRONMENT === 'Development') await looked
  } catch (fault) {
    console.error(JSON.stringify({ event: 'not configured', ...describeFault(fault) }))
    // A developer wants to hear of it at once; in the cloud each request is answered with a 500 until it is mended.
    if (process.env.AZURE_FUNCTIONS_ENVIRONMENT === 'Development') throw fault
  }
})

/** The host gives the hook 5 s, in which all of this must fit; the worker exits as soon as the hook is over. In milliseconds. */
const DRAIN = { waitMs: 4_000, endMs: 450 }
const CLOSE_MS = 250
/** The last lines leave by a connection to the host that can't be asked whether they are gone, and are lost if the worker exits. */
const LAST_LINES_MS = 250

/** Telemetry that waits has what the rest leaves: all of it where nothing was in flight, and so long at most. */
const MOST_SENDING_MS = 2_000

app.hook.appTerminate(async () => {
  const endsAt = performance.now() + DRAIN.waitMs + DRAIN.endMs + CLOSE_MS + LAST_LINES_MS
  // What waits is sent meanwhile; what ends meanwhile, after that.
  void telemetry()?.flush(DRAIN.waitMs)
  const cut = await drainRequests(DRAIN)
  if (cut > 0) consoleLog('warn', 'requests cut off', { requests: cut })
  // What this instance holds of limits is of use to others at once, and not only when its lease is over.
  await withDeadline(CLOSE_MS, async () => opened?.close()).catch((fault) =>
    consoleLog('warn', 'limits not given back', describeFault(fault)),
  )
  const sent = telemetry()?.close(Math.min(MOST_SENDING_MS, endsAt - performance.now()))
  await Promise.all([pause(LAST_LINES_MS, systemTime), sent])
})

registerGenerate(gateway, telemetry)
registerOpenai(gateway, telemetry)
registerAzureOpenai(gateway, telemetry)
registerUsageApi(gateway)
registerManage(gateway)
registerOpenApi()
registerMe(gateway)
registerHealth(gateway)
registerProtectedResource(gateway)
registerMetrics(gateway)
registerSweep(gateway)
registerUsage(gateway)
