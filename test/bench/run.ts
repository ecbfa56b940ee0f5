/*
 * `npm run bench`: measures, and writes docs/benchmarks.md with its charts.
 * --quick: so short that the figures mean nothing, to see that it runs. --out <folder>: where to write.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { commandOptions } from '../../packages/workshop/src/command-options.ts'
import { ROOT } from '../support/host.ts'
import { measure, type Rounds } from './harness.ts'
import * as overhead from './overhead.ts'
import { chart, page, section } from './report.ts'

const values = commandOptions('npm run bench', { quick: { type: 'boolean' }, out: { type: 'string' } })
const out = values.out ?? join(ROOT, 'docs')
const rounds: Rounds = values.quick
  ? { rounds: 1, seconds: 0.3, warmUpSeconds: 0 }
  : { rounds: 7, seconds: 5, warmUpSeconds: 3 }

const BENCHES = { overhead }

const sections: string[] = []
mkdirSync(join(out, 'benchmarks'), { recursive: true })
for (const [name, bench] of Object.entries(BENCHES)) {
  const { subjects, stop } = await bench.start()
  try {
    const measured = await measure(subjects, rounds)
    const file = `benchmarks/${name}.svg`
    writeFileSync(join(out, file), chart(measured))
    sections.push(section(bench, measured, rounds, file))
  } finally {
    await stop()
  }
}
writeFileSync(join(out, 'benchmarks.md'), page(sections))
console.log(sections.join('\n\n'))
