import { quantile } from '../statistics.ts'
import type { Decision, Outcome } from './decision-log.ts'
import { isRequest, type TrialResult } from './trial.ts'

/** A trial's steady part in figures. */
export interface Summary {
  readonly requests: number
  readonly admitted: number
  readonly refused: number
  /** Requests that got no decision: contention, or a store that failed. */
  readonly failed: number
  /** Store calls at the wire for 1,000 requests. */
  readonly perThousand: number
  /** The same of the warm-up. */
  readonly warmUpPerThousand: number
  readonly warmUpFailed: number
  /** From the call to the decision, in milliseconds. */
  readonly p50: number
  readonly p99: number
  /** The share of requests whose decision took longer than 1 ms. */
  readonly waited: number
}

const WAITED_MS = 1

export function summarize({ decisions, startAt, steadyAt, endAt, transactions }: TrialResult): Summary {
  const requests = decisions.filter(isRequest)
  const within = (from: number, to: number) => requests.filter(({ called }) => called >= from && called < to)
  const steady = within(steadyAt, endAt)
  const warmUp = within(startAt, steadyAt)
  const waits = Float64Array.from(steady, ({ called, resolved }) => resolved - called).sort()
  return {
    requests: steady.length,
    admitted: count(steady, 'admitted'),
    refused: count(steady, 'refused'),
    failed: failures(steady),
    perThousand: (1000 * transactions.steady) / steady.length,
    warmUpPerThousand: (1000 * transactions.warmUp) / warmUp.length,
    warmUpFailed: failures(warmUp),
    p50: quantile(waits, 0.5),
    p99: quantile(waits, 0.99),
    waited: waits.filter((wait) => wait > WAITED_MS).length / steady.length,
  }
}

export function count(decisions: readonly Decision[], outcome: Outcome): number {
  return decisions.filter(({ entry }) => entry === outcome).length
}

function failures(decisions: readonly Decision[]): number {
  return decisions.length - count(decisions, 'admitted') - count(decisions, 'refused')
}
