import type { Table } from '../storage/index.ts'
import { tallyOver, wholeMinutes } from './coverage.ts'
import type { Unattributed } from './figures.ts'
import { FORGOTTEN } from './tally.ts'

/** What a limit counts, and of whom. */
export interface Counted {
  /** As the counters name it: `consumer:alice`, `plan:pro`, `global`. */
  readonly subject: string
  readonly measure: Unattributed['measure']
  readonly model: string | undefined
}

/** What requests took since a moment, as the ledger shows it. */
export async function takenSince(
  table: Table,
  from: number,
  now: number,
  signal: AbortSignal,
): Promise<(counted: Counted) => number> {
  const { tally } = await tallyOver(wholeMinutes({ from, before: now + 1 }), { table, figures: 'all', signal })
  return ({ subject, measure, model }) => {
    const [kind, name] = split(subject)
    let units = 0
    for (const { consumer, plan, model: asked, sums } of tally.cells.values()) {
      if (model !== undefined && model !== asked) continue
      // Of a consumer that was forgotten nobody knows which it was: some of it may be this one's.
      if (kind === 'consumer' && consumer !== name && consumer !== FORGOTTEN) continue
      if (kind === 'plan' && plan !== name) continue
      units += unitsOf(measure, sums)
    }
    return units
  }
}

function split(subject: string): readonly [kind: string, name: string] {
  const colon = subject.indexOf(':')
  return colon < 0 ? [subject, ''] : [subject.slice(0, colon), subject.slice(colon + 1)]
}

function unitsOf(
  measure: Unattributed['measure'],
  { tokens, costNanoUsd }: { readonly tokens: Readonly<Record<string, number>>; readonly costNanoUsd: number },
): number {
  if (measure === 'money') return costNanoUsd
  const { input = 0, output = 0 } = tokens
  return measure === 'tokens' ? input + output : measure === 'input' ? input : output
}
