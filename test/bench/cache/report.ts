import { bars } from '../limits/report.ts'
import { machine } from '../machine.ts'
import { table } from '../report.ts'
import type { Section } from './section.ts'

/** The page of a run. */
export function page(
  sections: readonly Section[],
  chart: { readonly file: string; readonly alt: string } | undefined,
): string {
  return [
    '# What the completion cache costs, and what it spares',
    '',
    '`npm run bench:cache` measures and writes this page (about twenty minutes). It drives whole gateways, each in a process',
    'of its own, by HTTP. Machines differ, and are noisy: compare rows, not pages.',
    '',
    ...(chart === undefined ? [] : [`![${chart.alt}](${chart.file})`, '']),
    ...bars(sections.flatMap(({ bars, must }) => [...bars, ...must])),
    ...sections.flatMap(section),
    `Measured on ${machine()}, gateways, stores, model and load together.`,
    '',
  ].join('\n')
}

function section({ title, method, tables, findings }: Section): string[] {
  return [
    `## ${title}`,
    '',
    method,
    '',
    ...tables.flatMap(({ head, rows }) => [...table(head, rows), '']),
    ...findings.map((text) => `- ${text}`),
    ...(findings.length > 0 ? [''] : []),
  ]
}
