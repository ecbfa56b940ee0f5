import { hash } from 'node:crypto'
import { afterAll, beforeAll, beforeEach, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* Prompts of a route with transforms, by the bundle on the local host, over real tables and a real HTTP upstream. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/transforms.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
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

const ask = (key: string, body: object) => generate(host, JSON.stringify(body), { 'x-api-key': key })
const consumer = () => newKey(open, unique('ample'), 'ample')

const DOCUMENT = `<document>\n${'The pump must be primed before it is started. '.repeat(20)}\n</document>`
const ROWS = [{ id: 1, name: 'Pump' }]
const asked = (question: string) =>
  `${DOCUMENT}\r\n${DOCUMENT}\r\n<data>${JSON.stringify(ROWS, null, 4)}</data>\r\n${question}`
const sent = (question: string) => `${DOCUMENT}\n<data>${JSON.stringify(ROWS)}</data>\n${question}`

test('the model reads the transformed prompt; the log says what that saved, and of which prompt', async () => {
  const question = unique('Why?')
  const { status, headers } = await ask(await consumer(), { prompt: asked(question) })
  expect(status).toBe(200)
  expect(upstream.calls[0]?.body.messages).toContainEqual({ role: 'user', content: sent(question) })
  const line = await logged(headers.get('x-request-id') ?? '')
  expect(line.promptHash).toBe(hash('sha256', asked(question), 'base64url'))
  expect(line.savedTokens).toBeGreaterThan(200)
  expect(line.savedTokens).toBeLessThan(300)
})

test('two layouts of one question are one question to the cache, and a hit saves no tokens of a prompt', async () => {
  const key = await consumer()
  const question = unique('Why?')
  await ask(key, { prompt: asked(question) })
  const { headers } = await ask(key, { prompt: asked(question).replaceAll('\r\n', '\n') })
  expect(headers.get('cache-status')).toContain('hit')
  expect(upstream.calls).toHaveLength(1)
  expect(await logged(headers.get('x-request-id') ?? '')).not.toHaveProperty('savedTokens')
})

test('a stream’s line says what was saved too', async () => {
  upstream.reply = streaming(['a', 'b'])
  const response = await fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': await consumer() },
    body: JSON.stringify({ prompt: asked(unique('Why?')), stream: true }),
  })
  await response.text()
  expect((await logged(response.headers.get('x-request-id') ?? '')).savedTokens).toBeGreaterThan(200)
})

test('a prompt in which there is nothing to take out is sent as it came', async () => {
  const prompt = `${unique('Is { "a":  1 } JSON?')}\n\n${DOCUMENT}`
  const { headers } = await ask(await consumer(), { prompt })
  expect(upstream.calls[0]?.body.messages).toContainEqual({ role: 'user', content: prompt })
  expect(await logged(headers.get('x-request-id') ?? '')).not.toHaveProperty('savedTokens')
})

/** The line that the gateway logs of a finished request. */
async function logged(requestId: string): Promise<Record<string, unknown>> {
  const find = () =>
    host
      .output()
      .split('\n')
      .find((each) => each.includes(requestId) && each.includes('"event":"request"'))
  await expect.poll(find).toBeDefined()
  const line = find() ?? ''
  return JSON.parse(line.slice(line.indexOf('{')))
}
