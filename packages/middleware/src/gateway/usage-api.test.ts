import { beforeEach, describe, expect, test } from 'vitest'
import { baseContext, replyText, request } from '../../../../test/support/base-context.ts'
import { type HttpResponse, StoreUnavailable } from '../pipeline/index.ts'
import type { UsageQuery, UsageReport, UsageRow, UsageSums } from '../usage/index.ts'
import type { Reading } from './create-gateway.ts'
import { readEntry } from './read-entry.ts'
import { usageApi } from './usage-api.ts'

/* The requests that the page of usage takes, and how it answers; what the ledger says is played. */

const NOW = Date.UTC(2026, 10, 27, 12)
const SUMS: UsageSums = {
  requests: 2,
  answered: 1,
  hits: 0,
  collapsed: 0,
  refused: 1,
  failed: 0,
  tokens: { input: 10, cachedInput: 0, output: 5 },
  costNanoUsd: 1_500_000,
  savedNanoUsd: 0,
  unpriced: 1,
  uncertain: 0,
}
const REPORT: UsageReport = {
  by: 'consumer',
  since: NOW - 60_000,
  until: NOW,
  asOf: NOW - 10_000,
  rows: [{ name: 'alice', ...SUMS }],
  total: SUMS,
  unattributed: [
    { subject: 'consumer:alice', limit: 'usd', measure: 'money', windowStart: NOW - 60_000, units: 1_234_567_890 },
    { subject: 'plan:pro', limit: 'tokens', measure: 'tokens', windowStart: NOW - 60_000, units: 40 },
  ],
  unreadable: ['s-2026112720/05-0123456789ab-000001'],
}
const ROW: UsageRow = {
  id: '1',
  requestId: 'a/b?c%',
  call: 0,
  startedAt: NOW - 1,
  ms: 12.5,
  status: 200,
  outcome: 'answered',
  usage: { input: 10, cachedInput: 0, output: 5 },
  reserved: { input: 20, output: 100, costNanoUsd: 2_000 },
  costNanoUsd: 1_000,
  attempts: [{ model: 'm', target: 't', ms: 3, costNanoUsd: 1_000, price: { rates: { input: 100_000 } } }],
  steps: [{ name: 'key', decision: 'known', ms: 0.1 }],
  left: [{ limit: 'usd', measure: 'money', of: 5_000_000_000, left: 4 }],
}

let queries: UsageQuery[]
let asked: [string, object][]
let lines: Readonly<Record<string, unknown>>[]
let fail: Error | undefined
let hold: Promise<void>
beforeEach(() => {
  hold = Promise.resolve()
  queries = []
  asked = []
  lines = []
  fail = undefined
})

const REFUSALS = [{ code: 'insufficient_quota', limit: 'usd', requests: 2 }]
const SHADOW = {
  by: 'consumer' as const,
  since: NOW - 60_000,
  until: NOW,
  asOf: NOW,
  rows: [{ name: 'alice', judged: 5, wouldRefuse: 2, unknown: 1, refusals: REFUSALS }],
  total: { judged: 5, wouldRefuse: 2, unknown: 1, refusals: REFUSALS },
  unreadable: [],
}

const handler = usageApi({
  wallClock: () => NOW,
  reader: {
    async report(query) {
      queries.push(query)
      await hold
      if (fail) throw fail
      return REPORT
    },
    async shadow(query) {
      queries.push(query)
      return SHADOW
    },
    async why(requestId, query) {
      asked.push([requestId, query])
      return [ROW]
    },
  },
})
const entry = readEntry(
  () => (input, context) => handler(input, { ...baseContext(), ...context } as unknown as Reading & typeof context),
)

async function ask(path: string, method = 'GET', signal = request.signal) {
  const url = new URL(`http://127.0.0.1/api/usage${path}`)
  const response: HttpResponse = await entry({ ...request, method, url, signal }, (_level, line) => lines.push(line))
  const text = await replyText(response)
  const isJson = response.headers['content-type'] === 'application/json'
  return { ...response, text, json: isJson ? JSON.parse(text) : undefined }
}

