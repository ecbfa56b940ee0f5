import { dollarsText } from '../pipeline/index.ts'
import type { ShadowReport, UsageReport, UsageSums } from './figures.ts'

/**
 * A report's rows as CSV (RFC 4180), the first line their titles. Without the total, which a spreadsheet would count again, and
 * without what is unattributed, which is no row.
 */
export function reportCsv({ by, rows }: UsageReport): string {
  const kinds = [...new Set(rows.flatMap(({ tokens }) => Object.keys(tokens)))]
  const titles = [...BEFORE_TOKENS, ...kinds.map((kind) => `${kind}Tokens`), ...AFTER_TOKENS]
  const lines = rows.map(({ name, ...sums }) => [textCell(name), ...numberCells(sums, kinds)])
  return [[by, ...titles].map(textCell), ...lines].map((cells) => `${cells.join(',')}\r\n`).join('')
}

/** What a shadow revision would have refused: a line for each code and limit of a row. */
export function shadowCsv({ by, rows }: ShadowReport): string {
  const lines = rows.flatMap(({ name, judged, refusals, unknown }) => {
    const cells = (code: string, limit: string, requests: number) => [
      textCell(name),
      textCell(code),
      textCell(limit),
      requests,
      judged,
    ]
    return [
      ...refusals.map(({ code, limit = '', requests }) => cells(code, limit, requests)),
      ...(unknown > 0 ? [cells('unknown', '', unknown)] : []),
    ]
  })
  const titles = [by, 'would_refuse', 'limit', 'requests', 'judged'].map(textCell)
  return [titles, ...lines].map((cells) => `${cells.join(',')}\r\n`).join('')
}

const BEFORE_TOKENS = ['requests', 'answered', 'hits', 'collapsed', 'refused', 'failed'] as const
const AFTER_TOKENS = [
  'costNanoUsd',
  'costUsd',
  'savedNanoUsd',
  'savedUsd',
  'unpricedCalls',
  'uncertainRequests',
] as const

function numberCells(sums: UsageSums, kinds: readonly string[]): (string | number)[] {
  const { tokens, costNanoUsd, savedNanoUsd, unpriced, uncertain } = sums
  return [
    ...BEFORE_TOKENS.map((figure) => sums[figure]),
    ...kinds.map((kind) => tokens[kind] ?? 0),
    costNanoUsd,
    dollarsText(costNanoUsd),
    savedNanoUsd,
    dollarsText(savedNanoUsd),
    unpriced,
    uncertain,
  ]
}

/** What makes a spreadsheet take a cell for a formula (OWASP, CSV injection), the full-width forms among it. */
const FORMULA = /^[=+\-@\t\r\n＝＋－＠]/

/** A name as a cell that is a text to any spreadsheet: quoted, so that no separator of any country's ends it. */
function textCell(text: string): string {
  return `"${FORMULA.test(text) ? "'" : ''}${text.replaceAll('"', '""')}"`
}
