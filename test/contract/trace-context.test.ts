import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* W3C Trace Context, in and out, where no spans are exported: through the host to the model. */

const TRACE = '0af7651916cd43dd8448eb211c80319c'
const PARENT = `00-${TRACE}-b7ad6b7169203331-01`

let upstream: Upstream
let host: RunningHost
let key: string
beforeAll(async () => {
  upstream = await startUpstream()
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    OPENAI_BASE_URL: upstream.baseUrl,
    OPENAI_API_KEY: 'sk',
  }
  host = await startHost(settings, BARE_HOST)
  key = await newKey(openAccount(inject('azurite')), unique('traced'))
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})

/** What the model was told, and the request's line. */
async function asked(headers: Record<string, string>, stream = false) {
  const id = unique('id')
  upstream.calls.length = 0
  upstream.reply = stream ? streaming(['a']) : answering()
  const response = await fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'x-request-id': id, ...headers },
    body: JSON.stringify({ prompt: unique('p'), stream }),
  })
  const text = await response.text()
  const ofThis = (line: string) => line.includes(id) && line.includes('"event":"request"')
  await expect.poll(() => host.output().split('\n').some(ofThis), { timeout: 5_000 }).toBe(true)
  const line = JSON.parse(/\{.*\}/.exec(host.output().split('\n').find(ofThis) ?? '')?.[0] ?? '{}')
  const [call] = upstream.calls
  return { status: response.status, text, sent: call?.headers ?? {}, line: line as { traceId?: string } }
}

describe.each([
  ['plain', false],
  ['streamed', true],
])('a %s request', (_kind, stream) => {
  test('that came with a trace takes it on to the model, and its line names it', async () => {
    const { status, sent, line } = await asked({ traceparent: PARENT, tracestate: 'congo=t61rcWkgMzE' }, stream)
    expect([status, sent.traceparent, sent.tracestate]).toEqual([200, PARENT, 'congo=t61rcWkgMzE'])
    expect(line.traceId).toBe(TRACE)
  })

  test.each([
    ['without one', {}],
    ['with none that can be read', { traceparent: 'SECRET-text', tracestate: 'congo=t61rcWkgMzE' }],
    ['with two', { traceparent: `${PARENT}, ${PARENT}` }],
  ])('%s sends none on', async (_what, headers) => {
    const { status, sent, line } = await asked(headers, stream)
    expect([status, sent.traceparent, sent.tracestate]).toEqual([200, undefined, undefined])
    expect(line).not.toHaveProperty('traceId')
    expect(host.output()).not.toContain('SECRET-text')
  })

  test('keeps a tracestate to itself that is none', async () => {
    const { sent } = await asked({ traceparent: PARENT, tracestate: 'SECRET-text' }, stream)
    expect([sent.traceparent, sent.tracestate]).toEqual([PARENT, undefined])
    expect(host.output()).not.toContain('SECRET-text')
  })
})
