/* The least that can answer a request of 1 KiB with a completion of 1 KiB: what Node itself costs. */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { GENERATE_ANSWER } from '../../cache/servers/answer.ts'

const server = createServer((request, response) => {
  request.resume()
  request.on('end', () => {
    response.writeHead(200, { 'content-type': 'application/json', 'content-length': GENERATE_ANSWER.length })
    response.end(GENERATE_ANSWER)
  })
})
server.listen(0, '127.0.0.1', () => {
  console.log(`answers on http://127.0.0.1:${(server.address() as AddressInfo).port}`)
})
