import { describeFault, type LimiterEvents, type RowLoss } from '@tollgate/middleware'
import { consoleLog } from './console-log.ts'

/** What stood in the place of a row that was lost. */
const FOUND: Readonly<Record<RowLoss, string>> = {
  gone: 'no row',
  older: 'an older version of it',
  other: 'another row, begun from zero',
  incomplete: 'a row without a lease of this instance',
}

/** A store that fails fails each request, so that its failure is told once. */
export const limiterEvents: Required<LimiterEvents> = {
  storeFailed: (cause) => consoleLog('error', 'limits store failed', describeFault(cause)),
  storeRecovered: (failedMs, failures) =>
    consoleLog('warn', 'limits store recovered', { failedMs: Math.round(failedMs), failures }),
  rowFailed: (subject, cause) => consoleLog('error', 'limits row failed', { subject, ...describeFault(cause) }),
  fault: (subject, thrown) => consoleLog('error', 'fault', { subject, ...describeFault(thrown) }),
  rowLost: (subject, loss) => consoleLog('error', 'limits row lost', { subject, found: FOUND[loss], rebuilt: true }),
  unitsLost: (subject, { name, measure }, units) =>
    consoleLog('warn', 'limits units lost', { subject, limit: name, measure, units }),
}
