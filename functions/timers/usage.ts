import { app, type InvocationContext, type TimerHandler } from '@azure/functions'
import { describeFault, type Gateway } from '@tollgate/middleware'

/** NCRONTAB: every ten minutes. In Flex Consumption each timer has instances of its own. */
const SCHEDULE = '0 */10 * * * *'
/** Under ten minutes, after which it runs again; what is left is the next run's. */
const RUN_MS = 4 * 60_000

/** Sums up what requests came to, hour by hour, and removes what the policy no longer keeps. */
export function registerUsage(gateway: () => Gateway): void {
  app.timer('usage', { schedule: SCHEDULE, handler: usageHandler(gateway) })
}

/** Never fails: what is not summed up yet is read as it was written down, and the next run is soon. */
export function usageHandler(gateway: () => Pick<Gateway, 'rollUp'>): TimerHandler {
  return async function usage(_timer: unknown, invocation: InvocationContext) {
    const started = performance.now()
    try {
      const { written, removed } = await gateway().rollUp(AbortSignal.timeout(RUN_MS))
      if (written + removed === 0) return
      const ms = Math.round(performance.now() - started)
      invocation.info(JSON.stringify({ event: 'usage rolled up', written, removed, ms }))
    } catch (fault) {
      invocation.error(JSON.stringify({ event: 'usage not rolled up', ...describeFault(fault) }))
    }
  }
}
