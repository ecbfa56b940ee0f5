/*
 * `npm run bench:cold`: starts apps from nothing, and watches one's memory; writes docs/cold-start.md.
 * --quick: so short that the figures mean nothing. --only <section>: that section. --out <folder>: where to write; with
 * --quick or --only, nothing is written without it.
 */
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { runSections } from '../workbench/run-sections.ts'
import { page } from './report.ts'
import { memory } from './sections/memory.ts'
import { start } from './sections/start.ts'

const { sections, out } = await runSections({ start, memory })
const text = page(sections)
console.log(text)
if (out !== undefined) {
  mkdirSync(out, { recursive: true })
  writeFileSync(join(out, 'cold-start.md'), text)
}
