import { subscribe } from 'node:diagnostics_channel'
import type { IncomingMessage, ServerResponse } from 'node:http'

/*
 * With HTTP streaming on, the Functions host forwards each request to a server of the Functions library, in this
 * process. The library doesn't tell when that connection is closed, doesn't wait while it is full, and can't break it.
 * Node announces every request of every server in the process; the library's bear the invocation's id.
 */

/** The connection that a streamed answer goes out by. */
export interface ClientConnection {
  /** Aborts when it is closed before the answer was sent whole: the client has left. */
  readonly signal: AbortSignal
  /** Resolves when more may be written, or when there is nobody left to write to. */
  writable(): Promise<void>
  /** Closes it, once what was written is on its way, without the end that would make the answer look whole. */
  breakOff(): Promise<void>
}

const INVOCATION = 'x-ms-invocation-id'
/** How long a connection that closed early is remembered for an invocation that is still to come, in milliseconds. */
const REMEMBER_MS = 60_000
/** How long a slow client may take to be sent the rest before its connection is broken, in milliseconds. */
const FLUSH_MS = 5_000

const connections = new Map<string, ClientConnection>()

subscribe('http.server.request.start', (message) => {
  const { request, response } = message as { readonly request: IncomingMessage; readonly response: ServerResponse }
  const id = request.headers[INVOCATION]
  // Only the first with an id counts: the id comes back in the answer, and could be sent again.
  if (typeof id !== 'string' || connections.has(id)) return
  connections.set(id, connectionOf(response))
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

function connectionOf(response: ServerResponse): ClientConnection {
  const left = new AbortController()
  response.once('close', () => {
    if (!response.writableFinished) left.abort(new DOMException('The client has left', 'AbortError'))
  })
  const closed = () => response.destroyed || response.closed
  return {
    signal: left.signal,
    async writable() {
      if (response.writableNeedDrain && !closed()) await drained(response)
    },
    async breakOff() {
      if (!closed()) await flushed(response)
      response.destroy()
    },
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
