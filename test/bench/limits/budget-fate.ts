import { openTables, storageLocation, systemTime, tableCounterStore } from '@tollgate/middleware'
import { count } from './summary.ts'
import type { TrialResult } from './trial.ts'

/** What became of a budget of which some processes died. In units. */
export interface BudgetFate {
  readonly quota: number
  readonly admitted: number
  /** Neither admitted, nor still held by those that live. */
  readonly missing: number
  /** Not yet spent by the dead, by their own last word. */
  readonly heldByDead: number
  /** The most that leases of the dead can have been, spent or not. */
  readonly leasedByDead: number
  /** By the row, at the end. */
  readonly lost: number
  /** By the limiters' events. */
  readonly told: number
}

interface Account {
  readonly granted: number
  readonly lost: number
}

/** @param result of a trial with one subject whose limit is a budget, and with what is held noted */
export async function fateOf(result: TrialResult, connectionString: string): Promise<BudgetFate> {
  const { trial, decisions, byProcess, killed } = result
  const held = byProcess.map((its) => its.filter(({ entry }) => entry === 'held').map(({ value }) => value))
  const isDead = (_: unknown, index: number) => killed?.processes.includes(index) ?? false
  const last = (of: readonly (readonly number[])[]) => of.reduce((sum, its) => sum + (its.at(-1) ?? 0), 0)
  const dead = held.filter(isDead)
  const quota = trial.streams[0]?.limit.quota ?? Number.NaN
  const admitted = count(decisions, 'admitted')
  return {
    quota,
    admitted,
    missing: quota - admitted - last(held.filter((its, index) => !isDead(its, index))),
    heldByDead: last(dead),
    leasedByDead: dead.reduce((sum, its) => sum + Math.max(0, ...its), 0),
    lost: (await accountOf(result, connectionString)).lost,
    told: result.lost.reduce((sum, { units }) => sum + units, 0),
  }
}

async function accountOf({ trial, prefix }: TrialResult, connectionString: string): Promise<Account> {
  const [stream] = trial.streams
  const location = storageLocation({ TOLLGATE_STORAGE: connectionString })
  if (stream === undefined || location === undefined || location.kind === 'memory') throw new Error('No such row')
  const store = tableCounterStore({ open: openTables(location), now: systemTime.now })
  const { row } = await store.read(`${prefix}/${stream.name}/0`, new AbortController().signal)
  const { accounts } = JSON.parse(row?.text ?? '{"accounts":{}}') as { accounts: Readonly<Record<string, Account>> }
  return accounts[stream.limit.key] ?? { granted: 0, lost: 0 }
}
