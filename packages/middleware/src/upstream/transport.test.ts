import { once } from 'node:events'
import { createServer as createHttpServer, type ServerResponse } from 'node:http'
import { type AddressInfo, connect as connectTo, createServer, type Socket } from 'node:net'
import { brotliCompressSync, constants, deflateRawSync, deflateSync, gzipSync } from 'node:zlib'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { baseContext, request } from '../../../../test/support/base-context.ts'
import { calledAt, failureTold, modelCall, statusOf, targetAt } from '../../../../test/support/model-call.ts'
import { textOf } from '../../../../test/support/replies.ts'
import { answering, failing, startUpstream, streaming, type Upstream } from '../../../../test/support/upstream.ts'
import { bodyOf, type EventSource } from '../operations/index.ts'
import { connect, upstream } from './index.ts'

/* How requests leave and answers arrive, over real connections. */

const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const close of closing.splice(0)) await close()
})

const noToken = () => Promise.reject(new Error('no token is needed'))
/** A gateway of its own, so that no connection is kept from another test. */
function newHandler({ firstByteMs = 2_000 } = {}) {
  return upstream({
    transport: connect({ token: noToken }),
    firstByteMs,
    totalMs: firstByteMs,
    idleMs: 2_000,
    streamTotalMs: 5_000,
  })
}

interface Asked {
  readonly baseUrl: string
  readonly stream?: boolean
  readonly signal?: AbortSignal
  readonly handler?: ReturnType<typeof upstream>
  readonly azure?: boolean
}

async function ask({ baseUrl, stream = false, signal = request.signal, handler = newHandler(), azure = false }: Asked) {
  const lines: Record<string, unknown>[] = []
  const context = baseContext({ log: (level, event, fields) => lines.push({ level, event, ...fields }) })
  const target = azure
    ? targetAt({ kind: 'azure', endpoint: baseUrl.replace('/v1', ''), model: 'd', apiVersion: '2024-10-21', key: 'sk' })
    : targetAt({ kind: 'openai', baseUrl, model: 'd', key: 'sk' })
  const body = bodyOf({ messages: [{ role: 'user', content: 'Why?' }], stream })
  const call = modelCall({ signal, body, streamed: stream })
  const reply = await handler(call, { ...context, ...calledAt(call, target) })
  const headers = reply.kind === 'refused' ? (reply.refusal.headers ?? {}) : reply.headers
  return { reply, status: statusOf(reply), headers, failure: failureTold(reply, context), lines }
}

/** The events of a reply that must be a stream. */
async function eventsOf(asked: Asked): Promise<EventSource> {
  const { reply } = await ask({ ...asked, stream: true })
  if (reply.kind !== 'stream') throw new Error(`${reply.kind} in place of a stream`)
  return reply.events
}

async function newUpstream(reply: Upstream['reply']): Promise<Upstream> {
  const server = await startUpstream()
  server.reply = reply
  closing.push(() => server.close())
  return server
}

