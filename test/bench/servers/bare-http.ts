/* The least that can answer: what Node itself costs. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { CONSTANT } from './constant.ts'

const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': CONSTANT.length })
    response.end(CONSTANT)
  })
})
server.listen(0, '127.0.0.1', () => {
  console.log(`listens on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
