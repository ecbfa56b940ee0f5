import { expect, test } from 'vitest'
import type { UsageReport, UsageSums } from './figures.ts'
import { totalOf } from './sums.ts'
import { reportCsv } from './usage-csv.ts'

const SUMS: UsageSums = {
  requests: 1_234_567,
  answered: 3,
  hits: 2,
  collapsed: 1,
  refused: 0,
  failed: 0,
  tokens: { input: 10, cachedInput: 4, output: 5 },
  costNanoUsd: 1_500_000_001,
  savedNanoUsd: 20,
  unpriced: 0,
  uncertain: 1,
}

function csvOf(rows: UsageReport['rows'], by: UsageReport['by'] = 'consumer'): string {
  return reportCsv({ by, since: 0, until: 1, asOf: 1, rows, total: totalOf(rows), unattributed: [], unreadable: [] })
}

test('numbers stay numbers, each with its unit in the title, and money is exact', () => {
  expect(csvOf([{ name: 'alice', ...SUMS }])).toBe(
    '"consumer","requests","answered","hits","collapsed","refused","failed","inputTokens","cachedInputTokens","outputTokens",' +
      '"costNanoUsd","costUsd","savedNanoUsd","savedUsd","unpricedCalls","uncertainRequests"\r\n' +
      '"alice",1234567,3,2,1,0,0,10,4,5,1500000001,1.500000001,20,0.00000002,0,1\r\n',
  )
})

test('a kind of tokens that one row alone has is a column of all', () => {
  const lines = csvOf([
    { name: 'a', ...SUMS },
    { name: 'b', ...SUMS, tokens: { ...SUMS.tokens, reasoning: 7 } },
  ]).split('\r\n')
  expect(lines.slice(0, 3).map((line) => line.split(',')[10])).toEqual(['"reasoningTokens"', '0', '7'])
})

test.each([
  ['=HYPERLINK("http://evil")', `"'=HYPERLINK(""http://evil"")"`],
  ['+1+cmd', `"'+1+cmd"`],
  ['-2+3', `"'-2+3"`],
  ['@SUM(A1)', `"'@SUM(A1)"`],
  ['\t=1', `"'\t=1"`],
  ['\r=1', `"'\r=1"`],
  ['\n=1', `"'\n=1"`],
  ['＝1+1', `"'＝1+1"`],
  // No separator of any country ends the cell, nor does a quote.
  ['a,=1', '"a,=1"'],
  ['a;=1', '"a;=1"'],
  ['a",=1,"', '"a"",=1,"""'],
  ['a\r\n=1', '"a\r\n=1"'],
  ['', '""'],
])('%j is a text to a spreadsheet, and no formula', (name, cell) => {
  expect(csvOf([{ name, ...SUMS }])).toContain(`\r\n${cell},1234567,`)
})

test('a kind of tokens that a model’s server made up is no formula either', () => {
  const text = csvOf([{ name: 'a', ...SUMS, tokens: { ...SUMS.tokens, '=1+1': 1 } }])
  expect(text.split('\r\n')[0]).toContain(`,"'=1+1Tokens",`)
})
