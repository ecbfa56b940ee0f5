/*
 * `npm run bench:gateway`: measures the gateway beside bare servers and another gateway, and writes docs/gateway-benchmark.md.
 * --quick: so short that the figures mean nothing. --only <section>: that section. --out <folder>: where to write; with
 * --quick or --only, nothing is written without it. --against <folder>: another checkout, measured in the same run.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join, resolve } from 'node:path'
import { commandOptions } from '../../../packages/workshop/src/command-options.ts'
import { runSections, SECTION_OPTIONS } from '../workbench/run-sections.ts'
import { checkouts } from './checkout.ts'
import { leaveSubjectItsCore } from './cores.ts'
import { otherWork } from './other-work.ts'
import { page } from './report.ts'
import { firstAnswer } from './sections/first-answer.ts'
import { localHost } from './sections/local-host.ts'
import { paths } from './sections/paths.ts'

const values = commandOptions('npm run bench:gateway', { ...SECTION_OPTIONS, against: { type: 'string' } })
const measured = checkouts(values.against === undefined ? undefined : resolve(values.against))
leaveSubjectItsCore()
const others = otherWork()
const { sections, out } = await runSections(
  {
    paths: (bench) => paths(bench, measured),
    localHost: (bench) => localHost(bench, measured),
    firstAnswer: (bench) => firstAnswer(bench, measured),
  },
  values,
)
const text = page(sections, others())
console.log(text)
if (out !== undefined) {
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'gateway-benchmark.md'), text)
}
