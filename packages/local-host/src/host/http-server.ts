import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import type { WorkerLog } from '../worker/functions-core.ts'
import { invokeHttp } from '../worker/invoke.ts'
import type { FunctionApp } from '../worker/load-app.ts'
import { isOwnHost } from './host-header.ts'
import { findTrigger, type HttpTrigger } from './http-triggers.ts'
import { Refused } from './refused.ts'
import { toRpc, writeResult } from './rpc-http.ts'

/** What the server serves, once there is something. */
export interface Served {
  readonly app: FunctionApp
  readonly triggers: readonly HttpTrigger[]
}

export interface HostServer {
  readonly url: string
  serve(served: Served): void
  /** Takes no more connections, and ends when the requests under way are answered. */
  close(): Promise<void>
}

export interface HostServerOptions {
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
  readonly log: WorkerLog
}

/** Listens at once, so that a taken port is known before anything else is started; answers 503 until there is an app. */
export async function openHostServer({ host, port, log }: HostServerOptions): Promise<HostServer> {
  let served: Served | undefined
  const server = createServer((request, response) => {
    answer(request, response, host, served, log).catch((error: unknown) => {
      if (request.destroyed && !request.complete) {
        log('information', 'Host', `${request.method} ${request.url?.split('?')[0]}: the client left`)
      } else if (!(error instanceof Refused)) {
        log('error', 'Host', `${request.method} ${request.url?.split('?')[0]}: ${(error as Error)?.stack ?? error}`)
      }
      refuse(response, error)
    })
  })
  await listen(server, host, port)
  const { address, family, port: bound } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    serve: (next) => {
      served = next
    },
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeIdleConnections()
      }),
  }
}

function refuse(response: ServerResponse, error: unknown): void {
  if (response.headersSent) {
    response.destroy()
    return
  }
  // The real host answers a function that threw with an empty 500.
  const { status, message } = error instanceof Refused ? error : { status: 500, message: '' }
  const close = status === 413 ? { connection: 'close' } : {}
  response.writeHead(status, { 'content-type': 'text/plain; charset=utf-8', ...close })
  response.end(message === '' ? '' : `${message}\n`)
}

async function answer(
  request: IncomingMessage,
  response: ServerResponse,
  boundTo: string,
  served: Served | undefined,
  log: WorkerLog,
): Promise<void> {
  if (!isOwnHost(request.headers.host, boundTo)) {
    throw new Refused(
      421,
      "The Host header does not name this machine. The local host answers 'localhost' and addresses only.",
    )
  }
  if (served === undefined) throw new Refused(503, 'The Function app is still starting.')

  const url = targetOf(request)
  if (url === null || !isOwnHost(url.host, boundTo))
    throw new Refused(400, 'The request target is no path of this host.')
  const found = findTrigger(served.triggers, request.method ?? '', url.pathname)
  // As in the cloud: a known route with another method is a 404 too.
  if (found === undefined) throw new Refused(404, `No function answers ${request.method} ${url.pathname}.`)
  const { trigger, params } = found
  if (trigger.authLevel !== 'anonymous') {
    throw new Refused(
      501,
      `'${trigger.name}' has authLevel '${trigger.authLevel}'. The local host serves 'anonymous' only, so far.`,
    )
  }
  const result = await invokeHttp(served.app, trigger.registered, await toRpc(request, url, params), log)
  writeResult(response, result)
}

/** A path, or an absolute URL (RFC 9112, section 3.2). A path is joined, not resolved: //other/path names no host. */
function targetOf({ url = '', headers }: IncomingMessage): URL | null {
  if (url.startsWith('/')) return URL.parse(`http://${headers.host}${url}`)
  return url.startsWith('http://') ? URL.parse(url) : null
}

function listen(server: Server, host: string, port: number): Promise<void> {
  return new Promise((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, host, () => {
      server.off('error', reject)
      resolve()
    })
  })
}
