import { trace } from '@tollgate/middleware'
import { beforeAll, expect, test } from 'vitest'
import { type LogLine, logLines } from '../support/log-lines.ts'
import { eventsIn, queryFaults } from './kql.ts'
import { of, readTemplate } from './template.ts'

const alerts = readTemplate('infra/modules/alerts.bicep')
const queries = of(alerts, 'var').filter(({ name }) => name.endsWith('Query'))
const each = test.each(queries.map(({ name, node }) => [name, node.text] as const))

let lines: readonly LogLine[]
beforeAll(async () => {
  lines = await logLines()
})

/** The line that one request leaves in the log, as a trace's Message holds it. */
async function logLine(signal = new AbortController().signal): Promise<string> {
  const lines: string[] = []
  const entry = trace({
    refuse: ({ status }) => ({ kind: 'response', status, headers: {}, body: null }),
    handler:
      () =>
      async (_request, { tell }) => {
        tell({ costNanoUsd: 1_500 })
        return { kind: 'refusal', code: 'rate_limit_exceeded', status: 429, message: 'Too many requests.' }
      },
  })
  const request = {
    method: 'POST',
    url: new URL('https://tollgate.test/api/generate'),
    headers: new Headers(),
    body: null,
    clientAddress: '192.0.2.1',
    signal,
  }
  await entry(request, (_level, line) => lines.push(JSON.stringify(line)))
  return lines.at(-1) ?? ''
}

each('%s finds the lines that it is about', (_name, query) => {
  expect(query.match(/Message contains '([^']+)'/g)).toHaveLength(1)
  expect([...query.matchAll(/\bline\.(\w+)/g)].length).toBeGreaterThan(0)
  expect(queryFaults(query, lines)).toEqual([])
  const written = new Set(lines.map(({ event }) => event))
  for (const event of eventsIn(query)) expect(written).toContain(event)
})

test('the line says what the queries compare', async () => {
  expect(JSON.parse(await logLine())).toMatchObject({ event: 'request', status: 429, costNanoUsd: 1_500 })
})

test('H1: a client that left counts neither for nor against the gateway', async () => {
  const { status } = JSON.parse(await logLine(AbortSignal.abort()))
  expect(status).toBe(499)
  const conditions = queries.flatMap(({ node }) => [...node.text.matchAll(/toint\(line\.status\) (\S+) (\d+)/g)])
  // The refusals' and the models' leave it out; 5xx are counted of all, and of the models.
  const expected = ['!= 499', '!= 499', '== 429', '>= 500', '>= 500']
  expect(conditions.map(([, sign, number]) => `${sign} ${number}`).sort()).toEqual(expected)
})

test('a model’s service that fails is told from a caller’s mistake, and from what was not asked', () => {
  const { text = '' } = queries.find(({ name }) => name === 'upstreamQuery')?.node ?? {}
  const asked = lines.filter((line) => line.event === 'request' && ('usage' in line || 'upstream' in line))
  expect(text).toContain('(isnotnull(line.usage) or isnotnull(line.upstream))')
  // Two answers, and three failures: neither the hit, nor what a limit refused, nor the client that left.
  expect(asked.map(({ status }) => status)).toEqual([200, 200, 502, 502, 502])
})

each('%s weighs what was sampled', (_name, query) => {
  expect(query).toContain('ItemCount')
})

test('every query has an alert, which measures a column of it', () => {
  const { text } = alerts
  const rules = [...text.matchAll(/query: (\w+Query)\n\s+column: '(\w+)'/g)].map(([, query = '', column = '']) => ({
    query,
    column,
  }))
  expect(rules.map(({ query }) => query).sort()).toEqual(queries.map(({ name }) => name).sort())
  for (const { query, column } of rules) {
    expect(queries.find(({ name }) => name === query)?.node.text).toContain(`${column} = `)
  }
})

test('an alert is split by columns of its query', () => {
  const split = [...alerts.text.matchAll(/query: (\w+Query)[^{}]*splitBy: \['(\w+)'\]/g)]
  expect(split.length).toBeGreaterThan(0)
  for (const [, query, column] of split) {
    expect(queries.find(({ name }) => name === query)?.node.text).toMatch(new RegExp(`project ${column},`))
  }
})
