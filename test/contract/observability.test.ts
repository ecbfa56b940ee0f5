import { readdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { type MetricNames, metricsText } from '@tollgate/middleware'
import { beforeAll, describe, expect, test } from 'vitest'
import { eventsIn, queryFaults } from '../infra/kql.ts'
import { ROOT } from '../support/host.ts'
import { type LogLine, logLines } from '../support/log-lines.ts'
import { SOME_TOTALS } from '../support/model-figures.ts'
import { parseMetrics } from '../support/prometheus.ts'

/* docs/observability.md, with its queries and telemetry, against what is written: fields of the log line, metrics, queries and alerts. */

const read = (file: string) => readFileSync(join(ROOT, file), 'utf8')
const page = read('docs/observability.md')
const section = (heading: string) => page.split(`\n## ${heading}\n`)[1]?.split('\n## ')[0] ?? ''
const queries = [
  ...`${read('docs/queries.md')}${read('docs/telemetry.md')}`.matchAll(/^```kusto\n\/\/ ([^\n]*)\n([\s\S]*?)^```$/gm),
].map(([, title = '', query = '']) => [title, query] as const)

let lines: readonly LogLine[]
beforeAll(async () => {
  lines = await logLines()
})

/** The names in the first column of a part's tables. */
function namesIn(text: string): string[] {
  const first = [...text.matchAll(/^\| (`[^|]*`) \|/gm)].map(([, cell = '']) => cell)
  return first.flatMap((cell) => [...cell.matchAll(/`([^`]+)`/g)].map(([, name = '']) => name))
}

describe('the fields of a request’s line', () => {
  const documented = namesIn(section('The log line').split('\n### ')[0] ?? '')
  /** What is told, of which the ledger alone has these. */
  const NOT_IN_THE_LINE = ['outlived']
  const [, told = ''] =
    /^export interface Facts \{([\s\S]*?)^\}/m.exec(read('packages/middleware/src/pipeline/facts.ts')) ?? []
  const facts = [...told.matchAll(/^ {2}readonly (\w+)\??:/gm)].map(([, name = '']) => name)
  /** By `trace`, and by the adapter to the host. */
  const added = ['event', 'requestId', 'traceId', 'status', 'ms', 'refusal', 'stream', 'target', 'invocationId']

  test('are all on the page, and no others', () => {
    expect(facts).toContain('policy')
    const expected = [...facts.filter((name) => !NOT_IN_THE_LINE.includes(name)), ...added]
    expect([...documented].sort()).toEqual(expected.sort())
  })

  test('are all that real lines have', () => {
    const written = lines.filter(({ event }) => event === 'request').map((line) => JSON.parse(JSON.stringify(line)))
    const seen = new Set(written.flatMap((line) => Object.keys(line)))
    expect(seen.size).toBeGreaterThan(15)
    for (const name of seen) expect(documented).toContain(name)
  })

  test('are those of the example', () => {
    const [, example = '{}'] = /```json\n(\{"event":"request".*\})\n```/.exec(page) ?? []
    for (const name of Object.keys(JSON.parse(example))) expect(documented).toContain(name)
  })
})

/** Every text in quotes of the sources: an event is one. */
const sources = ['packages', 'functions']
  .flatMap((folder) =>
    readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' }).map((file) => join(folder, file)),
  )
  .filter((file) => /^(?:functions|packages\/[^/]+\/src)\//.test(file.replaceAll('\\', '/')))
  .filter((file) => file.endsWith('.ts') && !file.endsWith('.test.ts'))
  .map(read)
  .join('\n')

test('the other lines that the page names are written', () => {
  const events = namesIn(section('The log line').split('\n### Other lines\n')[1] ?? '')
  expect(events.length).toBeGreaterThan(6)
  for (const event of events) expect([event, sources.includes(`'${event}'`)]).toEqual([event, true])
})

describe('the metrics', () => {
  const written = (names: MetricNames) =>
    parseMetrics(metricsText(SOME_TOTALS, { names, openMetrics: false, maxBytes: 1e6 })).map(({ name, series }) => ({
      name,
      labels: [...new Set(series.flatMap(({ labels }) => Object.keys(labels)))],
    }))

  test('are on the page with their labels, and no others', () => {
    const rows = [...section('Metrics').matchAll(/^\| `(\w+)` \|([^|]*)\|/gm)]
    const documented = rows.map(([, name = '', labels = '']) => ({
      name,
      labels: [...labels.matchAll(/`(\w+)`/g)].map(([, label = '']) => label),
    }))
    expect(documented).toEqual(written('tollgate'))
  })

  test('of LiteLLM’s names are on the page', () => {
    const names = written('litellm').map(({ name }) => name)
    const documented = [...section('Metrics').matchAll(/`(litellm_\w+)`/g)].map(([, name]) => name)
    expect([...documented].sort()).toEqual(names.filter((name) => name.startsWith('litellm_')).sort())
    expect(names.filter((name) => !name.startsWith('litellm_')).length).toBe(6)
  })
})

describe('the queries', () => {
  const ofSpans = queries.filter(([, query]) => query.startsWith('AppDependencies'))
  const ofLines = queries.filter((each) => !ofSpans.includes(each) && !each[0].startsWith('Everything of one request'))

  test.each(ofSpans)('%s: of attributes that spans have', (_title, query) => {
    const attributes = [...query.matchAll(/Properties\["([^"]+)"\]/g)].map(([, name = '']) => name)
    expect(attributes.length).toBeGreaterThan(0)
    for (const name of attributes) expect([name, sources.includes(`'${name}'`)]).toEqual([name, true])
  })

  test.each(ofLines)('%s', (_title, query) => {
    // Where the text is that of any event, those that no line here has are compared with.
    expect(queryFaults(query, lines)).toEqual([])
    for (const event of eventsIn(query)) expect([event, sources.includes(`'${event}'`)]).toEqual([event, true])
  })

  test('of one request finds all its lines, by its id', () => {
    const [, query = ''] = queries.find(([title]) => title.startsWith('Everything of one request')) ?? []
    expect(query).toMatch(/Message has "[\da-f-]{36}"/)
    const failed = lines.find(({ event }) => event === 'upstream failed')
    const of = lines.filter((line) => JSON.stringify(line).includes(`"${failed?.requestId}"`))
    expect(of.map(({ event }) => event)).toEqual(['upstream failed', 'request'])
  })

  test('answer what is asked most', () => {
    const titles = queries.map(([title]) => title).join('\n')
    for (const what of [/spends/, /refused, by limit/, /slowest/, /failed/, /hit ratio/, /lack/, /one request/]) {
      expect(titles).toMatch(what)
    }
  })
})

test('each alert is on the page, with what to do first', () => {
  const bicep = read('infra/modules/alerts.bicep')
  const titles = [...bicep.matchAll(/^ {4}(?:title|description): '([^']+)'$/gm)].map(([, title = '']) => title)
  const rows = [...section('Alerts').matchAll(/^\| ([^|`]+) \| [^|]+ \|$/gm)].map(([, title = '']) => title)
  expect(titles.length).toBeGreaterThan(6)
  expect(rows.filter((title) => title !== 'alert').sort()).toEqual([...titles].sort())
})
