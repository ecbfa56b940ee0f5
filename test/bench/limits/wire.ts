import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'
import type { TransactionCount } from './transaction-count.ts'

/** The wire between limiters and their store: passes bytes on, counts transactions, and can be made longer. */
export interface Wire {
  readonly port: number
  /** Begun so far. */
  transactions(): number
  /** Adds to each transaction, half on each way; milliseconds. */
  delay(ms: number): void
  close(): Promise<void>
}

/** @param count made anew for each connection */
export async function startWire(to: number, count: () => TransactionCount): Promise<Wire> {
  const sockets = new Set<Socket>()
  let transactions = 0
  let oneWayMs = 0

  function pass(chunk: Buffer, target: Socket): void {
    if (oneWayMs === 0) target.write(chunk)
    // Timers of the same length run in the order in which they were set, so that nothing overtakes.
    else setTimeout(() => target.destroyed || target.write(chunk), oneWayMs)
  }

  const server = createServer({ noDelay: true }, (client) => {
    const service = connect({ port: to, host: '127.0.0.1', noDelay: true })
    const counted = count()
    const cut = () => {
      client.destroy()
      service.destroy()
    }
    for (const socket of [client, service]) {
      sockets.add(socket)
      socket.on('error', cut).on('close', () => {
        sockets.delete(socket)
        cut()
      })
    }
    client.on('data', (chunk) => {
      transactions += counted(chunk)
      pass(chunk, service)
    })
    service.on('data', (chunk) => pass(chunk, client))
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    transactions: () => transactions,
    delay: (ms) => {
      oneWayMs = ms / 2
    },
    async close() {
      server.close()
      for (const socket of sockets) socket.destroy()
      await once(server, 'close')
    },
  }
}
