import './node-version.ts'
import { join } from 'node:path'
import { app } from '@azure/functions'
import { describeFault } from '@tollgate/middleware'
import { createGateway, type Gateway } from './gateway.ts'
import { registerGenerate } from './generate.ts'
import { registerHealth } from './health.ts'
import { tellPolicy } from './policy-in-force.ts'
import { readSettings } from './settings.ts'
import { registerSweep } from './timers/sweep.ts'

/** The app's folder: this file is bundled to dist/index.js. */
const ROOT = join(__dirname, '..')

let opened: Gateway | undefined
function gateway(): Gateway {
  opened ??= createGateway(tellPolicy(readSettings(process.env, ROOT)))
  return opened
}

// Before anything is registered: an answer goes out as it comes, and a client that leaves is noticed.
app.setup({ enableHttpStream: true })

app.hook.appStart(() => {
  try {
    gateway()
  } catch (fault) {
    console.error(JSON.stringify({ event: 'not configured', ...describeFault(fault) }))
    // A developer wants to hear of it at once; in the cloud each request is answered with a 500 until it is mended.
    if (process.env.AZURE_FUNCTIONS_ENVIRONMENT === 'Development') throw fault
  }
})

// What this instance holds of limits is of use to others at once, and not only when its lease is over.
app.hook.appTerminate(() => opened?.close())

registerGenerate(gateway)
registerHealth(gateway)
registerSweep(gateway)
