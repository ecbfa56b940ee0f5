/*
 * The least that can pass a request on to UPSTREAM and its answer back, a stream as it comes: undici's dispatch behind a
 * server of Node's. It waits where the client takes no more, and gives up the call when the client leaves.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type Dispatcher, Pool } from 'undici'

const upstream = new URL(process.env.UPSTREAM ?? '')
const pool = new Pool(upstream.origin)

const server = createServer((request, response) => {
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  request.on('end', () => {
    let call: Dispatcher.DispatchController | undefined
    response.once('close', () => {
      if (!response.writableFinished) call?.abort(new Error('The client has left'))
    })
    response.on('drain', () => call?.resume())
    pool.dispatch(
      {
        path: `${upstream.pathname}/chat/completions`,
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: Buffer.concat(pieces),
      },
      {
        onRequestStart(controller) {
          call = controller
        },
        onResponseStart(_controller, status, headers) {
          const passed = ['content-type', 'content-length'].filter((name) => headers[name] !== undefined)
          response.writeHead(status, Object.fromEntries(passed.map((name) => [name, headers[name]])))
        },
        onResponseData(controller, piece) {
          if (!response.write(piece)) controller.pause()
        },
        onResponseEnd() {
          response.end()
        },
        onResponseError() {
          response.destroy()
        },
      },
    )
  })
})
server.listen(0, '127.0.0.1', () => {
  console.log(`answers on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
