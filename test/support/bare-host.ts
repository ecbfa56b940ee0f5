/*
 * The local host with nothing supplied: no Azurite, no simulated model. As in the cloud, what is not configured is missing.
 */
import { loadApp, openHostServer, readHostJson, triggersOf } from '@tollgate/local-host'
import { ROOT } from './host.ts'

const log = (level: string, category: string, message: string) => console.log(`${level} ${category}: ${message}`)
const server = await openHostServer({ host: '127.0.0.1', port: Number(process.env.PORT), log })
const app = await loadApp(ROOT, log)
server.serve({ app, triggers: triggersOf(app.functions.values(), readHostJson(ROOT).routePrefix).http })
console.log(`Tollgate runs on ${server.url}`)
