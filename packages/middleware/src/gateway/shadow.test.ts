import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { baseContext, replyText, request } from '../../../../test/support/base-context.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { issueKey } from '../auth/index.ts'
import { LimiterUnavailable } from '../limits/index.ts'
import { bodyOf, type Call, chat, type Reply, refused } from '../operations/index.ts'
import { type Facts, type FinishedRequest, fromIterable } from '../pipeline/index.ts'
import { fixedPolicy, type Policy, resolvePolicy } from '../policy/index.ts'
import { chatCompletions, generate } from '../surfaces/index.ts'
import type { OpenAISettings } from '../targets/index.ts'
import { trace } from '../telemetry/index.ts'
import type { Gateway } from './index.ts'
import { shadow } from './shadow.ts'

/* A shadow revision on the whole way, as every server goes it: over stores in memory, before a model's server. */

const ANSWER = JSON.stringify({
  choices: [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }],
  usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
})
const STREAM = [
  `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content: 'x' }, finish_reason: 'stop' }] })}\n\n`,
  `data: ${JSON.stringify({ choices: [], usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 } })}\n\n`,
  'data: [DONE]\n\n',
].join('')
const model = createServer(async (incoming, response) => {
  let body = ''
  for await (const piece of incoming) body += piece
  const [type, text] = body.includes('"stream":true') ? ['text/event-stream', STREAM] : ['application/json', ANSWER]
  response.writeHead(200, { 'content-type': type }).end(text)
})

let inForce: Policy
let judged: Policy | undefined
let gateway: Gateway
const finished: FinishedRequest[] = []

function policyOf(plans: object, change: object = {}): Policy {
  const baseUrl = `http://127.0.0.1:${(model.address() as AddressInfo).port}/v1`
  const defaultTarget: OpenAISettings = { kind: 'openai', baseUrl, model: 'm', key: 'k' }
  const models = { default: { price: { input: 1, output: 2 }, tokenizer: 'o200k_base' } }
  return resolvePolicy(
    { plans, models, ...change },
    { source: 'a test', bounds: { env: {}, hosts: [], readable: [] }, defaultTarget },
  )
}

beforeAll(async () => {
  model.listen(0, '127.0.0.1')
  await once(model, 'listening')
  inForce = policyOf({
    all: {
      limits: [
        { requests: 1_000, per: '1h' },
        { usd: 1, per: 'day' },
      ],
    },
  })
  gateway = gatewayOver(inForce, {
    policy: { ...fixedPolicy(inForce), shadow: () => judged },
  })
})
afterAll(async () => {
  model.closeAllConnections()
  model.close()
})
beforeEach(() => {
  judged = undefined
  finished.length = 0
})

const keyOf = async (consumer: string, groups: Readonly<Record<string, string>> = {}) => {
  const who = { consumer, plan: 'all', defaultPlan: 'all', plans: ['all'], groups, now: Date.now() }
  return (await issueKey(gateway.consumers, who)).key
}

const ask = (key: string, prompt: string, change: object = {}) => send(generate, key, { prompt, ...change })

const complete = (key: string, change: object = {}) =>
  send(chatCompletions, key, { model: 'default', messages: [{ role: 'user', content: unique('p') }], ...change })

async function send(surface: typeof generate | typeof chatCompletions, key: string, asked: object) {
  const entry = trace({
    refuse: surface.refuse,
    handler: () => gateway.handler(surface as typeof generate),
    finished: (each) => {
      finished.push(each)
      gateway.finished(each)
    },
  })
  const lines: Readonly<Record<string, unknown>>[] = []
  const body = fromIterable([Buffer.from(JSON.stringify({ max_tokens: 50, ...asked }))])
  const headers = new Headers({ 'x-api-key': key })
  const response = await entry({ ...request, headers, body }, (_level, line) => lines.push({ ...line }))
  const text = await replyText(response)
  const line = lines.find(({ event }) => event === 'request')
  return {
    status: response.status,
    headers: response.headers,
    text,
    told: line?.would_refuse,
    shadow: line?.shadow,
    line,
  }
}

