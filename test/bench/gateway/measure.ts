import { cpuTime } from '../cpu-time.ts'
import { runLoad } from '../harness.ts'
import { type Spread, spread } from '../statistics.ts'
import { type Closing, closing } from '../workbench/closing.ts'
import { checkOne, type Entrant, type Started } from './entrant.ts'

export interface Rounds {
  readonly rounds: number
  readonly warmUpSeconds: number
  /** Loads of each entrant in a round, in turn with the others'. */
  readonly turns: number
  readonly turnSeconds: number
}

/** Entrants that do the same work under the same load. */
export interface Contest {
  readonly what: string
  readonly connections: number
  /** Of which all others are a multiple. */
  readonly floor: Entrant
  readonly others: readonly Entrant[]
}

export interface Measured {
  /** Processor milliseconds a request, user and system. */
  readonly cpu: Spread
  /** Of the floor's in the same round. */
  readonly ratio: Spread
  /** Processor milliseconds a request above the floor's in the same round. */
  readonly added: Spread
}

/** By the entrants' names. */
export type Outcome = ReadonlyMap<string, Measured>

/** No filling takes longer. */
const FILL_SECONDS = 60
/** A process that has answered few requests has not compiled what it runs. */
const WARM_UP_CONNECTIONS = 16

/**
 * Measures contests one after the other, round by round. In a round each entrant has a fresh process: started, checked and
 * warmed up; then all are under load in turn, one at a time, so that what the machine does meanwhile falls on all of them.
 */
export async function measure<C extends Contest>(
  contests: readonly C[],
  rounds: Rounds,
  outer: Closing,
): Promise<ReadonlyMap<C, Outcome>> {
  const figures = new Map(contests.map((contest) => [contest, new Map<Entrant, number[]>()]))
  for (let round = 0; round < rounds.rounds; round += 1) {
    for (const [contest, of] of figures) {
      const inner = await outer.add(Promise.resolve(closing()), (each) => each.close())
      try {
        for (const [entrant, figure] of await playRound(contest, rounds, inner)) {
          of.set(entrant, [...(of.get(entrant) ?? []), figure])
        }
      } finally {
        await inner.close()
      }
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  return new Map([...figures].map(([contest, of]) => [contest, summarize(contest, of)]))
}

function summarize({ floor }: Contest, figures: ReadonlyMap<Entrant, readonly number[]>): Outcome {
  const floors = figures.get(floor) ?? []
  return new Map(
    [...figures].map(([{ name }, all]) => [
      name,
      {
        cpu: spread(all),
        ratio: spread(all.map((figure, round) => figure / (floors[round] ?? Number.NaN))),
        added: spread(all.map((figure, round) => figure - (floors[round] ?? Number.NaN))),
      },
    ]),
  )
}

/** Processor milliseconds a request, of each entrant. */
async function playRound(
  { what, connections, floor, others }: Contest,
  { warmUpSeconds, turns, turnSeconds }: Rounds,
  closing: Closing,
): Promise<ReadonlyMap<Entrant, number>> {
  const running = new Map<Entrant, Turns>()
  for (const entrant of [floor, ...others]) {
    const name = `${what}, ${entrant.name}`
    try {
      const most = warmUpSeconds > 0 ? Math.max(connections, WARM_UP_CONNECTIONS) : connections
      const started = await closing.add(entrant.start(most), (each) => each.stop())
      const { load, fill } = started
      await checkOne(started)
      if (fill !== undefined) await runLoad('filled', { ...fill, seconds: FILL_SECONDS, each: 1 })
      if (warmUpSeconds > 0) await runLoad('warmed up', { ...load, seconds: warmUpSeconds })
      running.set(entrant, { name, started, requests: 0, ms: 0 })
    } catch (error) {
      throw new Error(`${name}: ${(error as Error).message}`, { cause: error })
    }
  }
  for (let turn = 0; turn < turns; turn += 1) {
    for (const each of running.values()) {
      const { name, started } = each
      const headers = started.load.headers.slice(0, connections)
      const before = cpuTime(started.pid) ?? Number.NaN
      const { requests } = await runLoad(name, { ...started.load, headers, seconds: turnSeconds })
      each.ms += (cpuTime(started.pid) ?? Number.NaN) - before
      each.requests += requests
    }
  }
  for (const { started, requests } of running.values()) started.verify?.(requests)
  return new Map([...running].map(([entrant, { ms, requests }]) => [entrant, ms / requests]))
}

interface Turns {
  readonly name: string
  readonly started: Started
  requests: number
  ms: number
}
