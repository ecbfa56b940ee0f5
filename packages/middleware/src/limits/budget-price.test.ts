import { describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/base-context.ts'
import { answered, attempt } from '../../../../test/support/replies.ts'
import { bodyOf, type Call, chat, type Json, type Reply, refused } from '../operations/index.ts'
import {
  type Attempt,
  type ModelRules,
  PROMPT_SPENT,
  type Price,
  pipeline,
  SPEND_UNKNOWN,
  type Spend,
  type Usage,
  upstreamFailed,
} from '../pipeline/index.ts'
import type { BudgetLimit } from '../policy/index.ts'
import { budget, type Limited, limiter, type Metered, memoryCounterStore } from './index.ts'

const NOON = Date.UTC(2026, 5, 15, 12)
const wallClock = () => NOON + performance.now()
/** USD 1 in nano-dollars. */
const DOLLAR = 1_000_000_000
const money = (quota = DOLLAR): BudgetLimit => ({
  kind: 'budget',
  key: 'money:day',
  name: 'usd',
  measure: 'money',
  model: undefined,
  quota,
  per: 'day',
})
/** USD 1 a million of input, 10 of output. */
const RATES = { input: 1_000_000, cachedInput: 100_000, output: 10_000_000 }
const ANSWER = { choices: [{ message: { content: 'a' }, finish_reason: 'stop' }] }
const rulesOf = ({ tiers = {}, tools = {} }: Price): ModelRules => ({
  contextWindow: 10_000,
  outputField: 'max_tokens',
  temperature: true,
  tiers: Object.keys(tiers),
  tools: Object.keys(tools),
})

/** A budget that a consumer asks again and again. */
function room(price: Price, quota?: number, rules: Partial<ModelRules> = {}) {
  const limited: Limited = {
    consumer: { id: 'alice', plan: 'free' },
    policy: { plans: new Map([['free', { name: 'free', limits: [money(quota)], shared: [] }]]), global: [] },
  }
  const gate = limiter({ store: memoryCounterStore({ wallClock, now: () => performance.now() }), deadlineMs: 2_000 })
  const model = { name: 'm' }
  return async function ask(change: Json = {}, spends: readonly Spend[] = [SPEND_UNKNOWN], of: Partial<Attempt> = {}) {
    const body = bodyOf({ messages: [{ role: 'user', content: 'Why?' }], max_tokens: 100, ...change })
    const lines: unknown[] = []
    const context = baseContext({ log: (...line) => lines.push(line) })
    const routed = { model, price, rules: { ...rulesOf(price), ...rules }, body }
    const { headers, signal } = request
    const call: Call = {
      headers,
      signal,
      body,
      operation: chat,
      route: 'chat',
      model: undefined,
      streamed: false,
      bodyDigest: () => '',
    }
    let sent: Json | undefined
    const reply: Reply = await pipeline<Limited & Metered & { readonly asked: true }, Call, Reply>()
      .use(budget({ limiter: gate, wallClock }))
      .handle((_call, { routed }) => {
        sent = routed.body.json
        const attempts = spends.map((spend) => attempt(spend, of))
        return of.failure ? { ...refused(upstreamFailed(of.failure)), attempts } : answered(ANSWER, { attempts })
      })(call, { ...context, ...limited, routed, asked: true })
    const refusal = reply.kind === 'refused' ? reply.refusal : undefined
    return { reply, refusal, sent, told: context.told, cost: context.told.costNanoUsd, lines }
  }
}

const certain = (usage: Usage): readonly Spend[] => [{ usage, isCertain: true }]
const INPUT =
  chat.bounds(bodyOf({ messages: [{ role: 'user', content: 'Why?' }], max_tokens: 100 }), { contextWindow: undefined })
    ?.input ?? 0

/** Nobody knows what was taken, so that all that was reserved is charged. */
describe('reserved is the worst that the request and the plan allow:', () => {
  const tiers = { flex: 500, priority: 2_000 }
  const base = INPUT * 1_000 + 100 * 10_000

  test.each<[string, Price, Json, Partial<ModelRules>, (bytes: number) => number]>([
    ['of a plain price, the input and the output', { rates: RATES }, {}, {}, () => base],
    ['each choice', { rates: RATES }, { n: 3 }, {}, (more) => base + more * 1_000 + 200 * 10_000],
    ['the dearest tier, where the request leaves it to the service', { rates: RATES, tiers }, {}, {}, () => base * 2],
    ['the dearest that the plan allows', { rates: RATES, tiers }, {}, { tiers: ['flex'] }, () => base],
    [
      'the tier that is asked for',
      { rates: RATES, tiers },
      { service_tier: 'priority' },
      {},
      (more) => (base + more * 1_000) * 2,
    ],
    [
      'the usual one where a cheaper one is asked for',
      { rates: RATES, tiers },
      { service_tier: 'flex' },
      {},
      (more) => base + more * 1_000,
    ],
    [
      'the usual one where that is asked for',
      { rates: RATES, tiers },
      { service_tier: 'default' },
      {},
      (more) => base + more * 1_000,
    ],
    [
      'the dearest kind of input that is priced',
      { rates: { ...RATES, cacheWrite: 1_250_000 } },
      {},
      {},
      () => base + INPUT * 250,
    ],
    [
      'not a kind that the request can’t bring',
      { rates: { ...RATES, cacheWriteLong: 2_000_000, audioInput: 40_000_000 } },
      {},
      {},
      () => base,
    ],
    [
      'a long life of what is cached',
      { rates: { ...RATES, cacheWriteLong: 2_000_000 } },
      { prompt_cache_options: { ttl: '12h' } },
      {},
      (more) => (INPUT + more) * 2_000 + 100 * 10_000,
    ],
    [
      'a prediction, which may be rejected and billed as output, for each choice',
      { rates: RATES },
      { prediction: { content: 'as it is' }, n: 2 },
      { contextWindow: 500 },
      () => 500 * 1_000 + (200 + 2 * Buffer.byteLength('{"content":"as it is"}')) * 10_000,
    ],
    [
      'a length from which all of it is dearer',
      { rates: RATES, above: { tokens: 100, rates: { input: 2_000_000_000, output: 15_000_000_000 }, perPico: 1_000 } },
      {},
      {},
      () => INPUT * 2_000 + 100 * 15_000,
    ],
    [
      'calls of hosted tools',
      { rates: RATES, tools: { web_search: 10_000_000_000 } },
      { web_search_options: {}, n: 2 },
      { contextWindow: 500 },
      () => 500 * 1_000 + 200 * 10_000 + 2 * 10_000_000,
    ],
    [
      'the search that a model makes for each choice, and all that it may find',
      { rates: RATES, tools: { web_search: 10_000_000_000 } },
      { n: 2 },
      { contextWindow: 500, unasked: { searches: 'once' } },
      () => 500 * 1_000 + 200 * 10_000 + 2 * 10_000_000,
    ],
    [
      'writes to the prompt cache that it asks for, and that nobody priced',
      { rates: RATES },
      { prompt_cache_options: { mode: 'explicit' } },
      {},
      (more) => (INPUT + more) * 10_000 + 100 * 10_000,
    ],
    [
      'writes that the model is known to bill, and that nobody priced',
      { rates: RATES },
      {},
      { unasked: { kinds: ['cacheWrite'] } },
      () => INPUT * 10_000 + 100 * 10_000,
    ],
    [
      'a kind that one tier alone prices, at the highest rate of the other',
      { rates: { ...RATES, cacheWrite: 1_250_000 }, tiers: { priority: { rates: RATES } } },
      {},
      {},
      () => INPUT * 10_000 + 100 * 10_000,
    ],
  ])('%s', async (_what, price, change, rules, nano) => {
    const plain = bodyOf({ messages: [{ role: 'user', content: 'Why?' }], max_tokens: 100 }).bytes.length
    const more =
      bodyOf({ messages: [{ role: 'user', content: 'Why?' }], max_tokens: 100, ...change }).bytes.length - plain
    const { cost, told } = await room(price, undefined, rules)(change)
    expect([cost, told.uncertain]).toEqual([nano(more), true])
  })

  test('and of a kind that nobody priced, asked for or has heard of, nothing: it is settled, and logged once', async () => {
    const ask = room({ rates: RATES })
    const told: Usage = { tokens: { input: 1, videoInput: INPUT - 1, output: 100 } }
    const first = await ask({}, certain(told))
    expect(first.cost).toBe(1_000 + (INPUT - 1) * 10_000 + 100 * 10_000)
    expect(first.cost).toBeGreaterThan(base)
    expect(first.lines).toEqual([['warn', 'kind not priced', { model: 'm', kind: 'videoInput' }]])
    expect((await ask({}, certain(told))).lines).toEqual([])
    expect((await ask()).cost).toBe(base)
  })

  test('and an answer is cut to what the dearest tier leaves of a budget', async () => {
    const price: Price = { rates: RATES, tiers: { priority: 2_000 } }
    const quota = INPUT * 2_000 + 30 * 20_000
    const { sent, told } = await room(price, quota)()
    expect([sent?.max_tokens, told.clamped]).toEqual([30, true])
  })
})

describe('settled is what the answer tells:', () => {
  const price: Price = {
    rates: { ...RATES, cacheWrite: 1_250_000, cacheWriteLong: 2_000_000 },
    tiers: { flex: 500, priority: 2_000 },
    tools: { web_search: 10_000_000_000 },
  }
  test.each<[string, Json, Usage, number, object, Partial<ModelRules>?]>([
    [
      'its kinds',
      {},
      { tokens: { input: 10, cachedInput: 20, cacheWrite: 30, output: 7 } },
      10_000 + 2_000 + 37_500 + 70_000,
      { usage: { input: 60, cachedInput: 20, output: 7, cacheWrite: 30 } },
    ],
    ['its tier', {}, { tokens: { input: 10, output: 1 }, tier: 'flex' }, 10_000, { tier: 'flex' }],
    [
      'the usual tier where a dearer one was asked for',
      { service_tier: 'priority' },
      { tokens: { input: 10, output: 1 }, tier: 'default' },
      20_000,
      {},
    ],
    [
      'the dearer tier where it tells none',
      { service_tier: 'priority' },
      { tokens: { input: 10, output: 1 } },
      40_000,
      {},
    ],
    [
      'the usual tier where it tells none, and a cheaper one was asked for',
      { service_tier: 'flex' },
      { tokens: { input: 10, output: 1 } },
      20_000,
      {},
    ],
    [
      'long writes to the cache, by what was asked for',
      { prompt_cache_options: { ttl: '12h' } },
      { tokens: { input: 10, cacheWrite: 10, output: 1 } },
      10_000 + 20_000 + 10_000,
      {},
    ],
    [
      'calls of tools',
      { web_search_options: {} },
      { tokens: { input: 10, output: 1 }, toolCalls: { web_search: 3 } },
      20_000 + 30_000_000,
      { toolCalls: { web_search: 3 } },
    ],
    [
      'the search of a model that searches unasked',
      {},
      { tokens: { input: 10, output: 1 } },
      20_000 + 10_000_000,
      { toolCalls: { web_search: 1 } },
      { contextWindow: 500, unasked: { searches: 'once' } },
    ],
    [
      'the one call of a tool that no answer counts',
      { web_search_options: {} },
      { tokens: { input: 10, output: 1 } },
      20_000 + 10_000_000,
      { toolCalls: { web_search: 1 } },
    ],
    [
      'a kind that nobody priced, at the highest rate',
      {},
      { tokens: { input: 10, videoInput: 10, output: 1 } },
      10_000 + 100_000 + 10_000,
      {},
    ],
    [
      'thoughts, which are output',
      {},
      { tokens: { input: 10, output: 9 }, reasoning: 8 },
      100_000,
      { usage: { input: 10, cachedInput: 0, output: 9, reasoning: 8 } },
    ],
  ])('%s', async (_what, change, usage, nano, facts, rules) => {
    const { told } = await room(price, undefined, rules)(change, certain(usage))
    expect(told).toMatchObject({ costNanoUsd: nano, ...facts })
    expect(told).not.toHaveProperty('uncertain')
  })

  test('F3: of a prompt that a filter refused its input, as all that was reserved of it', async () => {
    const { told } = await room(price)({}, [PROMPT_SPENT], { failure: { status: 400, code: 'content_filter' } })
    expect(told).toMatchObject({ usage: { input: INPUT, output: 0 }, uncertain: true, costNanoUsd: INPUT * 1_250 * 2 })
  })

  test('F5: and of each side not more than sixteen times what could be, or than a longest answer', async () => {
    const broken: Usage = { tokens: { cacheWrite: 1_000_000, cachedInput: 1_000_000, output: 1_000_000 } }
    const { told } = await room({ rates: RATES }, 1_000 * DOLLAR)({}, certain(broken))
    expect(told.usage).toMatchObject({ input: 131_072, output: 131_072 })
  })

  test('and what spilled over, at its own price', async () => {
    const ask = room({ rates: RATES })
    const usage: Usage = { tokens: { input: 10, output: 1 } }
    const free: Price = { rates: { input: 0, output: 0 } }
    expect((await ask({}, certain(usage), { price: free })).told).toMatchObject({ costNanoUsd: 0 })
    const spilled = await ask({}, certain(usage), { price: { rates: RATES }, spillover: 'gpt-5-standard' })
    expect(spilled.told).toMatchObject({ costNanoUsd: 20_000, spillover: 'gpt-5-standard' })
  })
})

describe('where money is limited, is refused by name', () => {
  const price: Price = { rates: RATES, tiers: { flex: 500 }, tools: { web_search: 10_000_000_000 } }
  test.each<[string, Json, string, string]>([
    ['a tier without a price', { service_tier: 'priority' }, 'tier_not_allowed', 'service_tier'],
    ['a hosted tool without a price', { tools: [{ type: 'code_interpreter' }] }, 'tool_not_allowed', 'tools'],
    [
      'a hosted tool whose calls nothing bounds',
      { tools: [{ type: 'web_search_2025_08_26' }] },
      'tool_not_allowed',
      'tools',
    ],
  ])('%s', async (_what, change, code, param) => {
    const { refusal, sent } = await room(price)(change)
    expect(refusal).toMatchObject({ code, param, status: 403 })
    expect(sent).toBeUndefined()
  })

  test.each<[string, unknown]>([
    ['plugins', [{ id: 'web', max_results: 10 }]],
    ['models', ['openai/gpt-5-pro']],
    ['fallbacks', ['dear']],
    ['route', 'fallback'],
    ['provider', { order: ['dear'] }],
    ['providerOptions', { gateway: { models: ['dear'] } }],
    ['search_parameters', { mode: 'auto' }],
    ['enable_search', true],
    ['enable_thinking', true],
    ['data_sources', [{ type: 'azure_search' }]],
    ['speed', 'fast'],
  ])('the field %s, which moves a bill by what no price says', async (field, value) => {
    const asked = { [field]: value }
    const { refusal, sent } = await room(price)(asked)
    expect(refusal).toMatchObject({ code: 'field_not_allowed', param: field, status: 403 })
    expect(refusal?.message).toContain(`Leave it out, or ask the operator to list it in models.m.price.covers`)
    expect(sent).toBeUndefined()
    for (const off of [null, false, []]) expect((await room(price)({ [field]: off })).refusal).toBeUndefined()
    const covered = await room(price, undefined, { covers: [field] })(asked)
    expect([covered.refusal, covered.sent?.[field]]).toEqual([undefined, value])
  })

  test('and not a search that its service says how to switch off', async () => {
    const off: Json[] = [{ search_parameters: { mode: 'off' } }, { web_search: { enable: false } }]
    for (const change of off) expect((await room(price)(change)).refusal).toBeUndefined()
    const other: Json[] = [{ search_parameters: { enable: false } }, { web_search: {} }, { plugins: { mode: 'off' } }]
    for (const change of other) expect((await room(price)(change)).refusal?.code).toBe('field_not_allowed')
  })

  test.each<[string, Price, Partial<ModelRules>, string, string]>([
    [
      'that has no price',
      { rates: RATES },
      { unasked: { searches: 'once' } },
      'tool_not_allowed',
      'price.tools.web_search',
    ],
    ['without a bound', price, { unasked: { searches: 'often' } }, 'tool_not_allowed', 'nothing bounds how often'],
    [
      'whose finds nothing bounds',
      price,
      { unasked: { searches: 'once' }, contextWindow: undefined },
      'input_unbounded',
      'contextWindow',
    ],
  ])('a model that makes a search %s', async (_what, price, rules, code, fix) => {
    const { refusal, sent } = await room(price, undefined, rules)()
    expect(refusal).toMatchObject({ code, param: 'model', message: expect.stringContaining(fix) })
    expect(sent).toBeUndefined()
  })

  test.each<[string, Json]>([
    ['a tier that has one', { service_tier: 'flex' }],
    ['the usual one', { service_tier: 'default' }],
    ['none by name', { service_tier: 'auto' }],
    ['the caller’s own tools', { tools: [{ type: 'function', function: { name: 'f' } }] }],
  ])('and not %s', async (_what, change) => {
    expect((await room(price)(change, certain({ tokens: { input: 1, output: 1 } }))).refusal).toBeUndefined()
  })
})

describe('F7: a large prompt', () => {
  const prose =
    'The gateway reserves the most that a completion could cost, and gives back what it did not take. '.repeat(400)
  const change = { messages: [{ role: 'user', content: prose }] }
  const price: Price = { rates: RATES }
  const byBytes = () => room(price, DOLLAR, { contextWindow: undefined })(change)

  test('is reserved by its tokens where the model’s vocabulary is known, and never below them', async () => {
    const { cost: most = 0 } = await byBytes()
    const { cost = 0, told } = await room(price, DOLLAR, { contextWindow: undefined, tokenizer: 'o200k_base' })(change)
    expect(most / cost).toBeGreaterThan(4)
    expect(told.usage?.input).toBeGreaterThan(400 * 19)
    expect(cost).toBe((told.usage?.input ?? 0) * 1_000 + 100 * 10_000)
  })

  test('stays reserved by its bytes where that is no large part of any limit', async () => {
    const rules = { contextWindow: undefined, tokenizer: 'o200k_base' } as const
    expect((await room(price, 10 * DOLLAR, rules)(change)).cost).toBe((await byBytes()).cost)
  })

  test('fits into a budget that its bytes would pass', async () => {
    const quota = 12_000 * 1_000 + 100 * 10_000
    expect((await room(price, quota, { contextWindow: undefined })(change)).refusal).toMatchObject({
      code: 'request_too_expensive',
    })
    const rules = { contextWindow: undefined, tokenizer: 'o200k_base' } as const
    expect(
      (await room(price, quota, rules)(change, certain({ tokens: { input: 8_000, output: 1 } }))).refusal,
    ).toBeUndefined()
  })
})