describe('GET /usage', () => {
  test('tells what a shadow revision would have refused', async () => {
    const { json } = await ask('?shadow=true&by=consumer')
    const sums = { judged: 5, would_refuse: 2, unknown: 1, refusals: REFUSALS }
    expect(json).toMatchObject({ shadow: true, by: 'consumer', rows: [{ name: 'alice', ...sums }], total: sums })
    const { text } = await ask('?shadow=true&format=csv')
    expect(text.split('\r\n')).toEqual([
      '"consumer","would_refuse","limit","requests","judged"',
      '"alice","insufficient_quota","usd",2,5',
      '"alice","unknown","",1,5',
      '',
    ])
    expect(await ask('?shadow=true&by=target')).toMatchObject({ status: 400 })
    expect(await ask('?shadow=perhaps')).toMatchObject({ status: 400 })
  })

  test('tells figures with their units, when they are from, and what is in no row', async () => {
    const { status, headers, json } = await ask('?by=model&since=1h&until=10m&consumer=alice&model=')
    expect(queries).toEqual([
      { by: 'model', since: NOW - 3_600_000, until: NOW - 600_000, consumer: 'alice', model: '' },
    ])
    expect([status, headers['cache-control'], headers['content-type']]).toEqual([200, 'no-store', 'application/json'])
    const figures = {
      requests: 2,
      answered: 1,
      hits: 0,
      collapsed: 0,
      refused: 1,
      failed: 0,
      tokens: { input: 10, cachedInput: 0, output: 5 },
      costNanoUsd: 1_500_000,
      costUsd: '0.0015',
      savedNanoUsd: 0,
      savedUsd: '0',
      unpricedCalls: 1,
      uncertainRequests: 0,
    }
    expect(json).toEqual({
      by: 'consumer',
      since: '2026-11-27T11:59:00.000Z',
      until: '2026-11-27T12:00:00.000Z',
      asOf: '2026-11-27T11:59:50.000Z',
      rows: [{ name: 'alice', ...figures }],
      total: figures,
      unattributed: [
        {
          subject: 'consumer:alice',
          limit: 'usd',
          measure: 'money',
          windowStart: '2026-11-27T11:59:00.000Z',
          nanoUsd: 1_234_567_890,
          usd: '1.23456789',
        },
        {
          subject: 'plan:pro',
          limit: 'tokens',
          measure: 'tokens',
          windowStart: '2026-11-27T11:59:00.000Z',
          tokens: 40,
        },
      ],
      unreadable: ['s-2026112720/05-0123456789ab-000001'],
    })
  })

  test.each(['', '/', '?format=json'])('is served at /usage%s', async (path) => {
    expect((await ask(path)).json.rows).toHaveLength(1)
  })

  test('writes CSV for a spreadsheet', async () => {
    const { status, headers, text } = await ask('?format=csv')
    expect([status, headers['content-type'], headers['cache-control']]).toEqual([
      200,
      'text/csv; charset=utf-8',
      'no-store',
    ])
    expect(text).toMatch(/^"consumer","requests",.*\r\n"alice",2,1,0,0,1,0,10,0,5,1500000,0\.0015,0,0,1,0\r\n$/)
  })

  test.each([
    ['?by=user', 'by', "'by' must be consumer, model or target."],
    ['?since=yesterday', 'since', "'since' must be a span back from now such as 30m, 12h or 7d, or a date in UTC"],
    ['?format=xml', 'format', "'format' must be json or csv."],
    ['?form=csv', 'form', "'form' is no parameter here. There are: by, since, until, consumer, model, shadow, format."],
    ['?by=model&by=target', 'by', "'by' stands there twice: send it once."],
    ['?__proto__=1', '__proto__', 'is no parameter here'],
    ['/requests/x?by=model', 'by', "'by' is no parameter here. There are: since, until."],
    ['/requests/x?since=1w', 'since', "'since' must be a span back"],
  ])('%s is a 400 that names the parameter and the fix', async (path, param, message) => {
    const { status, headers, json } = await ask(path)
    expect([status, headers['cache-control']]).toEqual([400, 'no-store'])
    expect(json).toEqual({ error: expect.stringContaining(message), code: 'invalid_request', param })
    expect([queries, asked]).toEqual([[], []])
  })

  test('a name that is no parameter is not repeated at length', async () => {
    expect((await ask(`?${'x'.repeat(5_000)}=1`)).text.length).toBeLessThan(250)
  })

  test('four reports are read at once, the others wait their turn, and those whose client has left are not read', async () => {
    const { promise, resolve } = Promise.withResolvers<void>()
    hold = promise
    const left = new AbortController()
    const asked = Array.from({ length: 6 }, () => ask(''))
    const leaving = ask('', 'GET', left.signal)
    await new Promise((settled) => setImmediate(settled))
    expect(queries).toHaveLength(4)
    left.abort(new DOMException('The client has left', 'AbortError'))
    expect((await leaving).status).toBe(499)
    resolve()
    expect((await Promise.all(asked)).map(({ status }) => status)).toEqual([200, 200, 200, 200, 200, 200])
    expect(queries).toHaveLength(6)
  })

  test('tables that can’t be reached are a 503, a defect is a 500', async () => {
    fail = new StoreUnavailable('down')
    const { status, headers, json } = await ask('')
    expect([status, headers['retry-after'], json.code]).toEqual([503, '1', 'store_unavailable'])
    expect(lines[0]).toMatchObject({ event: 'usage not read', fault: 'StoreUnavailable' })
    fail = new TypeError('x is not a function')
    expect((await ask('')).status).toBe(500)
  })
})

