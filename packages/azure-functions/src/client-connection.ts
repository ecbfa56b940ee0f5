import { subscribe } from 'node:diagnostics_channel'
import { type IncomingMessage, Server, type ServerResponse } from 'node:http'

/*
 * With HTTP streaming on, the Functions host forwards each request to a server of the Functions library, in this
 * process. The library doesn't tell when that connection is closed, doesn't wait while it is full, and can't break it.
 * Node announces every request of every server in the process; the library's bear the invocation's id.
 */

/** The connection that a streamed answer goes out by. */
export interface ClientConnection {
  /** Is aborted when it is closed before the answer was sent whole: the client has left. */
  readonly left: AbortController
  /** Resolves when it is closed, or the answer was sent whole. */
  readonly closed: Promise<void>
  /** Resolves when more may be written, or when there is nobody left to write to. */
  writable(): Promise<void>
  /** Closes it, once what was written is on its way, without the end that would make the answer look whole. */
  breakOff(): Promise<void>
  /** Closes it at once. */
  cut(): void
  /** Answers in the place of a handler that will never run: 400. */
  refuse(message: string): void
}

/** The header by which the host says whose request it forwards. */
export const INVOCATION = 'x-ms-invocation-id'
/** How long a connection that closed early is remembered for an invocation that is still to come, in milliseconds. */
const REMEMBER_MS = 60_000
/** How long a slow client may take to be sent the rest before its connection is broken, in milliseconds. */
const FLUSH_MS = 5_000

/**
 * What the headers of a forwarded request may have together, in bytes. The host takes 32 KiB from a client (Kestrel's
 * default) and adds its own. Node's default, 16 KiB, is answered with a 431 of which the library learns nothing, so that the
 * invocation would never end.
 */
const MAX_HEADER_BYTES = 64 * 1024

/**
 * How long a connection of the host's may lie idle, in milliseconds: longer than the host keeps one for its next request (.NET
 * closes it after a minute). With Node's 5 s a request can meet a connection that is just being closed.
 */
const KEEP_ALIVE_MS = 120_000

const connections = new Map<string, ClientConnection>()
/** Invocations that wait for their connection. */
const awaited = new Map<string, () => void>()
/** Invocations that no handler will run for, by their ids' beginnings, and what their clients are told. */
const abandoned = new Map<string, string>()
/** A client can send an id of its own, of any length. */
const ID_CHARS = 64

// Told of every server of the process as it begins to listen; the library's can't be reached otherwise.
subscribe('tracing:net.server.listen:asyncStart', (message) => {
  const { server } = message as { readonly server: unknown }
  if (server instanceof Server)
    Object.assign(server, { maxHeaderSize: MAX_HEADER_BYTES, keepAliveTimeout: KEEP_ALIVE_MS })
})

subscribe('http.server.request.start', (message) => {
  const { request, response } = message as { readonly request: IncomingMessage; readonly response: ServerResponse }
  const id = request.headers[INVOCATION]
  // Only the first with an id counts: the id comes back in the answer, and could be sent again.
  if (typeof id !== 'string' || connections.has(id)) return
  const connection = connectionOf(response)
  const refused = abandoned.get(id.slice(0, ID_CHARS))
  // Not before the library has seen it too.
  if (refused !== undefined) return void setImmediate(() => connection.refuse(refused))
  connections.set(id, connection)
  awaited.get(id)?.()
  response.once('close', () => {
    if (connections.has(id)) setTimeout(() => connections.delete(id), REMEMBER_MS).unref()
  })
})

/** The connection of an invocation; `undefined` where the app's answers are not streamed. To be taken once. */
export function takeConnection(invocationId: string): ClientConnection | undefined {
  const connection = connections.get(invocationId)
  connections.delete(invocationId)
  return connection
}

/** Waits for the connection of an invocation, so many milliseconds at most. Whether it has come. */
export async function connected(invocationId: string, ms: number): Promise<boolean> {
  if (connections.has(invocationId)) return true
  const { promise, resolve } = Promise.withResolvers<void>()
  awaited.set(invocationId, resolve)
  const timer = setTimeout(resolve, ms)
  await promise
  clearTimeout(timer)
  // After a long pause of the process, what has arrived meanwhile is read only now.
  if (!connections.has(invocationId)) await new Promise((turn) => setTimeout(turn, 0))
  awaited.delete(invocationId)
  return connections.has(invocationId)
}

/** Answers the client of an invocation that no handler will run for: now, or when its connection comes. */
export function abandonConnection(invocationId: string, message: string): void {
  const connection = takeConnection(invocationId)
  connection?.refuse(message)
  if (connection !== undefined) return
  const id = invocationId.slice(0, ID_CHARS)
  abandoned.set(id, message)
  setTimeout(() => abandoned.delete(id), REMEMBER_MS).unref()
}

function connectionOf(response: ServerResponse): ClientConnection {
  const left = new AbortController()
  const { promise: closed, resolve } = Promise.withResolvers<void>()
  response.once('close', () => {
    if (!response.writableFinished) left.abort(new DOMException('The client has left', 'AbortError'))
    resolve()
  })
  const isClosed = () => response.destroyed || response.closed
  return {
    left,
    closed,
    async writable() {
      if (response.writableNeedDrain && !isClosed()) await drained(response)
    },
    async breakOff() {
      if (!isClosed()) await flushed(response)
      response.destroy()
    },
    cut: () => void response.destroy(),
    refuse: (message) =>
      void response
        .writeHead(400, { 'content-type': 'application/json' })
        .end(JSON.stringify({ error: message, code: 'invalid_request' })),
  }
}

function drained(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    function done() {
      response.off('drain', done)
      response.off('close', done)
      resolve()
    }
    response.on('drain', done)
    response.on('close', done)
  })
}

function flushed(response: ServerResponse): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, FLUSH_MS)
    function done() {
      clearTimeout(timer)
      response.off('close', done)
      resolve()
    }
    response.once('close', done)
    // An empty write is called back when all before it has been handed to the system.
    response.write('', done)
  })
}
