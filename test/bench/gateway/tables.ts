import { withSpread } from '../report.ts'
import { atMost, type Bar, num, type Table } from '../workbench/section.ts'
import type { Checkout } from './checkout.ts'
import type { Contest, Outcome, Rounds } from './measure.ts'

/** The most that the gateway may take, as a multiple of the floor. */
export interface Judged {
  readonly most: number
}

export type Measured<C extends Contest = Contest> = ReadonlyMap<C, Outcome>

/**
 * So few and short in a quick run that the figures mean nothing. The warm-up is as long as V8 takes to compile what a process
 * runs often: after 2 s a request still costs a half more than after 10.
 */
export function roundsOf(quick: boolean): Rounds {
  return quick
    ? { rounds: 1, warmUpSeconds: 0, turns: 1, turnSeconds: 0.1 }
    : { rounds: 3, warmUpSeconds: 8, turns: 3, turnSeconds: 1 }
}

/** A row a contest: its floor, the peer where there is one, and each checkout. */
export function pathTable(
  measured: Measured<Contest & Judged>,
  checkouts: readonly Checkout[],
  peer: string | undefined,
): Table {
  const names = [...(peer === undefined ? [] : [peer]), ...checkouts.map(({ name }) => name)]
  return {
    head: ['', 'connections', 'the floor, ms', ...names.flatMap((name) => [`${name}, ms`, '× the floor']), 'bar'],
    rows: [...measured].map(([{ what, connections, floor, most }, outcome]) => [
      what,
      `${connections}`,
      `${floor.name}: ${num(median(outcome, floor.name))}`,
      ...names.flatMap((name) => figures(outcome, name)),
      `≤ ${most}`,
    ]),
  }
}

/** A row a checkout, each with a floor of its own. */
export function floorTable(measured: Measured, checkouts: readonly Checkout[]): Table {
  return {
    head: ['', 'the floor, ms', 'hit, ms', '× the floor'],
    rows: [...measured].map(([{ floor }, outcome], index) => {
      const { name = '' } = checkouts[index] ?? {}
      return [name, num(median(outcome, floor.name)), ...figures(outcome, name)]
    }),
  }
}

function median(outcome: Outcome, name: string): number {
  return outcome.get(name)?.cpu.median ?? Number.NaN
}

function figures(outcome: Outcome, name: string): readonly string[] {
  const found = outcome.get(name)
  return found === undefined ? ['', ''] : [num(found.cpu.median), withSpread(found.ratio)]
}

/** @param contests those that are judged */
export function barsOf<C extends Contest & Judged>(measured: Measured<C>, contests: readonly C[]): Bar[] {
  return contests.map((contest) => {
    const ratio = measured.get(contest)?.get('now')?.ratio.median ?? Number.NaN
    return atMost(`${contest.what}, against ${contest.floor.name}`, ratio, contest.most, ' ×')
  })
}
