import type { RateLimit } from '@tollgate/middleware'
import type { Decision } from '../decision-log.ts'
import { GATE_TITLES, type GateName, OURS } from '../gates/gate.ts'
import { longestWithheld } from '../ideal-bucket.ts'
import { rate } from '../limit.ts'
import { atLeast, atMost, type Bar, num, percent, processesOf, type Section } from '../section.ts'
import type { Stream } from '../stream.ts'
import { count } from '../summary.ts'
import { isRequest, type TrialResult } from '../trial.ts'
import type { Workbench } from '../workbench.ts'

const SECONDS = 60
const LEAST_SHARE = 0.95
const TINY_SHORTFALL = 2
/** From this capacity on a share is asked for; below, a number of units. */
const LARGE = 200

const bucket = (name: string, limit: RateLimit, arrivals: Stream['arrivals']): Stream => ({
  name,
  subjects: 1,
  limit,
  arrivals,
})

/** One subject each, which all processes ask for more than it has. Tiny buckets are asked so often that none stays full. */
const STREAMS: readonly Stream[] = [
  bucket('100 a second, B = 200', rate(100, 1_000, { capacity: 200 }), { kind: 'poisson', perSecond: 207 }),
  bucket('5 a second, B = 300', rate(5, 1_000, { capacity: 300 }), { kind: 'poisson', perSecond: 20 }),
  bucket('10 a minute, B = 15', rate(10, 60_000, { capacity: 15 }), { kind: 'even', perSecond: 10 }),
  bucket('1 a second, B = 1', rate(1, 1_000), { kind: 'even', perSecond: 50 }),
]

/** How much of a limit can be used. */
export async function utilisation(bench: Workbench): Promise<Section> {
  const gates = OURS.filter(bench.has).slice(0, bench.quick ? 1 : OURS.length)
  const rows: string[][] = []
  const bars: Bar[] = []
  const findings: string[] = []
  for (const gate of gates) {
    for (const processes of bench.quick ? [2] : gate === 'tollgate-redis' ? [8] : [1, 8]) {
      const result = await bench.run(trialOf(gate, processes, bench.quick))
      for (const [index, { name, limit }] of STREAMS.entries()) {
        if (limit.kind !== 'rate') continue
        const seconds = result.trial.seconds
        const allowed = limit.capacity + (seconds * 1000 * limit.refill) / limit.periodMs
        const mine = result.decisions.filter(({ stream }) => stream === index)
        const admitted = mine.filter(({ entry, resolved }) => entry === 'admitted' && resolved <= result.endAt).length
        const withheld = processes === 1 ? longestWithheld(mine, limit) : undefined
        rows.push([
          name,
          GATE_TITLES[gate],
          `${processes}`,
          num(admitted),
          num(allowed),
          percent(admitted / allowed),
          num(undecided(mine)),
          withheld === undefined ? '' : num(withheld),
          processes === 1 ? covered(mine) : '',
        ])
        if (bench.quick) continue
        if (processes === 8)
          findings.push(
            `${GATE_TITLES[gate]}, 8 processes: ${percent(admitted / allowed)} of what "${name}" allows is admitted.`,
          )
        const what = `${name}, ${GATE_TITLES[gate]}, ${processesOf(processes)}`
        if (limit.capacity >= LARGE)
          bars.push(atLeast(`used, ${what}`, (100 * admitted) / allowed, 100 * LEAST_SHARE, ' %'))
        else bars.push(atMost(`unused units, ${what}`, allowed - admitted, TINY_SHORTFALL))
      }
      if (processes === 1 && !bench.quick) bars.push(noneCovered(gate, result))
    }
  }
  return {
    title: 'How much of a limit can be used',
    method: `One subject with each limit, asked for at least twice what it has by all processes at once, for ${SECONDS} s from a cold start. "Allowed" is B + r·T. Where one process drives alone it can be told exactly whether a refusal was right: "withheld" is the longest that a request was refused after an ideal bucket would have had a unit for it, in milliseconds (a \`Date\` header names the second only, so a unit may come up to a second late, never early). "Covered" counts refusals after which the row, read at once, and the process's own lease together held more units than earlier requests of the process were waiting for.`,
    tables: [
      {
        head: [
          'limit',
          'limiter',
          'processes',
          'admitted',
          'allowed',
          'used',
          'undecided',
          'withheld, ms',
          'covered, of refusals read',
        ],
        rows,
      },
    ],
    findings,
    bars,
  }
}

function undecided(decisions: readonly Decision[]): number {
  const requests = decisions.filter(isRequest)
  return requests.length - count(requests, 'admitted') - count(requests, 'refused')
}

function trialOf(gate: GateName, processes: number, quick: boolean) {
  const seconds = quick ? 1 : SECONDS
  return { name: 'utilisation', gate, processes, streams: STREAMS, warmUpSeconds: 0, seconds, inspect: processes === 1 }
}

function inspections(decisions: readonly Decision[]): { readonly read: number; readonly covered: number } {
  const read = decisions.filter(({ entry }) => entry === 'inspected')
  return { read: read.length, covered: read.filter(({ value }) => value >= 1).length }
}

function covered(decisions: readonly Decision[]): string {
  const { read, covered } = inspections(decisions)
  return `${covered} of ${num(read)}`
}

function noneCovered(gate: GateName, { decisions }: TrialResult): Bar {
  const { read, covered } = inspections(decisions)
  const what = `refused while the centre and its own lease covered it, ${GATE_TITLES[gate]}, of ${num(read)} that were read`
  return atMost(what, covered, 0)
}
