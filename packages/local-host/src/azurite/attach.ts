import { type ChildProcess, spawn } from 'node:child_process'
import { closeSync, mkdirSync, openSync, readFileSync } from 'node:fs'
import { connect, type Socket } from 'node:net'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { type AzuriteEndpoint, readEndpoint } from './endpoint.ts'

export interface AttachedAzurite {
  readonly connectionString: string
  readonly url: string
  /** Lets go. Azurite saves and ends when nobody holds it any more. */
  release(): void
}

const START_TIMEOUT_MS = 60_000
const POLL_MS = 40

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
    if (child.exitCode !== null) break
    await sleep(POLL_MS)
  }
  child.kill('SIGKILL')
  throw new Error(`Azurite did not start. Its log, ${logFile(folder)}, ends with:\n${tail(logFile(folder))}`)
}

/** The loopback connection is what keeps Azurite alive, so it must not keep us alive. */
function hold(endpoint: AzuriteEndpoint | undefined): Promise<AttachedAzurite | undefined> {
  if (endpoint === undefined) return Promise.resolve(undefined)
  const { holdPort, token, connectionString, url } = endpoint
  return new Promise((resolve) => {
    const socket: Socket = connect(holdPort, '127.0.0.1', () => socket.write(token))
    socket.once('data', (reply) => {
      if (reply.toString() !== 'held') return socket.destroy()
      socket.unref()
      resolve({ connectionString, url, release: () => socket.destroy() })
      return undefined
    })
    socket.once('error', () => resolve(undefined))
    socket.once('close', () => resolve(undefined))
  })
}

/** In a session of its own, so that a signal to our process group doesn't reach it before it has saved. */
function start(folder: string): ChildProcess {
  const log = openSync(logFile(folder), 'w', 0o600)
  const script = fileURLToPath(new URL('./server.ts', import.meta.url))
  const child = spawn(process.execPath, ['--disable-warning=ExperimentalWarning', script, folder], {
    detached: true,
    stdio: ['ignore', log, log],
  })
  closeSync(log)
  child.unref()
  return child
}

function logFile(folder: string): string {
  return join(folder, 'azurite.log')
}

function tail(file: string): string {
  return readFileSync(file, 'utf8').trim().split('\n').slice(-5).join('\n')
}
