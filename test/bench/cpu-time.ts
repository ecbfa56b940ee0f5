import { readFileSync } from 'node:fs'

/** Linux counts processor time in these, on every platform that Node runs on. */
const TICK_MS = 10

/** Processor time that a process has used so far, in milliseconds; `undefined` where the system doesn't tell. */
export function cpuTime(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, 'utf8')
    // Counted behind the command's name, which stands in parentheses and may hold anything: fields 14 and 15.
    const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ')
    return (Number(fields[11]) + Number(fields[12])) * TICK_MS
  } catch {
    return undefined
  }
}
