import type { UsageReport, UsageSums } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { shadowText, usageText } from './usage.ts'

const SINCE = Date.UTC(2026, 10, 20)
const UNTIL = Date.UTC(2026, 10, 27)

function sums(change: Partial<UsageSums> = {}): UsageSums {
  return {
    requests: 0,
    answered: 0,
    hits: 0,
    collapsed: 0,
    refused: 0,
    failed: 0,
    tokens: { input: 0, cachedInput: 0, output: 0 },
    costNanoUsd: 0,
    savedNanoUsd: 0,
    unpriced: 0,
    uncertain: 0,
    ...change,
  }
}

function textOf(change: Partial<UsageReport>): string {
  const report = {
    by: 'consumer',
    since: SINCE,
    until: UNTIL,
    asOf: UNTIL,
    rows: [],
    total: sums(),
    unattributed: [],
    unreadable: [],
  }
  return usageText({ ...report, ...change } as UsageReport, 'Storage: a test')
}

test('a table has a total row, and the points of its figures stand below each other', () => {
  const rows = [
    { name: 'alice', ...sums({ requests: 1_200, costNanoUsd: 12_340_000_000, savedNanoUsd: 500_000_000 }) },
    { name: 'bob', ...sums({ requests: 3, costNanoUsd: 123_000_000 }) },
    { name: 'carol', ...sums({ requests: 1 }) },
  ]
  const total = sums({ requests: 1_204, costNanoUsd: 12_463_000_000, savedNanoUsd: 500_000_000 })
  expect(textOf({ rows, total }).split('\n')).toEqual([
    'CONSUMER  REQUESTS  HITS  COLLAPSED  REFUSED  FAILED  INPUT  OUTPUT     COST   SAVED',
    'alice        1,200     0          0        0       0      0       0  $12.34   $0.500',
    'bob              3     0          0        0       0      0       0   $0.123  $0',
    'carol            1     0          0        0       0      0       0   $0      $0',
    'total        1,204     0          0        0       0      0       0  $12.46   $0.500',
    '',
    'From 2026-11-20 00:00:00 UTC to 2026-11-27 00:00:00 UTC.',
    '',
    'Storage: a test',
  ])
})

test('a target is called, and no more', () => {
  const text = textOf({ by: 'target', rows: [{ name: 'openai:m:1', ...sums({ requests: 2, failed: 1 }) }] })
  expect(text).toMatch(/^TARGET +CALLS +FAILED +INPUT +OUTPUT +COST\nopenai:m:1 +2 +1 +0 +0 +\$0\n/)
})

test('a cost that is not known is no $0, and the reason stands below', () => {
  const row = { name: 'm', ...sums({ requests: 3, unpriced: 2, uncertain: 1 }) }
  const hits = { name: 'h', ...sums({ requests: 3, unpriced: 2, hits: 1 }) }
  expect(textOf({ by: 'model', rows: [hits], total: hits })).toMatch(/^h .* – +–$/m)
  const text = textOf({ by: 'model', rows: [row], total: row })
  expect(text).toMatch(/^m .* – +\$0$/m)
  expect(text).toContain(
    '\n2 calls had no price when made, and so no cost here. Which models have none now: npm run tollgate -- prices\n',
  )
  expect(text).toContain('\n1 request counts with all that was reserved, since the model did not tell ')
})

test('what no row tells of is told, and how old the figures are', () => {
  const text = textOf({
    asOf: UNTIL - 10_000,
    unattributed: [
      { subject: 'consumer:alice', limit: 'usd', measure: 'money', windowStart: SINCE, units: 120_000_000 },
      { subject: 'plan:pro', limit: 'input', measure: 'input', windowStart: SINCE, units: 4_000 },
    ],
  })
  expect(text).toMatch(/^No requests\. .*\n\nFrom .* UTC, as of 2026-11-26 23:59:50 UTC\.\n/)
  expect(text).toContain(`Unattributed: charged to these limits, and in no row above.
  consumer:alice: $0.120000 of limit 'usd' since 2026-11-20 00:00:00 UTC
  plan:pro: 4,000 input tokens of limit 'input' since 2026-11-20 00:00:00 UTC
`)
})

test('what can’t be told is not told to be nothing', () => {
  expect(textOf({ unattributed: undefined })).toContain("Unattributed: not known here, since Redis doesn't say when ")
  const unreadable = Array.from({ length: 12 }, (_, index) => `s-2026112720/05-a-00000${index}`)
  const text = textOf({ unreadable })
  expect(text).toContain(
    '\n\n12 rows of the ledger could not be read, and what only they hold is in no figure:\n  s-2026112720/05-a-000000\n',
  )
  expect(text).toContain('\n  s-2026112720/05-a-000009\n  …\n')
  expect(textOf({ unreadable: ['months/202611'] })).toContain('\n\n1 row of the ledger could not be read')
})

test('those without a name say what they are, and a name can neither forge a row nor speak to the terminal', () => {
  const rows = [
    { name: '', ...sums() },
    { name: 'evil\ntotal  9,999\u001b[31m\u202e', ...sums() },
  ]
  const text = textOf({ rows })
  expect(text).toMatch(/^\(no valid key\) /m)
  expect(text).toMatch(/^evil\?total {2}9,999\?\[31m\? /m)
  expect(text.match(/^total /gm)).toHaveLength(1)
  expect(textOf({ by: 'model', rows })).toMatch(/^\(no model\) /m)
})

test('a shadow revision is told by who would have been refused, and by what', () => {
  const refusals = [
    { code: 'insufficient_quota', limit: 'usd', requests: 10 },
    { code: 'model_not_allowed', requests: 2 },
  ]
  const counts = { judged: 20, wouldRefuse: 12, unknown: 1, refusals }
  const rows = [{ name: 'alice', ...counts }]
  const report = {
    by: 'consumer' as const,
    since: SINCE,
    until: UNTIL,
    asOf: UNTIL,
    rows,
    total: counts,
    unreadable: [],
  }
  const text = shadowText(report, 'Storage: here')
  expect(text).toContain('CONSUMER  JUDGED  WOULD REFUSE  UNKNOWN\nalice         20            12        1')
  expect(text).toMatch(/insufficient_quota +usd +10\nmodel_not_allowed +– +2/)
  expect(shadowText({ ...report, rows: [] }, 'Storage: here')).toContain('No request was judged by a shadow revision.')
})
