/*
 * `npm run resilience`: plays each fault of a model's server through the whole gateway, and ends with 1 where a rule does not hold or
 * docs/resilience.md shows something else. --write writes its table.
 */
import { commandOptions } from '../../../packages/workshop/src/command-options.ts'
import { cells, KIND_NAMES, runMatrix } from './matrix.ts'
import { tableOf, tableOnPage, writeTable } from './page.ts'
import { violations } from './rules.ts'

const { write } = commandOptions('npm run resilience', { write: { type: 'boolean', default: false } })
const seen = await runMatrix(cells(KIND_NAMES))
const broken = seen.flatMap(violations)
const table = tableOf(seen)
console.log(table)
for (const each of broken) console.error(each)
if (broken.length > 0) process.exitCode = 1
if (write) writeTable(table)
else if (table !== tableOnPage()) {
  console.error('docs/resilience.md shows something else. To write this: npm run resilience -- --write')
  process.exitCode = 1
}
