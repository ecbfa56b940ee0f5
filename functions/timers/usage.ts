import { app, type TimerHandler } from '@azure/functions'
import type { Gateway } from '@tollgate/middleware'
import { timedRun } from './run.ts'

/** NCRONTAB: every ten minutes. In Flex Consumption each timer has instances of its own. */
const SCHEDULE = '0 */10 * * * *'

/** Sums up what requests came to, hour by hour, and removes what the policy no longer keeps. */
export function registerUsage(gateway: () => Gateway): void {
  app.timer('usage', { schedule: SCHEDULE, handler: usageHandler(gateway) })
}

export function usageHandler(gateway: () => Pick<Gateway, 'rollUp'>): TimerHandler {
  return timedRun({ done: 'usage rolled up', failed: 'usage not rolled up' }, async (signal) =>
    gateway().rollUp(signal),
  )
}
