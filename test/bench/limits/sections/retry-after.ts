import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import type { RateLimit } from '@tollgate/middleware'
import { spread } from '../../statistics.ts'
import type { Decision } from '../decision-log.ts'
import { excessOf } from '../excess.ts'
import { type Driver, startFleet } from '../fleet.ts'
import { GATE_TITLES, type GateName, OURS } from '../gates/gate.ts'
import { type IdealBucket, idealBucket } from '../ideal-bucket.ts'
import { rate } from '../limit.ts'
import { atMost, type Bar, num, percent, type Section } from '../section.ts'
import { type Arrivals, seeded } from '../stream.ts'
import { count } from '../summary.ts'
import type { Workbench } from '../workbench.ts'

interface Kind {
  readonly name: string
  readonly limit: RateLimit
}

const KINDS: readonly Kind[] = [
  { name: '1 a second, B = 1', limit: rate(1, 1_000) },
  { name: '1 in 2 s, B = 5', limit: rate(30, 60_000, { capacity: 5 }) },
  { name: '10 a minute, B = 15', limit: rate(10, 60_000, { capacity: 15 }) },
  { name: '30 a minute, B = 300', limit: rate(30, 60_000, { capacity: 300 }) },
]

/** One refusal, and what became of the next request. */
interface Trial {
  readonly kind: Kind
  /** Whole seconds, as a caller is told. */
  readonly waitedSeconds: number
  /** What an ideal bucket would have named. */
  readonly neededSeconds: number
  readonly otherProcess: boolean
  readonly admitted: boolean
  /** For the eye, where it was not. */
  readonly story: string
}

/** Each asks when it is its turn. */
const NONE: Arrivals = { kind: 'bursts', bursts: [] }
/** Of a request that gets no decision. */
const MOST_TRIES = 20
const UNDECIDED_PAUSE_MS = 250
/** Nobody is asked to wait longer for a figure. */
const LONGEST_S = 60

/** Whether `Retry-After` is true. */
export async function retryAfter(bench: Workbench): Promise<Section> {
  const rows: string[][] = []
  const bars: Bar[] = []
  const findings: string[] = []
  for (const gate of OURS.filter(bench.has).slice(0, bench.quick ? 1 : OURS.length)) {
    const trials = await trialsOf(gate, bench)
    for (const kind of bench.quick ? KINDS.slice(-1) : KINDS) {
      const mine = trials.filter((trial) => trial.kind === kind)
      rows.push([
        kind.name,
        GATE_TITLES[gate],
        `${mine.length}`,
        percent(mine.filter(({ otherProcess }) => otherProcess).length / mine.length),
        range(mine.map(({ waitedSeconds }) => waitedSeconds)),
        range(mine.map(({ neededSeconds }) => neededSeconds)),
        `${mine.filter(({ admitted }) => !admitted).length}`,
      ])
    }
    const untrue = trials.filter(({ admitted }) => !admitted)
    for (const { story } of untrue.slice(0, 5)) process.stderr.write(`untrue: ${story}\n`)
    bars.push(
      atMost(
        `refused after the Retry-After that it was told, ${GATE_TITLES[gate]}, of ${trials.length}`,
        untrue.length,
        0,
      ),
    )
    findings.push(
      `${GATE_TITLES[gate]}: of ${trials.length} callers who came back when they were told to, ${trials.length - untrue.length} were admitted.`,
    )
  }
  return {
    title: 'Whether Retry-After is true',
    method:
      'A subject is used up by one of 8 processes, often after another one has taken some and may hold a lease; whoever is refused waits for the whole seconds that a `Retry-After` would name, and asks again once, of any process. Nobody else asks for that subject meanwhile.',
    tables: [
      {
        head: [
          'limit',
          'limiter',
          'refusals',
          'asked another process',
          'waited, s',
          'an ideal bucket, s',
          'refused again',
        ],
        rows,
      },
    ],
    findings,
    bars: bench.quick ? [] : bars,
  }
}

