/*
 * `npm run simulate -- --schedules 30000 --seed 1`: runs so many schedules of the limiter under faults, and fails if one
 * breaks what limits promise. `--beside` names a copy of the middleware's sources by which every second instance runs, as while a
 * new version is deployed; `--defect` one of mutants.ts, with which the limiter runs.
 */
import { commandOptions, wholeOption } from '../../packages/workshop/src/command-options.ts'
import { hoardThenBurst } from './hoard.ts'
import { loadLimiter, loadLimits, type Versions } from './limits-under-test.ts'
import { LONE_INSTANCES, LONE_LOADS, loneCaller } from './lone-caller.ts'
import { MUTANTS, plantNamed } from './mutants.ts'
import { REMEMBERED_LOSSES, rememberedLoss, resetWhileReserved } from './remembered-loss.ts'
import { runRevisedSchedule } from './revised-schedule.ts'
import { type Outcome, runSchedule } from './schedule.ts'
import { SMALL_BUCKET_LOADS, smallBucket } from './small-bucket.ts'

const values = commandOptions('npm run simulate', {
  schedules: { type: 'string', default: '2000' },
  seed: { type: 'string', default: '1' },
  defect: { type: 'string' },
  beside: { type: 'string' },
  unconditional: { type: 'boolean', default: false },
  /** Loses rows in every schedule, and not in every third alone. */
  losses: { type: 'boolean', default: false },
  /** Changes the policy under load in every schedule, and checks what the revisions let through together. */
  revisions: { type: 'boolean', default: false },
  /** Ends with the first schedule that breaks something. */
  first: { type: 'boolean', default: false },
})
const schedules = wholeOption('schedules', values.schedules)
const seed = wholeOption('seed', values.seed)
plantNamed(values.defect, MUTANTS)
const limits = await loadLimits()
const beside = values.beside === undefined ? undefined : await loadLimiter(values.beside)
/** Two versions take each other's place as well: the one that hoards, or remembers, is the first. */
const orders: readonly Versions[] =
  beside === undefined
    ? [[limits]]
    : [
        [limits, beside],
        [beside, limits],
      ]
const totals = { admitted: 0, refused: 0, unavailable: 0, storeCalls: 0, losses: 0 }
let broken = 0
let changes = 0
const started = performance.now()

function tell(from: number, fault: string): void {
  broken += 1
  console.log(`seed ${from}: 0 ms: ${fault}`)
}

const isOver = () => values.first && broken > 0

/** The hard cases that chance seldom hits. */
async function runCases(versions: Versions): Promise<void> {
  for (const hoard of [
    { applied: 0, spentFirst: 0, sleeps: false },
    { applied: 1, spentFirst: 15, sleeps: false },
    { applied: 0, spentFirst: 0, sleeps: true },
  ] as const) {
    const excess = await hoardThenBurst(versions, hoard)
    if (excess > 0) tell(0, `a hoarded lease and a burst exceed the limit by ${excess}`)
  }
  for (const how of REMEMBERED_LOSSES) {
    const admitted = await rememberedLoss(versions, how)
    if (admitted > 0) tell(0, `of a spent budget whose row was ${how}, ${admitted} were admitted by those that saw it`)
  }
  for (const fault of await resetWhileReserved(limits, versions)) tell(0, fault)
}

async function runLoneCallers(versions: Versions): Promise<void> {
  for (const instances of LONE_INSTANCES) {
    for (const load of LONE_LOADS) {
      if (isOver()) return
      for (const fault of await loneCaller(versions, load, instances, seed)) tell(seed, fault)
    }
  }
}

async function runSmallBuckets(): Promise<void> {
  for (const load of SMALL_BUCKET_LOADS) {
    const { refused, unavailable, excess } = await smallBucket([limits], load, seed)
    const what = `bursts of ${load.burst} at a small bucket, over a ${load.store}`
    if (excess > 0) tell(seed, `${what}, exceed the limit by ${excess}`)
    if (refused > 0) tell(seed, `${what}: ${refused} were refused though it had room`)
    if (unavailable > 0) tell(seed, `${what}: ${unavailable} were told to try again`)
  }
}

if (!values.revisions) for (const versions of orders) await runCases(versions)
if (!values.revisions && !isOver()) await runSmallBuckets()
for (let index = 0; index < schedules && !isOver(); index += 1) {
  const outcome: Outcome & { readonly changes?: number } = values.revisions
    ? await runRevisedSchedule(seed + index, limits)
    : await runSchedule(seed + index, limits, {
        unconditional: values.unconditional,
        beside,
        ...(values.losses ? { losses: true } : {}),
      })
  changes += outcome.changes ?? 0
  for (const total of Object.keys(totals) as (keyof typeof totals)[]) totals[total] += outcome[total]
  if (outcome.violations.length === 0) continue
  broken += 1
  console.log(`seed ${outcome.seed}: ${outcome.violations.slice(0, 3).join('\n  ')}`)
}
if (!values.revisions) for (const versions of orders) await runLoneCallers(versions)
const { admitted, refused, unavailable, storeCalls, losses } = totals
console.log(
  `${schedules} schedules from seed ${seed}: ${broken} with violations; ${admitted} requests admitted, ${refused} refused, ` +
    `${unavailable} told to try again, ${values.revisions ? `${changes} changes of policy` : `${losses} rows lost`}, ${storeCalls} store calls, ${((performance.now() - started) / 1000).toFixed(1)} s`,
)
process.exitCode = broken > 0 ? 1 : 0
