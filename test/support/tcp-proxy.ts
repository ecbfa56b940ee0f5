import { once } from 'node:events'
import { type AddressInfo, connect, createServer, type Socket } from 'node:net'

/** A proxy before a server on this machine, which fails as networks do. */
export interface TcpProxy {
  readonly port: number
  /** All that clients have sent so far. */
  sent(): string
  /** Passes the next request on, and cuts the connection in the place of its reply. */
  loseNextReply(): void
  /** From now on the connections that there are pass nothing on, either way; new ones do. */
  silence(): void
  /** Takes the next connection, and passes nothing on. */
  muteNext(): void
  close(): Promise<void>
}

export async function startTcpProxy(to: number): Promise<TcpProxy> {
  const sockets = new Set<Socket>()
  let silent = new Set<Socket>()
  let muting = false
  let losing = false
  const chunks: Buffer[] = []

  const server = createServer((client) => {
    const service = connect(to, '127.0.0.1')
    const cut = () => {
      client.destroy()
      service.destroy()
    }
    for (const socket of [client, service]) {
      sockets.add(socket)
      socket.on('error', cut).on('close', cut)
    }
    if (muting) silent.add(client).add(service)
    muting = false
    client.on('data', (chunk) => {
      chunks.push(chunk)
      if (!silent.has(client)) service.write(chunk)
    })
    service.on('data', (chunk) => {
      if (losing) cut()
      else if (!silent.has(service)) client.write(chunk)
      losing = false
    })
  }).listen(0, '127.0.0.1')
  await once(server, 'listening')

  return {
    port: (server.address() as AddressInfo).port,
    sent: () => Buffer.concat(chunks).toString(),
    loseNextReply: () => {
      losing = true
    },
    silence: () => {
      silent = new Set(sockets)
    },
    muteNext: () => {
      muting = true
    },
    async close() {
      for (const socket of sockets) socket.destroy()
      server.close()
      await once(server, 'close')
    },
  }
}
