import { once } from 'node:events'
import { createServer, type IncomingMessage, request, type Server, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { forward } from './forward.ts'

const KIB = 1024
const servers: Server[] = []
afterEach(() => {
  for (const server of servers.splice(0)) server.close().closeAllConnections()
})

async function serve(answer: (request: IncomingMessage, response: ServerResponse) => unknown): Promise<string> {
  const server = createServer(answer).listen(0, '127.0.0.1')
  servers.push(server)
  await once(server, 'listening')
  return `http://127.0.0.1:${(server.address() as AddressInfo).port}/`
}

/** A host that forwards to this address; what becomes of its answer is for the test to say. */
const host = (to: string, before: (response: ServerResponse) => void, outcome: (ended: Promise<void>) => void) =>
  serve((asked, response) => {
    before(response)
    const forwarded = forward({
      request: asked,
      response,
      url: new URL('http://127.0.0.1/'),
      to,
      headers: {},
      invocationId: 'i',
      invoke: async () => ({ result: {}, http: undefined }),
    })
    outcome(forwarded)
  })

function get(url: string): Promise<IncomingMessage> {
  return new Promise((resolve, reject) => {
    request(url, resolve).on('error', reject).end()
  })
}

describe('forwarding', () => {
  test('sends what had come before a break, even what could not be sent on by then', async () => {
    const pieces = [200 * KIB, 30 * KIB]
    const broken = Promise.withResolvers<void>()
    const back = await serve(async (_asked, response) => {
      response.on('close', () => broken.resolve())
      for (const size of pieces)
        await new Promise<void>((sent) => response.write(Buffer.alloc(size, 'a'), () => sent()))
      response.destroy()
    })
    let held: ServerResponse | undefined
    // Corked, it takes no more than its buffer holds, as with a client that doesn't read.
    const front = await host(
      back,
      (response) => {
        held = response
        response.flushHeaders()
        response.cork()
      },
      (ended) => ended.catch(() => {}),
    )
    const answer = get(front)
    await broken.promise
    await new Promise((resolve) => setTimeout(resolve, 100))
    held?.uncork()
    let bytes = 0
    const response = await answer
    response.on('data', (piece: Buffer) => {
      bytes += piece.byteLength
    })
    await once(response, 'error')
    expect(bytes).toBe(230 * KIB)
  })
})
