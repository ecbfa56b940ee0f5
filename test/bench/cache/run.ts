/*
 * `npm run bench:cache`: drives gateways with and without their cache, and writes docs/cache-benchmark.md.
 * --quick: so short that only what must hold on any machine is judged. --only <section>: that section.
 * --out <folder>: where to write; with --quick or --only, nothing is written without it.
 * Ends with 1 where the log and the model's count differ, or a stampede reached the model too often.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import type { Measured } from '../harness.ts'
import { chart, num } from '../report.ts'
import { runSections } from '../workbench/run-sections.ts'
import { page } from './report.ts'
import { cost } from './sections/cost.ts'
import { desk } from './sections/desk.ts'
import { stampede } from './sections/stampede.ts'

const CHART = 'benchmarks/cache.svg'

let shown: readonly Measured[] = []
const { sections, out } = await runSections({
  cost: async (bench) => {
    const { sections, shortest } = await cost(bench)
    shown = shortest
    return sections
  },
  desk,
  stampede,
})
const alt = `${shown.map(({ name, cpu }) => `${name}: ${num(cpu.gateway?.median)} ms`).join('; ')} of processor time a request.`
const text = page(sections, shown.length === 0 ? undefined : { file: CHART, alt })
console.log(text)
if (out !== undefined) {
  mkdirSync(join(out, 'benchmarks'), { recursive: true })
  writeFileSync(join(out, 'cache-benchmark.md'), text)
  if (shown.length > 0) writeFileSync(join(out, CHART), chart(shown))
}
if (sections.some(({ must }) => must.some(({ met }) => !met))) process.exitCode = 1
