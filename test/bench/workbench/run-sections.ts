import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { ROOT } from '../../support/host.ts'
import { closing } from './closing.ts'
import type { Section } from './section.ts'
import type { Measure } from './workbench.ts'

export interface SectionsRun {
  readonly sections: readonly Section[]
  /** The folder to write to; `undefined` where nothing is to be written. */
  readonly out: string | undefined
}

export const SECTION_OPTIONS = {
  quick: { type: 'boolean', default: false },
  only: { type: 'string' },
  out: { type: 'string' },
} as const

interface SectionOptions {
  readonly quick: boolean
  readonly only?: string | undefined
  readonly out?: string | undefined
}

/**
 * Measures sections one after the other, each with what it has started closed before the next, by the command's arguments.
 * --quick: so short that the figures mean nothing. --only <section>: that section. --out <folder>: where to write; with
 * --quick or --only, nothing is written without it.
 */
export async function runSections(
  all: Readonly<Record<string, Measure>>,
  values: SectionOptions = parseArgs({ options: SECTION_OPTIONS }).values,
): Promise<SectionsRun> {
  const { quick, only } = values
  if (only !== undefined && all[only] === undefined) {
    throw new Error(`--only takes one of ${Object.keys(all).join(', ')}`)
  }
  const out = values.out ?? (quick || only !== undefined ? undefined : join(ROOT, 'docs'))

  const folder = mkdtempSync(join(tmpdir(), 'tollgate-bench-'))
  let current = closing()
  for (const signal of ['SIGINT', 'SIGTERM'] as const) {
    process.once(signal, () => void current.close().finally(() => process.exit(1)))
  }
  try {
    const sections: Section[] = []
    for (const [name, measure] of Object.entries(all)) {
      if (only !== undefined && name !== only) continue
      current = closing()
      try {
        sections.push(...(await measure({ quick, folder, closing: current })))
      } finally {
        await current.close()
      }
    }
    return { sections, out }
  } finally {
    rmSync(folder, { recursive: true, force: true })
  }
}
