import type { HttpHandler, HttpRequest, HttpResponseInit, InvocationContext } from '@azure/functions'
import {
  type ByteStream,
  CLIENT_LEFT,
  clientHasLeft,
  type DrainOptions,
  describeFault,
  type Entry,
  fromWebStream,
  type GatewayRequest,
  type HttpResponse,
  isStream,
  type LogSink,
  type Refusal,
  type ReplyHeaders,
  RequestEnded,
  requestsInFlight,
} from '@tollgate/middleware'
import { type ClientConnection, takeConnection } from './client-connection.ts'
import { coreInvocation } from './core-invocation.ts'

/**
 * The longest that a request may take in all, in milliseconds: its upload, its answer, and its client's reading of that. Above
 * the longest stream (`MAX_STREAM_TOTAL_MS`) and under `functionTimeout` in host.json, at which the host would restart the
 * worker, and end all other requests with this one.
 */
export const MAX_REQUEST_MS = 65 * 60_000
/** How long a request that the gateway has ended may take to be answered before it is cut, in milliseconds. */
const CUT_MS = 350

const TOO_LONG: Refusal = {
  kind: 'refusal',
  code: 'request_timeout',
  status: 408,
  message: 'The request took too long.',
}

const inFlight = requestsInFlight()

/** Refuses new requests, waits for those in flight, and ends those that are left: with an answer, or an error event. */
export function drainRequests(options: DrainOptions): Promise<number> {
  return inFlight.drain(options)
}

/**
 * Puts an entry behind an Azure Functions HTTP trigger. Total: whatever happens inside, the caller gets an answer,
 * because a handler that throws answers nobody once streaming is on. An event stream goes out as it comes, no faster
 * than the client takes it; it is given up when the client leaves, and breaks the connection where it breaks itself.
 */
export function httpHandler(entry: Entry): HttpHandler {
  return async function handle(request, invocation) {
    const connection = takeConnection(invocation.invocationId)
    // Without streaming the platform doesn't tell when a client has left.
    const ending = connection?.left ?? new AbortController()
    const { signal } = ending
    const leave = inFlight.enter(ending)
    const tooLong = setTimeout(() => ending.abort(new RequestEnded(TOO_LONG.code, TOO_LONG)), MAX_REQUEST_MS).unref()
    const refusal = coreInvocation(invocation.invocationId)?.refusal
    if (refusal !== undefined) ending.abort(new RequestEnded(refusal.code, refusal))
    const log = logSink(invocation)
    try {
      const response = await entry(toGatewayRequest(request, invocation, signal), log.sink)
      const { status, headers, body } = response
      if (!isStream(body)) return buffered(status, headers, body)
      if (connection === undefined) return buffered(status, headers, await wholeOf(body))
      return await streamed(response, body, connection)
    } catch (fault) {
      if (clientHasLeft(signal)) return { status: CLIENT_LEFT.status }
      invocation.error(JSON.stringify({ event: 'adapter fault', ...describeFault(fault) }))
      return { status: 500, jsonBody: { error: 'An internal server error occurred.', code: 'internal_error' } }
    } finally {
      log.returned()
      void Promise.resolve(connection?.closed).then(() => {
        clearTimeout(tooLong)
        leave()
      })
    }
  }
}

function toGatewayRequest(
  request: HttpRequest,
  { traceContext }: InvocationContext,
  signal: AbortSignal,
): GatewayRequest {
  return {
    method: request.method,
    url: new URL(request.url),
    headers: request.headers as Headers,
    body: request.body && fromWebStream(request.body as ReadableStream<Uint8Array>),
    ...(traceContext && {
      hostSpan: { traceparent: traceContext.traceParent, tracestate: traceContext.traceState },
    }),
    clientAddress: clientAddress(request),
    signal,
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

function buffered(status: number, headers: ReplyHeaders, body: Uint8Array | null): HttpResponseInit {
  if (body === null) return { status, headers }
  // With streaming on, the library knows no length, and would send the answer in chunks.
  return { status, headers: { ...headers, 'content-length': String(body.byteLength) }, body: ofOnePiece(body) }
}

/** A body that is made of the bytes themselves copies them, into a stream that costs more. */
function ofOnePiece(bytes: Uint8Array): ReadableStream<Uint8Array> {
  return new ReadableStream({
    start(controller) {
      if (bytes.byteLength > 0) controller.enqueue(bytes)
      controller.close()
    },
  })
}

async function wholeOf(body: ByteStream): Promise<Uint8Array> {
  const pieces: Uint8Array[] = []
  for (let piece = await body.read(); piece !== undefined; piece = await body.read()) pieces.push(piece)
  return Buffer.concat(pieces)
}

/** @throws what the stream throws before its first byte, when a plain 500 can still be sent. */
async function streamed(
  { status, headers }: HttpResponse,
  body: ByteStream,
  connection: ClientConnection,
): Promise<HttpResponseInit> {
  const { signal } = connection.left
  const giveUp = () => body.cancel(signal.reason)
  const end = () => {
    if (clientHasLeft(signal)) return giveUp()
    // The stream says itself that the gateway has ended it, to a client that reads; another's is cut.
    const cut = setTimeout(() => {
      giveUp()
      connection.cut()
    }, CUT_MS)
    void connection.closed.then(() => {
      clearTimeout(cut)
      giveUp()
    })
  }
  if (signal.aborted) end()
  else signal.addEventListener('abort', end)
  let first: Promise<Uint8Array | undefined> | undefined = Promise.resolve(await body.read())
  if (clientHasLeft(signal)) return { status: CLIENT_LEFT.status }
  const paced = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        await connection.writable()
        try {
          const piece = await (first ?? body.read())
          first = undefined
          if (piece !== undefined) return controller.enqueue(piece)
        } catch {
          await connection.breakOff()
        }
        controller.close()
      },
      cancel: (reason) => body.cancel(reason),
    },
    { highWaterMark: 0 },
  )
  return { status, headers, body: paced }
}

/**
 * One JSON text a line, which Application Insights can query by field. A stream ends after its function has returned; from
 * then on the worker's own log takes its lines, under the invocation's id. Of a line that comes after the answer the host
 * would keep nothing, so it goes to the console, which the host reads too, and names the invocation itself.
 */
function logSink(invocation: InvocationContext): { readonly sink: LogSink; returned(): void } {
  const { invocationId } = invocation
  let returned = false
  return {
    sink(level, line) {
      if (!returned) return invocation[level](JSON.stringify(line))
      const running = coreInvocation(invocationId)
      if (running !== undefined) running.log(level, JSON.stringify(line))
      else console[level](JSON.stringify({ ...line, invocationId }))
    },
    returned: () => {
      returned = true
    },
  }
}
