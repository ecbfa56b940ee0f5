import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A request as it arrived, and what it was answered with. */
export interface Arrival {
  readonly method: string
  readonly path: string
  /** Of `performance.now()`. */
  readonly at: number
  readonly headers: ReadonlyMap<string, string>
  answer?: { readonly status: number; readonly at: number; readonly headers: ReadonlyMap<string, string> }
}

/**
 * A tap on the connections between a client and a server: it passes bytes on as they are, and writes down the heads of
 * the requests and answers among them. So a client is watched without being told, or having a `fetch` of ours.
 */
export interface Tap {
  /** The server's, as this tap gives it to clients. */
  readonly origin: string
  readonly arrivals: readonly Arrival[]
  /** Is told of each request before it is passed on. */
  onArrival: () => void
  close(): Promise<void>
}

// Bodies are JSON or events: neither can hold a bare CR and LF, so that nothing in a body looks like a head.
const REQUEST = /([A-Z]+) (\S+) HTTP\/1\.1\r\n((?:[^\r\n]+\r\n)*)\r\n/g
const ANSWER = /HTTP\/1\.1 ([2-5]\d\d)[^\r\n]*\r\n((?:[^\r\n]+\r\n)*)\r\n/g

export async function openTap(server: string): Promise<Tap> {
  const { hostname, port } = new URL(server)
  const sockets = new Set<Socket>()
  const arrivals: Arrival[] = []
  const listener = createServer((client) => {
    const service = connect(Number(port), hostname)
    const unanswered: Arrival[] = []
    passOn(client, service, REQUEST, ([method = '', path = '', headers = '']) => {
      const arrival: Arrival = { method, path, at: performance.now(), headers: fieldsOf(headers) }
      arrivals.push(arrival)
      unanswered.push(arrival)
      tap.onArrival()
    })
    passOn(service, client, ANSWER, ([status, headers = '']) => {
      const arrival = unanswered.shift()
      if (arrival) arrival.answer = { status: Number(status), at: performance.now(), headers: fieldsOf(headers) }
    })
    const cut = () => {
      client.destroy()
      service.destroy()
    }
    for (const socket of [client, service]) {
      sockets.add(socket.setNoDelay())
      socket.on('error', cut).on('close', cut)
    }
  }).listen(0, '127.0.0.1')
  await once(listener, 'listening')

  const tap: Tap = {
    origin: `http://127.0.0.1:${(listener.address() as AddressInfo).port}`,
    arrivals,
    onArrival: () => {},
    async close() {
      for (const socket of sockets) socket.destroy()
      listener.close()
      await once(listener, 'close')
    },
  }
  return tap
}

/** @param seen is told the groups of each head, whole, before its last bytes are passed on */
function passOn(from: Socket, to: Socket, head: RegExp, seen: (groups: readonly string[]) => void): void {
  let text = ''
  from.on('data', (bytes) => {
    text += bytes.toString('latin1')
    let end = 0
    for (const match of text.matchAll(head)) {
      seen(match.slice(1))
      end = match.index + match[0].length
    }
    text = text.slice(end)
    if (!to.write(bytes)) {
      from.pause()
      to.once('drain', () => from.resume())
    }
  })
  from.on('end', () => to.end())
}

function fieldsOf(head: string): ReadonlyMap<string, string> {
  const lines = head.split('\r\n').filter((line) => line !== '')
  return new Map(
    lines.map((line) => {
      const colon = line.indexOf(':')
      return [line.slice(0, colon).toLowerCase(), line.slice(colon + 1).trim()] as const
    }),
  )
}
