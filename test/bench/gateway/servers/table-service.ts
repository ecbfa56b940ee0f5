/*
 * The table service, in memory: what the gateway's stores ask of it by the REST protocol, and no more. Rows are inserted,
 * read, replaced, merged, deleted and listed, with ETags and conditions as the real one has them; an operation that is not
 * here is a 501. Signatures are not checked. Prints a connection string.
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

interface Row {
  readonly etag: string
  readonly written: string
  /** As they were sent, with the types beside them: `expiresAt@odata.type`. */
  readonly properties: Readonly<Record<string, unknown>>
}

interface Answer {
  readonly status: number
  readonly etag?: string
  readonly body?: object
}

const ACCOUNT = 'bench'
const JSON_TYPE = 'application/json;odata=minimalmetadata;streaming=true;charset=utf-8'

const tables = new Map<string, Map<string, Row>>()
let writes = 0

function answer({ method, url = '', headers }: IncomingMessage, text: string): Answer {
  const { pathname, searchParams } = new URL(url, 'http://tables.invalid')
  const [, table = '', keys] = /^\/bench\/(\w+)(?:\((.*)\))?$/.exec(decodeURIComponent(pathname)) ?? []
  if (table === 'Tables' && method === 'POST') return createTable(JSON.parse(text).TableName)
  const rows = tables.get(table)
  if (rows === undefined) return refusal(404, 'TableNotFound')
  if (keys === undefined && method === 'POST') return insert(rows, JSON.parse(text))
  const key = keyIn(keys ?? '')
  if (key === undefined)
    return method === 'GET' ? list(rows, searchParams.get('$filter')) : refusal(501, 'NotImplemented')
  const row = rows.get(key)
  const condition = headers['if-match']
  if (method === 'GET') return row === undefined ? refusal(404, 'ResourceNotFound') : found(row)
  if (condition !== undefined) {
    if (row === undefined) return refusal(404, 'ResourceNotFound')
    if (condition !== '*' && condition !== row.etag) return refusal(412, 'UpdateConditionNotSatisfied')
  }
  switch (method) {
    case 'PUT':
      return write(rows, key, JSON.parse(text))
    case 'PATCH':
    case 'MERGE':
      return write(rows, key, { ...row?.properties, ...JSON.parse(text) })
    case 'DELETE':
      return rows.delete(key) ? { status: 204 } : refusal(404, 'ResourceNotFound')
    default:
      return refusal(501, 'NotImplemented')
  }
}

function createTable(name: string): Answer {
  if (tables.has(name)) return refusal(409, 'TableAlreadyExists')
  tables.set(name, new Map())
  return { status: 204 }
}

function insert(rows: Map<string, Row>, properties: Row['properties']): Answer {
  const key = keyOf(String(properties.PartitionKey), String(properties.RowKey))
  return rows.has(key) ? refusal(409, 'EntityAlreadyExists') : write(rows, key, properties)
}

function write(rows: Map<string, Row>, key: string, properties: Row['properties']): Answer {
  writes += 1
  // A time in steps of 100 ns, as the service's: no two writes share one.
  const written = new Date().toISOString().replace('Z', `${String(writes % 10_000).padStart(4, '0')}Z`)
  const etag = `W/"datetime'${encodeURIComponent(written)}'"`
  const [PartitionKey, RowKey] = key.split('\n')
  rows.set(key, { etag, written, properties: { ...properties, PartitionKey, RowKey } })
  return { status: 204, etag }
}

function found(row: Row): Answer {
  return { status: 200, etag: row.etag, body: { 'odata.metadata': 'bench', ...shown(row) } }
}

/** All at once: no test has more than one page. */
function list(rows: Map<string, Row>, filter: string | null): Answer {
  const terms = (filter ?? '').split(' and ').filter((term) => term !== '')
  const wanted = terms.map((term) => /^(\w+) eq '((?:[^']|'')*)'$/.exec(term))
  if (wanted.includes(null)) return refusal(501, 'NotImplemented')
  const value = [...rows.values()]
    .filter(({ properties }) =>
      wanted.every((term) => properties[term?.[1] ?? ''] === term?.[2]?.replaceAll("''", "'")),
    )
    .map(shown)
  return { status: 200, body: { 'odata.metadata': 'bench', value } }
}

function shown({ etag, written, properties }: Row): object {
  return { 'odata.etag': etag, ...properties, Timestamp: written }
}

function refusal(status: number, code: string): Answer {
  return { status, body: { 'odata.error': { code, message: { lang: 'en-US', value: code } } } }
}

/** Neither key may hold a line break. */
function keyOf(partition: string, row: string): string {
  return `${partition}\n${row}`
}

function keyIn(text: string): string | undefined {
  const [, partition, row] = /^PartitionKey='((?:[^']|'')*)',RowKey='((?:[^']|'')*)'$/.exec(text) ?? []
  if (partition === undefined || row === undefined) return undefined
  return keyOf(partition.replaceAll("''", "'"), row.replaceAll("''", "'"))
}

function send(response: ServerResponse, { status, etag, body }: Answer): void {
  const text = body === undefined ? undefined : Buffer.from(JSON.stringify(body))
  response.writeHead(status, {
    'x-ms-version': '2019-02-02',
    ...(etag === undefined ? {} : { etag }),
    ...(text === undefined ? {} : { 'content-type': JSON_TYPE, 'content-length': text.byteLength }),
  })
  response.end(text)
}

const server = createServer({ keepAliveTimeout: 60_000 }, (request, response) => {
  const pieces: Buffer[] = []
  request.on('data', (piece: Buffer) => pieces.push(piece))
  request.on('end', () => send(response, answer(request, Buffer.concat(pieces).toString())))
})
server.listen({ port: 0, host: '127.0.0.1', backlog: 4096 }, () => {
  const { port } = server.address() as AddressInfo
  const key = Buffer.from('no signature is checked').toString('base64')
  console.log(
    `tables at DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${key};TableEndpoint=http://127.0.0.1:${port}/${ACCOUNT};`,
  )
})
