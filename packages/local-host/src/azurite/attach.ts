import { type ChildProcess, spawn } from 'node:child_process'
import { appendFileSync, closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { OperatorError } from '@tollgate/middleware'
import { type AzuriteEndpoint, readEndpoint } from './endpoint.ts'

export interface AttachedAzurite {
  readonly connectionString: string
  readonly url: string
  /** Calls back when Azurite has ended, although it was held. */
  onLost(callback: () => void): void
  /** Lets go. Azurite saves and ends when nobody holds it any more. */
  release(): void
}

const START_TIMEOUT_MS = 60_000
const POLL_MS = 40
/** The port in a left-over endpoint.json may belong to another program by now, which never answers. */
const GREETING_TIMEOUT_MS = 2_000

/** Holds the Azurite of this folder; starts it where none runs. Safe to call from several processes at once. */
export async function attachAzurite(folder: string): Promise<AttachedAzurite> {
  const running = await hold(readEndpoint(folder))
  if (running !== undefined) return running

  mkdirSync(folder, { recursive: true, mode: 0o700 })
  const child = start(folder)
  const deadline = Date.now() + START_TIMEOUT_MS
  while (Date.now() < deadline) {
    const endpoint = readEndpoint(folder)
    const held = await hold(endpoint)
    if (held !== undefined) {
      // Another process was first: ours waits for a lock that it will not need.
      if (endpoint?.pid !== child.pid) child.kill('SIGKILL')
      return held
    }
    if (child.exitCode !== null || child.signalCode !== null) break
    await sleep(POLL_MS)
  }
  child.kill('SIGKILL')
  throw new OperatorError(`Azurite did not start. Its log, ${logFile(folder)}, ends with:\n${tail(logFile(folder))}`)
}

/** The loopback connection is what keeps Azurite alive, so it must not keep us alive. */
function hold(endpoint: AzuriteEndpoint | undefined): Promise<AttachedAzurite | undefined> {
  if (endpoint === undefined) return Promise.resolve(undefined)
  const { holdPort, token, connectionString, url } = endpoint
  return new Promise((resolve) => {
    const socket: Socket = connect(holdPort, '127.0.0.1', () => socket.write(token))
    socket.setTimeout(GREETING_TIMEOUT_MS, () => socket.destroy())
    socket.on('error', () => socket.destroy())
    socket.once('close', () => resolve(undefined))
    socket.once('data', (reply) => {
      if (reply.toString() !== 'held') return socket.destroy()
      socket.setTimeout(0)
      socket.unref()
      return resolve({
        connectionString,
        url,
        onLost: (callback) => socket.once('close', callback),
        release: () => socket.removeAllListeners('close').destroy(),
      })
    })
  })
}

/** In a session of its own, so that a signal to our process group doesn't reach it before it has saved. */
function start(folder: string): ChildProcess {
  const log = openSync(logFile(folder), 'a', 0o600)
  const script = fileURLToPath(new URL('./server.ts', import.meta.url))
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, folder], {
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  // Without a listener a failed spawn would end us; what waits for the child sees that it has gone.
  child.once('error', (error) => appendFileSync(logFile(folder), `${error.message}\n`))
  child.unref()
  return child
}

function logFile(folder: string): string {
  return join(folder, 'azurite.log')
}

function tail(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').slice(-5).join('\n')
}
