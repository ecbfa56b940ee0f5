import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, test } from 'vitest'
import { ROOT } from '../support/host.ts'
import { kqlFaults } from './kql-parser.ts'
import { of, readTemplate } from './template.ts'

const page = ['docs/queries.md', 'docs/telemetry.md'].map((file) => readFileSync(join(ROOT, file), 'utf8')).join('')
const onPage = [...page.matchAll(/^```kusto\n\/\/ ([^\n]*)\n([\s\S]*?)^```$/gm)].map(
  ([, title = '', query = '']) => [title, query] as const,
)
const ofAlerts = of(readTemplate('infra/modules/alerts.bicep'), 'var')
  .filter(({ name }) => name.endsWith('Query'))
  .map(({ name, node }) => [name, /'''\n([\s\S]*?)'''/.exec(node.text)?.[1] ?? ''] as const)

test('queries are found', () => {
  expect(onPage.length).toBeGreaterThan(9)
  expect(ofAlerts.length).toBeGreaterThan(5)
})

test.each([...onPage, ...ofAlerts])('%s: is KQL', (_title, query) => {
  expect(query).toMatch(/^App(?:Traces|Dependencies)$/m)
  expect(kqlFaults(query)).toEqual([])
})

describe('a mistake is found:', () => {
  test.each([
    ['a column that is not there', 'AppTraces | where Mesage contains "x"', 'Mesage'],
    ['an operator that is not there', 'AppTraces | sumarize sum(ItemCount)', 'Query operator expected'],
    ['a function that is not there', 'AppTraces | project parse_jsn(Message)', 'parse_jsn'],
    ['a word of the language as a name', 'AppTraces | summarize last = max(TimeGenerated)', "'last'"],
    ['a string that is added up', 'AppTraces | summarize sum(Message)', 'Message'],
  ])('%s', (_what, query, fault) => {
    expect(kqlFaults(query)).toContainEqual(expect.stringContaining(fault))
  })
})
