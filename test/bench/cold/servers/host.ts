/*
 * The local host alone, for the app in APP_ROOT. Its parts are taken one by one: what the index brings besides would load
 * the middleware, and an app would find its modules loaded.
 */
import { accessKeys } from '../../../../packages/local-host/src/host/access-keys.ts'
import { hostFunctions } from '../../../../packages/local-host/src/host/function-host.ts'
import { readHostJson } from '../../../../packages/local-host/src/host/host-json.ts'
import { openHostServer } from '../../../../packages/local-host/src/host/http-server.ts'
import { stopWell } from '../../../../packages/local-host/src/stop-well.ts'

const { APP_ROOT: root = '' } = process.env
const log = (level: string, category: string, message: string) => {
  if (level !== 'debug') console.log(`${level} ${category}: ${message}`)
}
const server = await openHostServer({ host: '127.0.0.1', port: 0, log })
const host = await hostFunctions({
  root,
  server,
  routePrefix: readHostJson(root).routePrefix,
  keys: accessKeys(undefined),
  cors: undefined,
  env: process.env,
  log,
})
stopWell(() => host.close())
console.log(`serves on ${server.url}`)
