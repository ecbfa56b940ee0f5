import type { Excess } from './excess.ts'
import { GATE_TITLES, type GateName } from './gates/gate.ts'
import { type Bar, num, processesOf, type Section } from './section.ts'
import { count } from './summary.ts'
import { isRequest, type TrialResult } from './trial.ts'

/** A limiter under some load, and by how much it exceeded its limits. */
export interface Check {
  readonly gate: GateName
  readonly name: string
  readonly requests: number
  readonly admitted: number
  readonly excess: Excess
}

export function checkOf({ trial, decisions, excess }: TrialResult): Check {
  return {
    gate: trial.gate,
    name: `${trial.name}, ${processesOf(trial.processes)}`,
    requests: decisions.filter(isRequest).length,
    admitted: count(decisions, 'admitted'),
    excess,
  }
}

/** Whether any limit was exceeded anywhere by the limiters that promise that none is. */
export function exactness(checks: readonly Check[], promised: readonly GateName[]): Section {
  const rows: string[][] = []
  const bars: Bar[] = []
  const findings: string[] = []
  for (const gate of promised) {
    const mine = checks.filter((check) => check.gate === gate)
    if (mine.length === 0) continue
    const sum = (of: (check: Check) => number) => num(mine.reduce((sum, check) => sum + of(check), 0))
    const worst = mine.reduce((a, b) => (b.excess.stamped > a.excess.stamped ? b : a))
    rows.push([
      GATE_TITLES[gate],
      `${mine.length}`,
      sum(({ requests }) => requests),
      sum(({ admitted }) => admitted),
      fixed(worst.excess.stamped),
      worst.name,
    ])
    findings.push(
      `${GATE_TITLES[gate]}: of ${sum(({ admitted }) => admitted)} admissions in ${mine.length} trials, ${worst.excess.stamped > 0 ? `the worst pair exceeded its limit by ${fixed(worst.excess.stamped)}` : 'no pair exceeded its limit'}.`,
    )
    bars.push({
      what: `worst over-admission, ${GATE_TITLES[gate]}, in any trial of this run`,
      bar: '≤ 0',
      figure: fixed(worst.excess.stamped) + proof(worst.excess),
      met: worst.excess.stamped <= 0,
    })
  }
  return {
    title: 'Whether it is ever exceeded',
    method:
      'Every admission of every process is stamped when its caller learns of it, on one monotonic clock (CLOCK_MONOTONIC, which all processes of a machine share). For every subject of every trial on this page, killed processes and warm-ups included, and EVERY pair of its admissions, their number is compared with B + r·Δt. A negative worst is how much was still free at the closest moment; above 0 the run fails.',
    tables: [{ head: ['limiter', 'trials', 'requests', 'admitted', 'worst over-admission', 'in'], rows }],
    findings,
    bars,
  }
}

/** Tells what the machine may have delayed from what was admitted too soon whenever it happened. */
function proof({ stamped, proven }: Excess): string {
  if (stamped <= 0) return ''
  return proven > 0 ? ', proven' : ', by stamps alone: a delay between decision and stamp explains it'
}

function fixed(excess: number): string {
  return excess.toFixed(3).replace('-', '−')
}
