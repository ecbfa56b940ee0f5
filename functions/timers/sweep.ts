import { app, type TimerHandler } from '@azure/functions'
import type { Gateway } from '@tollgate/middleware'
import { timedRun } from './run.ts'

/** NCRONTAB: every ten minutes. */
const SCHEDULE = '0 */10 * * * *'

/** Removes what has expired from the tables, since nothing goes there by itself. */
export function registerSweep(gateway: () => Gateway): void {
  app.timer('sweep', { schedule: SCHEDULE, handler: sweepHandler(gateway) })
}

export function sweepHandler(gateway: () => Pick<Gateway, 'sweep'>): TimerHandler {
  return timedRun({ done: 'cache swept', failed: 'cache sweep failed' }, async (signal) => gateway().sweep(signal))
}
