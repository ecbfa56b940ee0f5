import type { Bar, Section } from '../limits/section.ts'
import { table } from '../report.ts'

/** What must hold, all in one table; lines of Markdown. */
export function bars(all: readonly Bar[]): string[] {
  if (all.length === 0) return []
  const rows = all.map(({ what, bar, figure, met }) => [what, bar, figure, met ? 'yes' : '**no**'])
  return ['## What must hold', '', ...table(['what', 'bar', 'measured', 'met'], rows), '']
}

/** A section of a page, as lines of Markdown. */
export function sectionText({ title, method, tables, findings }: Section): string[] {
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
