import { AMPLE, consumerTrial, TEN_A_SECOND, TINY } from '../consumers.ts'
import { atMost, type Bar, num, percent, processesOf, type Section } from '../section.ts'
import { summarize } from '../summary.ts'
import type { Workbench } from '../workbench.ts'

const DELAY_MS = 20
const MOST_P50_MS = 1
/** Two round trips, and a bit. */
const MOST_P99_MS = 2 * DELAY_MS + 10

/** What a request waits for its decision when the store is some way off. */
export async function latency(bench: Workbench): Promise<Section> {
  const rows: string[][] = []
  const bars: Bar[] = []
  const findings: string[] = []
  for (const load of bench.quick ? [TEN_A_SECOND] : [AMPLE, TEN_A_SECOND, TINY]) {
    for (const processes of bench.quick ? [2] : [8]) {
      const trial = consumerTrial({
        gate: 'tollgate-tables',
        processes,
        load,
        quick: bench.quick,
        delayMs: DELAY_MS,
        seconds: 30,
      })
      const result = await bench.run(trial)
      const { p50, p99, waited, failed } = summarize(result)
      rows.push([load.name, `${processes}`, num(p50), num(p99), percent(waited), `${failed}`, num(result.lateMs.p99)])
      findings.push(
        `${load.name}, ${processesOf(processes)}: ${percent(1 - waited)} of the requests are decided within a millisecond; 99 of 100 within ${num(p99)} ms.`,
      )
      if (bench.quick) continue
      const what = `${load.name}, ${processesOf(processes)}`
      bars.push(atMost(`median wait, ${what}`, p50, MOST_P50_MS, ' ms'))
      bars.push(atMost(`99th percentile of the wait, ${what}`, p99, MOST_P99_MS, ' ms'))
    }
  }
  return {
    title: 'What a request waits',
    method: `The same load on tables, with ${DELAY_MS} ms added to each call of the store (half on each way). The wait is from the call of \`admit\` to its decision, an admission or a refusal; ${MOST_P99_MS} ms are two such round trips and 10 ms.`,
    tables: [
      {
        head: [
          'limit of each consumer',
          'processes',
          'median ms',
          '99th ms',
          'waited over 1 ms',
          'undecided',
          'late, ms',
        ],
        rows,
      },
    ],
    findings,
    bars,
  }
}
