import {
  AMPLE,
  CONSUMERS,
  type ConsumerLoad,
  consumerTrial,
  REQUESTS_PER_SECOND,
  TEN_A_SECOND,
  TINY,
} from '../consumers.ts'
import { GATE_TITLES, type GateName } from '../gates/gate.ts'
import { atMost, type Bar, num, percent, processesOf, type Section } from '../section.ts'
import { type Summary, summarize } from '../summary.ts'
import type { Workbench } from '../workbench.ts'

/** Most store calls for 1,000 requests on tables, by the number of processes. */
const BARS: ReadonlyMap<ConsumerLoad, Readonly<Record<number, number>>> = new Map([
  [AMPLE, { 1: 12, 8: 110 }],
  [TEN_A_SECOND, { 1: 60, 8: 450 }],
  [TINY, { 1: 2_500, 8: 2_500 }],
])

/** Store calls at the wire, for 1,000 requests. */
export async function transactions(bench: Workbench): Promise<Section> {
  const rows: string[][] = []
  const bars: Bar[] = []
  const measured: { load: ConsumerLoad; gate: GateName; processes: number; summary: Summary }[] = []
  for (const { load, gate, processes } of combinations(bench)) {
    // Two lives of a lease where the bars are; between them, one will do.
    const seconds = processes === 2 || processes === 4 ? 30 : load.seconds
    const result = await bench.run(consumerTrial({ gate, processes, load, quick: bench.quick, seconds }))
    const summary = summarize(result)
    measured.push({ load, gate, processes, summary })
    rows.push([
      load.name,
      GATE_TITLES[gate],
      `${processes}`,
      num(summary.perThousand),
      num(summary.warmUpPerThousand),
      percent(summary.admitted / summary.requests),
      `${summary.failed} (${summary.warmUpFailed})`,
      num(result.lateMs.p99),
    ])
    const most = BARS.get(load)?.[processes]
    if (gate === 'tollgate-tables' && most !== undefined && !bench.quick) {
      const what = `transactions per 1,000 requests, ${load.name}, ${processesOf(processes)}`
      bars.push(atMost(what, summary.perThousand, most))
    }
  }
  return {
    title: 'What it costs',
    method: `${num(REQUESTS_PER_SECOND)} requests a second at random moments (Poisson), sent whether or not earlier ones were answered, over ${CONSUMERS} consumers, each with a row of its own. Transactions are counted on the wire between the limiters and the store, not by the limiters. All processes start cold, and the load rises over the first 10 s; the warm-up of 20 s is counted for itself, in parentheses for requests that got no decision. "Late" is by how much the load generator fell behind its plan (99th percentile): the machine's limit, not the limiter's.`,
    tables: [
      {
        head: [
          'limit of each consumer',
          'limiter',
          'processes',
          'transactions per 1,000 requests',
          'in the warm-up',
          'admitted',
          'undecided (warm-up)',
          'late, ms',
        ],
        rows,
      },
    ],
    findings: measured
      .filter(({ gate, processes }) => gate === 'tollgate-tables' && (processes === 1 || processes === 8))
      .map(
        ({ load, processes, summary }) =>
          `${load.name}, ${processesOf(processes)}: ${num(summary.perThousand)} transactions for 1,000 requests; one request in ${num(1 / summary.waited)} waits for the store.`,
      ),
    bars,
  }
}

function combinations(bench: Workbench): { load: ConsumerLoad; gate: GateName; processes: number }[] {
  if (bench.quick) {
    const stores: readonly GateName[] = ['tollgate-tables', 'tollgate-redis']
    return stores.filter(bench.has).map((gate) => ({ load: AMPLE, gate, processes: 2 }))
  }
  const all = [AMPLE, TEN_A_SECOND, TINY].flatMap((load) =>
    (load === AMPLE ? [1, 2, 4, 8] : [1, 8]).map(
      (processes) => ({ load, gate: 'tollgate-tables', processes }) as const,
    ),
  )
  return all.filter(({ gate }) => bench.has(gate))
}
