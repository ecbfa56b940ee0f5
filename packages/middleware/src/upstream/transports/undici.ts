import { channel } from 'node:diagnostics_channel'
import type { Socket } from 'node:net'
import { setImmediate as nextTurn } from 'node:timers/promises'
import type { Dispatcher } from 'undici'
import { type ByteSource, loadUndici } from '../../pipeline/index.ts'
import type { ConnectionCheck } from '../../policy/index.ts'
import { ConnectionFailed } from './connection-failed.ts'
import { ACCEPTED_ENCODINGS, decoded } from './content-encoding.ts'
import { type Environment, type WayOut, wayOut } from './proxy.ts'
import { type BuiltRequest, type RequestBuilderOptions, requestBuilder } from './request-builder.ts'
import {
  type AnswerHeaders,
  type CallProgress,
  headerOf,
  type SendOptions,
  type Transport,
  type TransportAnswer,
} from './transport.ts'

/**
 * A kept connection that its other end had closed fails within a round trip. What fails later, in milliseconds after it was
 * sent, was being worked on, and asking again could cost twice.
 */
const STALE_WITHIN_MS = 5_000

export interface UndiciTransportOptions extends RequestBuilderOptions {
  /** Read with the first request: in a placeholder start the environment is replaced after the process began. */
  readonly env?: () => Environment
  /** Of each connection that is made straight. Left out, a host may be on any address: for targets of no policy. */
  readonly check?: ConnectionCheck
  /** The longest that a connection may take to come about, in milliseconds; four seconds by default. */
  readonly connectMs?: number | undefined
}

/**
 * Sends requests by undici's dispatch. It differs from `fetch` in this:
 * - it notes on a call's progress when the request really leaves (a connection that never came about has cost nothing);
 * - a request that fails on a kept connection before a byte of its answer is sent once more, on a new connection, for the
 *   other end had closed the kept one;
 * - it goes by the environment's proxy;
 * - what is cancelled ends its connection in the same turn, also under a pending read.
 */
export function undiciTransport({
  env = () => process.env,
  check,
  connectMs,
  ...options
}: UndiciTransportOptions): Transport {
  const requests = requestBuilder(options)
  let ways: { readonly kept: WayOut; readonly anew: () => WayOut } | undefined

  async function waysOut(host: string): Promise<NonNullable<typeof ways>> {
    try {
      const undici = await loadUndici()
      followSockets()
      const newWay = () => wayOut(undici, env(), connectMs, check)
      ways ??= { kept: newWay(), anew: newWay }
      return ways
    } catch (cause) {
      throw new ConnectionFailed(host, { sent: false, cause })
    }
  }

  function refuseHost({ hostname, host }: URL): void {
    try {
      check?.host(hostname)
    } catch (cause) {
      throw new ConnectionFailed(host, { sent: false, cause })
    }
  }

  return {
    translation: requests.translation,
    prepare(target, { path }) {
      const preparing = requests.prepare(target, path)
      if (ways !== undefined) return preparing
      return Promise.all([preparing, loadUndici()])
    },
    async send(target, { path }, body, { signal, requestId, forwarded, progress }) {
      const building = requests.build(target, path, body, signal)
      const built = 'then' in building ? await building : building
      const { url } = built.template
      progress.url = built.shown
      if (areSettling) await nextTurn()
      refuseHost(url)
      const { kept, anew } = ways ?? (await waysOut(url.host))
      const outgoing = outgoingOf(built, { requestId, forwarded }, body)
      const first = await attempt(kept.dispatcherFor(url), outgoing, progress, signal)
      if ('status' in first) return unpacked(first)
      if (!first.wasStale) throw faultOf(first)
      const once = anew()
      const second = await attempt(once.dispatcherFor(url), outgoing, progress, signal)
      // In the background: it waits for the answer's end.
      void once.close().catch(() => {})
      if ('status' in second) return unpacked(second)
      throw faultOf(second)

      function faultOf({ error }: Failed): unknown {
        return signal.aborted ? error : new ConnectionFailed(url.host, { sent: progress.sent === true, cause: error })
      }
    },
  }
}

function outgoingOf(
  { template, method, added }: BuiltRequest,
  { requestId, forwarded }: { readonly [name in 'requestId' | 'forwarded']: SendOptions[name] | undefined },
  body: Uint8Array | undefined,
): Dispatcher.DispatchOptions {
  const { url } = template
  const headers = [...template.headers, 'accept-encoding', ACCEPTED_ENCODINGS]
  if (requestId !== undefined) headers.push('x-request-id', requestId)
  if (forwarded !== undefined) headers.push(...forwarded)
  if (added.length > 0) headers.push(...added)
  return { origin: url.origin, path: url.pathname + url.search, method, headers, body: body ?? null }
}

