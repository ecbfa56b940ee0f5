/*
 * A stub of a table service, in a process of its own: rows in memory, answered as the service answers, at a cost that is low
 * and always the same. It checks no key.
 */
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Row {
  readonly etag: string
  readonly body: Buffer
}

const HEADERS = {
  'content-type': 'application/json;odata=minimalmetadata;streaming=true;charset=utf-8',
  server: 'Windows-Azure-Table/1.0 Microsoft-HTTPAPI/2.0',
  'x-ms-request-id': '0f4f3e0c-0002-0012-0000-000000000000',
  'x-ms-version': '2019-02-02',
  'x-content-type-options': 'nosniff',
  'cache-control': 'no-cache',
}
const rows = new Map<string, Row>()
let writes = 0

function refusal(code: string): Buffer {
  return Buffer.from(
    JSON.stringify({ 'odata.error': { code, message: { lang: 'en-US', value: `${code}\nRequestId:0` } } }),
  )
}
const [NO_ROW, ROW, CHANGED] = ['ResourceNotFound', 'EntityAlreadyExists', 'UpdateConditionNotSatisfied'].map(refusal)

function keep(key: string, sent: Buffer): string {
  writes += 1
  const etag = `W/"datetime'2026-11-27T14%3A00%3A00.${String(writes).padStart(7, '0')}Z'"`
  rows.set(key, { etag, body: Buffer.from(JSON.stringify({ 'odata.etag': etag, ...JSON.parse(sent.toString()) })) })
  return etag
}

function keyOf({ PartitionKey, RowKey }: { PartitionKey: string; RowKey: string }): string {
  return `(PartitionKey='${encodeURIComponent(PartitionKey)}',RowKey='${encodeURIComponent(RowKey)}')`
}

/** Status, ETag and body. */
type Answer = readonly [number, string | undefined, Buffer | undefined]

function answer(method: string, path: string, match: string | undefined, sent: Buffer): Answer {
  if (method === 'POST') {
    const key = path + keyOf(JSON.parse(sent.toString()))
    return rows.has(key) ? [409, undefined, ROW] : [204, keep(key, sent), undefined]
  }
  const row = rows.get(path)
  if (method === 'GET') return row === undefined ? [404, undefined, NO_ROW] : [200, row.etag, row.body]
  if (row === undefined && match !== undefined) return [404, undefined, NO_ROW]
  if (match !== undefined && match !== '*' && match !== row?.etag) return [412, undefined, CHANGED]
  if (method === 'PUT') return [204, keep(path, sent), undefined]
  rows.delete(path)
  return [204, undefined, undefined]
}

const server = createServer((request, response) => {
  const chunks: Buffer[] = []
  request.on('data', (chunk) => chunks.push(chunk))
  request.on('end', () => {
    const { method = '', url = '', headers } = request
    const [path = ''] = url.split('?')
    const [status, etag, body] = answer(method, path, headers['if-match'], Buffer.concat(chunks))
    response.writeHead(status, {
      ...HEADERS,
      ...(etag === undefined ? {} : { etag }),
      ...(body === undefined ? {} : { 'content-length': body.length }),
    })
    response.end(body)
  })
})
server.keepAliveTimeout = 60_000
server.listen(0, '127.0.0.1', () => {
  console.log(`tables at http://127.0.0.1:${(server.address() as AddressInfo).port}/account`)
})
