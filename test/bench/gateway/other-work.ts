import { readFileSync } from 'node:fs'
import { cpuTime, TICK_MS } from '../cpu-time.ts'

/**
 * Begins to count; the result tells which share of the machine's processors other processes than this one and those that it
 * has started and seen end have taken since. `undefined` where the system doesn't tell: only Linux does.
 */
export function otherWork(): () => number | undefined {
  const before = readings()
  return () => {
    const after = readings()
    if (before === undefined || after === undefined) return undefined
    return Math.max(0, (after.busy - after.own - before.busy + before.own) / (after.all - before.all))
  }
}

interface Readings {
  /** Of all processors together, milliseconds. */
  readonly all: number
  readonly busy: number
  /** Of these, this process's and its children's. */
  readonly own: number
}

function readings(): Readings | undefined {
  const own = cpuTime(process.pid, { withChildren: true })
  if (own === undefined) return undefined
  const [line = ''] = readFileSync('/proc/stat', 'utf8').split('\n')
  // user, nice, system, idle, iowait, irq, softirq, steal; what comes behind is counted in these.
  const ticks = line.trim().split(/\s+/).slice(1, 9).map(Number)
  const all = ticks.reduce((sum, each) => sum + each, 0)
  const idle = (ticks[3] ?? 0) + (ticks[4] ?? 0)
  return { all: all * TICK_MS, busy: (all - idle) * TICK_MS, own }
}
