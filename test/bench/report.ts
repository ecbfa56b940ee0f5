import type { Measured, Rounds } from './harness.ts'
import { machine } from './machine.ts'
import type { Spread } from './statistics.ts'

export interface Bench {
  readonly title: string
  readonly method: string
  readonly findings: (measured: readonly Measured[]) => string[]
}

/** A number with three digits that matter, or more before the point. */
export function num(value: number | undefined): string {
  if (value === undefined || Number.isNaN(value)) return 'not told'
  return value >= 100 ? Math.round(value).toLocaleString('en') : value.toPrecision(3)
}

export function ratio(value: number | undefined, by: number | undefined): string {
  return value === undefined || by === undefined ? 'not told' : (value / by).toFixed(1)
}

export const withSpread = ({ median, least, most }: Spread) => `${num(median)} (${num(least)}–${num(most)})`

/** A bench's section of the page: how it was measured, on what, the table, and what it says. */
export function section(
  { title, method, findings }: Bench,
  measured: readonly Measured[],
  { rounds, seconds, warmUpSeconds }: Rounds,
  chart: string,
): string {
  const processes = [...new Set(measured.flatMap(({ cpu }) => Object.keys(cpu)))]
  const head = ['', 'requests/s', 'median ms', '99th ms', ...processes.map((name) => `${name}: CPU ms/request`)]
  const rows = measured.map(({ name, requestsPerSecond, p50, p99, cpu }) => [
    name,
    withSpread(requestsPerSecond),
    withSpread(p50),
    withSpread(p99),
    ...processes.map((process) => (cpu[process] === undefined ? '' : withSpread(cpu[process]))),
  ])
  return [
    `## ${title}`,
    '',
    `![${measured.map(({ name, cpu }) => `${name}: ${num(cpu.gateway?.median)} ms`).join('; ')} of processor time a request.](${chart})`,
    '',
    ...table(head, rows),
    '',
    `The median of ${rounds} rounds, in parentheses the least and the most. A round is ${seconds} s of each row in turn, after a warm-up of ${warmUpSeconds} s each. Processor time is the operating system's count for the process.`,
    '',
    ...findings(measured).map((text) => `- ${text}`),
    '',
    method,
    '',
    `Measured on ${machine()}.`,
  ].join('\n')
}

/** A table's lines. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const line = (cells: readonly string[]) => `| ${cells.join(' | ')} |`
  return [line(head), line(head.map(() => '---')), ...rows.map(line)]
}

export function page(sections: readonly string[]): string {
  return [
    '# Benchmarks',
    '',
    '`npm run bench` measures and writes this page. Machines differ, and are noisy: compare rows, not pages.',
    '',
    ...sections,
    '',
  ].join('\n')
}

const WIDTH = 760
const LABEL = 180
const BAR = 22
const GAP = 14

/** Bars of the gateway's processor time a request, with the least and the most as a line. */
export function chart(measured: readonly Measured[]): string {
  const bars = measured.map(({ name, cpu }) => ({ name, value: cpu.gateway }))
  const most = Math.max(...bars.map(({ value }) => value?.most ?? 0), Number.MIN_VALUE)
  const x = (value: number) => LABEL + (value / most) * (WIDTH - LABEL - 90)
  const height = bars.length * (BAR + GAP) + 50
  const rows = bars.flatMap(({ name, value }, index) => {
    const top = 36 + index * (BAR + GAP)
    const middle = top + BAR / 2
    if (value === undefined || Number.isNaN(value.median)) return []
    const at = (from: number) => x(from).toFixed(1)
    return [
      `<text x="${LABEL - 10}" y="${middle + 5}" text-anchor="end">${name}</text>`,
      `<rect x="${LABEL}" y="${top}" width="${(x(value.median) - LABEL).toFixed(1)}" height="${BAR}" rx="3" fill="#2f7dd1"/>`,
      `<path d="M${at(value.least)} ${middle}H${at(value.most)}" stroke="#e0912f" stroke-width="3"/>`,
      `<text x="${(x(value.most) + 8).toFixed(1)}" y="${middle + 5}">${num(value.median)} ms</text>`,
    ]
  })
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="14" fill="#777">`,
    '<title>Processor time a request</title>',
    `<text x="${LABEL}" y="20" font-weight="600">processor time a request, milliseconds: median, least to most</text>`,
    ...rows,
    '</svg>',
    '',
  ].join('\n')
}
