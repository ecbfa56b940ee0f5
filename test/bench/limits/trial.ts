import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { type Decision, readDecisions } from './decision-log.ts'
import { type Excess, excessOf } from './excess.ts'
import { startFleet } from './fleet.ts'
import { GATE_TITLES, type GateName } from './gates/gate.ts'
import { monotonic } from './monotonic.ts'
import { num, processesOf } from './section.ts'
import type { Store } from './stores.ts'
import type { Stream } from './stream.ts'

/** Some load by some processes on one limiter. */
export interface Trial {
  readonly name: string
  readonly gate: GateName
  readonly processes: number
  readonly streams: readonly Stream[]
  /** Before the figures count. */
  readonly warmUpSeconds: number
  /** For which the figures count. */
  readonly seconds: number
  /** Added to each call of the store. Default: 0. */
  readonly delayMs?: number
  readonly inspect?: boolean
  readonly noteHeldMs?: number
  /** Half of the processes are killed by SIGKILL so long after the start. */
  readonly killAfterSeconds?: number
}

export interface TrialResult {
  readonly trial: Trial
  /** All, with the warm-up's and those of killed processes, by when they were decided. */
  readonly decisions: readonly Decision[]
  /** Of each process, in its order. */
  readonly byProcess: readonly (readonly Decision[])[]
  /** What its subjects' names begin with: `prefix/stream/number`. */
  readonly prefix: string
  /** On the clock of `monotonic`: the start, the end of the warm-up, and the end. */
  readonly startAt: number
  readonly steadyAt: number
  readonly endAt: number
  readonly transactions: { readonly warmUp: number; readonly steady: number }
  /** How late requests were sent, in milliseconds: large where this machine could not keep up. */
  readonly lateMs: { readonly p50: number; readonly p99: number }
  /** When half of the processes were killed, and which. */
  readonly killed: { readonly at: number; readonly processes: readonly number[] } | undefined
  readonly lost: readonly { readonly subject: string; readonly units: number }[]
  /** The worst over-admission of any subject. */
  readonly excess: Excess
}

/** For processes that are ready to hear of it. */
const LEAD_MS = 300

let trials = 0

/** Runs one trial, on a store without any rows. */
export async function runTrial(trial: Trial, store: Store, seed = 1): Promise<TrialResult> {
  const { gate, processes, streams, warmUpSeconds, seconds, killAfterSeconds } = trial
  const folder = mkdtempSync(join(tmpdir(), 'tollgate-limits-'))
  process.stderr.write(
    `${trial.name}: ${GATE_TITLES[gate]}, ${processesOf(processes)}, ${num(warmUpSeconds + seconds)} s … `,
  )
  await store.clear()
  store.wire.delay(trial.delayMs ?? 0)
  const fleet = await startFleet({ processes, gate, address: store.address, folder })
  try {
    trials += 1
    const prefix = `trial-${trials}`
    const startAt = monotonic() + LEAD_MS
    const [steadyAt, endAt] = [startAt + warmUpSeconds * 1000, startAt + (warmUpSeconds + seconds) * 1000]
    const loads = fleet.drivers.map((driver, index) =>
      driver.load({
        streams,
        prefix,
        share: { index, of: processes },
        seed: seed * 7919,
        startAt,
        steadyAt,
        seconds: warmUpSeconds + seconds,
        inspect: trial.inspect ?? false,
        noteHeldMs: trial.noteHeldMs ?? 0,
      }),
    )
    const before = store.wire.transactions()
    const killing =
      killAfterSeconds === undefined ? undefined : killHalf(fleet.drivers, startAt + killAfterSeconds * 1000)
    await until(steadyAt)
    const warm = store.wire.transactions()
    await until(endAt)
    const after = store.wire.transactions()
    const late = await Promise.all(loads)
    const killed = await killing
    const byProcess = fleet.drivers.map(({ log }) => readDecisions(log))
    const decisions = byProcess.flat().sort((a, b) => a.resolved - b.resolved)
    const excess = excessOf(streams, decisions)
    process.stderr.write(
      `${decisions.filter(isRequest).length} requests, ${after - before} transactions, excess ${excess.stamped.toFixed(3)}\n`,
    )
    return {
      trial,
      decisions,
      byProcess,
      prefix,
      startAt,
      steadyAt,
      endAt,
      transactions: { warmUp: warm - before, steady: after - warm },
      lateMs: {
        p50: Math.max(...late.map((its) => its?.p50 ?? 0)),
        p99: Math.max(...late.map((its) => its?.p99 ?? 0)),
      },
      killed,
      lost: fleet.lost,
      excess,
    }
  } finally {
    await fleet.close()
    store.wire.delay(0)
    rmSync(folder, { recursive: true, force: true })
  }
}

async function until(at: number): Promise<void> {
  await sleep(Math.max(0, at - monotonic()))
}

async function killHalf(
  drivers: readonly { kill(): void }[],
  at: number,
): Promise<{ readonly at: number; readonly processes: readonly number[] }> {
  await until(at)
  const processes = drivers.map((_, index) => index).filter((index) => index % 2 === 1)
  for (const index of processes) drivers[index]?.kill()
  return { at: monotonic(), processes }
}

/** Whether an entry of the log is a request. */
export function isRequest({ entry }: Decision): boolean {
  return entry !== 'held' && entry !== 'inspected'
}
