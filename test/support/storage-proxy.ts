import { hash } from 'node:crypto'
import {
  Agent,
  createServer,
  type IncomingHttpHeaders,
  type IncomingMessage,
  request as openRequest,
  type ServerResponse,
} from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a table service is asked to do. `replace` and `merge` name no ETag or any; `update` the one that it read. */
export type Operation = 'get' | 'query' | 'insert' | 'update' | 'replace' | 'merge' | 'delete' | 'batch' | 'table'

export interface Transaction {
  readonly operation: Operation
  readonly table: string
  /** How many entities a batch changes; else 1. */
  readonly entities: number
}

export type Fault =
  /** Waits before it passes the request on, in milliseconds. */
  | { readonly kind: 'latency'; readonly ms: number }
  /** Answers in the service's place: nothing is applied. */
  | { readonly kind: 'answer'; readonly status: number; readonly code: string }
  /** Cuts the connection: nothing is applied. */
  | { readonly kind: 'lost request' }
  /** Applies it, and cuts the connection. */
  | { readonly kind: 'lost reply' }
  /** Cuts the connection, and applies it when the test says so. */
  | { readonly kind: 'late' }
  /** Never answers: nothing is applied. */
  | { readonly kind: 'hang' }
  /** Applies it, and answers with what is no JSON. */
  | { readonly kind: 'corrupt' }

export interface Injection {
  readonly operation?: Operation
  readonly table?: string
  /** How often at most; without, always. */
  readonly times?: number
  /** From 0 to 1: how likely each time; by the proxy's seed. */
  readonly chance?: number
}

export interface Injected {
  /** How often it has struck. */
  hits(): number
  remove(): void
  /** Applies what was held back ("late"), in its order; the statuses that the service gave. */
  land(): Promise<number[]>
}

/** A proxy before a table service, which fails as storage does. */
export interface StorageProxy {
  readonly connectionString: string
  /** The last injected is tried first. */
  inject(fault: Fault, injection?: Injection): Injected
  /** No more faults. */
  heal(): void
  /** What was asked since the start, or since it was last forgotten; lost requests count too. */
  transactions(): readonly Transaction[]
  /** How many of each kind, as `update tollgatecounters`. */
  counts(): Readonly<Record<string, number>>
  forget(): void
  close(): Promise<void>
}

interface Held {
  readonly request: IncomingMessage
  readonly body: Buffer
}

interface Active {
  readonly fault: Fault
  readonly injection: Injection
  hits: number
  held: Held[]
}

interface Reply {
  readonly status: number
  readonly headers: IncomingHttpHeaders
  readonly body: Buffer
}

const HOP_BY_HOP = ['connection', 'keep-alive', 'transfer-encoding']

