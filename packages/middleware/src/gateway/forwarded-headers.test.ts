import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { answering, startUpstream, type Upstream } from '../../../../test/support/upstream.ts'
import { issueKey } from '../auth/index.ts'
import { chat } from '../operations/index.ts'
import { fromIterable } from '../pipeline/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { generate, type Surface } from '../surfaces/index.ts'
import type { OpenAISettings } from '../targets/index.ts'
import { type Entry, trace } from '../telemetry/index.ts'
import type { Gateway } from './index.ts'

/* What an operation forwards of the caller's headers goes to the model, and tells requests apart on the whole way. */

const surface: Surface = { ...generate, name: 'forwarding', operation: { ...chat, forwards: ['x-version', 'x-beta'] } }

let model: Upstream
let gateway: Gateway
let entry: Entry
let key: string
beforeAll(async () => {
  model = await startUpstream()
  const defaultTarget: OpenAISettings = { kind: 'openai', baseUrl: model.baseUrl, model: 'm', key: 'k' }
  const bounds = { env: {}, hosts: [], readable: [] }
  const policy = resolvePolicy({}, { source: 'a test', bounds, defaultTarget })
  gateway = gatewayOver(policy)
  entry = trace({ refuse: surface.refuse, handler: () => gateway.handler(surface) })
  const plan = { plan: 'default', defaultPlan: 'default', plans: ['default'], now: Date.now() }
  key = (await issueKey(gateway.consumers, { consumer: 'a', ...plan })).key
})
afterAll(async () => {
  await gateway.close()
  await model.close()
})
beforeEach(() => {
  model.calls.length = 0
  model.reply = answering()
})

async function ask(prompt: string, headers: Record<string, string>): Promise<string | undefined> {
  const body = fromIterable([Buffer.from(JSON.stringify({ prompt }))])
  const response = await entry({ ...request, headers: new Headers({ 'x-api-key': key, ...headers }), body }, () => {})
  await replyText(response)
  expect(response.status).toBe(200)
  return response.headers['cache-status']
}

test('the model is sent these headers of the caller’s, and no others', async () => {
  await ask('one', { 'x-version': '2026-10-21', 'x-other': 'o', cookie: 'c' })
  const sent = model.calls[0]?.headers ?? {}
  expect(sent).toMatchObject({ 'x-version': '2026-10-21' })
  for (const name of ['x-beta', 'x-other', 'cookie', 'x-api-key']) expect(sent).not.toHaveProperty(name)
})

test('an answer to other headers is another one', async () => {
  const told = [
    await ask('two', { 'x-version': '1' }),
    await ask('two', { 'x-version': '2' }),
    await ask('two', {}),
    await ask('two', { 'x-version': '1', 'x-other': 'o' }),
  ]
  expect(told.map((status) => status?.includes('hit'))).toEqual([false, false, false, true])
  expect(model.calls).toHaveLength(3)
})

test('only requests with the same headers share a call', async () => {
  const arrived = Promise.withResolvers<void>()
  const released = Promise.withResolvers<void>()
  const answer = answering()
  model.reply = async (call, response) => {
    if (model.calls.length === 2) arrived.resolve()
    await released.promise
    return answer(call, response)
  }
  const asking = ['1', '1', '2', '1'].map((version) => ask('three', { 'x-version': version }))
  await arrived.promise
  released.resolve()
  const told = await Promise.all(asking)
  expect(model.calls.map(({ headers }) => headers['x-version']).sort()).toEqual(['1', '2'])
  expect(told.filter((status) => status?.includes('collapsed'))).toHaveLength(2)
})
