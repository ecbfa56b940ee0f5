import { Agent, type IncomingMessage, request as openRequest, type ServerResponse } from 'node:http'
import { Transform } from 'node:stream'
import type { Invoked } from '../worker/invoke.ts'
import { ownHeaders } from './own-headers.ts'
import { MAX_BODY_BYTES, Refused } from './refused.ts'

/** How long a client may take to be sent the rest of an answer that broke, in milliseconds. */
const FLUSH_MS = 5_000

/**
 * These concern one connection, and not the message (RFC 9110, section 7.6.1); `expect` has been met by then. The middleware names them
 * too, for secret headers: what hands requests on loads none of it, since the worker loads the app's own copy.
 */
const HOP_BY_HOP: ReadonlySet<string> = new Set([
  'connection',
  'keep-alive',
  'proxy-authenticate',
  'proxy-authorization',
  'proxy-connection',
  'te',
  'trailer',
  'transfer-encoding',
  'upgrade',
  'expect',
])
const INVOCATION = 'x-ms-invocation-id'

/** A body up to this size has been taken from the connection when the library has the request, in bytes. */
const TAKEN_AT_ONCE = 64 * 1024

/** The library closes a connection that lay idle for 5 s: it is given up well before, for a request must not meet its end. */
const agent = new Agent({ keepAlive: true, agentKeepAliveTimeoutBuffer: 3_000 })

/** For one request a connection. */
class OnceAgent extends Agent {
  override keepSocketAlive(): boolean {
    return false
  }
}
const onceAgent = new OnceAgent({ keepAlive: true })

/**
 * A function that answers before it has read a longer body leaves the rest in the connection to the library, where it would
 * hold up whatever request came next, and nobody out here can tell.
 */
function isTakenAtOnce({ headers }: IncomingMessage): boolean {
  return headers['transfer-encoding'] === undefined && Number(headers['content-length'] ?? 0) <= TAKEN_AT_ONCE
}

export interface Forwarded {
  readonly request: IncomingMessage
  readonly response: ServerResponse
  /** What the client asked for. */
  readonly url: URL
  /** `HttpUri` of the app's capabilities: the library's own server. */
  readonly to: string
  readonly headers: Readonly<Record<string, string>>
  readonly invocationId: string
  readonly invoke: () => Promise<Invoked>
}

/**
 * Streams a request to the library's server and its answer back, as the Functions host does when the app has enabled
 * HTTP streaming: no faster than either side takes it, and no longer than both are there.
 *
 * @throws what the function threw; Refused for a body over the host's bound. If the answer has begun, it is broken off.
 */
export async function forward(exchange: Forwarded): Promise<void> {
  const { request, response, url, to, invocationId } = exchange
  const { hostname, port } = new URL(to)
  const proxied = openRequest({
    hostname,
    port,
    // Never resolved against another URL: a path such as //machine/x would name another machine.
    path: url.pathname + url.search,
    agent: isTakenAtOnce(request) ? agent : onceAgent,
    method: request.method,
    headers: {
      ...endToEnd(exchange.headers),
      [INVOCATION]: invocationId,
      'x-forwarded-host': url.host,
      'x-forwarded-proto': 'http',
    },
  })
  response.once('close', () => {
    if (!response.writableFinished) proxied.destroy()
  })
  // The function decides over the head before a body comes, which may be late or never: `Expect: 100-continue`.
  if (!request.complete) proxied.flushHeaders()
  try {
    const sent = sendBody(request, proxied)
    const answered = new Promise<IncomingMessage>((resolve, reject) => {
      proxied.on('response', resolve).on('error', reject)
    })
    // The library answers by the connection, except when the function has thrown or returned nothing.
    const silent = exchange.invoke().then(({ result }) => (result == null ? undefined : answered))
    const answer = await Promise.race([answered, silent, sent.then(() => answered)])
    if (answer === undefined) {
      response.writeHead(204).end()
      return
    }
    // A body that fails is an error of the function's, and the library would leave its reader waiting.
    silent.catch(() => proxied.destroy())
    writeHead(response, answer)
    await copyBody(answer, response)
  } finally {
    proxied.destroy()
  }
}

function endToEnd(headers: Readonly<Record<string, string>>): Record<string, string> {
  const named = (headers.connection ?? '').toLowerCase().split(/\s*,\s*/)
  return Object.fromEntries(
    Object.entries(headers).filter(([name]) => !HOP_BY_HOP.has(name) && !named.includes(name) && name !== 'host'),
  )
}

/** Resolves when the body is sent. @throws Refused when it is longer than the host takes. */
function sendBody(request: IncomingMessage, proxied: ReturnType<typeof openRequest>): Promise<void> {
  return new Promise((resolve, reject) => {
    let length = 0
    const bounded = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        length += chunk.byteLength
        if (length <= MAX_BODY_BYTES) return done(null, chunk)
        done(new Refused(413, `The host takes bodies up to ${MAX_BODY_BYTES} bytes.`))
      },
    })
    bounded.once('error', reject)
    proxied.once('finish', resolve)
    request.once('error', () => proxied.destroy())
    request.pipe(bounded).pipe(proxied)
  })
}

/** What the host has set already stays. */
function writeHead(response: ServerResponse, answer: IncomingMessage): void {
  const own = ownHeaders(response)
  for (let i = 0; i < answer.rawHeaders.length; i += 2) {
    const name = answer.rawHeaders[i] ?? ''
    const lower = name.toLowerCase()
    if (own.has(lower) || HOP_BY_HOP.has(lower) || lower === INVOCATION || lower === 'date') continue
    response.appendHeader(name, answer.rawHeaders[i + 1] ?? '')
  }
  response.statusCode = answer.statusCode ?? 500
  response.flushHeaders()
}

/** Breaks the client's connection where the answer breaks, after all that came before. */
async function copyBody(answer: IncomingMessage, response: ServerResponse): Promise<void> {
  const whole = await new Promise<boolean>((resolve) => {
    const copy = () => {
      while (!response.writableNeedDrain) {
        const chunk: Buffer | null = answer.read()
        if (chunk === null) return
        response.write(chunk)
      }
    }
    answer.on('readable', copy)
    response.on('drain', copy)
    response.once('close', () => resolve(true))
    answer.once('end', () => resolve(true))
    answer.once('error', () => {
      // What had come before the break is still held by the message.
      for (let rest: Buffer | null = answer.read(); rest !== null; rest = answer.read()) response.write(rest)
      resolve(false)
    })
  })
  if (whole) response.end()
  else await breakOff(response)
}

function breakOff(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(end, FLUSH_MS)
    function end() {
      clearTimeout(timer)
      response.destroy()
      resolve()
    }
    // An empty write is called back when all before it has been handed to the system.
    response.write('', end)
    response.once('close', end)
  })
}
