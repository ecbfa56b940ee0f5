import type { HttpHandler, HttpRequest, HttpResponseInit, InvocationContext } from '@azure/functions'
import type { Entry, GatewayRequest, LogSink } from '@tollgate/middleware'

/**
 * Puts an entry behind an Azure Functions HTTP trigger. Total: whatever happens inside, the caller gets an answer,
 * because a handler that throws answers nobody once streaming is on.
 */
export function httpHandler(entry: Entry): HttpHandler {
  return async function handle(request, invocation) {
    try {
      return await toResult(await entry(toGatewayRequest(request), logSink(invocation)))
    } catch (fault) {
      invocation.error(JSON.stringify({ event: 'adapter fault', fault: (fault as Error)?.name }))
      return { status: 500, jsonBody: { error: 'An internal server error occurred.' } }
    }
  }
}

function toGatewayRequest(request: HttpRequest): GatewayRequest {
  return {
    method: request.method,
    url: new URL(request.url),
    headers: new Headers([...request.headers]),
    body: request.body as ReadableStream<Uint8Array> | null,
    clientAddress: clientAddress(request),
    // Without streaming the platform doesn't tell when a client has left.
    signal: new AbortController().signal,
  }
}

/** The platform's front end appends the address it saw to `X-Forwarded-For`; what stands before it is the client's own word. */
function clientAddress(request: HttpRequest): string {
  const last = request.headers.get('x-forwarded-for')?.split(',').at(-1)?.trim()
  return last ? withoutPort(last) : 'unknown'
}

function withoutPort(address: string): string {
  const bracketed = /^\[(.+)\]/.exec(address)?.[1]
  if (bracketed !== undefined) return bracketed
  const [host, port, ...rest] = address.split(':')
  return host !== undefined && port !== undefined && rest.length === 0 ? host : address
}

async function toResult(response: Response): Promise<HttpResponseInit> {
  return {
    status: response.status,
    headers: Object.fromEntries(response.headers),
    body: new Uint8Array(await response.arrayBuffer()),
  }
}

/** One JSON text a line, which Application Insights can query by field. */
function logSink(invocation: InvocationContext): LogSink {
  return (level, line) => invocation[level](JSON.stringify(line))
}
