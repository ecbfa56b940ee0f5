import { fateOf } from '../budget-fate.ts'
import type { Decision } from '../decision-log.ts'
import { budget, rate } from '../limit.ts'
import { atMost, type Bar, num, type Section } from '../section.ts'
import type { Trial, TrialResult } from '../trial.ts'
import type { Workbench } from '../workbench.ts'

const PER_SECOND = 100
/** A lease of a scarce bucket, and the second in whose slot it ends. */
const LEASE_S = 10
/** Over how long a rate is called whole, and what share makes it whole. */
const WHOLE_OVER_S = 3
const WHOLE_SHARE = 0.95

/** Half of the processes die under full load. */
export async function kill(bench: Workbench): Promise<Section> {
  const { quick } = bench
  const bars: Bar[] = []
  const rates = await bench.run(rateTrial(quick))
  const whole = wholeAgainAfter(rates)
  const budgets = await bench.run(budgetTrial(quick))
  const fate = await fateOf(budgets, bench.store('tollgate-tables').address)
  if (!quick) {
    bars.push(atMost('seconds until the rest admit at the full rate again', whole, LEASE_S, ' s'))
    bars.push(
      atMost('units of the budget that nobody could use, against what the dead held', fate.missing, fate.heldByDead),
    )
    bars.push({
      what: 'the row says so (`lost`): at least what is missing, at most what the dead had leased',
      bar: `${num(fate.missing)} to ${num(fate.leasedByDead)}`,
      figure: num(fate.lost),
      met: fate.lost >= fate.missing && fate.lost <= fate.leasedByDead,
    })
    bars.push({
      what: 'so do the limiters that live (`unitsLost`), once',
      bar: num(fate.lost),
      figure: num(fate.told),
      met: fate.told === fate.lost,
    })
  }
  return {
    title: 'When processes are killed',
    method:
      'Eight processes drive one subject at four times its rate (100 a second, B = 200), resp. use up one budget (a day); at full load four of them are killed by SIGKILL. Every decision is on disk before the next one, so that none is missed in the check of pairs. What the dead held is what they wrote down themselves, every 5 ms; their leases may have been partly spent, which nobody else can know: so the row counts them whole. "Missing" is what was never admitted, though the rest asked until there was nothing left.',
    tables: [
      {
        head: [
          'rate',
          'before the kill',
          `first ${WHOLE_OVER_S} s after it`,
          'worst second after it',
          'whole again after, s',
        ],
        rows: [
          [
            '100 a second, B = 200',
            num(perSecond(rates, -5, 0)),
            num(perSecond(rates, 0, WHOLE_OVER_S)),
            num(worstSecond(rates)),
            num(whole),
          ],
        ],
      },
      {
        head: [
          'budget',
          'admitted',
          'missing',
          'the dead held',
          'of leases, at most',
          'lost, by the row',
          'told as lost',
        ],
        rows: [
          [
            `${num(fate.quota)} a day`,
            num(fate.admitted),
            num(fate.missing),
            num(fate.heldByDead),
            num(fate.leasedByDead),
            num(fate.lost),
            num(fate.told),
          ],
        ],
      },
    ],
    findings: quick
      ? []
      : [
          `After the kill the rest admit at the full rate again within ${num(whole)} s.`,
          `Of a budget of ${num(fate.quota)} ${num(fate.missing)} could not be used by anybody; those that died held ${num(fate.heldByDead)}.`,
        ],
    bars,
  }
}

function rateTrial(quick: boolean): Trial {
  return {
    name: 'kill, a rate',
    gate: 'tollgate-tables',
    processes: quick ? 2 : 8,
    streams: [
      {
        name: 'hot',
        subjects: 1,
        limit: rate(PER_SECOND, 1_000, { capacity: 200 }),
        arrivals: { kind: 'poisson', perSecond: 4 * PER_SECOND },
      },
    ],
    warmUpSeconds: 0,
    seconds: quick ? 1 : 45,
    killAfterSeconds: quick ? 0.5 : 20,
  }
}

function budgetTrial(quick: boolean): Trial {
  return {
    name: 'kill, a budget',
    gate: 'tollgate-tables',
    processes: quick ? 2 : 8,
    streams: [
      {
        name: 'budget',
        subjects: 1,
        limit: budget(quick ? 600 : 30_000, 'day'),
        arrivals: { kind: 'poisson', perSecond: 800 },
      },
    ],
    warmUpSeconds: 0,
    seconds: quick ? 1.5 : 80,
    killAfterSeconds: quick ? 0.5 : 10,
    noteHeldMs: 5,
  }
}

/** Admissions a second, from and to seconds after the kill. */
function perSecond({ decisions, killed }: TrialResult, from: number, to: number): number {
  const at = (seconds: number) => (killed?.at ?? Number.NaN) + seconds * 1000
  const within = ({ entry, resolved }: Decision) => entry === 'admitted' && resolved >= at(from) && resolved < at(to)
  return decisions.filter(within).length / (to - from)
}

function worstSecond(result: TrialResult): number {
  const { endAt, killed } = result
  const seconds = Math.floor((endAt - (killed?.at ?? endAt)) / 1000)
  return Math.min(...Array.from({ length: seconds }, (_, second) => perSecond(result, second, second + 1)))
}

/** Seconds from the kill to the beginning of the first few seconds whose rate is whole; infinity for never. */
function wholeAgainAfter(result: TrialResult): number {
  const left = (result.endAt - (result.killed?.at ?? result.endAt)) / 1000 - WHOLE_OVER_S
  for (let after = 0; after <= left; after += 0.1) {
    if (perSecond(result, after, after + WHOLE_OVER_S) >= WHOLE_SHARE * PER_SECOND) return after
  }
  return Number.POSITIVE_INFINITY
}
