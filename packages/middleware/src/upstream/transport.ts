import { channel } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import type { Dispatcher } from 'undici'
import { type CallProgress, progressOf, shownUrl } from './call-progress.ts'
import { ConnectionFailed } from './connection-failed.ts'
import { ACCEPTED_ENCODINGS, decoded } from './content-encoding.ts'
import { type Environment, type WayOut, wayOut } from './proxy.ts'

/** The most that is read of an answer which is no success, in bytes, unpacked. An error's code stands at its beginning. */
const MAX_REFUSAL_BYTES = 64 * 1024
/** The longest that such a body is waited for, in milliseconds: its status is known, and says the most. */
const REFUSAL_BODY_MS = 2_000
/**
 * A kept connection that its other end had closed fails within a round trip. What fails later, in milliseconds after it was
 * sent, was being worked on, and asking again could cost twice.
 */
const STALE_WITHIN_MS = 5_000

export interface TransportOptions {
  /** Read with the first request: in a placeholder start the environment is replaced after the process began. */
  readonly env?: () => Environment
}

/**
 * A `fetch` for the SDK, on undici. It differs from the global one in this:
 * - it notes on a call's progress when the request really leaves (a connection that never came about has cost nothing);
 * - of an answer that is no success it reads 64 KiB at most, counted unpacked, and then ends the connection;
 * - a request that fails on a kept connection before a byte of its answer is sent once more, on a new connection, for the
 *   other end had closed the kept one;
 * - it goes by the environment's proxy, and never follows a redirect, which could carry the key to another host.
 */
export function transport({ env = () => process.env }: TransportOptions = {}): typeof fetch {
  let loaded: Promise<{ readonly kept: WayOut; readonly anew: () => WayOut }> | undefined
  const load = async () => {
    const sdk = await import('./sdk.ts')
    followSockets()
    return { kept: wayOut(sdk, env()), anew: () => wayOut(sdk, env()) }
  }

  return async (input, init) => {
    const progress = progressOf(init)
    const url = new URL(input instanceof Request ? input.url : input)
    progress.url = shownUrl(url)
    loaded ??= load().catch((error) => {
      // A failure is tried again by the next call.
      loaded = undefined
      throw error
    })
    const { kept, anew } = await loaded
    const signal = init?.signal ?? undefined
    const outgoing = outgoingOf(url, init)
    const first = await attempt(kept.dispatcherFor(url), outgoing, progress, signal)
    if ('status' in first) return responseOf(first, progress)
    if (!first.wasStale) throw faultOf(first)
    const once = anew()
    const second = await attempt(once.dispatcherFor(url), outgoing, progress, signal)
    // In the background: it waits for the answer's end.
    void once.close().catch(() => {})
    if ('status' in second) return responseOf(second, progress)
    throw faultOf(second)

    function faultOf({ error }: Failed): unknown {
      return signal?.aborted ? error : new ConnectionFailed(url, { sent: progress.sent === true, cause: error })
    }
  }
}

function outgoingOf(url: URL, init: RequestInit | undefined): Dispatcher.DispatchOptions {
  const { method = 'GET', headers, body = null } = init ?? {}
  if (body !== null && typeof body !== 'string') throw new TypeError('The body of a request to a model must be a text')
  const sent = new Headers(headers)
  sent.set('accept-encoding', ACCEPTED_ENCODINGS)
  return {
    origin: url.origin,
    path: url.pathname + url.search,
    method: method as Dispatcher.HttpMethod,
    headers: Object.fromEntries(sent),
    body,
  }
}

type Body = ReadableStream<Uint8Array<ArrayBuffer>>

/** An answer's head, and its body as it comes over the connection. */
interface Head {
  readonly status: number
  readonly headers: Headers
  readonly body: Body
}

interface Failed {
  readonly error: unknown
  /** The request certainly found a connection that was closed already. */
  readonly wasStale: boolean
}

/** Sends a request once. Settles with the answer's head; an aborted signal ends it, and the answer's body, at once. */
function attempt(
  dispatcher: Dispatcher,
  outgoing: Dispatcher.DispatchOptions,
  progress: CallProgress,
  signal: AbortSignal | undefined,
): Promise<Head | Failed> {
  return new Promise((resolve) => {
    let connection: Dispatcher.DispatchController | undefined
    let link: Link | undefined
    let body: Incoming | undefined

    const onAbort = () => {
      const reason = signal?.reason
      connection?.abort(reason)
      // One that still waits for its connection is not told by undici, and nobody waits with it.
      fail(reason)
    }
    const fail = (error: unknown) => {
      signal?.removeEventListener('abort', onAbort)
      if (body !== undefined) body.fail(error)
      else resolve({ error, wasStale: signal?.aborted !== true && link !== undefined && wasStale(link) })
    }

    if (signal?.aborted) return fail(signal.reason)
    signal?.addEventListener('abort', onAbort)
    dispatcher.dispatch(outgoing, {
      onRequestStart(controller) {
        if (signal?.aborted) return controller.abort(signal.reason)
        connection = controller
        progress.sent = true
        onNextSocket((socket) => {
          link = linkOver(socket)
        })
      },
      onResponseStart(controller, status, headers) {
        if (status < 200) return
        body = incoming(controller)
        resolve({ status, headers: headersOf(headers), body: body.stream })
      },
      onResponseData(_controller, chunk) {
        body?.push(chunk as Buffer<ArrayBuffer>)
      },
      onResponseEnd() {
        signal?.removeEventListener('abort', onAbort)
        body?.end()
      },
      onResponseError: (_controller, error) => fail(error),
    })
  })
}

