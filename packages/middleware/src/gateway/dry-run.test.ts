import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { issueKey } from '../auth/index.ts'
import { fromIterable } from '../pipeline/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { chatCompletions, generate } from '../surfaces/index.ts'
import type { OpenAISettings } from '../targets/index.ts'
import { trace } from '../telemetry/index.ts'
import { neverRetry } from '../upstream/index.ts'
import type { Gateway } from './index.ts'

const ANSWER = JSON.stringify({
  choices: [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
})
let asked = 0
/** A status that the model answers with, in the place of an answer. */
let refusing: number | undefined
const model = createServer((incoming, response) => {
  asked += 1
  const [status, body] = refusing === undefined ? [200, ANSWER] : [refusing, '{"error":{"code":"invalid_type"}}']
  incoming.resume().on('end', () => response.writeHead(status, { 'content-type': 'application/json' }).end(body))
})
let gateway: Gateway

const keyOf = async (plan: string) =>
  (
    await issueKey(gateway.consumers, {
      consumer: unique('c'),
      plan,
      defaultPlan: plan,
      plans: [plan],
      now: Date.now(),
    })
  ).key

beforeAll(async () => {
  model.listen(0, '127.0.0.1')
  await once(model, 'listening')
  const baseUrl = `http://127.0.0.1:${(model.address() as AddressInfo).port}/v1`
  const defaultTarget: OpenAISettings = { kind: 'openai', baseUrl, model: 'm', key: 'k' }
  const price = { input: 1, output: 2 }
  const policy = resolvePolicy(
    {
      plans: {
        two: { limits: [{ requests: 2, per: '1h' }] },
        poor: { limits: [{ usd: 0.000_5, per: 'day' }] },
        broke: { limits: [{ usd: 0.000_001, per: 'day' }] },
        rich: { limits: [{ usd: 0.05, per: 'day' }] },
      },
      models: {
        default: { price, tokenizer: 'o200k_base' },
        prompted: { targets: [{ generate: { url: 'https://prompted.example/x' } }], price },
        backed: { targets: [{ generate: { url: 'https://backed.example/x' } }], price, fallback: 'default' },
      },
    },
    { source: 'a test', bounds: { env: {}, hosts: ['*.example'], readable: [] }, defaultTarget },
  )
  gateway = gatewayOver(policy, { retry: neverRetry })
})
afterAll(async () => {
  await gateway.close()
  model.closeAllConnections()
  model.close()
})

async function ask(key: string, body: object, { dry = 'false', cacheControl = '', surface = generate } = {}) {
  const entry = trace({ refuse: surface.refuse, handler: () => gateway.handler(surface) })
  const headers = new Headers({ 'x-api-key': key, 'x-tollgate-dry-run': dry })
  if (cacheControl !== '') headers.set('cache-control', cacheControl)
  const lines: object[] = []
  const source = fromIterable([Buffer.from(JSON.stringify(body))])
  const response = await entry({ ...request, headers, body: source }, (_level, line) => lines.push(line))
  return { status: response.status, headers: response.headers, json: JSON.parse(await replyText(response)), lines }
}
const dry = (key: string, body: object) => ask(key, body, { dry: 'true' })

test('tells what a model’s service can’t be asked, and which model is asked in its place', async () => {
  const key = await keyOf('rich')
  const body = { messages: [{ role: 'user', content: unique('p') }], max_tokens: 50, seed: 1 }
  const both = async (model: string) => {
    const dry = await ask(key, { ...body, model }, { surface: chatCompletions, dry: 'true' })
    return { dry, real: await ask(key, { ...body, model }, { surface: chatCompletions }) }
  }
  const alone = await both('prompted')
  expect(alone.real).toMatchObject({ status: 400, json: { error: { param: 'seed' } } })
  expect(alone.dry.json).toMatchObject({ verdict: 'refused', refusal: { status: 400, param: 'seed' }, worst: null })
  expect(alone.dry.json.refusal.message).toBe(alone.real.json.error.message)

  const backed = await both('backed')
  expect(backed.real.status).toBe(200)
  expect(backed.real.lines).toMatchObject([{ model: 'default', reason: 'fallback' }])
  expect(backed.dry.json).toMatchObject({ verdict: 'model_asked', model: 'default', reason: 'fallback' })
  expect(backed.dry.json.candidates).toEqual([expect.objectContaining({ target: expect.stringMatching(/^openai:m:/) })])
})

test('tells what would become of a request, takes nothing of a limit and asks no model', async () => {
  const key = await keyOf('two')
  const body = { prompt: unique('p'), max_tokens: 50 }
  const before = asked
  for (let turn = 0; turn < 5; turn += 1) {
    const { status, json, headers, lines } = await dry(key, body)
    expect(status).toBe(200)
    expect(json).toMatchObject({
      dry_run: true,
      verdict: 'model_asked',
      refusal: null,
      route: 'generate',
      model: 'default',
      cache: 'miss',
      worst: { output_tokens: 50 },
      limits: [{ limit: 'requests', counts: 'requests', of: 2, left: 2, more_in_seconds: 0 }],
    })
    // What is read at 1 USD per million tokens, and what is written at 2.
    expect(json.worst.nano_usd).toBe(json.worst.input_tokens * 1_000 + 50 * 2_000)
    expect(headers.ratelimit).toContain('r=2')
    expect(lines).toEqual([
      expect.objectContaining({ event: 'request', status: 200, dryRun: true, verdict: 'model_asked' }),
    ])
  }
  expect(asked).toBe(before)
  expect((await ask(key, body)).status).toBe(200)
  expect((await dry(key, body)).json).toMatchObject({ verdict: 'answered_from_cache', worst: { nano_usd: 0 } })
  expect((await dry(key, { ...body, prompt: unique('q') })).json.limits).toMatchObject([{ left: 1 }])
  expect((await ask(key, body)).status).toBe(200)
  const refused = await dry(key, body)
  expect(refused.json).toMatchObject({ verdict: 'refused', refusal: { status: 429, code: 'rate_limit_exceeded' } })
  expect(refused.lines).toMatchObject([{ status: 200, verdict: 'rate_limit_exceeded' }])
  expect((await ask(key, body)).status).toBe(429)
  expect(asked).toBe(before + 1)
})

test('tells a budget that has less left by the bound that an answer would get', async () => {
  const key = await keyOf('poor')
  const { json } = await dry(key, { prompt: 'x', max_tokens: 100_000 })
  expect(json).toMatchObject({ verdict: 'model_asked', limits: [{ limit: 'usd', counts: 'nano_usd', left: 500_000 }] })
  expect(json.worst.nano_usd).toBeLessThanOrEqual(500_000)
  expect((await ask(key, { prompt: 'x' })).status).toBe(200)
})

test('tells of a large prompt what a budget reserves, which counts it', async () => {
  const key = await keyOf('rich')
  const prompt = 'The gateway reserves the most that a completion could cost. '.repeat(150)
  const { json } = await dry(key, { prompt, max_tokens: 50 })
  const { input_tokens, output_tokens, nano_usd } = json.worst
  expect(input_tokens).toBeGreaterThan(150 * 10)
  expect(input_tokens).toBeLessThan(Buffer.byteLength(prompt) / 2)
  expect([output_tokens, nano_usd]).toEqual([50, input_tokens * 1_000 + 50 * 2_000])
  // Where nobody knows what it took, all that was reserved is charged.
  refusing = 500
  const { lines } = await ask(key, { prompt, max_tokens: 50 })
  refusing = undefined
  expect(lines).toContainEqual(expect.objectContaining({ uncertain: true, costNanoUsd: nano_usd }))
  // Of one that no budget counts its bytes are told.
  const { json: uncounted } = await dry(await keyOf('two'), { prompt, max_tokens: 50 })
  expect(uncounted.worst.input_tokens).toBeGreaterThan(Buffer.byteLength(prompt))
})

test('foresees that nothing is cached for one that asks for nothing else', async () => {
  const key = await keyOf('rich')
  const body = { prompt: unique('p') }
  const asking = { cacheControl: 'only-if-cached' }
  const told = await ask(key, body, { dry: 'true', ...asking })
  expect(told.json).toMatchObject({ verdict: 'refused', refusal: { status: 504, code: 'not_cached' }, cache: 'miss' })
  expect((await ask(key, body, asking)).status).toBe(504)
  expect((await ask(key, body)).status).toBe(200)
  expect((await ask(key, body, { dry: 'true', ...asking })).json).toMatchObject({ verdict: 'answered_from_cache' })
  expect((await ask(key, body, { dry: 'true', cacheControl: 'only-if-cached, no-cache' })).json.refusal).toMatchObject({
    code: 'not_cached',
  })
  expect((await ask(key, body, { cacheControl: 'only-if-cached, no-cache' })).status).toBe(504)
})

test('foresees a refusal of the model’s that is remembered', async () => {
  const key = await keyOf('rich')
  const body = { prompt: unique('p') }
  refusing = 400
  const real = await ask(key, body)
  refusing = undefined
  const before = asked
  const { json } = await dry(key, body)
  expect(json).toMatchObject({
    verdict: 'refused',
    refusal: { status: real.status, code: real.json.code },
    cache: 'hit',
    worst: { nano_usd: 0 },
  })
  expect((await ask(key, body)).status).toBe(real.status)
  expect(asked).toBe(before)
  // To others it says nothing.
  expect((await dry(await keyOf('rich'), body)).json).toMatchObject({ verdict: 'model_asked', cache: 'miss' })
})

test('tells why a request would be refused', async () => {
  const broke = await keyOf('broke')
  expect((await dry(broke, { prompt: 'x' })).json).toMatchObject({
    verdict: 'refused',
    refusal: { status: 400, code: 'request_too_expensive' },
    cache: 'miss',
  })
  expect((await dry(broke, { prompt: 7 })).json).toMatchObject({
    verdict: 'refused',
    refusal: { status: 400, code: 'invalid_request', param: 'prompt' },
    model: null,
  })
  expect((await dry(broke, { prompt: 'x', model: 'none' })).json.refusal).toMatchObject({ code: 'model_not_found' })
})

test('is asked for by any value but false, and not without end', async () => {
  const key = await keyOf('two')
  const before = asked
  const sent = (value: string) => ask(key, { prompt: unique('p') }, { dry: value })
  for (const value of ['1', 'yes', 'TRUE']) expect((await sent(value)).json.verdict).toBe('model_asked')
  expect(asked).toBe(before)
  expect((await sent('false')).json.status).toBe('success')
  const statuses = new Set<number>()
  for (let turn = 0; turn < 70; turn += 1) statuses.add((await sent('true')).status)
  expect([...statuses]).toEqual([200, 429])
})

test('needs a key', async () => {
  expect(await dry('tg_wrong', { prompt: 'x' })).toMatchObject({ status: 401, json: { code: 'invalid_api_key' } })
})
