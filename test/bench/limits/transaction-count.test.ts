import fc from 'fast-check'
import { expect, test } from 'vitest'
import { httpRequests, redisCommands } from './transaction-count.ts'

const request = (body: string) =>
  `PUT /account/t(PartitionKey='p') HTTP/1.1\r\nHost: x\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`
const get = 'GET /account/t HTTP/1.1\r\nhost: x\r\n\r\n'
const command = (...args: string[]) =>
  `*${args.length}\r\n${args.map((arg) => `$${Buffer.byteLength(arg)}\r\n${arg}\r\n`).join('')}`

test.each([
  ['requests', httpRequests, [get, request('{"a":"GET / HTTP/1.1\\r\\n\\r\\n"}'), get, request('')], 4],
  ['commands', redisCommands, [command('EVAL', '*1\r\n$4\r\nPING\r\n', '1', ''), command('PING')], 2],
])('counts %s, however they are cut into pieces', (_what, count, parts, expected) => {
  const bytes = Buffer.from(parts.join(''))
  fc.assert(
    fc.property(fc.array(fc.integer({ min: 0, max: bytes.byteLength })), (cuts) => {
      const counted = count()
      const at = [0, ...cuts.toSorted((a, b) => a - b), bytes.byteLength]
      const pieces = at.slice(1).map((end, index) => bytes.subarray(at[index], end))
      expect(pieces.reduce((sum, piece) => sum + counted(piece), 0)).toBe(expected)
    }),
  )
})
