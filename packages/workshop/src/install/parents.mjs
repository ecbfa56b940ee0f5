import { execFileSync } from 'node:child_process'
import { readFileSync } from 'node:fs'

const POLL_MS = 500

/**
 * Calls back when the npm that runs us is gone. npm hands a SIGTERM on to the shell that runs a script, and that shell dies of
 * it without a word to the script. Does nothing where no npm runs us, or the system doesn't tell who its parents are.
 *
 * @param {() => void} callback
 * @returns {() => void} ends the watch
 */
export function whenNpmIsGone(callback) {
  const shell = process.ppid
  const npm = parentOf(shell)
  if (process.env.npm_lifecycle_event === undefined || npm === undefined) return () => {}
  const timer = setInterval(() => {
    if (process.ppid === shell && parentOf(shell) === npm) return
    clearInterval(timer)
    callback()
  }, POLL_MS)
  return () => clearInterval(timer)
}

function parentOf(pid) {
  try {
    if (process.platform === 'win32') return undefined
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-o', 'ppid=', '-p', `${pid}`], { encoding: 'utf8' }).trim()
    // The 4th field, counted behind the command's name, which stands in parentheses and may hold anything.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[1]
  } catch {
    return undefined
  }
}
