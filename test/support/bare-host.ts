/*
 * The local host with nothing supplied: no Azurite, no simulated model. As in the cloud, what is not configured is missing.
 * APP_ROOT: another Function app than ours. CORS, CORS_CREDENTIALS: what local.settings.json would say of them.
 */
import { accessKeys, hostFunctions, logWriter, openHostServer, readHostJson, stopWell } from '@tollgate/local-host'
import { ROOT } from './host.ts'

const { APP_ROOT: root = ROOT, HOST: address = '127.0.0.1', PORT: port = '0', CORS, CORS_CREDENTIALS } = process.env

const write = logWriter()
const log = (level: string, category: string, message: string) => write(`${level} ${category}: ${message}`)
const server = await openHostServer({ host: address, port: Number(port), log })
const keys = accessKeys(undefined)
const host = await hostFunctions({
  root,
  server,
  routePrefix: readHostJson(root).routePrefix,
  keys,
  cors: CORS === undefined ? undefined : { origins: CORS.split(','), credentials: CORS_CREDENTIALS === 'true' },
  env: process.env,
  log,
})
stopWell(() => host.close())
console.log(`function key ${keys.function}\nmaster key ${keys.master}`)
console.log(`Tollgate runs on ${server.url}`)
