/*
 * `npm run simulate:targets -- --schedules 100000 --seed 1`: runs so many schedules of requests for models before several targets, which
 * fail, and fails if one leaves its zone, is charged for twice, is asked too often, or leaves a reservation. `--defect` names one of
 * routed-mutants.ts, with which the gateway runs.
 */
import { commandOptions, wholeOption } from '../../packages/workshop/src/command-options.ts'
import { loadCallParts } from './gateway-under-test.ts'
import { plantNamed } from './mutants.ts'
import { runRouted } from './routed-calls.ts'
import { ROUTED_MUTANTS } from './routed-mutants.ts'
import { virtualClock } from './virtual-clock.ts'

const values = commandOptions('npm run simulate:targets', {
  schedules: { type: 'string', default: '2000' },
  seed: { type: 'string', default: '1' },
  defect: { type: 'string' },
  /** Tells what happens, in the order of time: for a single schedule. */
  trace: { type: 'boolean', default: false },
  /** Ends with the first schedule that breaks something. */
  first: { type: 'boolean', default: false },
})
const schedules = wholeOption('schedules', values.schedules)
const seed = wholeOption('seed', values.seed)
plantNamed(values.defect, ROUTED_MUTANTS)
const started = process.hrtime.bigint()
const parts = await loadCallParts()
const clock = virtualClock()
const totals = { answered: 0, refused: 0, hits: 0, calls: 0, again: 0, zoned: 0 }
let broken = 0

for (let index = 0; index < schedules && !(values.first && broken > 0); index += 1) {
  const outcome = await runRouted(seed + index, parts, clock)
  if (values.trace) console.log(outcome.story.join('\n'))
  for (const total of Object.keys(totals) as (keyof typeof totals)[]) totals[total] += outcome[total]
  if (outcome.violations.length === 0) continue
  broken += 1
  if (broken <= 20) console.log(`seed ${outcome.seed}: ${outcome.violations.slice(0, 3).join('\n  ')}`)
}
const { answered, refused, hits, calls, again, zoned } = totals
const seconds = Number(process.hrtime.bigint() - started) / 1e9
console.log(
  `${schedules} schedules from seed ${seed}: ${broken} with violations; ${answered} requests answered, ${hits} of them from the cache, ` +
    `${refused} refused, ${zoned} of them for their zones; ${calls} calls, ${again} of them made again; ${seconds.toFixed(1)} s`,
)
process.exitCode = broken > 0 ? 1 : 0
process.exit()
