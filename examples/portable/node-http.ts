import type { IncomingMessage, RequestListener, ServerResponse } from 'node:http'
import {
  type ByteSource,
  type ByteStream,
  clientHasLeft,
  type Entry,
  type GatewayRequest,
  type HttpResponse,
  isStream,
  type LogSink,
  type RequestsInFlight,
} from '@tollgate/middleware'

/** How long a slow client may take to be sent the rest of a stream that broke, in milliseconds. */
const FLUSH_MS = 5_000

/** How long a client that has been answered may go on sending its body, in milliseconds. */
const LINGER_MS = 2_000

export interface NodeHttpOptions {
  /** Whether a proxy of yours stands in front: then the client's address is the last of `X-Forwarded-For`. */
  readonly behindProxy: boolean
  readonly log: LogSink
  /** Ends, with an answer, what is under way when the process ends. */
  readonly inFlight: RequestsInFlight
}

/**
 * Puts an entry behind a server of Node's. Total: whatever is asked gets an answer, and nothing ends the process. A stream
 * goes out as fast as the client takes it, is given up when the client leaves, and breaks the connection where it breaks
 * itself, so that half an answer never looks like a whole one.
 */
export function nodeHttp(entry: Entry, options: NodeHttpOptions): RequestListener {
  return async function handle(incoming, outgoing) {
    const left = new AbortController()
    const closed = Promise.withResolvers<void>()
    outgoing.once('close', () => {
      if (!outgoing.writableFinished) left.abort(new DOMException('The client has left', 'AbortError'))
      closed.resolve()
    })
    const leave = options.inFlight.enter(left)
    const request = toGatewayRequest(incoming, options, left.signal)
    try {
      if (request === undefined) return void outgoing.writeHead(400).end()
      await answer(await entry(request, options.log), incoming, outgoing, left.signal)
    } catch (fault) {
      if (clientHasLeft(left.signal)) return
      options.log('error', { event: 'adapter fault', fault: (fault as Error)?.name })
      if (outgoing.headersSent) outgoing.destroy()
      else outgoing.writeHead(500).end()
    } finally {
      void closed.promise.then(leave)
    }
  }
}

async function answer(
  { status, headers, body }: HttpResponse,
  incoming: IncomingMessage,
  outgoing: ServerResponse,
  left: AbortSignal,
): Promise<void> {
  // What is left of the body can't be told from a next request (RFC 9112, section 9.3).
  const unread = !incoming.complete
  const head = unread ? { ...headers, connection: 'close' } : headers
  if (isStream(body)) {
    try {
      outgoing.writeHead(status, head)
    } catch (fault) {
      body.cancel(fault)
      throw fault
    }
    return send(body, outgoing, left)
  }
  outgoing.writeHead(status, { ...head, 'content-length': body?.byteLength ?? 0 })
  if (!unread) return void outgoing.end(body)
  if (body !== null) outgoing.write(body)
  // To close over unread bytes resets the connection, and may cost the client the answer (section 9.6).
  await dropRest(incoming)
  outgoing.end()
}

/** Resolves when the body has come to its end, or the client has had its time. */
function dropRest(incoming: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, LINGER_MS)
    function done() {
      clearTimeout(timer)
      incoming.off('end', done).off('close', done)
      resolve()
    }
    // What read the body would pause it at each piece.
    incoming.removeAllListeners('data').on('end', done).on('close', done).resume()
  })
}

/**
 * A path, or an absolute URL (RFC 9112, section 3.2), of which only path and query are used. A path is joined, not resolved:
 * /\\machine/x names no host. `null` for what is neither.
 */
function targetOf({ url = '' }: IncomingMessage): URL | null {
  if (url.startsWith('/')) return URL.parse(`http://gateway.invalid${url.replace(/^\/+/, '/')}`)
  return /^https?:\/\//i.test(url) ? URL.parse(url) : null
}

/** `undefined` for a target that is no URL. */
function toGatewayRequest(
  incoming: IncomingMessage,
  { behindProxy }: Pick<NodeHttpOptions, 'behindProxy'>,
  signal: AbortSignal,
): GatewayRequest | undefined {
  const { method = 'GET' } = incoming
  const url = targetOf(incoming)
  if (url === null) return undefined
  return {
    method,
    url,
    headers: { get: (name) => incoming.headersDistinct[name]?.join(', ') ?? null },
    body: bodyOf(incoming),
    clientAddress: (behindProxy ? lastForwarded(incoming) : incoming.socket.remoteAddress) ?? 'unknown',
    signal,
  }
}

function lastForwarded({ headers }: IncomingMessage): string | undefined {
  return [headers['x-forwarded-for']].flat().join(',').split(',').at(-1)?.trim() || undefined
}

/** What of a body may wait to be read, in bytes. A client that has sent more waits for its reader. */
const MOST_WAITING = 64 * 1024
/** What a piece counts for beside its bytes: a client can send a body byte by byte. */
const PIECE_BYTES = 128

/** A request's body, read hardly further than it is asked for. What is left of it can still be dropped. */
function bodyOf(incoming: IncomingMessage): ByteSource {
  const waiting: Buffer[] = []
  let weight = 0
  let hasEnded = false
  let fault: Error | undefined
  let wake = () => {}
  let begun = false

  function begin(): void {
    begun = true
    incoming
      .on('data', (chunk: Buffer) => {
        waiting.push(chunk)
        weight += chunk.length + PIECE_BYTES
        if (weight > MOST_WAITING) incoming.pause()
        wake()
      })
      .on('end', () => {
        hasEnded = true
        wake()
      })
      .on('error', (error) => {
        fault = error
        wake()
      })
      .on('close', () => {
        if (!hasEnded) fault ??= new Error('The client broke off its upload')
        wake()
      })
  }

  return {
    async read() {
      if (waiting.length === 0 && !hasEnded && fault === undefined) {
        await new Promise<void>((resolve) => {
          wake = resolve
          if (!begun) begin()
          else if (incoming.isPaused()) incoming.resume()
        })
      }
      const piece = waiting.shift()
      if (piece !== undefined) weight -= piece.length + PIECE_BYTES
      else if (fault !== undefined) throw fault
      return piece
    },
    cancel() {
      waiting.length = 0
      hasEnded = true
      incoming.pause()
      wake()
    },
  }
}

async function send(body: ByteStream, outgoing: ServerResponse, left: AbortSignal): Promise<void> {
  outgoing.once('close', () => body.cancel(left.reason))
  // A stream that the process ends says so itself.
  if (clientHasLeft(left)) body.cancel(left.reason)
  try {
    for (let piece = await body.read(); piece !== undefined; piece = await body.read()) {
      if (!outgoing.write(piece)) await drained(outgoing)
    }
    outgoing.end()
  } catch {
    // What came before the break is sent; an end that would make the answer look whole is not.
    const timer = setTimeout(() => outgoing.destroy(), FLUSH_MS)
    outgoing.once('close', () => clearTimeout(timer))
    outgoing.write('', () => outgoing.destroy())
  }
}

/** Resolves when more may be written, or when there is nobody left to write to. */
function drained(outgoing: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    function done() {
      outgoing.off('drain', done)
      outgoing.off('close', done)
      resolve()
    }
    if (outgoing.destroyed) return resolve()
    outgoing.on('drain', done)
    outgoing.on('close', done)
  })
}