const ANSWER = JSON.stringify({
  choices: [{ index: 0, message: { role: 'assistant', content: 'whole' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 1, completion_tokens: 1 },
})
const http = (body: string, head = 'HTTP/1.1 200 OK\r\ncontent-type: application/json') =>
  `${head}\r\ncontent-length: ${Buffer.byteLength(body)}\r\n\r\n${body}`

/** A server that answers request by request as it is told; the number of the connection and of the request on it come along. */
async function newRawServer(
  answer: (socket: Socket, place: { readonly connection: number; readonly request: number }) => unknown,
) {
  const received: string[] = []
  const sockets = new Set<Socket>()
  let connections = 0
  const server = createServer((socket) => {
    const connection = ++connections
    let requests = 0
    let text = ''
    sockets.add(socket)
    socket.on('error', () => {})
    socket.on('data', (chunk) => {
      text += chunk
      const head = text.indexOf('\r\n\r\n')
      const length = Number(/content-length: (\d+)/i.exec(text)?.[1] ?? 0)
      if (head < 0 || text.length < head + 4 + length) return
      received.push(text)
      text = ''
      requests += 1
      answer(socket, { connection, request: requests })
    })
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  closing.push(() => {
    for (const socket of sockets) socket.destroy()
    server.close()
  })
  const { port } = server.address() as AddressInfo
  return { port, baseUrl: `http://127.0.0.1:${port}/v1`, received, connections: () => connections }
}

/** 16 MiB of zeros again and again: about 16 KiB each as a member of a gzip file. */
function bomb(members: number): Buffer {
  const member = gzipSync(Buffer.alloc(16 * 1024 * 1024))
  return Buffer.concat(Array.from({ length: members }, () => member))
}

describe('C1: a body that is no answer is read no further than its first 64 KiB', () => {
  const unpacked = bomb(40)

  test.each([
    ...[302, 400, 404, 429, 500, 503].map((status) => [status, 'gzip', unpacked] as const),
    [400, 'deflate', deflateSync(Buffer.alloc(256 * 1024 * 1024))] as const,
    [
      400,
      'br',
      brotliCompressSync(Buffer.alloc(256 * 1024 * 1024), { params: { [constants.BROTLI_PARAM_QUALITY]: 3 } }),
    ] as const,
    [400, 'gzip, gzip', gzipSync(unpacked)] as const,
  ])('of a %i that unpacks by %s to hundreds of megabytes', async (status, encoding, packed) => {
    const server = await newUpstream((_call, response) => {
      response.writeHead(status, { 'content-type': 'application/json', 'content-encoding': encoding }).end(packed)
    })
    for (const stream of [false, true]) {
      const handler = newHandler()
      const before = process.memoryUsage().rss
      let most = before
      const watch = setInterval(() => {
        most = Math.max(most, process.memoryUsage().rss)
      }, 1)
      const { failure } = await ask({ baseUrl: server.baseUrl, stream, handler })
      clearInterval(watch)
      most = Math.max(most, process.memoryUsage().rss)
      expect(failure).toMatchObject({ status })
      expect(most - before).toBeLessThan(150 * 1024 * 1024)
    }
  })

  test('and then its connection is ended, however much is still to come', async () => {
    let sent = 0
    const closed = Promise.withResolvers<void>()
    const server = await newUpstream((_call, response) => {
      response.writeHead(500)
      response.on('close', closed.resolve)
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024))) sent += 64
        response.once('drain', more)
      }
      more()
    })
    expect((await ask({ baseUrl: server.baseUrl })).failure).toEqual({ status: 500 })
    await closed.promise
    expect(sent).toBeLessThan(64 * 1024)
  })

  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['gzip, br', (body: Buffer) => brotliCompressSync(gzipSync(body))],
  ])('a code in it is told, packed as %s', async (encoding, pack) => {
    const body = pack(Buffer.from('{"error":{"code":"context_length_exceeded"}}'))
    const server = await newUpstream((_call, response) => {
      response.writeHead(400, { 'content-encoding': encoding }).end(body)
    })
    expect((await ask({ baseUrl: server.baseUrl })).failure).toEqual({
      status: 400,
      code: 'context_length_exceeded',
      unspent: true,
    })
  })

  test.each<[string, (response: ServerResponse) => unknown]>([
    ['breaks off', (response) => response.write('{"error":', () => response.destroy())],
    ['is no gzip', (response) => response.end('{"error":{}}')],
    ['never ends', (response) => response.write('{"error":')],
  ])('and the status counts where it %s', async (_what, send) => {
    const server = await newUpstream((_call, response) => {
      response.writeHead(429, { 'content-encoding': _what === 'is no gzip' ? 'gzip' : 'identity' })
      send(response)
    })
    expect((await ask({ baseUrl: server.baseUrl, handler: newHandler({ firstByteMs: 4_000 }) })).failure).toEqual({
      status: 429,
      unspent: true,
    })
  })

  test('and the status counts where the body nests deeper than the SDK can follow', async () => {
    const deep = `{"error":{"message":${'['.repeat(30_000)}${']'.repeat(30_000)}}}`
    const server = await newUpstream((_call, response) => response.writeHead(400).end(deep))
    expect((await ask({ baseUrl: server.baseUrl })).failure).toMatchObject({ status: 400, unspent: true })
  })

  test('and the status counts where the client leaves, or the time is up, before it ends', async () => {
    const client = new AbortController()
    const server = await newUpstream((_call, response) => {
      response.writeHead(429).write('{"error":')
      setTimeout(() => client.abort(), 100)
    })
    const left = await ask({ baseUrl: server.baseUrl, signal: client.signal })
    expect(left.failure).toEqual({ code: 'client_left', unspent: true })
    const late = await ask({ baseUrl: server.baseUrl, handler: newHandler({ firstByteMs: 200 }) })
    expect(late.failure).toEqual({ status: 429, unspent: true })
  })
})