interface Incoming {
  readonly stream: Body
  push(chunk: Uint8Array<ArrayBuffer>): void
  end(): void
  fail(error: unknown): void
}

/** Bytes as they come over a connection, no faster than they are read. One that is cancelled ends the connection at once. */
function incoming(connection: Dispatcher.DispatchController): Incoming {
  let out: ReadableStreamDefaultController<Uint8Array<ArrayBuffer>> | undefined
  const stream = new ReadableStream<Uint8Array<ArrayBuffer>>(
    {
      start(controller) {
        out = controller
      },
      pull: () => connection.resume(),
      cancel() {
        out = undefined
        connection.abort(new DOMException('The answer is not wanted', 'AbortError'))
      },
    },
    { highWaterMark: 0 },
  )
  return {
    stream,
    push(chunk) {
      // undici begins with one that is empty where it goes on after a pause: to pause there again would be for ever.
      if (chunk.length === 0) return
      out?.enqueue(chunk)
      if ((out?.desiredSize ?? 0) <= 0) connection.pause()
    },
    end: () => out?.close(),
    fail: (error) => out?.error(error),
  }
}

function headersOf(raw: Readonly<Record<string, string | readonly string[] | undefined>>): Headers {
  const headers = new Headers()
  for (const [name, value] of Object.entries(raw)) {
    for (const each of Array.isArray(value) ? value : [value]) {
      try {
        headers.append(name, each)
      } catch {
        // One odd header is not worth an answer.
      }
    }
  }
  return headers
}

async function responseOf({ status, headers, body }: Head, progress: CallProgress): Promise<Response> {
  const init = { status, headers }
  const unpacked = decoded(body, headers.get('content-encoding'))
  if (status >= 200 && status < 300) {
    if (status !== 204 && status !== 205) return new Response(unpacked, init)
    await unpacked.cancel()
    return new Response(null, init)
  }
  progress.refused = init
  const beginning = await beginningOf(unpacked)
  // Statuses that a Response can't have, or not together with a body.
  if (status > 599) throw new Error(`The model's server answered with status ${status}, which HTTP doesn't have`)
  return new Response(status === 304 ? null : beginning, init)
}

/** The first bytes of a body. What is longer, breaks off or dawdles is cut there, and its connection ends. */
async function beginningOf(body: Body): Promise<Uint8Array<ArrayBuffer>> {
  const bytes = new Uint8Array(MAX_REFUSAL_BYTES)
  let length = 0
  const reader = body.getReader()
  const giveUp = () => void reader.cancel().catch(() => {})
  const timer = setTimeout(giveUp, REFUSAL_BODY_MS)
  try {
    for (;;) {
      const { done, value } = await reader.read()
      if (done) break
      const taken = value.subarray(0, bytes.length - length)
      bytes.set(taken, length)
      length += taken.length
      if (taken.length < value.length) {
        giveUp()
        break
      }
    }
  } catch {
    // The status says the most, and what came of the body is kept.
  } finally {
    clearTimeout(timer)
  }
  return bytes.subarray(0, length)
}

/** A connection that carries a request. */
interface Link {
  readonly socket: Socket
  /** Whether it had carried a request before. */
  readonly wasKept: boolean
  readonly bytesRead: number
  /** Milliseconds on a monotonic clock. */
  readonly sentAt: number
}

const carried = new WeakSet<Socket>()

function linkOver(socket: Socket): Link {
  const link = { socket, wasKept: carried.has(socket), bytesRead: socket.bytesRead, sentAt: performance.now() }
  carried.add(socket)
  return link
}

function wasStale({ socket, wasKept, bytesRead, sentAt }: Link): boolean {
  return wasKept && socket.bytesRead === bytesRead && performance.now() - sentAt <= STALE_WITHIN_MS
}

let awaiting: ((socket: Socket) => void) | undefined
let follows = false

/**
 * undici tells which connection a request goes over by this channel alone, in the same turn in which it starts the
 * request.
 */
function followSockets(): void {
  if (follows) return
  follows = true
  channel('undici:client:sendHeaders').subscribe((message) => {
    const tell = awaiting
    awaiting = undefined
    tell?.((message as { readonly socket: Socket }).socket)
  })
}

function onNextSocket(tell: (socket: Socket) => void): void {
  awaiting = tell
}
