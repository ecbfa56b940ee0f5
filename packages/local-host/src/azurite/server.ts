/*
 * Azurite's table service as a process of its own: `node server.ts <folder>`.
 *
 * It lives for as long as anyone holds a connection to it, and a little longer. The operating system closes those
 * connections however their owners die, so a killed host loses nothing and leaves nothing behind.
 */
import { randomBytes } from 'node:crypto'
import { mkdirSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { type AddressInfo, createServer, type Socket } from 'node:net'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { type AzuriteEndpoint, endpointFile } from './endpoint.ts'

const ACCOUNT = 'tollgate'
const LINGER_MS = 1_000
const FIRST_HOLDER_MS = 30_000
const LOCK_WAIT_MS = 30_000

const folder = process.argv[2]
if (folder === undefined) throw new Error('usage: server.ts <folder>')
mkdirSync(folder, { recursive: true, mode: 0o700 })
// Held by a variable that lives as long as the process: a collected database would give up its lock.
const held = lock(folder)

// An account of its own with a key of its own: whoever knows Azurite's published key can't open these tables.
const key = randomBytes(64).toString('base64')
process.env.AZURITE_ACCOUNTS = `${ACCOUNT}:${key}`
const tables = openTables(join(folder, 'tables.json'))
await tables.start()
const url = tables.getHttpServerAddress()

let ended = false
const token = randomBytes(16).toString('hex')
const holders = new Set<Socket>()
let ending = setTimeout(end, FIRST_HOLDER_MS)
const hold = createServer((socket) => {
  socket.on('error', () => socket.destroy())
  socket.once('data', (greeting) => {
    if (ended || greeting.toString() !== token) return socket.destroy()
    clearTimeout(ending)
    holders.add(socket)
    socket.write('held')
    return undefined
  })
  socket.once('close', () => {
    if (holders.delete(socket) && holders.size === 0) ending = setTimeout(end, LINGER_MS)
  })
})
hold.listen(0, '127.0.0.1', () => {
  publish({
    pid: process.pid,
    connectionString: `DefaultEndpointsProtocol=http;AccountName=${ACCOUNT};AccountKey=${key};TableEndpoint=${url}/${ACCOUNT};`,
    url,
    holdPort: (hold.address() as AddressInfo).port,
    token,
  })
})
// A Ctrl-C in the terminal is meant for the host; when it ends, its connection does.
process.on('SIGINT', () => {})
process.on('SIGHUP', () => {})
process.on('SIGTERM', end)

async function end(): Promise<void> {
  if (ended) return
  ended = true
  rmSync(endpointFile(String(folder)), { force: true })
  hold.close()
  // Writes what has not been saved yet.
  await tables.close()
  held.close()
  process.exit(0)
}

function publish(endpoint: AzuriteEndpoint): void {
  const file = endpointFile(String(folder))
  writeFileSync(`${file}.new`, JSON.stringify(endpoint, null, 2), { mode: 0o600 })
  renameSync(`${file}.new`, file)
}

/** One Azurite a folder. The lock is an open transaction's, which the operating system frees however its holder dies. */
function lock(directory: string): DatabaseSync {
  const database = new DatabaseSync(join(directory, 'lock'), { timeout: LOCK_WAIT_MS })
  database.exec('BEGIN EXCLUSIVE')
  return database
}

interface TableServer {
  start(): Promise<void>
  close(): Promise<void>
  getHttpServerAddress(): string
}

/** Azurite's package exports only its commands; they can't be told to save and end. */
function openTables(file: string): TableServer {
  const require = createRequire(import.meta.url)
  const { default: Configuration } = require('azurite/dist/src/table/TableConfiguration')
  const { default: Server } = require('azurite/dist/src/table/TableServer')
  const noLog = [false, false, undefined, undefined]
  const anyApiVersion = [false, true]
  return new Server(
    new Configuration('127.0.0.1', 0, 5, file, ...noLog, ...anyApiVersion, '', '', '', undefined, false, false),
  )
}