describe('an answer', () => {
  test.each([
    ['gzip', gzipSync],
    ['deflate', deflateSync],
    ['deflate', deflateRawSync],
    ['br', brotliCompressSync],
    ['identity', (body: Buffer) => body],
  ])('arrives as it was, packed as %s', async (encoding, pack) => {
    const content = 'é€😀'.repeat(50_000)
    const answer = JSON.stringify({ choices: [{ index: 0, message: { content }, finish_reason: 'stop' }] })
    const server = await newUpstream((_call, response) => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-encoding': encoding })
      const packed = pack(Buffer.from(answer))
      // In two pieces, the second a little later.
      response.write(packed.subarray(0, 10), () => setTimeout(() => response.end(packed.subarray(10)), 20))
    })
    const { reply } = await ask({ baseUrl: server.baseUrl })
    expect(await textOf(reply)).toBe(answer)
    expect(server.calls[0]?.body).toEqual({
      model: 'd',
      messages: [{ role: 'user', content: 'Why?' }],
      stream: false,
    })
  })

  test('of a stream comes piece by piece, and is read no faster than it is asked for', async () => {
    let pushed = 0
    const raw = createHttpServer((incoming, response) => {
      incoming.resume()
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.write(
        'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":null}],"object":"chat.completion.chunk"}\n\n',
      )
      const more = () => {
        while (!response.destroyed && response.write(Buffer.alloc(64 * 1024, ': silence\n\n'))) pushed += 1
        response.once('drain', more)
      }
      more()
    })
    raw.listen(0, '127.0.0.1')
    await once(raw, 'listening')
    closing.push(() => {
      raw.closeAllConnections()
      raw.close()
    })
    const events = await eventsOf({ baseUrl: `http://127.0.0.1:${(raw.address() as AddressInfo).port}/v1` })
    await events.read()
    await new Promise((resolve) => setTimeout(resolve, 300))
    const before = pushed
    await new Promise((resolve) => setTimeout(resolve, 300))
    // Socket buffers take some megabytes, and then the server waits.
    expect(pushed).toBe(before)
    expect(pushed).toBeLessThan(512)
    events.cancel()
  })

  test('ends its connection at once when its reader has enough, also while a read is under way', async () => {
    const closed = Promise.withResolvers<void>()
    const server = await newUpstream((call, response) => {
      response.on('close', closed.resolve)
      return streaming(['a'], { end: () => {} })(call, response)
    })
    const events = await eventsOf({ baseUrl: server.baseUrl })
    await events.read()
    const reading = events.read()
    events.cancel()
    expect(await reading).toBeUndefined()
    await closed.promise
  })

  test('that is waited for ends with its client, at once, also before there is a connection', async () => {
    const closed = Promise.withResolvers<void>()
    const client = new AbortController()
    const server = await newUpstream((_call, response) => {
      response.on('close', closed.resolve)
      client.abort()
    })
    expect((await ask({ baseUrl: server.baseUrl, signal: client.signal })).failure).toEqual({ code: 'client_left' })
    await closed.promise
    // An address that nothing answers from: the connection never comes about.
    const signal = AbortSignal.timeout(100)
    const started = performance.now()
    const { failure } = await ask({
      baseUrl: 'https://192.0.2.1/v1',
      signal,
      handler: newHandler({ firstByteMs: 8_000 }),
    })
    expect(failure).toMatchObject({ unspent: true })
    expect(performance.now() - started).toBeLessThan(4_000)
  })

  test.each([false, true])('may have headers of 48 KiB (streamed: %s)', async (stream) => {
    const { baseUrl } = await newUpstream((call, response) => {
      for (let i = 0; i < 48; i += 1) response.setHeader(`x-policy-${i}`, 'a'.repeat(1_000))
      return stream ? streaming(['whole'])(call, response) : answering()(call, response)
    })
    expect((await ask({ baseUrl, stream })).status).toBe(200)
  })

  test('may have an odd header', async () => {
    const server = await newRawServer((socket) =>
      socket.write(http(ANSWER, 'HTTP/1.1 200 OK\r\nx-odd: \xff\x80\r\n__proto__: 1\r\nx-request-id: é')),
    )
    expect((await ask({ baseUrl: server.baseUrl })).status).toBe(200)
  })
})