function unpacked({ status, headers, body }: TransportAnswer): TransportAnswer {
  const encoding = headerOf(headers, 'content-encoding')
  return { status, headers, body: encoding === undefined ? body : decoded(body, encoding) }
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
  signal: AbortSignal,
): Promise<TransportAnswer | Failed> {
  return new Promise((resolve) => {
    let connection: Dispatcher.DispatchController | undefined
    let link: Link | undefined
    let body: Incoming | undefined

    const onAbort = () => {
      const { reason } = signal
      connection?.abort(reason)
      // One that still waits for its connection is not told by undici, and nobody waits with it.
      fail(reason)
    }
    const fail = (error: unknown) => {
      signal.removeEventListener('abort', onAbort)
      if (body !== undefined) body.fail(error)
      else resolve({ error, wasStale: !signal.aborted && link !== undefined && wasStale(link) })
    }

    if (signal.aborted) return fail(signal.reason)
    signal.addEventListener('abort', onAbort)
    try {
      dispatcher.dispatch(outgoing, {
        onRequestStart(controller) {
          if (signal.aborted) return controller.abort(signal.reason)
          connection = controller
          progress.sent = true
          onNextSocket((socket) => {
            link = linkOver(socket)
          })
        },
        onResponseStart(controller, status, headers) {
          if (status < 200) return
          body = incoming(controller, signal, () => signal.removeEventListener('abort', onAbort))
          resolve({ status, headers: headers as AnswerHeaders, body })
        },
        onResponseData(_controller, chunk) {
          body?.push(chunk)
        },
        onResponseEnd() {
          settleConnections()
          body?.end()
        },
        onResponseError: (_controller, error) => fail(error),
      })
    } catch (error) {
      // As of a protocol that it doesn't speak.
      fail(error)
    }
  })
}

/** What is held before it is read, in bytes. A connection that has more waits for its reader. */
const MOST_WAITING = 64 * 1024
/** What a piece counts for beside its bytes: a server can send a body byte by byte. */
const PIECE_BYTES = 128

interface Incoming extends ByteSource {
  push(chunk: Uint8Array): void
  end(): void
  /** What has come before is still read, but for a call that was ended. */
  fail(error: unknown): void
}

/**
 * Bytes as they come over a connection, no faster than they are read. What comes in one turn, as the events of a stream often
 * do, is read in one piece. A source that is cancelled ends its connection at once.
 */
function incoming(connection: Dispatcher.DispatchController, signal: AbortSignal, onOver: () => void): Incoming {
  let waiting: Uint8Array[] = []
  let weight = 0
  let isPaused = false
  let wake: (() => void) | undefined
  let state: 'open' | 'ended' | { readonly error: unknown } = 'open'

  function over(how: typeof state): void {
    if (state !== 'open') return
    state = how
    onOver()
    awake()
  }
  function awake(): void {
    const reader = wake
    wake = undefined
    reader?.()
  }
  function take(): Uint8Array | undefined {
    const [first] = waiting
    if (first === undefined) {
      if (typeof state === 'object') throw state.error
      return undefined
    }
    const taken = waiting.length === 1 ? first : Buffer.concat(waiting)
    waiting = []
    weight = 0
    if (isPaused) {
      isPaused = false
      // Its data may come while this call lasts.
      connection.resume()
    }
    return taken
  }

  return {
    read() {
      const hasCome = new Promise<void>((resolve) => {
        wake = resolve
      })
      if (waiting.length > 0 || state !== 'open') awake()
      // Taken when this turn has brought all that it brings.
      return hasCome.then(take)
    },
    cancel() {
      const wasOpen = state === 'open'
      waiting = []
      state = 'ended'
      if (!wasOpen) return
      onOver()
      connection.abort(new DOMException('The answer is not wanted', 'AbortError'))
      awake()
    },
    push(chunk) {
      // undici begins with one that is empty where it goes on after a pause: to pause there again would be for ever.
      if (chunk.length === 0 || state !== 'open') return
      waiting.push(chunk)
      weight += chunk.length + PIECE_BYTES
      if (weight > MOST_WAITING) {
        isPaused = true
        connection.pause()
      }
      awake()
    },
    end: () => over('ended'),
    fail(error) {
      if (signal.aborted) waiting = []
      over({ error })
    },
  }
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

/** Whether an answer has ended in this turn of the event loop. */
let areSettling = false

/**
 * undici takes a connection again in the turn after its answer's end. What is asked before then waits for that turn, and need not
 * open another one.
 */
function settleConnections(): void {
  if (areSettling) return
  areSettling = true
  setImmediate(() => {
    areSettling = false
  })
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
