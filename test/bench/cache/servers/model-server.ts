import { createServer, type IncomingMessage } from 'node:http'
import type { AddressInfo } from 'node:net'

/** What a model answers one request, and how many tokens that takes. */
export interface ModelAnswer {
  readonly body: Buffer
  readonly input: number
  readonly output: number
}

/** What it has been asked since it was last told to forget. */
export interface ModelCalls {
  readonly calls: number
  /** Tokens. */
  readonly input: number
  readonly output: number
}

const NONE: ModelCalls = { calls: 0, input: 0, output: 0 }

/**
 * A model's server that counts for itself what it was asked: `GET /calls` tells, `DELETE /calls` forgets. Between
 * `PUT /failing` and `DELETE /failing` it answers 500. Prints where it answers.
 *
 * @param latencyMs how long each answer takes
 */
export function serveModel(answer: (request: IncomingMessage) => Promise<ModelAnswer>, latencyMs: number): void {
  let counted = NONE
  let failing = false
  const server = createServer({ keepAliveTimeout: 60_000 }, async (request, response) => {
    if (request.url === '/failing') failing = request.method === 'PUT'
    if (request.url === '/calls') {
      response.end(JSON.stringify(counted))
      if (request.method === 'DELETE') counted = NONE
      return
    }
    if (request.method !== 'POST') return void response.end()
    const { body, input, output } = await answer(request)
    counted = { calls: counted.calls + 1, input: counted.input + input, output: counted.output + output }
    if (failing) {
      response.writeHead(500, { 'content-type': 'application/json' })
      return void response.end('{"error":{"message":"failing","type":"server_error","code":"server_error"}}')
    }
    const send = () => {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': body.byteLength })
      response.end(body)
    }
    if (latencyMs === 0) send()
    else setTimeout(send, latencyMs)
  })
  // A stampede that nothing holds back arrives all at once.
  server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
    console.log(`answers on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
  })
}