describe('F2: what certainly was not generated costs nothing', () => {
  const unspent = [300, 301, 302, 303, 304, 307, 308, 400, 401, 402, 403, 404, 405, 406, 409, 410, 411, 412, 413, 414]
  const more = [415, 416, 417, 418, 419, 420, 421, 422, 423, 424, 425, 426, 428, 429, 431, 451, 498, 501, 505, 521]
  const uncertain = [408, 460, 499, 500, 502, 503, 504, 520, 524, 529]
  test.each([
    ...[...unspent, ...more].map((status) => [status, true] as const),
    ...uncertain.map((status) => [status, false] as const),
  ])('%i: %s', async (status, expected) => {
    const server = await newUpstream(failing(status))
    for (const stream of [false, true]) {
      const { failure } = await ask({ baseUrl: server.baseUrl, stream })
      expect(failure).toEqual({ status, ...(expected ? { unspent: true } : {}) })
    }
  })

  test.each([
    [503, { 'retry-after': '7' }, true],
    [529, { 'retry-after': '7' }, true],
    [503, { 'retry-after': '0' }, true],
    [503, { 'retry-after-ms': '250' }, true],
    [503, { 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }, true],
    [503, { 'retry-after': 'soon' }, false],
    [503, { 'retry-after': '-1' }, false],
    [500, { 'retry-after': '7' }, false],
    [502, { 'retry-after': '7' }, false],
    [504, { 'retry-after': '7' }, false],
  ] as const)('%i with %o: %s', async (status, headers, expected) => {
    const server = await newUpstream(failing(status, {}, headers))
    const { failure } = await ask({ baseUrl: server.baseUrl })
    expect([failure?.status, failure?.unspent ?? false]).toEqual([status, expected])
  })

  test('a redirect is told as what it is, to the operator with its place, and never followed', async () => {
    const elsewhere = await newUpstream(answering())
    for (const azure of [false, true]) {
      const server = await newUpstream(failing(307, {}, { location: `${elsewhere.origin}/v2?key=SECRET` }))
      const { failure, lines } = await ask({ baseUrl: server.baseUrl, azure })
      expect(failure).toEqual({ status: 307, unspent: true })
      expect(lines).toMatchObject([{ event: 'upstream failed', status: 307, location: `${elsewhere.origin}/v2` }])
      expect(elsewhere.calls).toEqual([])
    }
  })

  test.each([
    ['a port that fetch refuses', 'http://127.0.0.1:6000/v1'],
    ['a host that there is not', 'http://nowhere.invalid/v1'],
    ['no URL', 'http://[/v1'],
    ['another protocol', 'ftp://127.0.0.1/v1'],
  ])('%s', async (_what, baseUrl) => {
    const settings = { kind: 'openai', baseUrl, model: 'd', key: 'sk' } as const
    const target = { id: 't', identity: 'x', priority: 1, weight: 1, zone: undefined, price: undefined, settings }
    const context = baseContext()
    const call = modelCall()
    // What is no URL at all is a fault of ours: settings and policies let none by.
    const called = async () => newHandler()(call, { ...context, ...calledAt(call, target) })
    const reply = await called().catch(() => undefined)
    const failure = reply === undefined ? context.told.upstream : failureTold(reply, context)
    expect(failure?.unspent).toBe(true)
  })

  test.each<[string, (socket: Socket) => unknown]>([
    ['no TLS', (socket) => socket.end('HTTP/1.1 400 Bad Request\r\n\r\n')],
    ['a handshake that breaks off', (socket) => socket.destroy()],
    ['silence', () => {}],
  ])('a server behind https that speaks %s', async (_what, on) => {
    const server = createServer((socket) => {
      socket.on('error', () => {})
      socket.once('data', () => on(socket))
    })
    server.listen(0, '127.0.0.1')
    await once(server, 'listening')
    closing.push(() => server.close())
    const { port } = server.address() as AddressInfo
    const handler = newHandler({ firstByteMs: 500 })
    const { failure } = await ask({ baseUrl: `https://127.0.0.1:${port}/v1`, handler })
    expect(failure?.unspent).toBe(true)
  })

  test('an answer that breaks off, or never comes, may have cost something', async () => {
    const server = await newRawServer((socket) => socket.destroy())
    expect((await ask({ baseUrl: server.baseUrl })).failure).toEqual({ code: 'connection_failed' })
    expect(server.received).toHaveLength(1)
    const silent = await newRawServer(() => {})
    const handler = newHandler({ firstByteMs: 200 })
    expect((await ask({ baseUrl: silent.baseUrl, handler })).failure).toEqual({ code: 'timeout' })
  })
})

