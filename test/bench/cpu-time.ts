import { readFileSync } from 'node:fs'

/** Linux counts processor time in these, on every platform that Node runs on. */
export const TICK_MS = 10

/**
 * Processor time that a process has used so far, in milliseconds; `undefined` where the system doesn't tell.
 *
 * @param withChildren adds that of the processes which it has started and seen end
 */
export function cpuTime(pid: number, { withChildren = false } = {}): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Counted behind the command's name, which stands in parentheses and may hold anything: fields 14 to 17.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    const ticks = fields.slice(11, withChildren ? 15 : 13).map(Number)
    return ticks.reduce((sum, each) => sum + each, 0) * TICK_MS
  } catch {
    return undefined
  }
}
