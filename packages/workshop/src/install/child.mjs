import { spawn } from 'node:child_process'
import { whenNpmIsGone } from './parents.mjs'

const SIGNALS = ['SIGINT', 'SIGTERM', 'SIGHUP']
/** How long a child may take to end after the first signal, in milliseconds. */
const GRACE_MS = 10_000

/**
 * Runs a command to its end, on our terminal. A signal that would end us is handed on, and ends us only when the child has
 * ended: what it writes must be over before somebody else begins. It is killed by a second signal, or when it takes too long.
 * The end of the npm that runs us counts as a signal.
 *
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd: string, apart?: boolean, onStart?: (pid: number | undefined) => void, onSignal?: () => void }} options
 *   apart: in a process group of its own, so that a Ctrl-C comes by us and not twice
 * @returns {Promise<number>} its status
 */
export function run(command, args, { cwd, apart = false, onStart, onSignal }) {
  const windows = process.platform === 'win32'
  // On Windows npm is a script, which only a shell can run.
  const shell = windows && command === 'npm'
  const child = spawn(command, args, { cwd, stdio: 'inherit', shell, detached: apart && !windows })
  onStart?.(child.pid)
  const send = (signal) => {
    try {
      if (apart && !windows) process.kill(-child.pid, signal)
      else child.kill(signal)
    } catch {
      // It has ended by itself.
    }
  }
  let received
  let timer
  const stop = (signal) => {
    if (received !== undefined) return send('SIGKILL')
    received = signal
    onSignal?.()
    send(signal)
    timer = setTimeout(() => send('SIGKILL'), GRACE_MS)
  }
  for (const signal of SIGNALS) process.on(signal, stop)
  const unwatch = whenNpmIsGone(() => received ?? stop('SIGTERM'))
  return new Promise((resolve, reject) => {
    child.once('error', (error) => reject(new Error(`${command} can't be run: ${error.code ?? error.message}.`)))
    child.once('exit', (code) => resolve(code ?? 1))
  })
    .finally(() => {
      clearTimeout(timer)
      unwatch()
      for (const signal of SIGNALS) process.off(signal, stop)
      if (received !== undefined) process.exitCode = 128 + (received === 'SIGINT' ? 2 : received === 'SIGTERM' ? 15 : 1)
    })
    .then((status) => {
      if (received === undefined) return status
      throw new Stopped()
    })
}

/** A signal has ended the run; the exit code is set. */
export class Stopped extends Error {}
