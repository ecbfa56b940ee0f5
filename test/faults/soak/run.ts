/*
 * `npm run soak`: ten minutes of steady load before targets that fail, and callers who leave. Ends with 1 where what was charged is not
 * what the targets have counted, something stays reserved, or the host's memory has grown by more than 3 % since its third minute.
 * --minutes or --seconds: another time; of less than ten minutes the memory is told, and not judged.
 */
import { commandOptions, wholeOption } from '../../../packages/workshop/src/command-options.ts'
import { startAzurite } from '../../support/azurite.ts'
import { mebibytes, soak } from './soak.ts'

const values = commandOptions('npm run soak', {
  minutes: { type: 'string', default: '10' },
  seconds: { type: 'string' },
  rate: { type: 'string', default: '40' },
  seed: { type: 'string', default: '1' },
})
const MOST_GROWTH = 0.03
const JUDGED_SECONDS = 600

const seconds =
  values.seconds === undefined ? wholeOption('minutes', values.minutes) * 60 : wholeOption('seconds', values.seconds)
const azurite = await startAzurite()
const soaked = await soak({
  storage: azurite.connectionString,
  seconds,
  rate: wholeOption('rate', values.rate),
  seed: wholeOption('seed', values.seed),
  onProgress: (text) => console.log(text),
})
await azurite.close()
const { requests, answered, refused, broken, left, calls, counted, charged, totals, resident, violations } = soaked
const growth = resident.after / resident.before - 1
console.log(
  `${seconds} s: ${requests} requests, ${answered} answered, ${refused} refused, ${broken} broken off, ${left} left; ${calls} calls\n` +
    `targets have counted ${counted.nanoUsd} nano-dollars and ${counted.tokens} tokens; charged: ${charged.nanoUsd} and ${charged.tokens}\n` +
    `in all, in nano-dollars: ${totals.lines} by the lines, ${totals.budgets} by the budgets, ${totals.ledger} by the ledger\n` +
    `resident: ${mebibytes(resident.before)}, then ${mebibytes(resident.after)} (${(growth * 100).toFixed(1)} %)`,
)
for (const each of violations) console.error(each)
if (violations.length > 0) process.exitCode = 1
if (seconds >= JUDGED_SECONDS && growth > MOST_GROWTH) {
  console.error(`The host's memory has grown by more than ${MOST_GROWTH * 100} %.`)
  process.exitCode = 1
}
process.exit()
