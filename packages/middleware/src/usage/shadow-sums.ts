import type { ShadowReport, ShadowSums, UsageQuery } from './figures.ts'
import type { Tally } from './tally.ts'

/* What shadow revisions of the policy would have refused, out of the ledger's sums. */

/** In the place of a verdict that was not there when its request ended. */
const UNKNOWN = 'unknown'

/** The code and the limit that `wouldRefuse` says. */
export function refusalIn(wouldRefuse: string): { readonly code: string; readonly limit?: string } {
  const end = wouldRefuse.indexOf(' ')
  return end < 0 ? { code: wouldRefuse } : { code: wouldRefuse.slice(0, end), limit: wouldRefuse.slice(end + 1) }
}

/** By consumer or model, and of each by what would have refused. */
export function shadowSums(
  { by, consumer, model }: Pick<UsageQuery, 'consumer' | 'model'> & Pick<ShadowReport, 'by'>,
  { cells }: Tally,
): Pick<ShadowReport, 'by' | 'rows' | 'total'> {
  const named = new Map<string, Map<string, number>>()
  const all = new Map<string, number>()
  for (const cell of cells.values()) {
    if (cell.judged.size === 0) continue
    if (consumer !== undefined && cell.consumer !== consumer) continue
    if (model !== undefined && cell.model !== model) continue
    const own = named.get(cell[by]) ?? new Map<string, number>()
    named.set(cell[by], own)
    for (const [why, times] of cell.judged) {
      own.set(why, (own.get(why) ?? 0) + times)
      all.set(why, (all.get(why) ?? 0) + times)
    }
  }
  const rows = Array.from(named, ([name, judged]) => ({ name, ...sumsOf(judged) }))
  rows.sort((a, b) => b.wouldRefuse - a.wouldRefuse || b.judged - a.judged || (a.name < b.name ? -1 : 1))
  return { by, rows, total: sumsOf(all) }
}

function sumsOf(times: ReadonlyMap<string, number>): ShadowSums {
  const refusals = [...times]
    .filter(([why]) => why !== '' && why !== UNKNOWN)
    .map(([why, requests]) => ({ ...refusalIn(why), requests }))
    .sort((a, b) => b.requests - a.requests || (a.code < b.code ? -1 : 1))
  const wouldRefuse = refusals.reduce((sum, { requests }) => sum + requests, 0)
  const unknown = times.get(UNKNOWN) ?? 0
  return { judged: wouldRefuse + unknown + (times.get('') ?? 0), wouldRefuse, unknown, refusals }
}
