import { machine } from '../machine.ts'
import type { Bar, Section, Table } from './section.ts'

/** The page of a run. */
export function page(
  sections: readonly Section[],
  chart: { readonly file: string; readonly alt: string } | undefined,
): string {
  return [
    '# How exact the limits are, and what they cost',
    '',
    '`npm run bench:limits` measures and writes this page (about half an hour). It drives the limiter itself, in up to 8',
    'processes over one Azurite and one Redis. Machines differ, and are noisy: compare rows, not pages.',
    '',
    ...(chart === undefined ? [] : [`![${chart.alt}](${chart.file})`, '']),
    ...bars(sections.flatMap(({ bars }) => bars)),
    ...sections.flatMap(section),
    `Measured on ${machine()}, limiters, stores and load generators together.`,
    '',
  ].join('\n')
}

/** What must hold, all in one table. */
export function bars(all: readonly Bar[]): string[] {
  if (all.length === 0) return []
  const rows = all.map(({ what, bar, figure, met }) => [what, bar, figure, met ? 'yes' : '**no**'])
  return ['## What must hold', '', ...table({ head: ['what', 'bar', 'measured', 'met'], rows }), '']
}

function section({ title, method, tables, findings }: Section): string[] {
  return [
    `## ${title}`,
    '',
    method,
    '',
    ...tables.flatMap((its) => [...table(its), '']),
    ...findings.map((text) => `- ${text}`),
    ...(findings.length > 0 ? [''] : []),
  ]
}

function table({ head, rows }: Table): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)]
}
