import { once } from 'node:events'
import { createServer, type RequestListener } from 'node:http'
import { type AddressInfo, createServer as createTcpServer, type Server, type Socket } from 'node:net'
import type { HttpMethods, PipelineResponse } from '@azure/core-rest-pipeline'
import { afterEach, expect, test } from 'vitest'
import { isOutage, loadUndici } from '../pipeline/index.ts'
import * as sdk from './sdk.ts'
import { undiciClient } from './undici-client.ts'

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0)) await close()
})

async function listening(server: Server): Promise<number> {
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => server.close())
  return (server.address() as AddressInfo).port
}

type Ask = (
  method: HttpMethods,
  path: string,
  options?: { body?: string; signal?: AbortSignal },
) => Promise<PipelineResponse>

/** Asks what listens on this port. */
async function asking(port: number): Promise<Ask> {
  const { Pool } = await loadUndici()
  const pool = new Pool(`http://127.0.0.1:${port}`)
  closing.push(() => pool.destroy())
  const client = undiciClient(pool, sdk)
  return (method, path, { body, signal } = {}) =>
    client.sendRequest(
      sdk.createPipelineRequest({
        url: `http://127.0.0.1:${port}${path}`,
        method,
        headers: sdk.createHttpHeaders({ 'X-Asked': 'yes' }),
        allowInsecureConnection: true,
        ...(body === undefined ? {} : { body }),
        ...(signal === undefined ? {} : { abortSignal: signal }),
      }),
    )
}

async function serving(listener: RequestListener): Promise<Ask> {
  const server = createServer(listener)
  closing.push(() => server.closeAllConnections())
  return asking(await listening(server))
}

/** What a server of bare connections does with each; and what the SDK's own client says of it. */
async function servingTcp(onConnection: (socket: Socket) => void): Promise<{ port: number; ask: Ask }> {
  const port = await listening(createTcpServer(onConnection))
  return { port, ask: await asking(port) }
}

test('sends what the SDK asked for, and gives back what came', async () => {
  const ask = await serving(async (request, response) => {
    const body = (await request.toArray()).join('')
    response.writeHead(207, { 'X-Many': ['a', 'b'], date: 'Fri, 27 Nov 2026 12:00:00 GMT' })
    response.end(`${request.method} ${request.url} ${request.headers['x-asked']} ${body}`)
  })
  const answer = await ask('PUT', "/t(PartitionKey='%C3%BC''%2F',RowKey='~')?a=%2B", { body: 'ü' })
  expect(answer.status).toBe(207)
  expect(answer.headers.get('Date')).toBe('Fri, 27 Nov 2026 12:00:00 GMT')
  expect(answer.headers.get('x-many')).toBe('a,b')
  expect(answer.bodyAsText).toBe("PUT /t(PartitionKey='%C3%BC''%2F',RowKey='~')?a=%2B yes ü")
})

test.each(['PUT', 'POST', 'DELETE', 'GET'] as const)(
  'never sends a %s again, on a new connection or a kept one',
  async (method) => {
    let answered = 0
    let cut = 0
    const ask = await serving((request, response) => {
      request.resume().on('end', () => {
        if (request.url === '/cut') {
          cut += 1
          request.socket.destroy()
        } else {
          answered += 1
          response.end('ok')
        }
      })
    })
    const body = method === 'GET' || method === 'DELETE' ? {} : { body: 'x' }
    await expect(ask(method, '/cut', body)).rejects.toMatchObject({ name: 'RestError', code: 'ECONNRESET' })
    expect(cut).toBe(1)
    await ask(method, '/', body)
    await expect(ask(method, '/cut', body)).rejects.toMatchObject({ name: 'RestError', code: 'ECONNRESET' })
    expect([answered, cut]).toEqual([1, 2])
  },
)

test.each<[string, (socket: Socket) => void]>([
  ['a connection that is closed at once', (socket) => socket.destroy()],
  ['one that is closed on the request', (socket) => socket.once('data', () => socket.destroy())],
  ['an answer that is no HTTP', (socket) => socket.once('data', () => socket.end('nonsense\r\n\r\n'))],
  [
    'a body that is cut',
    (socket) => socket.once('data', () => socket.end('HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx')),
  ],
])('%s is an outage, in the words that the SDK has for it', async (_what, behave) => {
  let connections = 0
  const { port, ask } = await servingTcp((socket) => {
    connections += 1
    socket.on('error', () => {})
    behave(socket)
  })
  const ours = await ask('GET', '/').catch((error) => error)
  expect(connections).toBe(1)
  const theirs = await sdk
    .createDefaultHttpClient()
    .sendRequest(sdk.createPipelineRequest({ url: `http://127.0.0.1:${port}/`, allowInsecureConnection: true }))
    .catch((error) => error)
  expect(isOutage(ours)).toBe(true)
  expect([ours.name, ours.code, ours.statusCode]).toEqual([theirs.name, theirs.code, undefined])
})

test('nobody who listens is told by the code of the system', async () => {
  const server = createTcpServer()
  const port = await listening(server)
  server.close()
  const ask = await asking(port)
  await expect(ask('GET', '/')).rejects.toMatchObject({ name: 'RestError', code: 'ECONNREFUSED' })
})

test('an abort ends the connection, before the answer and within it', async () => {
  for (const beginning of ['', 'HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nx']) {
    const end = new AbortController()
    const closed = Promise.withResolvers<void>()
    const { ask } = await servingTcp((socket) => {
      socket.on('error', () => {}).on('close', () => closed.resolve())
      socket.once('data', () => {
        socket.write(beginning)
        setImmediate(() => end.abort())
      })
    })
    await expect(ask('PUT', '/', { body: 'x', signal: end.signal })).rejects.toMatchObject({ name: 'AbortError' })
    await closed.promise
  }
})

test('what was aborted before it had a connection is never sent', async () => {
  let requests = 0
  const ask = await serving((_request, response) => {
    requests += 1
    response.end('ok')
  })
  await expect(ask('PUT', '/', { body: 'x', signal: AbortSignal.abort() })).rejects.toThrow('abort')
  const end = new AbortController()
  const sent = ask('PUT', '/', { body: 'x', signal: end.signal })
  end.abort()
  await expect(sent).rejects.toThrow('abort')
  expect((await ask('GET', '/')).bodyAsText).toBe('ok')
  expect(requests).toBe(1)
})

test('an answer without end is cut at its bound', async () => {
  const closed = Promise.withResolvers<void>()
  let sent = 0
  const ask = await serving((_request, response) => {
    const piece = Buffer.alloc(256 * 1024, 'x')
    const more = () => {
      while (!response.destroyed && response.write(piece)) sent += piece.length
    }
    response.on('drain', more).on('close', closed.resolve)
    more()
  })
  const error = await ask('GET', '/').catch((reason) => reason)
  expect(error.message).toContain('longer than 4194304 bytes')
  expect(isOutage(error)).toBe(true)
  await closed.promise
  expect(sent).toBeLessThan(64 * 1024 * 1024)
})
