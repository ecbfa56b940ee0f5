import { describeFault, type Log, type Time } from '../pipeline/index.ts'

/** The shortest time from one line to the next, in milliseconds: a defect in the code meets every request. */
const EVERY_MS = 1_000

export interface FaultLogOptions {
  readonly time: Pick<Time, 'now'>
  readonly log: Log | undefined
}

/**
 * Tells programming faults that the cache goes on without, as what they are and not as a store that fails: at most one
 * line a second, with how many there were since the one before.
 */
export function faultLog(part: string, { time, log }: FaultLogOptions): (fault: unknown) => void {
  let toldAt = Number.NEGATIVE_INFINITY
  let times = 0
  return function tell(fault) {
    times += 1
    if (time.now() - toldAt < EVERY_MS) return
    log?.('error', 'fault', { in: part, times, ...describeFault(fault) })
    toldAt = time.now()
    times = 0
  }
}