/** @param connectionString a table service's, by plain http */
export async function startStorageProxy(connectionString: string, { seed = 1 } = {}): Promise<StorageProxy> {
  const endpoint = /TableEndpoint=([^;]+)/.exec(connectionString)?.[1]
  if (endpoint === undefined) throw new Error('The connection string names no TableEndpoint')
  const service = new URL(endpoint)
  const agent = new Agent({ keepAlive: true })
  const random = seeded(seed)
  const log: Transaction[] = []
  let active: Active[] = []

  const server = createServer(async (request, response) => {
    try {
      const body = await read(request)
      const transaction = describe(request, body, service.pathname)
      log.push(transaction)
      const struck = active.find((each) => strikes(each, transaction))
      if (struck !== undefined) struck.hits += 1
      await answer({ request, body }, response, struck)
    } catch {
      response.destroy()
    }
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo

  function strikes({ injection, hits }: Active, { operation, table }: Transaction): boolean {
    if (injection.operation !== undefined && injection.operation !== operation) return false
    if (injection.table !== undefined && injection.table !== table) return false
    return hits < (injection.times ?? Number.POSITIVE_INFINITY) && random() < (injection.chance ?? 1)
  }

  async function answer(held: Held, response: ServerResponse, struck: Active | undefined): Promise<void> {
    const fault = struck?.fault
    switch (fault?.kind) {
      case 'answer':
        return send(response, refusal(fault.status, fault.code))
      case 'hang':
        return
      case 'lost request':
        response.destroy()
        return
      case 'late':
        struck?.held.push(held)
        response.destroy()
        return
      case 'lost reply':
        await passOn(held)
        response.destroy()
        return
      case 'corrupt': {
        const reply = await passOn(held)
        return send(response, { ...reply, body: Buffer.from(`{"corrupt": ${reply.body.subarray(0, 8)}`) })
      }
      case 'latency':
        await new Promise((resolve) => setTimeout(resolve, fault.ms))
    }
    send(response, await passOn(held))
  }

  function passOn({ request, body }: Held): Promise<Reply> {
    return new Promise((resolve, reject) => {
      const { method, url, headers } = request
      const passed = openRequest(
        { agent, host: service.hostname, port: service.port, method, path: url, headers: endToEnd(headers) },
        async (reply) => {
          const { statusCode: status = 500, headers } = reply
          resolve({ status, headers, body: await read(reply) })
        },
      )
      passed.on('error', reject)
      passed.end(body)
    })
  }

  return {
    connectionString: connectionString.replace(endpoint, `http://127.0.0.1:${port}${service.pathname}`),
    inject(fault, injection = {}) {
      const mine: Active = { fault, injection, hits: 0, held: [] }
      active = [mine, ...active]
      return {
        hits: () => mine.hits,
        remove: () => {
          active = active.filter((each) => each !== mine)
        },
        async land() {
          const statuses: number[] = []
          for (const held of mine.held.splice(0)) statuses.push((await passOn(held)).status)
          return statuses
        },
      }
    },
    heal: () => {
      active = []
    },
    transactions: () => log,
    counts: () => {
      const counts: Record<string, number> = {}
      for (const { operation, table } of log) {
        const kind = `${operation} ${table}`
        counts[kind] = (counts[kind] ?? 0) + 1
      }
      return counts
    },
    forget: () => {
      log.length = 0
    },
    close: () =>
      new Promise((resolve) => {
        agent.destroy()
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

function describe({ method, url = '', headers }: IncomingMessage, body: Buffer, base: string): Transaction {
  const path = decodeURIComponent(url.split('?')[0] ?? '').slice(base.replace(/\/$/, '').length + 1)
  if (path === '$batch') {
    const parts = [...body.toString().matchAll(/^(?:POST|PUT|MERGE|PATCH|DELETE|GET) (\S+) HTTP\/1\.1/gm)]
    const table = /([A-Za-z][A-Za-z0-9]*)(?:\(|$)/.exec(
      new URL(parts[0]?.[1] ?? '', 'http://x').pathname.split('/').at(-1) ?? '',
    )
    return { operation: 'batch', table: table?.[1] ?? '', entities: parts.length }
  }
  const [, table = '', key] = /^([A-Za-z0-9]+)(\(.*\))?$/.exec(path) ?? []
  const one = (operation: Operation) => ({ operation, table, entities: 1 })
  if (table === 'Tables') return one('table')
  const matching = headers['if-match'] !== undefined && headers['if-match'] !== '*'
  switch (method) {
    case 'GET':
      return one(key === undefined || key === '()' ? 'query' : 'get')
    case 'POST':
      return one('insert')
    case 'DELETE':
      return one('delete')
    case 'PUT':
      return one(matching ? 'update' : 'replace')
    default:
      return one(matching ? 'update' : 'merge')
  }
}

function refusal(status: number, code: string): Reply {
  const error = { 'odata.error': { code, message: { lang: 'en-US', value: 'Simulated.' } } }
  const headers = { 'content-type': 'application/json', date: new Date().toUTCString(), 'x-ms-error-code': code }
  return { status, headers, body: Buffer.from(JSON.stringify(error)) }
}

function send(response: ServerResponse, { status, headers, body }: Reply): void {
  if (response.destroyed) return
  response.writeHead(status, { ...endToEnd(headers), 'content-length': body.byteLength })
  response.end(body)
}

function endToEnd(headers: IncomingHttpHeaders): IncomingHttpHeaders {
  return Object.fromEntries(Object.entries(headers).filter(([name]) => !HOP_BY_HOP.includes(name)))
}

async function read(message: IncomingMessage): Promise<Buffer> {
  const chunks: Buffer[] = []
  for await (const chunk of message as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks)
}

/** Numbers in [0, 1), the same for the same seed. */
function seeded(seed: number): () => number {
  let drawn = 0
  return () => {
    drawn += 1
    return hash('sha256', `${seed} ${drawn}`, 'buffer').readUInt32BE() / 2 ** 32
  }
}