/** What tells when, and by which clock. */
const TIMES = /t(tl)?=\d+|"(date|age|x-ratelimit-reset-[a-z]+)":"[^"]*"|"requestId":"[^"]*"/g

describe('a shadow revision', () => {
  test('tells what its limits on requests would have refused, and refuses nothing', async () => {
    judged = policyOf({ all: { limits: [{ requests: 2, per: '1h' }] } })
    const key = await keyOf(unique('c'))
    const replies = []
    for (let turn = 0; turn < 5; turn += 1) replies.push(await ask(key, unique('p')))
    expect(replies.map(({ status }) => status)).toEqual([200, 200, 200, 200, 200])
    const refusal = 'rate_limit_exceeded requests'
    expect(replies.map(({ told }) => told)).toEqual([undefined, undefined, refusal, refusal, refusal])
    expect(replies.map(({ shadow }) => shadow)).toEqual(Array(5).fill(judged.revision))
    // What the caller sees of limits is what the policy in force says.
    expect(replies.at(-1)?.headers.ratelimit).toContain('"requests";r=995')
  })

  test('counts what requests really took, and nothing for a hit', async () => {
    judged = policyOf({ all: { limits: [{ usd: 0.000_7, per: 'day' }] } })
    const key = await keyOf(unique('c'))
    const prompt = unique('p')
    expect((await ask(key, prompt)).told).toBeUndefined()
    // Of 700,000 nano-dollars each reserves about 430,000 and takes 20,000: one would fit, had it taken what it reserved.
    const told: unknown[] = []
    for (let turn = 0; turn < 30; turn += 1) told.push((await ask(key, unique('p'))).told)
    const admitted = told.filter((each) => each === undefined).length
    expect(admitted).toBeGreaterThan(12)
    expect(admitted).toBeLessThan(20)
    expect(told.at(-1)).toBe('insufficient_quota usd')
    const hit = await ask(key, prompt)
    expect([hit.line?.cache, hit.told, hit.shadow]).toEqual(['hit', undefined, judged.revision])
  })

  test('tells models and plans that it lacks', async () => {
    const key = await keyOf(unique('c'))
    judged = policyOf({ other: { limits: [] } })
    expect((await ask(key, unique('p'))).told).toBe('plan_unavailable')
    judged = policyOf({ all: { limits: [], models: ['default'] } }, { routes: { generate: { model: 'default' } } })
    expect((await ask(key, unique('p'))).told).toBeUndefined()
    const narrow = { default: {}, small: { price: { input: 1, output: 2 }, targets: [{ openai: { model: 's' } }] } }
    judged = policyOf({ all: { limits: [], models: ['small'] } }, { models: narrow })
    expect((await ask(key, unique('p'))).told).toBe('model_not_allowed')
  })

  test.each([
    ['a tier', { tiers: ['default'] }, {}, { service_tier: 'flex' }, 'tier_not_allowed'],
    ['a hosted tool', { tools: [] }, {}, { web_search_options: {} }, 'tool_not_allowed'],
    [
      'a zone',
      { zones: ['eu'] },
      {
        models: {
          default: { price: { input: 1, output: 2 } },
          near: { targets: [{ openai: { model: 's' }, zone: 'eu' }] },
        },
      },
      {},
      'zone_not_allowed',
    ],
    ['a field that moves the bill', { limits: [{ usd: 1, per: 'day' }] }, {}, { speed: 'fast' }, 'field_not_allowed'],
  ])('tells %s that it would refuse', async (_what, plan, change, asked, code) => {
    judged = policyOf({ all: { limits: [], ...plan } }, change)
    const { told } = await complete(await keyOf(unique('c')), asked)
    expect(told).toBe(code)
  })

  test("tells what a group's limits would refuse, for all of its callers together", async () => {
    judged = policyOf({ all: { limits: [] } }, { groups: { team: { limits: [{ requests: 1, per: 'day' }] } } })
    const team = unique('team')
    const keys = [await keyOf(unique('c'), { team }), await keyOf(unique('c'), { team }), await keyOf(unique('c'))]
    const told = []
    for (const key of keys) told.push((await ask(key, unique('p'))).told)
    expect(told).toEqual([undefined, expect.stringMatching(/^insufficient_quota group-team/), undefined])
  })

  test('changes nothing of what a caller gets: the same bytes and headers, whatever it would refuse', async () => {
    const refusing = policyOf({ all: { limits: [{ requests: 1, per: '1h' }], models: [] } })
    const replies = async (revision: Policy | undefined) => {
      judged = revision
      const key = await keyOf(unique('c'))
      const prompt = unique('p')
      const turns = []
      for (const change of [{}, {}, { stream: true }, { max_tokens: 0 }, { prompt: '' }]) {
        const { status, text, headers } = await ask(key, prompt, change)
        turns.push({ status, text, headers: { ...headers, 'x-request-id': undefined } })
      }
      return turns
    }
    const without = await replies(undefined)
    expect(without.map(({ status }) => status)).toEqual([200, 200, 200, 400, 400])
    expect(JSON.stringify(await replies(refusing)).replace(TIMES, '')).toBe(JSON.stringify(without).replace(TIMES, ''))
  })

  test('is judged once a stream has ended, and settled by what that took', async () => {
    judged = policyOf({ all: { limits: [{ usd: 0.000_7, per: 'day' }, { concurrent: 1 }] } })
    const key = await keyOf(unique('c'))
    for (let turn = 0; turn < 8; turn += 1) {
      const { told, shadow } = await ask(key, unique('p'), { stream: true })
      expect([told, shadow]).toEqual([undefined, judged.revision])
    }
  })

  test('ends when it is taken away: the line says nothing of one', async () => {
    judged = policyOf({ all: { limits: [{ requests: 1, per: '1h' }] } })
    const key = await keyOf(unique('c'))
    await ask(key, unique('p'))
    expect((await ask(key, unique('p'))).told).toBe('rate_limit_exceeded requests')
    judged = undefined
    const { line } = await ask(key, unique('p'))
    expect(line).not.toHaveProperty('would_refuse')
    expect(line?.shadow).toBeUndefined()
  })

  test('is summed up by consumer and limit in the ledger, and told in each row', async () => {
    const consumer = unique('summed')
    const key = await keyOf(consumer)
    judged = policyOf({ all: { limits: [{ requests: 1, per: '1h' }] } })
    for (let turn = 0; turn < 3; turn += 1) await ask(key, unique('p'))
    const requestId = finished.at(-1)?.requestId ?? ''
    await gateway.close()
    const span = { since: Date.now() - 3_600_000, until: Date.now() + 60_000 }
    const signal = new AbortController().signal
    const report = await gateway.usage.shadow({ by: 'consumer', consumer, ...span }, signal)
    const sums = {
      judged: 3,
      wouldRefuse: 2,
      unknown: 0,
      refusals: [{ code: 'rate_limit_exceeded', limit: 'requests', requests: 2 }],
    }
    expect(report).toMatchObject({ by: 'consumer', rows: [{ name: consumer, ...sums }], total: sums })
    const rows = await gateway.usage.why(requestId, span, signal)
    expect(rows.some(({ wouldRefuse }) => wouldRefuse === 'rate_limit_exceeded requests')).toBe(true)
  })
})

describe('a verdict that is not there when the request ends', () => {
  const call: Call = {
    operation: chat,
    route: 'generate',
    signal: new AbortController().signal,
    headers: new Headers(),
    model: undefined,
    body: bodyOf({ messages: [{ role: 'user', content: 'x' }], max_tokens: 5 }),
    streamed: false,
    bodyDigest: () => 'x',
  }
  const reply = refused({ kind: 'refusal', code: 'upstream_failed', status: 502, message: '' })

  async function judge(admit: () => Promise<never>) {
    const told: Facts[] = []
    const policy = policyOf({ all: { limits: [{ requests: 1, per: '1h' }] } })
    const { judging } = shadow({
      limiter: { admitAtOnce: () => undefined, admit },
      maxOutputTokens: 100,
      wallClock: Date.now,
    })
    const handler = judging(async (): Promise<Reply> => {
      await new Promise(setImmediate)
      return reply
    })
    const context = {
      ...baseContext(),
      tell: (facts: Facts) => void told.push(facts),
      policy,
      shadow: policy,
      consumer: { id: 'c', plan: 'all' },
    }
    expect(await handler(call, context)).toBe(reply)
    return told
  }

  test('is told as unknown, and not waited for', async () => {
    const told = await judge(() => new Promise(() => {}))
    expect(told).toEqual([{ shadow: expect.any(String), wouldRefuse: 'unknown' }])
  })

  test('nor is it guessed where the limits can’t be checked', async () => {
    const told = await judge(() => Promise.reject(new LimiterUnavailable('store_failed')))
    expect(told).toEqual([{ shadow: expect.any(String), wouldRefuse: 'unknown' }])
  })
})
