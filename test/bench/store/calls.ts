/*
 * A process of its own, which asks one store for one kind of call, over and over: prints the processor time of a call.
 * Its arguments: who asks, the kind of call, the table service's URL, how many calls.
 */
import { TableClient } from '@azure/data-tables'
import { loadUndici, openTables, type Table } from '@tollgate/middleware'

const [who = '', kind = '', endpoint = '', count = ''] = process.argv.slice(2)
const CONNECTIONS = 16
const key = Buffer.alloc(64, 7).toString('base64')
const connectionString = `DefaultEndpointsProtocol=http;AccountName=account;AccountKey=${key};TableEndpoint=${endpoint};`
const own = { partitionKey: 'p', rowKey: `${who}-${kind}` }
/** A completion of 1 KiB as it is stored: packed. */
const fields = {
  kind: 'entry',
  expiresAt: new Date(0),
  parts: 0,
  writeId: '00000000-0000-0000-0000-000000000000',
  chunk0: Buffer.alloc(600, 7),
}

let made = 0
const row = () => {
  made += 1
  return { ...own, rowKey: `${process.pid}-${made}`, ...fields }
}
const missing = { ...own, rowKey: 'none' }

function tollgate(table: Table): Record<string, () => Promise<unknown>> {
  return {
    read: () => table.read(own),
    miss: () => table.read(missing),
    insert: () => table.put(row(), 'absent'),
    replace: () => table.put({ ...own, ...fields }, 'any'),
    remove: () => table.remove(missing, 'any'),
  }
}

function sdk(client: TableClient): Record<string, () => Promise<unknown>> {
  const refused = (error: { statusCode?: number }) => {
    if (error.statusCode !== 404) throw error
  }
  return {
    read: () => client.getEntity(own.partitionKey, own.rowKey),
    miss: () => client.getEntity(missing.partitionKey, missing.rowKey).catch(refused),
    insert: () => client.createEntity(row()),
    replace: () => client.upsertEntity({ ...own, ...fields }, 'Replace'),
    remove: () => client.deleteEntity(missing.partitionKey, missing.rowKey).catch(refused),
  }
}

/** The same bytes there and back, with nothing made of them. */
async function undici(): Promise<Record<string, () => Promise<unknown>>> {
  const { Pool } = await loadUndici()
  const { origin, pathname } = new URL(endpoint)
  const pool = new Pool(origin)
  const path = ({ partitionKey, rowKey }: typeof own) =>
    `${pathname}/tollgatecache(PartitionKey='${partitionKey}',RowKey='${rowKey}')`
  const body = (rowKey: string) =>
    JSON.stringify({ PartitionKey: 'p', RowKey: rowKey, ...fields, chunk0: fields.chunk0.toString('base64') })
  const send = (method: 'GET' | 'POST' | 'PUT' | 'DELETE', to: string, text: string | null = null) =>
    new Promise<void>((resolve, reject) => {
      const headers = { accept: 'application/json', 'content-type': 'application/json' }
      const onResponseError = (_: unknown, error: Error) => reject(error)
      const ignore = () => {}
      const handler = { onRequestStart: ignore, onResponseStart: ignore, onResponseData: ignore, onResponseError }
      pool.dispatch({ method, path: to, headers, body: text }, { ...handler, onResponseEnd: () => resolve() })
    })
  return {
    read: () => send('GET', path(own)),
    miss: () => send('GET', path(missing)),
    insert: () => send('POST', `${pathname}/tollgatecache`, body(row().rowKey)),
    replace: () => send('PUT', path(own), body(own.rowKey)),
    remove: () => send('DELETE', path(missing)),
  }
}

async function run(call: () => Promise<unknown>, calls: number): Promise<void> {
  let left = calls
  const ask = async () => {
    while (left > 0) {
      left -= 1
      await call()
    }
  }
  await Promise.all(Array.from({ length: CONNECTIONS }, ask))
}

const table = openTables({ kind: 'connection-string', connectionString, loopback: true })('tollgatecache')
const client = TableClient.fromConnectionString(connectionString, 'tollgatecache', {
  allowInsecureConnection: true,
  retryOptions: { maxRetries: 0 },
})
await table.put({ ...own, ...fields }, 'any')
const calls = who === 'undici' ? await undici() : who === 'sdk' ? sdk(client) : tollgate(table)
const call = calls[kind]
if (call === undefined) throw new Error(`There is no ${kind}`)
await run(call, Number(count))
const before = process.cpuUsage()
await run(call, Number(count))
const { user, system } = process.cpuUsage(before)
console.log(JSON.stringify({ us: (user + system) / Number(count) }))
process.exit()
