import type { LimiterEvents, RowLoss } from '../limits/index.ts'
import { describeFault, type Log } from '../pipeline/index.ts'

/** What stood in the place of a row that was lost. */
const FOUND: Readonly<Record<RowLoss, string>> = {
  gone: 'no row',
  older: 'an older version of it',
  other: 'another row, begun from zero',
  incomplete: 'a row without a lease of this instance',
}

/** What befalls the limits, as log lines. A store that fails fails each request, so that its failure is told once. */
export function limiterEvents(log: Log): Required<LimiterEvents> {
  return {
    storeFailed: (cause) => log('error', 'limits store failed', describeFault(cause)),
    storeRecovered: (failedMs, failures) =>
      log('warn', 'limits store recovered', { failedMs: Math.round(failedMs), failures }),
    rowFailed: (subject, cause) => log('error', 'limits row failed', { subject, ...describeFault(cause) }),
    fault: (subject, thrown) => log('error', 'fault', { subject, ...describeFault(thrown) }),
    rowLost: (subject, loss) => log('error', 'limits row lost', { subject, found: FOUND[loss], rebuilt: true }),
    unitsLost: (subject, { name, measure }, units) =>
      log('warn', 'limits units lost', { subject, limit: name, measure, units }),
  }
}
