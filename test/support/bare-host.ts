/*
 * The local host with nothing supplied: no Azurite, no simulated model. As in the cloud, what is not configured is missing.
 * APP_ROOT: another Function app than ours.
 */
import { loadApp, openHostServer, readHostJson, triggersOf } from '@tollgate/local-host'
import { ROOT } from './host.ts'

const root = process.env.APP_ROOT ?? ROOT

const log = (level: string, category: string, message: string) => console.log(`${level} ${category}: ${message}`)
const server = await openHostServer({ host: '127.0.0.1', port: Number(process.env.PORT ?? 0), log })
const app = await loadApp(root, log)
server.serve({ app, triggers: triggersOf(app.functions.values(), readHostJson(root).routePrefix).http })
console.log(`Tollgate runs on ${server.url}`)
