import { trace } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { of, readTemplate } from './template.ts'

const alerts = readTemplate('infra/modules/alerts.bicep')
const queries = of(alerts, 'var').filter(({ name }) => name.endsWith('Query'))

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

test.each(queries.map(({ name, node }) => [name, node.text] as const))(
  '%s finds a request’s line',
  async (_name, query) => {
    const line = await logLine()
    const searched = [...query.matchAll(/Message contains '([^']+)'/g)].map(([, text = '']) => text)
    expect(searched).toHaveLength(1)
    for (const text of searched) expect(line).toContain(text)
    const fields = [...query.matchAll(/\bline\.(\w+)/g)].map(([, field = '']) => field)
    expect(fields.length).toBeGreaterThan(0)
    for (const field of fields) expect(JSON.parse(line)).toHaveProperty(field)
  },
)

test('the line says what the queries compare', async () => {
  expect(JSON.parse(await logLine())).toMatchObject({ event: 'request', status: 429, costNanoUsd: 1_500 })
})

test('H1: a client that left counts neither for nor against the gateway', async () => {
  const { status } = JSON.parse(await logLine(AbortSignal.abort()))
  expect(status).toBe(499)
  const conditions = queries.flatMap(({ node }) => [...node.text.matchAll(/toint\(line\.status\) (\S+) (\d+)/g)])
  expect(conditions.map(([, sign, number]) => `${sign} ${number}`).sort()).toEqual(['!= 499', '== 429', '>= 500'])
})

test.each(queries.map(({ name, node }) => [name, node.text] as const))('%s weighs what was sampled', (_name, query) => {
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
