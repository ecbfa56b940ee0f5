/*
 * `npm run bench:cache`: drives gateways with and without their cache, and writes docs/cache-benchmark.md.
 * --quick: so short that only what must hold on any machine is judged. --only <section>: that section.
 * --out <folder>: where to write; with --quick or --only, nothing is written without it.
 * Ends with 1 where the log and the model's count differ, or a stampede reached the model too often.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../../support/host.ts'
import type { Measured } from '../harness.ts'
import { chart, num } from '../report.ts'
import { closing } from './closing.ts'
import { page } from './report.ts'
import type { Section } from './section.ts'
import { cost } from './sections/cost.ts'
import { desk } from './sections/desk.ts'
import { stampede } from './sections/stampede.ts'
import type { Measure } from './workbench.ts'

const CHART = 'benchmarks/cache.svg'

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    out: { type: 'string' },
  },
})
const { quick, only } = values

let shown: readonly Measured[] = []
const SECTIONS: Readonly<Record<string, Measure>> = {
  cost: async (bench) => {
    const { sections, shortest } = await cost(bench)
    shown = shortest
    return sections
  },
  desk,
  stampede,
}
if (only !== undefined && SECTIONS[only] === undefined) {
  throw new Error(`--only takes one of ${Object.keys(SECTIONS).join(', ')}`)
}
const out = values.out ?? (quick || only !== undefined ? undefined : join(ROOT, 'docs'))

const folder = mkdtempSync(join(tmpdir(), 'tollgate-cache-bench-'))
let current = closing()
for (const signal of ['SIGINT', 'SIGTERM'] as const) {
  process.once(signal, () => void current.close().finally(() => process.exit(1)))
}
try {
  const sections: Section[] = []
  for (const [name, measure] of Object.entries(SECTIONS)) {
    if (only !== undefined && name !== only) continue
    current = closing()
    try {
      sections.push(...(await measure({ quick, folder, closing: current })))
    } finally {
      await current.close()
    }
  }
  const alt = `${shown.map(({ name, cpu }) => `${name}: ${num(cpu.gateway?.median)} ms`).join('; ')} of processor time a request.`
  const text = page(sections, shown.length === 0 ? undefined : { file: CHART, alt })
  console.log(text)
  if (out !== undefined) {
    mkdirSync(join(out, 'benchmarks'), { recursive: true })
    writeFileSync(join(out, 'cache-benchmark.md'), text)
    if (shown.length > 0) writeFileSync(join(out, CHART), chart(shown))
  }
  if (sections.some(({ must }) => must.some(({ met }) => !met))) process.exitCode = 1
} finally {
  rmSync(folder, { recursive: true, force: true })
}