describe('H6: a request that finds its kept connection closed', () => {
  /** One answer, after which undici keeps the connection: it is free again a turn of the event loop later. */
  async function keep(baseUrl: string, handler: ReturnType<typeof upstream>): Promise<void> {
    expect((await ask({ baseUrl, handler })).status).toBe(200)
    for (let turn = 0; turn < 3; turn += 1) await new Promise(setImmediate)
  }

  /** Answers the first request; the next one on the same connection is left to `then`. */
  const closingAfterOne = (then: (socket: Socket) => unknown, anew: (socket: Socket) => unknown) =>
    newRawServer((socket, { connection, request: place }) => {
      if (connection === 1 && place === 1) return socket.write(http(ANSWER))
      return connection === 1 ? then(socket) : anew(socket)
    })

  test.each<[string, (socket: Socket) => unknown]>([
    ['ended', (socket) => socket.end()],
    ['reset', (socket) => socket.resetAndDestroy()],
    ['destroyed', (socket) => socket.destroy()],
  ])('is sent once more, the same, on a new one (%s)', async (_what, close) => {
    const server = await closingAfterOne(close, (socket) => socket.write(http(ANSWER)))
    const handler = newHandler()
    await keep(server.baseUrl, handler)
    const { status, failure } = await ask({ baseUrl: server.baseUrl, handler })
    expect([status, failure]).toEqual([200, undefined])
    expect([server.received.length, server.connections()]).toEqual([3, 2])
    expect(server.received[2]).toBe(server.received[1])
  })

  test('is sent once more as a stream too', async () => {
    const events = 'data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
    const server = await closingAfterOne(
      (socket) => socket.destroy(),
      (socket) => socket.write(http(events, 'HTTP/1.1 200 OK\r\ncontent-type: text/event-stream')),
    )
    const handler = newHandler()
    await keep(server.baseUrl, handler)
    const { reply } = await ask({ baseUrl: server.baseUrl, handler, stream: true })
    expect(await textOf(reply)).toBe(events)
  })

  test('is sent no third time, and may have cost something', async () => {
    const server = await closingAfterOne(
      (socket) => socket.destroy(),
      (socket) => socket.destroy(),
    )
    const handler = newHandler()
    await keep(server.baseUrl, handler)
    const { status, failure } = await ask({ baseUrl: server.baseUrl, handler })
    expect([status, failure]).toEqual([502, { code: 'connection_failed' }])
    expect(server.received).toHaveLength(3)
  })

  test.each<[string, (socket: Socket) => unknown]>([
    ['after a byte of its answer', (socket) => socket.write('H', () => socket.destroy())],
    [
      'after a word that it is being worked on',
      (socket) => socket.write('HTTP/1.1 103 Early Hints\r\n\r\n', () => socket.destroy()),
    ],
    ['within its answer', (socket) => socket.write(http(ANSWER).slice(0, -9), () => socket.destroy())],
    ['with an answer that is no HTTP', (socket) => socket.write('SSH-2.0-x\r\n\r\n', () => socket.destroy())],
    ['never', () => {}],
  ])('is not sent again where that happens %s', async (_what, then) => {
    const server = await closingAfterOne(then, (socket) => socket.write(http(ANSWER)))
    const handler = newHandler({ firstByteMs: 500 })
    await keep(server.baseUrl, handler)
    const { status, failure } = await ask({ baseUrl: server.baseUrl, handler })
    expect(status).toBe(502)
    expect(failure?.unspent).toBeUndefined()
    expect(server.received).toHaveLength(2)
  })

  test('is not sent again for a client that has left', async () => {
    const client = new AbortController()
    const server = await closingAfterOne(
      () => client.abort(),
      (socket) => socket.write(http(ANSWER)),
    )
    const handler = newHandler()
    await keep(server.baseUrl, handler)
    await ask({ baseUrl: server.baseUrl, handler, signal: client.signal })
    expect(server.received).toHaveLength(2)
  })
})

