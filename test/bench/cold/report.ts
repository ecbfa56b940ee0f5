import type { Section } from '../cache/section.ts'
import { bars } from '../limits/report.ts'
import { machine } from '../machine.ts'
import { table } from '../report.ts'

/** The page of a run. */
export function page(sections: readonly Section[]): string {
  return [
    '# How fast it starts, and how much memory it keeps',
    '',
    '`npm run bench:cold` measures and writes this page (about ten minutes). Machines differ, and are noisy: compare rows,',
    'not pages.',
    '',
    ...bars(sections.flatMap(({ bars }) => bars)),
    ...sections.flatMap(({ title, method, tables, findings }) => [
      `## ${title}`,
      '',
      method,
      '',
      ...tables.flatMap(({ head, rows }) => [...table(head, rows), '']),
      ...findings.map((text) => `- ${text}`),
      '',
    ]),
    `Measured on ${machine()}.`,
    '',
  ].join('\n')
}
