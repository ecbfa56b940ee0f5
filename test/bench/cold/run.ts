/*
 * `npm run bench:cold`: starts apps from nothing, and watches one's memory; writes docs/cold-start.md.
 * --quick: so short that the figures mean nothing. --only <section>: that section. --out <folder>: where to write; with
 * --quick or --only, nothing is written without it.
 */
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../../support/host.ts'
import { closing } from '../cache/closing.ts'
import type { Section } from '../cache/section.ts'
import type { Measure } from '../cache/workbench.ts'
import { page } from './report.ts'
import { memory } from './sections/memory.ts'
import { start } from './sections/start.ts'

const SECTIONS: Readonly<Record<string, Measure>> = { start, memory }

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    only: { type: 'string' },
    out: { type: 'string' },
  },
})
const { quick, only } = values
if (only !== undefined && SECTIONS[only] === undefined) {
  throw new Error(`--only takes one of ${Object.keys(SECTIONS).join(', ')}`)
}
const out = values.out ?? (quick || only !== undefined ? undefined : join(ROOT, 'docs'))

const folder = mkdtempSync(join(tmpdir(), 'tollgate-cold-bench-'))
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
  const text = page(sections)
  console.log(text)
  if (out !== undefined) {
    mkdirSync(out, { recursive: true })
    writeFileSync(join(out, 'cold-start.md'), text)
  }
} finally {
  rmSync(folder, { recursive: true, force: true })
}