describe('H7: a 502 says to wait as long as the model’s server does', () => {
  const inAMinute = () => new Date(Date.now() + 60_000).toUTCString()
  test.each<[string, number, () => Record<string, string>, Record<string, string | null>]>([
    ['seconds', 429, () => ({ 'retry-after': '7' }), { 'retry-after': '7', 'retry-after-ms': '7000' }],
    ['of a 503', 503, () => ({ 'retry-after': '7' }), { 'retry-after': '7' }],
    ['of a 529', 529, () => ({ 'retry-after': '7' }), { 'retry-after': '7' }],
    ['milliseconds', 429, () => ({ 'retry-after-ms': '1200' }), { 'retry-after': '2', 'retry-after-ms': '1200' }],
    [
      'milliseconds before seconds',
      429,
      () => ({ 'retry-after-ms': '1200', 'retry-after': '9' }),
      { 'retry-after': '2' },
    ],
    ['a minute', 429, () => ({ 'retry-after': '60' }), { 'retry-after': '60', 'x-should-retry': null }],
    ['more than a minute', 429, () => ({ 'retry-after': '61' }), { 'retry-after': '61', 'x-should-retry': 'false' }],
    ['a day', 429, () => ({ 'retry-after': '86400' }), { 'retry-after': '3600', 'x-should-retry': 'false' }],
    [
      'a date, by the server’s own clock',
      503,
      () => ({ date: 'Wed, 21 Oct 2015 07:28:00 GMT', 'retry-after': 'Wed, 21 Oct 2015 07:28:30 GMT' }),
      { 'retry-after': '30' },
    ],
    ['a date that is past', 503, () => ({ 'retry-after': 'Wed, 21 Oct 2015 07:28:00 GMT' }), { 'retry-after': null }],
    ['nothing', 429, () => ({}), { 'retry-after': null, 'x-should-retry': null }],
    ['no number', 429, () => ({ 'retry-after': 'in a while' }), { 'retry-after': null }],
    ['less than nothing', 429, () => ({ 'retry-after': '-5' }), { 'retry-after': null }],
    ['zero', 429, () => ({ 'retry-after': '0' }), { 'retry-after': null }],
  ])('%s', async (_what, status, headers, expected) => {
    const server = await newUpstream(failing(status, {}, headers()))
    for (const stream of [false, true]) {
      const asked = await ask({ baseUrl: server.baseUrl, stream })
      expect(asked.status).toBe(502)
      for (const [name, value] of Object.entries(expected)) expect(asked.headers[name] ?? null, name).toBe(value)
    }
  })

  test('by our clock where the server tells none', async () => {
    const server = await newRawServer((socket) =>
      socket.write(http('', `HTTP/1.1 503 Busy\r\nretry-after: ${inAMinute()}`)),
    )
    const { headers } = await ask({ baseUrl: server.baseUrl })
    expect(Number(headers['retry-after'])).toBeGreaterThan(50)
    expect(Number(headers['retry-after'])).toBeLessThanOrEqual(61)
  })
})

describe('I5: a failure that the operator must mend names where the request went', () => {
  test.each([401, 403, 404, 405])('a %i', async (status) => {
    const server = await newUpstream(failing(status, { code: 'DeploymentNotFound' }))
    const { lines } = await ask({ baseUrl: server.baseUrl })
    expect(lines).toMatchObject([
      { level: 'error', event: 'upstream failed', status, url: `${server.baseUrl}/chat/completions` },
    ])
    const dated = await ask({ baseUrl: server.baseUrl, azure: true })
    expect(dated.lines).toMatchObject([
      { url: `${server.origin}/openai/deployments/d/chat/completions?api-version=2024-10-21` },
    ])
  })

  test('a host that there is not', async () => {
    const { lines } = await ask({ baseUrl: 'http://nowhere.invalid/v1' })
    expect(lines).toMatchObject([{ event: 'upstream failed', url: 'http://nowhere.invalid/v1/chat/completions' }])
  })
})

