import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { PRICED_FIELD_NAMES } from '@tollgate/middleware'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, ROOT, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * What moves a bill beside tokens, tiers and hosted tools, where money is limited: by the bundle on the local host, over real tables
 * and a real HTTP upstream.
 */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost

beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/priced-fields.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = answering()
})

const keyOn = (plan: string) => newKey(open, unique('fields'), plan)
const ask = (path: string, body: string, headers: Record<string, string>) =>
  fetch(`${host.url}/api${path}`, { method: 'POST', headers, body })

test('what moves a bill by what no price says is refused by name where money is limited, and not elsewhere', async () => {
  const rich = { authorization: `Bearer ${await keyOn('rich')}` }
  const asked = (fields: object) => JSON.stringify({ messages: [{ role: 'user', content: unique('f') }], ...fields })
  for (const fields of [{ plugins: [{ id: 'web' }] }, { models: ['dear'] }, { enable_thinking: true }]) {
    const response = await ask('/v1/chat/completions', asked(fields), rich)
    const [param] = Object.keys(fields)
    const body = await response.json()
    expect([response.status, body]).toMatchObject([403, { error: { code: 'field_not_allowed', param } }])
    expect(response.headers.get('x-should-retry')).toBe('false')
  }
  const openai = { ...rich, 'x-tollgate-dry-run': 'true' }
  const dry = await (await ask('/v1/chat/completions', asked({ plugins: [{ id: 'web' }] }), openai)).json()
  expect(dry).toMatchObject({ verdict: 'refused', refusal: { code: 'field_not_allowed', param: 'plugins' } })
  expect(upstream.calls.length).toBe(0)
  const covered = asked({ model: 'covering', enable_thinking: true, max_completion_tokens: 5 })
  expect((await ask('/v1/chat/completions', covered, rich)).status).toBe(200)
  expect(upstream.calls[0]?.body).toMatchObject({ enable_thinking: true, max_tokens: 5 })
  const ample = { authorization: `Bearer ${await keyOn('ample')}` }
  expect((await ask('/v1/chat/completions', asked({ plugins: [{ id: 'web' }] }), ample)).status).toBe(200)
  expect(upstream.calls[1]?.body).toMatchObject({ plugins: [{ id: 'web' }] })
})

test('a model that searches in each request costs a search, or is refused where that has no price', async () => {
  const rich = { authorization: `Bearer ${await keyOn('rich')}` }
  const asked = (model: string) =>
    JSON.stringify({ model, messages: [{ role: 'user', content: unique('s') }], max_tokens: 5 })
  const dry = await ask('/v1/chat/completions', asked('searching'), { ...rich, 'x-tollgate-dry-run': 'true' })
  const { worst } = JSON.parse(await dry.text())
  expect(worst).toEqual({ input_tokens: 4_000, output_tokens: 5, nano_usd: 4_005 * 1_000 + 10_000_000 })
  const response = await ask('/v1/chat/completions', asked('searching'), rich)
  const { usage } = JSON.parse(await response.text())
  expect(Number(response.headers.get('x-tollgate-cost'))).toBeCloseTo(0.01 + usage.total_tokens / 1e6, 9)
  const unpriced = await ask('/v1/chat/completions', asked('unsearched'), rich)
  expect([unpriced.status, JSON.parse(await unpriced.text()).error]).toMatchObject([
    403,
    { code: 'tool_not_allowed', param: 'model', message: expect.stringContaining('price.tools.web_search') },
  ])
  expect(upstream.calls.length).toBe(1)
})

test('the page names each field that is known', () => {
  const page = readFileSync(join(ROOT, 'docs/prices.md'), 'utf8')
  const [, table = ''] = /### Fields that move a bill\n([\s\S]*?)\n### /.exec(page) ?? []
  const named = [...table.matchAll(/`(\w+)`/g)].map(([, name]) => name)
  expect(PRICED_FIELD_NAMES.filter((name) => !named.includes(name))).toEqual([])
})
