import { app, type InvocationContext, type TimerHandler } from '@azure/functions'
import { describeFault, type Gateway } from '@tollgate/middleware'

/** NCRONTAB: every ten minutes. */
const SCHEDULE = '0 */10 * * * *'
/** Far under `functionTimeout` in host.json, and under ten minutes, after which it runs again; what is left is the next run's. */
const SWEEP_MS = 4 * 60_000

/** Removes what has expired from the tables, since nothing goes there by itself. */
export function registerSweep(gateway: () => Gateway): void {
  app.timer('sweep', { schedule: SCHEDULE, handler: sweepHandler(gateway) })
}

/** Never fails: rows that stay longer cost a little room, and the next run is soon. */
export function sweepHandler(gateway: () => Pick<Gateway, 'sweep'>): TimerHandler {
  return async function sweep(_timer: unknown, invocation: InvocationContext) {
    const started = performance.now()
    try {
      const { completions, generations } = await gateway().sweep(AbortSignal.timeout(SWEEP_MS))
      if (completions + generations === 0) return
      const ms = Math.round(performance.now() - started)
      invocation.info(JSON.stringify({ event: 'cache swept', completions, generations, ms }))
    } catch (fault) {
      invocation.error(JSON.stringify({ event: 'cache sweep failed', ...describeFault(fault) }))
    }
  }
}