describe('A4: a proxy of the environment', () => {
  /** A real CONNECT proxy: whatever is asked for, it opens a connection to the given port. */
  async function newProxy(port: number, on: 'connects' | 'refuses' | 'closes' = 'connects') {
    const asked: string[] = []
    const proxy = createHttpServer((incoming, response) => {
      asked.push(`${incoming.method} ${incoming.url}`)
      response.writeHead(500).end()
    })
    let connections = 0
    proxy.on('connection', () => {
      connections += 1
    })
    proxy.on('connect', (incoming, socket: Socket): unknown => {
      asked.push(`CONNECT ${incoming.url} ${incoming.headers['proxy-authorization'] ?? ''}`.trim())
      socket.on('error', () => {})
      if (on === 'closes') return socket.destroy()
      if (on === 'refuses') return socket.end('HTTP/1.1 407 Proxy Authentication Required\r\ncontent-length: 0\r\n\r\n')
      const onward = connectTo(port, '127.0.0.1', () => {
        socket.write('HTTP/1.1 200 OK\r\n\r\n')
        socket.pipe(onward).pipe(socket)
      })
      return onward.on('error', () => socket.destroy())
    })
    proxy.listen(0, '127.0.0.1')
    await once(proxy, 'listening')
    closing.push(() => {
      proxy.closeAllConnections()
      proxy.close()
    })
    return { host: `127.0.0.1:${(proxy.address() as AddressInfo).port}`, asked, connections: () => connections }
  }

  test('carries the request to a model that is elsewhere', async () => {
    const server = await newRawServer((socket) => socket.write(http(ANSWER)))
    const proxy = await newProxy(server.port)
    vi.stubEnv('HTTP_PROXY', `http://user:pass@${proxy.host}`)
    const { status } = await ask({ baseUrl: 'http://model.example/v1' })
    expect(status).toBe(200)
    expect(proxy.asked).toEqual([`CONNECT model.example:80 Basic ${btoa('user:pass')}`])
    expect(server.received[0]).toContain('POST /v1/chat/completions HTTP/1.1\r\nhost: model.example')
    expect(server.received[0]).not.toMatch(/proxy-authorization/i)
  })

  test('of HTTPS_PROXY is asked for https, and one without a protocol is an HTTP proxy', async () => {
    const proxy = await newProxy(0, 'refuses')
    vi.stubEnv('HTTPS_PROXY', proxy.host)
    const { failure, lines } = await ask({ baseUrl: 'https://model.example/v1' })
    expect(failure).toEqual({ code: 'connection_failed', unspent: true })
    expect(proxy.asked).toEqual(['CONNECT model.example:443'])
    expect(JSON.stringify(lines)).toContain('No connection to model.example: the proxy answered 407.')
  })

  test('that closes the connection is asked once, and has cost nothing', async () => {
    const proxy = await newProxy(0, 'closes')
    vi.stubEnv('HTTPS_PROXY', `http://${proxy.host}`)
    const { failure } = await ask({ baseUrl: 'https://model.example/v1' })
    expect(failure).toEqual({ code: 'connection_failed', unspent: true })
    expect(proxy.connections()).toBe(1)
  })

  test.each(['127.0.0.1', 'localhost'])('is not asked for this machine (%s)', async (host) => {
    const proxy = await newProxy(0)
    for (const name of ['HTTP_PROXY', 'HTTPS_PROXY', 'http_proxy', 'https_proxy'])
      vi.stubEnv(name, `http://${proxy.host}`)
    const server = await newUpstream(answering())
    const { status } = await ask({ baseUrl: server.baseUrl.replace('127.0.0.1', host) })
    expect(status).toBe(200)
    expect(proxy.asked).toEqual([])
  })

  test('is not asked for what NO_PROXY lists', async () => {
    const proxy = await newProxy(0)
    vi.stubEnv('HTTP_PROXY', `http://${proxy.host}`)
    vi.stubEnv('NO_PROXY', 'other.example,.invalid')
    const { failure } = await ask({ baseUrl: 'http://nowhere.invalid/v1' })
    expect(failure).toEqual({ code: 'connection_failed', unspent: true })
    expect(proxy.asked).toEqual([])
  })

  test('that is no URL is told to the operator by its name, and not by its value', async () => {
    vi.stubEnv('HTTPS_PROXY', 'socks9://user:SECRET@proxy.example')
    const { failure, lines } = await ask({ baseUrl: 'https://model.example/v1' })
    expect(failure?.unspent).toBe(true)
    expect(JSON.stringify(lines)).toContain('HTTPS_PROXY must be a URL')
    expect(JSON.stringify(lines)).not.toContain('SECRET')
  })
})
