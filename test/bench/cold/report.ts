import { machine } from '../machine.ts'
import type { Section } from '../workbench/section.ts'
import { bars, sectionText } from '../workbench/section-text.ts'

/** The page of a run. */
export function page(sections: readonly Section[]): string {
  return [
    '# How fast it starts, and how much memory it keeps',
    '',
    '`npm run bench:cold` measures and writes this page (about ten minutes). Machines differ, and are noisy: compare rows,',
    'not pages.',
    '',
    ...bars(sections.flatMap(({ bars }) => bars)),
    ...sections.flatMap(sectionText),
    `Measured on ${machine()}.`,
    '',
  ].join('\n')
}
