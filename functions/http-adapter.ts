import type { HttpHandler, HttpRequest, HttpResponseInit, InvocationContext } from '@azure/functions'
import { bodyOf, type Entry, type GatewayRequest, isEventStream, type LogSink, wholeStream } from '@tollgate/middleware'
import { type ClientConnection, takeConnection } from './client-connection.ts'

/**
 * Puts an entry behind an Azure Functions HTTP trigger. Total: whatever happens inside, the caller gets an answer,
 * because a handler that throws answers nobody once streaming is on. An event stream goes out as it comes, no faster
 * than the client takes it; it is given up when the client leaves, and breaks the connection where it breaks itself.
 */
export function httpHandler(entry: Entry): HttpHandler {
  return async function handle(request, invocation) {
    const connection = takeConnection(invocation.invocationId)
    const log = logSink(invocation)
    try {
      const response = await entry(toGatewayRequest(request, connection?.signal), log.sink)
      return connection !== undefined && isEventStream(response)
        ? await streamed(response, connection)
        : await buffered(response)
    } catch (fault) {
      invocation.error(JSON.stringify({ event: 'adapter fault', fault: (fault as Error)?.name }))
      return { status: 500, jsonBody: { error: 'An internal server error occurred.', code: 'internal_error' } }
    } finally {
      log.returned()
    }
  }
}

function toGatewayRequest(request: HttpRequest, signal: AbortSignal | undefined): GatewayRequest {
  return {
    method: request.method,
    url: new URL(request.url),
    headers: request.headers as Headers,
    body: request.body as ReadableStream<Uint8Array> | null,
    clientAddress: clientAddress(request),
    // Without streaming the platform doesn't tell when a client has left.
    signal: signal ?? new AbortController().signal,
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

async function buffered(response: Response): Promise<HttpResponseInit> {
  const { status, headers } = response
  if (response.body === null) return { status, headers }
  const bytes = await bodyOf(response)
  // With streaming on, the library knows no length, and would send the answer in chunks.
  headers.set('content-length', String(bytes.byteLength))
  return { status, headers, body: wholeStream(bytes) }
}

/** @throws what the stream throws before its first byte, when a plain 500 can still be sent. */
async function streamed(response: Response, connection: ClientConnection): Promise<HttpResponseInit> {
  const { status, headers, body } = response
  if (body === null) return buffered(response)
  const reader = body.getReader()
  const { signal } = connection
  const giveUp = () => reader.cancel(signal.reason).catch(() => {})
  if (signal.aborted) giveUp()
  else signal.addEventListener('abort', giveUp)
  let first: ReturnType<typeof reader.read> | undefined = Promise.resolve(await reader.read())
  const paced = new ReadableStream(
    {
      async pull(controller) {
        await connection.writable()
        try {
          const { done, value } = await (first ?? reader.read())
          first = undefined
          if (!done) return controller.enqueue(value)
        } catch {
          await connection.breakOff()
        }
        controller.close()
      },
      cancel: (reason) => reader.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return { status, headers, body: paced }
}

/**
 * One JSON text a line, which Application Insights can query by field. A stream ends after its function has returned;
 * from then on the invocation's own log warns of each line, and the console, which the worker collects too, does not.
 */
function logSink(invocation: InvocationContext): { readonly sink: LogSink; returned(): void } {
  let to: Pick<Console, 'info' | 'warn' | 'error'> = invocation
  return {
    sink: (level, line) => to[level](JSON.stringify(line)),
    returned: () => {
      to = console
    },
  }
}
