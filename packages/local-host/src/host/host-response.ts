import { type IncomingMessage, ServerResponse } from 'node:http'

/** How long a client that has been answered may go on sending its body, in milliseconds. */
const LINGER_MS = 2_000

/**
 * An answer that may come before its request's body has. What is left of that body would be taken for the next request's
 * beginning, or hold it up, so the connection is closed after the answer, and the answer says so (RFC 9112, section 9.3).
 * The rest is read and dropped first: to close over unread bytes resets the connection, and may cost the client the answer
 * (section 9.6).
 */
export class HostResponse<Request extends IncomingMessage = IncomingMessage> extends ServerResponse<Request> {
  #ending = false

  override writeHead(...head: unknown[]): this {
    if (isUnread(this.req)) this.setHeader('connection', 'close')
    return super.writeHead(...(head as Parameters<ServerResponse['writeHead']>))
  }

  override end(...last: unknown[]): this {
    if (this.#ending || this.destroyed || !isUnread(this.req)) return super.end(...(last as []))
    this.#ending = true
    const [chunk] = last
    if (typeof chunk === 'string' || chunk instanceof Uint8Array) {
      // With its length before it, the client knows that the answer is whole although the end is still to come.
      if (!this.headersSent && !this.hasHeader('content-length')) {
        this.setHeader('content-length', Buffer.byteLength(chunk))
      }
      this.write(chunk)
    } else {
      this.flushHeaders()
    }
    dropRest(this.req).then(() => super.end())
    return this
  }
}

/** Whether some of the body is still to come. */
export function isUnread({ complete, headers }: IncomingMessage): boolean {
  return !complete && (headers['transfer-encoding'] !== undefined || Number(headers['content-length'] ?? 0) > 0)
}

/** Resolves when the body has come to its end, its connection to its own, or the client has had its time. */
function dropRest(request: IncomingMessage): Promise<void> {
  return new Promise((resolve) => {
    const timer = setTimeout(done, LINGER_MS)
    function done() {
      clearTimeout(timer)
      request.off('end', done).off('close', done)
      resolve()
    }
    request.on('end', done).on('close', done)
    request.unpipe()
    request.resume()
  })
}
