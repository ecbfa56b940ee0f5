import type { InvocationContext, TimerHandler } from '@azure/functions'
import { describeFault } from '@tollgate/middleware'

/** Under ten minutes, after which a timer runs again, and far under `functionTimeout` in host.json; what is left is the next run's. */
const RUN_MS = 4 * 60_000

/**
 * One run of a timer, as the log tells it. Never fails: what is not done yet costs a little room or time, and the next run is soon.
 *
 * @param done the event of its line, where it did anything
 * @param failed the event where it could not
 * @param work tells how much it did
 */
export function timedRun(
  { done, failed }: { readonly done: string; readonly failed: string },
  work: (signal: AbortSignal) => Promise<Readonly<Record<string, number>>>,
): TimerHandler {
  return async function run(_timer: unknown, invocation: InvocationContext) {
    const started = performance.now()
    try {
      const counts = await work(AbortSignal.timeout(RUN_MS))
      if (Object.values(counts).every((count) => count === 0)) return
      const ms = Math.round(performance.now() - started)
      invocation.info(JSON.stringify({ event: done, ...counts, ms }))
    } catch (fault) {
      invocation.error(JSON.stringify({ event: failed, ...describeFault(fault) }))
    }
  }
}
