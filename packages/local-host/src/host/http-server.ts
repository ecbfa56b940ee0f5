import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { setImmediate } from 'node:timers/promises'
import type { WorkerLog } from '../worker/functions-core.ts'
import { isOwnHost } from './host-header.ts'
import { HostResponse, isUnread } from './host-response.ts'
import { Refused } from './refused.ts'

/** Answers a request to this machine. */
export type Answer = (request: IncomingMessage, response: ServerResponse, url: URL) => Promise<void>

export interface HostServer {
  readonly url: string
  /** The address that it was told to listen on. */
  readonly boundTo: string
  serve(answer: Answer): void
  /** Takes no more connections, and resolves when the requests under way are answered. */
  close(): Promise<void>
}

export interface HostServerOptions {
  readonly host: string
  /** 0 for any free one. */
  readonly port: number
  readonly log: WorkerLog
}

/** What the real host's server (Kestrel) takes by default, in bytes; more is a 431. */
const MAX_HEADER_BYTES = 32 * 1024

/** Listens at once, so that a taken port is known before anything else is started; answers 503 until there is an app. */
export async function openHostServer({ host, port, log }: HostServerOptions): Promise<HostServer> {
  let answer: Answer = async () => {
    throw new Refused(503, 'The Function app is still starting.')
  }
  let closing = false
  const respond = async (request: IncomingMessage, response: ServerResponse) => {
    // A body that came along with its head is known to be whole a moment after this event.
    if (isUnread(request)) await setImmediate()
    return answer(request, response, urlOf(request, host))
  }
  const server = createServer(
    { maxHeaderSize: MAX_HEADER_BYTES, ServerResponse: HostResponse },
    (request, response) => {
      // A connection that is in use when the server closes would else go on from request to request.
      if (closing) response.setHeader('connection', 'close')
      respond(request, response).catch((error: unknown) => {
        const left = response.destroyed || (request.destroyed && !request.complete)
        const line = `${request.method} ${request.url?.split('?')[0]}`
        if (left) log('information', 'Host', `${line}: the client left`)
        else if (!(error instanceof Refused)) log('error', 'Host', `${line}: ${(error as Error)?.stack ?? error}`)
        refuse(response, error)
      })
    },
  )
  await listen(server, host, port)
  const { address, family, port: bound } = server.address() as AddressInfo
  return {
    url: `http://${family === 'IPv6' ? `[${address}]` : address}:${bound}`,
    boundTo: host,
    serve: (next) => {
      answer = next
    },
    close: () =>
      new Promise((resolve) => {
        closing = true
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
  response.statusCode = status
  response.setHeader('content-type', 'text/plain; charset=utf-8')
  response.end(message === '' ? '' : `${message}\n`)
}

/** @throws Refused for a request that names another machine, in its `Host` or its target. */
function urlOf(request: IncomingMessage, boundTo: string): URL {
  if (!isOwnHost(request.headers.host, boundTo)) {
    throw new Refused(
      421,
      "The Host header does not name this machine. The local host answers 'localhost' and addresses only.",
    )
  }
  const url = targetOf(request)
  if (url === null || !isOwnHost(url.host, boundTo))
    throw new Refused(400, 'The request target is no path of this host.')
  return url
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
