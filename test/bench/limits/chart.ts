import { GATE_TITLES } from './gates/gate.ts'
import { type Compared, num, percent } from './section.ts'

const WIDTH = 820
const LABEL = 260
const PANEL = 200
const GAP = 70
const BAR = 20
const ROW = 34
const TOP = 56

interface Panel {
  readonly title: string
  readonly left: number
  readonly color: string
  readonly value: (compared: Compared) => number
  readonly text: (value: number) => string
}

const PANELS: readonly Panel[] = [
  {
    title: 'admitted beyond the limit, share of B',
    left: LABEL,
    color: '#d1632f',
    value: ({ over }) => over,
    text: percent,
  },
  {
    title: 'store calls for 1,000 requests',
    left: LABEL + PANEL + GAP,
    color: '#2f7dd1',
    value: ({ transactions }) => transactions,
    text: num,
  },
]

/** Two bars for each limiter: what it admits too much, and what it costs. In greys and hues that both themes show. */
export function chart(compared: readonly Compared[]): string {
  const height = TOP + compared.length * ROW + 10
  const labels = compared.map(({ gate }, index) => {
    return `<text x="${LABEL - 12}" y="${TOP + index * ROW + 15}" text-anchor="end">${GATE_TITLES[gate]}</text>`
  })
  const processes = Math.max(...compared.map(({ processes }) => processes))
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="system-ui, sans-serif" font-size="13" fill="#777">`,
    '<title>Over-admission and store calls of limiters</title>',
    `<text x="${LABEL}" y="18" font-weight="600">${processes} processes</text>`,
    ...labels,
    ...PANELS.flatMap((panel) => barsOf(panel, compared)),
    '</svg>',
    '',
  ].join('\n')
}

/** The chart's figures, for those who can't see it. */
export function chartText(compared: readonly Compared[]): string {
  const each = compared.map(
    ({ gate, over, transactions }) =>
      `${GATE_TITLES[gate]}: ${percent(over)} beyond the limit, ${num(transactions)} store calls for 1,000 requests`,
  )
  return `${each.join('; ')}.`
}

function barsOf({ title, left, color, value, text }: Panel, compared: readonly Compared[]): string[] {
  const most = Math.max(...compared.map(value), Number.MIN_VALUE)
  return [
    `<text x="${left}" y="42">${title}</text>`,
    ...compared.flatMap((each, index) => {
      const top = TOP + index * ROW
      const width = Math.max(1, (value(each) / most) * PANEL)
      return [
        `<rect x="${left}" y="${top}" width="${width.toFixed(1)}" height="${BAR}" rx="3" fill="${color}"/>`,
        `<text x="${(left + width + 8).toFixed(1)}" y="${top + 15}">${text(value(each))}</text>`,
      ]
    }),
  ]
}
