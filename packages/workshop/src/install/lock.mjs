import { execFileSync } from 'node:child_process'
import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs'
import { setTimeout as sleep } from 'node:timers/promises'

const POLL_MS = 200

/**
 * A lock in a file that names the processes that hold it, so that the dead hold nothing. It is to be released.
 *
 * @param {string} file
 * @param {(pid: number) => void} onWait called once, when it has to wait for another process
 * @returns {Promise<{ share: (pid: number | undefined) => void, release: () => void }>} share: is held by that process, too
 */
export async function takeLock(file, onWait) {
  const draft = `${file}.${process.pid}`
  const own = [ownerOf(process.pid)]
  let waited = false
  try {
    for (;;) {
      writeFileSync(draft, JSON.stringify(own))
      // Whole at once, and only where there is none.
      const taken = attempt(() => linkSync(draft, file), 'EEXIST')
      if (taken) break
      const holder = holderOf(file)
      if (holder !== undefined) {
        if (!waited) onWait(holder)
        waited = true
        await sleep(POLL_MS)
        continue
      }
      // Left by the dead. Moved away first: of two that find it so, one may have taken the lock anew meanwhile.
      if (!attempt(() => renameSync(file, draft), 'ENOENT')) continue
      if (holderOf(draft) !== undefined) attempt(() => linkSync(draft, file), 'EEXIST')
    }
  } finally {
    rmSync(draft, { force: true })
  }
  return {
    share(pid) {
      if (pid === undefined) return
      writeFileSync(draft, JSON.stringify([...own, ownerOf(pid)]))
      renameSync(draft, file)
    },
    release: () => rmSync(file, { force: true }),
  }
}

/** Whether it succeeded, rather than failed in the way that is expected. */
function attempt(action, expected) {
  try {
    action()
    return true
  } catch (error) {
    if (error.code !== expected) throw error
    return false
  }
}

/** The process that holds it; `undefined` where none that lives does. */
function holderOf(file) {
  let owners
  try {
    owners = JSON.parse(readFileSync(file, 'utf8'))
  } catch {
    return undefined
  }
  return owners.find(({ pid, began }) => isAlive(pid) && beginningOf(pid) === began)?.pid
}

function ownerOf(pid) {
  return { pid, began: beginningOf(pid) }
}

function isAlive(pid) {
  try {
    process.kill(pid, 0)
    return true
  } catch (error) {
    return error.code === 'EPERM'
  }
}

/** When the process began, which tells it from a later one of the same number. `null` where the system doesn't say. */
function beginningOf(pid) {
  try {
    if (process.platform === 'win32') return null
    if (process.platform !== 'linux')
      return execFileSync('ps', ['-o', 'lstart=', '-p', `${pid}`], { encoding: 'utf8' }).trim()
    // The 22nd field, counted behind the command's name, which stands in parentheses and may hold anything.
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    return stat.slice(stat.lastIndexOf(')') + 2).split(' ')[19]
  } catch {
    return null
  }
}
