import { describeFault, type LimiterEvents } from '@tollgate/middleware'
import { consoleLog } from './console-log.ts'

/** A store that fails fails each request, so that its failure is told once. */
export const limiterEvents: Required<LimiterEvents> = {
  storeFailed: (cause) => consoleLog('error', 'limits store failed', describeFault(cause)),
  storeRecovered: (failedMs, failures) =>
    consoleLog('warn', 'limits store recovered', { failedMs: Math.round(failedMs), failures }),
  rowFailed: (subject, cause) => consoleLog('error', 'limits row failed', { subject, ...describeFault(cause) }),
  fault: (subject, thrown) => consoleLog('error', 'fault', { subject, ...describeFault(thrown) }),
  unitsLost: (subject, { name, measure }, units) =>
    consoleLog('warn', 'limits units lost', { subject, limit: name, measure, units }),
}
