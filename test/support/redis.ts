import { type ChildProcess, spawn, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { freePort } from './free-port.ts'

/** Why no test can have a Redis here; `undefined` where one can. */
export const noRedis =
  spawnSync('redis-server', ['--version']).status === 0 ? undefined : 'skipped, since no redis-server is on the PATH'

export interface RedisServer {
  readonly port: number
  readonly url: string
  /** By SIGKILL. */
  kill(): Promise<void>
  /** On the same port, and empty: nothing is kept. */
  restart(): Promise<void>
  /** Until it is thawed it takes connections and commands, and answers nothing. */
  freeze(): void
  thaw(): void
  close(): Promise<void>
}

/** A Redis of one's own, in a process of its own. */
export async function startRedis({ password }: { readonly password?: string } = {}): Promise<RedisServer> {
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-redis-'))
  const secret = password === undefined ? [] : ['--requirepass', password]

  async function start(port: number): Promise<ChildProcess | undefined> {
    const place = ['--bind', '127.0.0.1', '--port', `${port}`, '--dir', folder]
    const started = spawn('redis-server', [...place, '--save', '', '--appendonly', 'no', ...secret])
    const exited = once(started, 'exit')
    const lines = createInterface({ input: started.stdout })
    const ready = new Promise<true>((resolve) => {
      lines.on('line', (line) => {
        if (line.includes('Ready to accept connections')) resolve(true)
      })
    })
    return (await Promise.race([ready, exited.then(() => false)])) ? started : undefined
  }

  let port = await freePort()
  let server = await start(port)
  // Another process may have taken the port meanwhile.
  for (let tries = 1; server === undefined && tries < 5; tries += 1) {
    port = await freePort()
    server = await start(port)
  }
  if (server === undefined) throw new Error('redis-server does not start')

  async function kill(): Promise<void> {
    if (server === undefined || server.exitCode !== null || server.signalCode !== null) return
    const exited = once(server, 'exit')
    server.kill('SIGKILL')
    await exited
  }

  return {
    port,
    url: `redis://${password === undefined ? '' : `:${encodeURIComponent(password)}@`}127.0.0.1:${port}`,
    kill,
    async restart() {
      await kill()
      server = await start(port)
      if (server === undefined) throw new Error('redis-server does not start again')
    },
    freeze: () => void server?.kill('SIGSTOP'),
    thaw: () => void server?.kill('SIGCONT'),
    async close() {
      await kill()
      rmSync(folder, { recursive: true, force: true })
    },
  }
}
