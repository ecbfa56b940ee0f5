import type { Claim, Lease, Limiter, Subject } from '@tollgate/middleware'
import type { LimiterSource } from './limits-under-test.ts'
import { type Machine, machine } from './machine.ts'
import type { Random } from './random.ts'
import { type SharedStore, SimulatedFault } from './shared-store.ts'
import type { World } from './world.ts'

/** One instance of the app: a machine, and a limiter on it. */
export interface Instance {
  readonly machine: Machine
  readonly version: LimiterSource
  readonly limiter: Limiter
  /** By the policy that it was started with: two consumers, and all together. */
  readonly subjects: readonly Subject[]
  stalledUntil: number
  /** When units last came back from a request that was turned away further in. */
  cancelledAt: number
  /** Requests that are in flight under a limit on concurrency, by subject. */
  readonly running: Map<string, number>
}

export interface BootOptions {
  readonly world: World
  readonly random: Random
  readonly store: SharedStore
  readonly version: LimiterSource
  readonly subjects: readonly Subject[]
  /** Told of a failure of the store that was not simulated: a defect of the limiter. */
  readonly onDefect: (what: string) => void
  /** Whether the store may fail at all. */
  readonly mayFail: boolean
  /** Told of each row that the limiter takes for lost. */
  readonly onRowLost: (subject: string) => void
}

const DEADLINE_MS = 2_000

export function boot({ world, random, store, version, subjects, onDefect, mayFail, onRowLost }: BootOptions): Instance {
  const its = machine(world, random)
  const limiter = version.limiter({
    store: store.from(its),
    deadlineMs: DEADLINE_MS,
    time: its.time,
    random: random.next,
    events: {
      rowLost: onRowLost,
      rowFailed: (subject, cause) =>
        onDefect(`the row of ${subject} failed: ${cause instanceof Error ? cause.stack : cause}`),
      fault: (subject, thrown) => onDefect(`a fault at ${subject}: ${thrown instanceof Error ? thrown.stack : thrown}`),
      storeFailed(cause) {
        const isTimeout = cause instanceof DOMException && cause.name === 'TimeoutError'
        if (mayFail && (cause instanceof SimulatedFault || isTimeout)) return
        onDefect(`the store is said to fail: ${cause instanceof Error ? cause.stack : cause}`)
      },
    },
  })
  return { machine: its, version, limiter, subjects, stalledUntil: 0, cancelledAt: 0, running: new Map() }
}

/** Counts a request that begins, or ends, under the limits on concurrency that it claims. */
export function countRunning({ running }: Instance, claims: readonly Claim[], by: 1 | -1): void {
  for (const { subject, limit } of claims) {
    if (limit.kind === 'concurrency') running.set(subject.id, (running.get(subject.id) ?? 0) + by)
  }
}

/** The instance's lease for a claim; it stays the same object when the limiter is closed. */
export function leaseOf({ limiter }: Instance, { subject, limit }: Claim): Lease | undefined {
  return limiter.leases(subject.id).find((lease) => lease.limit.key === limit.key)
}
