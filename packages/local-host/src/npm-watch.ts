import { spawnSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const POLL_MS = 500

/**
 * Calls back when the npm that ran this script is gone, however it died: a killed npm passes no signal on.
 * Does nothing where the script was not run by `npm start`, or the system does not tell who its parents are.
 */
export function whenNpmIsGone(callback: () => void): void {
  if (process.env.npm_lifecycle_event !== 'start') return
  const npm = findNpm()
  if (npm === undefined) return
  const timer = setInterval(() => {
    if (process.ppid === npm.via && isAlive(npm.pid)) return
    clearInterval(timer)
    callback()
  }, POLL_MS)
  timer.unref()
}

/** npm runs scripts by `sh -c`, and some shells stay between it and us. */
function findNpm(): { readonly pid: number; readonly via: number } | undefined {
  const via = process.ppid
  const parent = lookUp(via)
  if (parent === undefined) return undefined
  return { via, pid: /^\S*sh -c /.test(parent.command) ? parent.parent : via }
}

interface Process {
  readonly command: string
  readonly parent: number
}

function lookUp(pid: number): Process | undefined {
  try {
    if (process.platform !== 'linux') return { command: ps('command=', pid), parent: Number(ps('ppid=', pid)) }
    const command = readFileSync(`/proc/${pid}/cmdline`, 'utf8').replaceAll('\0', ' ')
    return { command, parent: parentFromProc(pid) }
  } catch {
    return undefined
  }
}

/** The fourth field, counted behind the command's name, which stands in parentheses and may hold anything. */
function parentFromProc(pid: number): number {
  const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
  return Number(stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1])
}

function ps(field: string, pid: number): string {
  const { stdout, status } = spawnSync('ps', ['-o', field, '-p', String(pid)], { encoding: 'utf8' })
  if (status !== 0) throw new Error('ps is not there, or knows no such process')
  return stdout.trim()
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return (error as NodeJS.ErrnoException).code === 'EPERM'
  }
}
