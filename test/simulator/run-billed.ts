/*
 * `npm run simulate:bill -- --schedules 10000 --seed 1`: runs so many schedules of callers with ten dollars who set what moves a
 * price as they like, and fails if a model bills more than that in one. `--defect` names one of bill-mutants.ts, with which the gateway runs.
 * `--old-price` is for a price that names no cache.
 */
import { commandOptions, wholeOption } from '../../packages/workshop/src/command-options.ts'
import { BILL_MUTANTS } from './bill-mutants.ts'
import { runBilled } from './billed-calls.ts'
import { loadCallParts } from './gateway-under-test.ts'
import { plantNamed } from './mutants.ts'

const values = commandOptions('npm run simulate:bill', {
  schedules: { type: 'string', default: '200' },
  seed: { type: 'string', default: '1' },
  defect: { type: 'string' },
  'old-price': { type: 'boolean', default: false },
  /** Ends with the first schedule that breaks something. */
  first: { type: 'boolean', default: false },
})
const schedules = wholeOption('schedules', values.schedules)
const seed = wholeOption('seed', values.seed)
plantNamed(values.defect, BILL_MUTANTS)
const parts = await loadCallParts()
const totals = { answered: 0, refused: 0, failed: 0, billed: 0 }
let [broken, drained, dearest] = [0, 0, 0]
const started = performance.now()

for (let index = 0; index < schedules && !(values.first && broken > 0); index += 1) {
  const outcome = await runBilled(seed + index, parts, values['old-price'])
  for (const total of Object.keys(totals) as (keyof typeof totals)[]) totals[total] += outcome[total]
  dearest = Math.max(dearest, outcome.billed)
  if (outcome.wasDrained) drained += 1
  if (outcome.violations.length === 0) continue
  broken += 1
  console.log(`seed ${outcome.seed}: ${outcome.violations.slice(0, 3).join('\n  ')}`)
}
const { answered, refused, failed, billed } = totals
console.log(
  `${schedules} schedules from seed ${seed}: ${broken} with violations; ${answered} calls answered, ${refused} refused, ` +
    `${failed} failed; ${billed.toFixed(2)} dollars billed, ${dearest.toFixed(9)} at the most in one, ${drained} drained; ` +
    `${((performance.now() - started) / 1000).toFixed(1)} s`,
)
process.exitCode = broken > 0 ? 1 : 0
// What a crashed machine has begun never ends.
process.exit()
