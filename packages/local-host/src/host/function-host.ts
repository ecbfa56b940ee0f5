import type { IncomingMessage, ServerResponse } from 'node:http'
import { setTimeout as pause } from 'node:timers/promises'
import type { WorkerLog } from '../worker/functions-core.ts'
import { loadApp } from '../worker/load-app.ts'
import { type AccessKeys, showsKey } from './access-keys.ts'
import { admin } from './admin.ts'
import { applyCors, type Cors } from './cors.ts'
import { isLoopbackAddress } from './host-header.ts'
import { runHttpFunction } from './http-function.ts'
import type { HostServer } from './http-server.ts'
import { Refused } from './refused.ts'
import { startTimers } from './timer-triggers.ts'
import { findTrigger, type HttpTrigger, type Triggers, triggersOf } from './triggers.ts'

/** How long the host waits for the worker's end, in milliseconds. */
const TERMINATE_MS = 5_000
/** How long the last bytes may take from the worker to the client, in milliseconds. */
const RELAY_MS = 250

export interface FunctionHostOptions {
  /** The app's folder. */
  readonly root: string
  readonly server: HostServer
  readonly routePrefix: string
  readonly keys: AccessKeys
  readonly cors: Cors | undefined
  readonly env: NodeJS.ProcessEnv
  readonly log: WorkerLog
}

export interface FunctionHost {
  readonly triggers: Triggers
  /** Whether the admin API asks for the master key. */
  readonly adminNeedsKey: boolean
  /** Ends as the Functions worker does: runs the app's `appTerminate` hooks, and then waits for nothing. */
  close(): Promise<void>
}

/** Loads the app, serves its HTTP functions by this server, and runs its timers. For one app in one process. */
export async function hostFunctions(options: FunctionHostOptions): Promise<FunctionHost> {
  const { root, server, routePrefix, keys, cors, env, log } = options
  let hasExited = false
  /** Of a worker that has exited nothing comes any more. */
  const workerLog: WorkerLog = (...line) => {
    if (!hasExited) log(...line)
  }
  const app = await loadApp(root, workerLog)
  const triggers = triggersOf(app.functions.values(), routePrefix)
  const adminNeedsKey = !isLoopbackAddress(server.boundTo)
  const timers = startTimers(app, triggers.timers, env, workerLog)

  async function answer(request: IncomingMessage, response: ServerResponse, url: URL): Promise<void> {
    if (/^\/admin(?:\/|$)/i.test(url.pathname)) {
      admit(request, url)
      const { status, json } = admin(request, url, triggers, timers)
      response.writeHead(status, { 'content-type': 'application/json' })
      response.end(json === undefined ? '' : JSON.stringify(json))
      return
    }
    if (cors !== undefined && applyCors(request, response, cors)) return
    const found = findTrigger(triggers.http, request.method ?? '', url.pathname)
    // As in the cloud: a known route with another method is a 404 too.
    if (found === undefined) throw new Refused(404, `No function answers ${request.method} ${url.pathname}.`)
    const { trigger, params } = found
    checkKey(request, url, trigger)
    await runHttpFunction(app, { request, response, url, trigger, params }, workerLog)
  }

  /** A page that a browser was lured to can send a POST to this machine, though it can't read the answer. */
  function admit(request: IncomingMessage, url: URL): void {
    const { origin } = request.headers
    if (origin !== undefined && origin !== url.origin) throw new Refused(403, 'The admin API is closed to web pages.')
    if (adminNeedsKey && !showsKey(request, url, [keys.master])) {
      throw new Refused(401, 'The admin API needs the master key, as x-functions-key, when HOST is not loopback.')
    }
  }

  function checkKey(request: IncomingMessage, url: URL, { name, authLevel }: HttpTrigger): void {
    if (authLevel === 'anonymous') return
    const accepted = authLevel === 'admin' ? [keys.master] : [keys.function, keys.master]
    if (showsKey(request, url, accepted)) return
    const kind = authLevel === 'admin' ? 'master' : 'function'
    throw new Refused(401, `'${name}' needs the ${kind} key, as x-functions-key or ?code=. npm start prints it.`)
  }

  server.serve(answer)
  return {
    triggers,
    adminNeedsKey,
    async close() {
      const answered = server.close()
      void timers.stop()
      // The worker exits when its hooks are over: only they can wait for what is in flight.
      await Promise.race([app.terminate(), pause(TERMINATE_MS)])
      hasExited = true
      // The host goes on, and passes on what it has got of the worker by then.
      await Promise.race([answered, pause(RELAY_MS)])
    },
  }
}
