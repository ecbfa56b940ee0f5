/*
 * A model that answers all with the same 1 KiB: whole, or where the request says `"stream":true` in 22 events, all in one
 * piece under /v1 and 5 ms apart under /apart/v1.
 */
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CHAT_ANSWER } from '../../cache/servers/answer.ts'
import { STREAM_EVENTS } from './stream-events.ts'

const APART_MS = 5
const STREAM = Buffer.from('"stream":true')
const WHOLE = Buffer.concat(STREAM_EVENTS)

function sendApart(response: ServerResponse): void {
  let sent = 0
  const timer = setInterval(next, APART_MS)
  response.once('close', () => clearInterval(timer))
  next()

  function next(): void {
    response.write(STREAM_EVENTS[sent])
    sent += 1
    if (sent === STREAM_EVENTS.length) response.end()
  }
}

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  request.on('end', () => {
    if (!Buffer.concat(pieces).includes(STREAM)) {
      response.writeHead(200, { 'content-type': 'application/json', 'content-length': CHAT_ANSWER.byteLength })
      response.end(CHAT_ANSWER)
      return
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (request.url?.startsWith('/apart/')) sendApart(response)
    else response.end(WHOLE)
  })
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  console.log(`answers on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
