import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { closeSync, openSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { cleanEnv } from '../../support/host.ts'
import { onSubjectsCore } from './cores.ts'

const START_MS = 30_000
const LOOK_MS = 5

export interface ServerCommand {
  /** A file that Node runs, and its arguments. */
  readonly script: readonly [string, ...(readonly string[])]
  readonly settings?: Readonly<Record<string, string>>
  /** What it prints when it is up: its first group is the URL or the port. */
  readonly started: RegExp
  /** For what it prints: its lines of log go to a file, as they do where it is deployed. */
  readonly folder: string
}

/** A server in a process of its own. */
export interface ServerProcess {
  readonly pid: number
  /** The first group of `started`. */
  readonly at: string
  /** All that it has printed so far. */
  output(): string
  stop(): Promise<void>
}

let count = 0

/**
 * Starts a server on the processor that is kept for what is measured.
 *
 * @throws with its own words if it ends, or doesn't come up in time.
 */
export async function startServer({ script, settings, started, folder }: ServerCommand): Promise<ServerProcess> {
  count += 1
  const file = join(folder, `server-${count}.log`)
  const descriptor = openSync(file, 'w')
  const [command = '', ...args] = onSubjectsCore([process.execPath, ...script])
  const child = spawn(command, args, {
    cwd: folder,
    env: cleanEnv({ HOST: '127.0.0.1', ...settings }),
    stdio: ['ignore', descriptor, descriptor],
  })
  closeSync(descriptor)
  const gone = once(child, 'exit')
  const stop = async () => {
    child.kill('SIGKILL')
    await gone
  }
  const output = () => readFileSync(file, 'utf8')
  const deadline = Date.now() + START_MS
  let at: string | undefined
  while (at === undefined && child.exitCode === null && child.signalCode === null && Date.now() < deadline) {
    await new Promise((resolve) => setTimeout(resolve, LOOK_MS))
    at = started.exec(output())?.[1]
  }
  if (at === undefined || child.pid === undefined) {
    await stop()
    throw new ServerDidNotStart(output().trim())
  }
  // taskset has given way to Node by then, in the same process.
  return { pid: child.pid, at, output, stop }
}

/** The message is what it said. */
export class ServerDidNotStart extends Error {
  override readonly name = 'ServerDidNotStart'
}
