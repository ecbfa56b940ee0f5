import { describeFault, type LimiterEvents } from '@tollgate/middleware'

/**
 * What concerns all requests is written once, and to the console, since it is no single invocation's: a store that fails
 * fails each of them.
 */
export const limiterEvents: Required<LimiterEvents> = {
  storeFailed(cause) {
    console.error(JSON.stringify({ event: 'limits store failed', ...describeFault(cause) }))
  },
  storeRecovered(failedMs, failures) {
    console.warn(JSON.stringify({ event: 'limits store recovered', failedMs: Math.round(failedMs), failures }))
  },
  rowFailed(subject, cause) {
    console.error(JSON.stringify({ event: 'limits row failed', subject, ...describeFault(cause) }))
  },
  unitsLost(subject, { name, measure }, units) {
    console.warn(JSON.stringify({ event: 'limits units lost', subject, limit: name, measure, units }))
  },
}