async function trialsOf(gate: GateName, { store, quick, checked }: Workbench): Promise<Trial[]> {
  const { address, clear } = store(gate)
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-limits-'))
  process.stderr.write(`retry-after: ${GATE_TITLES[gate]} … `)
  await clear()
  const fleet = await startFleet({ processes: quick ? 2 : 8, gate, address, folder })
  try {
    const failures: string[] = []
    const decisions: Decision[] = []
    const kinds = quick ? KINDS.slice(-1) : KINDS
    const subjects = quick ? 3 : 24
    const rounds = quick ? 1 : 4
    const callers = kinds.flatMap((kind, index) =>
      Array.from({ length: subjects }, (_, subject) =>
        caller({
          kind,
          subject: `${kind.name}/${subject}`,
          rounds,
          drivers: fleet.drivers,
          seed: 100 * index + subject,
          undecided: (reason) => failures.push(reason),
          decided: (called, resolved, admitted) =>
            decisions.push({
              entry: admitted ? 'admitted' : 'refused',
              called,
              resolved,
              stream: index,
              subject,
              value: 0,
            }),
        }),
      ),
    )
    const settled = await Promise.allSettled(callers)
    const reasons = [...new Set(failures)].join(', ')
    process.stderr.write(`${decisions.length} decisions, ${failures.length} undecided ${reasons}\n`)
    for (const each of settled) if (each.status === 'rejected') throw each.reason
    const trials = settled.flatMap((each) => (each.status === 'fulfilled' ? each.value : []))
    const admitted = count(decisions, 'admitted')
    const streams = kinds.map(({ name, limit }) => ({ name, limit, subjects, arrivals: NONE }))
    checked({ gate, name: 'retry-after', requests: decisions.length, admitted, excess: excessOf(streams, decisions) })
    return trials
  } finally {
    await fleet.close()
    rmSync(folder, { recursive: true, force: true })
  }
}

function range(values: readonly number[]): string {
  return `${Math.min(...values)}–${Math.max(...values)}, median ${spread(values).median}`
}

interface Caller {
  readonly kind: Kind
  readonly subject: string
  readonly rounds: number
  readonly drivers: readonly Driver[]
  readonly seed: number
  /** Told of each request that got no decision, and why. */
  readonly undecided: (reason: string) => void
  readonly decided: (called: number, resolved: number, admitted: boolean) => void
}

async function caller({ kind, subject, rounds, drivers, seed, undecided, decided }: Caller): Promise<Trial[]> {
  const random = seeded(seed)
  const any = () => Math.floor(random() * drivers.length)
  let bucket: IdealBucket | undefined
  const ask = async (process: number) => {
    for (let tries = 0; tries < MOST_TRIES; tries += 1) {
      const answer = await drivers[process]?.ask(subject, kind.limit)
      if (answer === undefined || 'failed' in answer) {
        undecided(answer?.failed ?? 'no such process')
        await sleep(UNDECIDED_PAUSE_MS)
      } else {
        decided(answer.called, answer.resolved, answer.admitted)
        bucket ??= idealBucket(kind.limit, answer.called)
        if (answer.admitted) bucket.take(answer.called)
        return answer
      }
    }
    throw new Error(`${subject} got no decision`)
  }
  const trials: Trial[] = []
  for (let round = 0; round < rounds; round += 1) {
    const [first, second, third] = [any(), any(), any()]
    for (let asked = Math.floor(random() * 4); asked > 0; asked -= 1) await ask(first)
    let answer = await ask(second)
    for (let asked = 0; answer.admitted && asked < 3 * kind.limit.capacity; asked += 1) answer = await ask(second)
    if (answer.admitted) throw new Error(`${subject} was never refused`)
    const waitedSeconds = Math.ceil(answer.retryAfterMs / 1000)
    const neededSeconds = Math.ceil(Math.max(0, -(bucket?.dueSince(answer.called) ?? 0)) / 1000)
    if (!(waitedSeconds <= LONGEST_S)) throw new Error(`${subject} was told to wait ${answer.retryAfterMs} ms`)
    await sleep(waitedSeconds * 1000)
    const again = await ask(third)
    const story = `${subject}: ${first} took some, ${second} was told ${num(answer.retryAfterMs)} ms, ${third} asked after ${waitedSeconds} s and was told ${num(again.retryAfterMs)} ms`
    trials.push({ kind, waitedSeconds, neededSeconds, otherProcess: third !== second, admitted: again.admitted, story })
  }
  return trials
}
