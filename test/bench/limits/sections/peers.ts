import { AMPLE, consumerTrial, REQUESTS_PER_SECOND } from '../consumers.ts'
import type { Decision } from '../decision-log.ts'
import { GATE_TITLES, GATES, type GateName } from '../gates/gate.ts'
import { rate } from '../limit.ts'
import { type Compared, num, percent, processesOf, type Section } from '../section.ts'
import { summarize } from '../summary.ts'
import type { Trial, TrialResult } from '../trial.ts'
import type { Workbench } from '../workbench.ts'

/** More is not offered to compare-and-swap: it would measure the collapse of its own making. */
const CAS_PER_SECOND = 300
const CAS_HOT_PER_SECOND = 100

/** Ours beside what one would use else. */
export async function peers(bench: Workbench): Promise<Section> {
  const { quick } = bench
  const rows: string[][] = []
  const compared: Compared[] = []
  for (const gate of GATES.filter(bench.has)) {
    for (const processes of quick ? [2] : gate === 'rlf-memory' ? [1, 8] : [8]) {
      const spread = await bench.run(spreadTrial(gate, processes, quick))
      const hot = await bench.run(hotTrial(gate, processes, quick))
      const { perThousand, requests, failed } = summarize(spread)
      const capacity = windowOf(quick).limit.capacity
      const hotSummary = summarize(hot)
      const casts = gate === 'cas-tables'
      compared.push({ gate, processes, transactions: perThousand, over: Math.max(0, hot.excess.proven) / capacity })
      rows.push([
        GATE_TITLES[gate],
        `${processes}`,
        num(casts ? CAS_PER_SECOND : REQUESTS_PER_SECOND),
        num(perThousand),
        percent((requests - failed) / requests),
        casts ? '' : num(within(hot, quick, 'first')),
        casts ? '' : num(within(hot, quick, 'edge')),
        `${num(Math.max(0, hot.excess.proven))} (${percent(Math.max(0, hot.excess.proven) / capacity)})`,
        percent((hotSummary.requests - hotSummary.failed) / hotSummary.requests),
      ])
    }
  }
  const { limit, burst, edgeMs } = windowOf(false)
  return {
    title: 'Beside others',
    method: `Left, the load of "${AMPLE.name}" (compare-and-swap gets ${CAS_PER_SECOND} requests a second instead of ${num(REQUESTS_PER_SECOND)}, in a slot of its own). Right, one subject with ${num(limit.quota)} requests in ${limit.periodMs / 1000} s, the window begun by one request of each process: each sends ${num(burst)} more at once shortly before the window ends, and ${num(burst)} again ${edgeMs} ms later, when the next has begun; compare-and-swap gets ${CAS_HOT_PER_SECOND} requests a second on that subject instead, since bursts undo it. "Over" is by how much the worst pair of admissions exceeds B + r·Δt, and its share of B; here Δt is from the call of the first to the answer to the last, so that no limiter is blamed for its store's delays.`,
    tables: [
      {
        head: [
          'limiter',
          'processes',
          'requests/s',
          'transactions per 1,000',
          'decided',
          'admitted of the first burst',
          'of both bursts',
          'over',
          'decided, one subject',
        ],
        rows,
      },
    ],
    findings: quick ? [] : compared.filter(({ processes }) => processes === 8).map(sentence),
    bars: [],
    compared,
  }
}

function sentence({ gate, processes, transactions, over }: Compared): string {
  const exact = over > 0 ? `admits ${percent(over)} more than it may` : 'never admits more than it may'
  return `${GATE_TITLES[gate]}, ${processesOf(processes)}: ${num(transactions)} transactions for 1,000 requests; ${exact}.`
}

function spreadTrial(gate: GateName, processes: number, quick: boolean): Trial {
  const ours = gate === 'tollgate-tables'
  // Ours by the same trial as its costs; the others have no leases, and are steady from the first second on.
  const length = ours ? {} : { warmUpSeconds: gate === 'tollgate-redis' ? 20 : 5, seconds: 30 }
  const pace = gate === 'cas-tables' ? { perSecond: CAS_PER_SECOND } : {}
  return consumerTrial({ gate, processes, load: AMPLE, quick, ...length, ...pace })
}

/** `burst`: requests of each process. */
function windowOf(quick: boolean) {
  return quick
    ? { limit: rate(100, 1_000), burst: 120, beforeMs: 850, edgeMs: 300 }
    : { limit: rate(1_000, 10_000), burst: 1_200, beforeMs: 9_700, edgeMs: 500 }
}

function hotTrial(gate: GateName, processes: number, quick: boolean): Trial {
  const { limit, burst, beforeMs, edgeMs } = windowOf(quick)
  const bursts = [
    { atMs: 0, requests: processes },
    { atMs: beforeMs, requests: burst * processes },
    { atMs: beforeMs + edgeMs, requests: burst * processes },
  ]
  const casts = gate === 'cas-tables'
  return {
    name: casts ? 'one subject' : 'the edge of a window',
    gate,
    processes,
    streams: [
      {
        name: 'hot',
        subjects: 1,
        limit,
        arrivals: casts ? { kind: 'poisson', perSecond: CAS_HOT_PER_SECOND } : { kind: 'bursts', bursts },
      },
    ],
    warmUpSeconds: 0,
    seconds: (beforeMs + edgeMs) / 1000 + (quick ? 0.2 : 3),
  }
}

/** Admissions of requests that were sent in the first burst, or in either. */
function within({ decisions, startAt }: TrialResult, quick: boolean, bursts: 'first' | 'edge'): number {
  const { beforeMs, edgeMs } = windowOf(quick)
  const from = startAt + beforeMs
  const to = bursts === 'first' ? from + edgeMs : Number.POSITIVE_INFINITY
  return decisions.filter(({ entry, called }: Decision) => entry === 'admitted' && called >= from && called < to).length
}
