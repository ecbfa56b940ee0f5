import { once } from 'node:events'
import { request } from 'node:http'
import { connect, type Socket } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'

/** What became of requests that were all sent at once. */
export interface BurstResult {
  readonly requests: number
  /** How many got a 200. */
  readonly answered: number
  /** Statuses other than 200, and faults of connections, each once. */
  readonly faults: readonly string[]
  /** From the sending of the first to the end of the answer, in milliseconds. */
  readonly firstMs: number
  readonly lastMs: number
}

/** So many connections are opened at a time: more than a server's backlog would wait for a second try. */
const OPENED_AT_ONCE = 100

/** Sends the same request to each of these servers so many times, all at once, each over a connection opened before. */
export async function burst(
  urls: readonly string[],
  each: number,
  { key, body }: { readonly key: string; readonly body: string },
): Promise<BurstResult> {
  const targets = Array.from({ length: urls.length * each }, (_, index) => new URL(urls[index % urls.length] ?? ''))
  const sockets: Socket[] = []
  while (sockets.length < targets.length) {
    const next = targets.slice(sockets.length, sockets.length + OPENED_AT_ONCE)
    sockets.push(...(await Promise.all(next.map(({ hostname, port }) => opened(hostname, Number(port))))))
  }
  // What is connected is not yet accepted.
  await sleep(100)
  const started = performance.now()
  const answers = await Promise.all(
    targets.map(async (target, index) => {
      const status = await ask(target, sockets[index], key, body).catch((error: Error) => error.message)
      return { status, ms: performance.now() - started }
    }),
  )
  for (const socket of sockets) socket.destroy()
  const times = answers.map(({ ms }) => ms)
  return {
    requests: answers.length,
    answered: answers.filter(({ status }) => status === 200).length,
    faults: [...new Set(answers.filter(({ status }) => status !== 200).map(({ status }) => String(status)))],
    firstMs: Math.min(...times),
    lastMs: Math.max(...times),
  }
}

async function opened(host: string, port: number): Promise<Socket> {
  const socket = connect({ host, port, noDelay: true })
  await once(socket, 'connect')
  return socket
}

function ask(target: URL, socket: Socket | undefined, key: string, body: string): Promise<number> {
  return new Promise((resolve, reject) => {
    const asked = request(
      {
        createConnection: () => socket,
        host: target.hostname,
        port: target.port,
        path: '/api/generate',
        method: 'POST',
        headers: { 'x-api-key': key, 'content-length': Buffer.byteLength(body) },
      },
      (response) => {
        response.resume()
        response.on('end', () => resolve(response.statusCode ?? 0)).on('error', reject)
      },
    )
    asked.on('error', reject)
    asked.end(body)
  })
}
