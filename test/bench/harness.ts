import { spawn } from 'node:child_process'
import { text } from 'node:stream/consumers'
import { fileURLToPath } from 'node:url'
import { cpuTime } from './cpu-time.ts'
import type { Load, LoadResult } from './load.ts'
import { type Spread, spread } from './statistics.ts'

/** Something that answers, in processes of its own. */
export interface Subject {
  readonly name: string
  readonly load: Omit<Load, 'seconds'>
  /** Its processes, by what each is called in the table. */
  readonly processes: Readonly<Record<string, number>>
  /** Runs before each round and is not measured; what it returns replaces the same of the load, for that round. */
  readonly prepare?: () => Promise<Partial<Load>>
}

export interface Measured {
  readonly name: string
  readonly requestsPerSecond: Spread
  /** Milliseconds. */
  readonly p50: Spread
  readonly p99: Spread
  /** Processor milliseconds a request, of each of its processes. */
  readonly cpu: Readonly<Record<string, Spread>>
}

export interface Rounds {
  readonly rounds: number
  readonly seconds: number
  readonly warmUpSeconds: number
}

interface Round extends LoadResult {
  readonly cpu: Readonly<Record<string, number>>
}

const LOAD = fileURLToPath(new URL('load.ts', import.meta.url))

/**
 * Measures each subject once a round, in turn, so that what the machine does meanwhile falls on all of them. One load at
 * a time, in a process of its own; the warm-up is not counted.
 *
 * @throws when an answer was not as expected.
 */
export async function measure(subjects: readonly Subject[], options: Rounds): Promise<Measured[]> {
  if (options.warmUpSeconds > 0) for (const subject of subjects) await round(subject, options.warmUpSeconds)
  const rounds = new Map<Subject, Round[]>(subjects.map((subject) => [subject, []]))
  for (let index = 0; index < options.rounds; index += 1) {
    for (const subject of subjects) {
      rounds.get(subject)?.push(await round(subject, options.seconds))
      process.stderr.write('.')
    }
  }
  process.stderr.write('\n')
  return [...rounds].map(([subject, its]) => summarize(subject, its))
}

function summarize({ name, processes }: Subject, rounds: readonly Round[]): Measured {
  const over = (value: (round: Round) => number) => spread(rounds.map(value))
  return {
    name,
    requestsPerSecond: over(({ requests, seconds }) => requests / seconds),
    p50: over(({ p50 }) => p50),
    p99: over(({ p99 }) => p99),
    cpu: Object.fromEntries(
      Object.keys(processes).map((process) => [process, over(({ cpu }) => cpu[process] ?? Number.NaN)]),
    ),
  }
}

async function round({ name, load, processes, prepare }: Subject, seconds: number): Promise<Round> {
  const change = await prepare?.()
  const used = () => Object.entries(processes).map(([process, pid]) => [process, cpuTime(pid) ?? Number.NaN] as const)
  const before = new Map(used())
  const result = await runLoad(name, { ...load, seconds, ...change })
  const after = used()
  const cpu = after.map(([process, ms]) => [process, (ms - (before.get(process) ?? Number.NaN)) / result.requests])
  return { ...result, cpu: Object.fromEntries(cpu) }
}

/**
 * One load in a process of its own.
 *
 * @throws when an answer was not as expected.
 */
export async function runLoad(name: string, load: Load): Promise<LoadResult> {
  const child = spawn(process.execPath, [LOAD], { stdio: ['pipe', 'pipe', 'inherit'] })
  child.stdin.end(JSON.stringify(load))
  const result = JSON.parse(await text(child.stdout)) as LoadResult
  if (result.wrong > 0) {
    throw new Error(`${name}: ${result.wrong} of ${result.requests} answers were wrong, first: ${result.firstWrong}`)
  }
  return result
}