describe('GET /usage/requests/{id}', () => {
  test('tells all requests of an id, whatever stands in it', async () => {
    const { status, json } = await ask(`/requests/${encodeURIComponent('a/b?c%')}?since=2d`)
    expect(asked).toEqual([['a/b?c%', { since: NOW - 2 * 86_400_000, until: NOW }]])
    expect(status).toBe(200)
    expect(json).toMatchObject({
      requestId: 'a/b?c%',
      since: '2026-11-25T12:00:00.000Z',
      until: '2026-11-27T12:00:00.000Z',
    })
    expect(json.requests).toEqual([
      {
        id: '1',
        requestId: 'a/b?c%',
        startedAt: '2026-11-27T11:59:59.999Z',
        call: 0,
        ms: 12.5,
        status: 200,
        outcome: 'answered',
        steps: ROW.steps,
        tokens: ROW.usage,
        reserved: { tokens: { input: 20, output: 100 }, costNanoUsd: 2_000, costUsd: '0.000002' },
        costNanoUsd: 1_000,
        costUsd: '0.000001',
        attempts: [
          {
            model: 'm',
            target: 't',
            ms: 3,
            costNanoUsd: 1_000,
            costUsd: '0.000001',
            pricePicoUsd: { rates: { input: 100_000 } },
          },
        ],
        left: [{ limit: 'usd', counts: 'nanoUsd', of: 5_000_000_000, left: 4 }],
      },
    ])
  })

  test('an id that repeats the path is only an id', async () => {
    await ask('/requests/x/usage/requests/y')
    expect(asked.map(([id]) => id)).toEqual(['x/usage/requests/y'])
  })
})

test.each([
  ['/requests', 'GET', 404],
  ['/requests/', 'GET', 404],
  ['/requests/%', 'GET', 404],
  ['/other', 'GET', 404],
  ['', 'POST', 405],
  ['/requests/x', 'DELETE', 405],
])('%s by %s is a %i', async (path, method, status) => {
  const answer = await ask(path, method)
  expect(answer.status).toBe(status)
  if (status === 405) expect(answer.headers.allow).toBe('GET')
})

test('its line is called read, so that it is counted with no request for a model', async () => {
  await ask('')
  expect(lines).toEqual([{ event: 'read', requestId: expect.any(String), status: 200, ms: expect.any(Number) }])
})
