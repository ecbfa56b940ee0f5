import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { baseContext, request, type ToldContext } from '../../../../test/support/base-context.ts'
import {
  answered,
  attempt,
  type PlayedStream,
  playedStream,
  streamed,
  textOf,
} from '../../../../test/support/replies.ts'
import {
  type Body,
  BrokenStream,
  bodyOf,
  type Call,
  chat,
  costOf,
  faultAfter,
  type Json,
  type Reply,
  refused,
} from '../operations/index.ts'
import {
  type Facts,
  type ModelRules,
  NOTHING_SPENT,
  type Price,
  pipeline,
  type Refusal,
  SPEND_UNKNOWN,
  type Spend,
  type Tokens,
  type UpstreamFailure,
  upstreamFailed,
} from '../pipeline/index.ts'
import type { BudgetLimit, Limit, Measure, RateLimit } from '../policy/index.ts'
import { budget, type Limited, limiter, type Metered, memoryCounterStore, noBudget, type Reserved } from './index.ts'

const NOON = Date.UTC(2026, 5, 15, 12)
const now = () => performance.now()
const wallClock = () => NOON + performance.now()

const perDay = (measure: Measure, quota: number, change: Partial<BudgetLimit> = {}): BudgetLimit => ({
  kind: 'budget',
  key: `${measure}:day`,
  name: measure,
  measure,
  model: undefined,
  quota,
  per: 'day',
  ...change,
})
const perHours = (measure: Measure, quota: number): RateLimit => ({
  kind: 'rate',
  key: `${measure}:86400000`,
  name: `${measure}-1d`,
  measure,
  model: undefined,
  quota,
  periodMs: 86_400_000,
  burst: 0,
  capacity: quota,
  refill: quota,
})

/** USD 2 a million of input, 1 of cached input, 8 of output. */
const PRICE: Price = { rates: { input: 2_000_000, cachedInput: 1_000_000, output: 8_000_000 } }
const RULES: ModelRules = {
  contextWindow: undefined,
  outputField: 'max_tokens',
  temperature: true,
  tools: [],
  tiers: [],
}
const body = (change: Json = {}): Json => ({
  messages: [{ role: 'user', content: 'Why?' }],
  max_tokens: 100,
  ...change,
})
const inputBound = (json: Json) => chat.bounds(bodyOf(json), { contextWindow: undefined })?.input ?? Number.NaN
/** The bound of that body's input. */
const INPUT = inputBound(body())

interface Outcome {
  readonly reply: Reply
  readonly status: number
  readonly told: Facts
  readonly headers: Readonly<Record<string, string>>
  readonly forwarded: Json | undefined
  readonly reserved: Reserved | undefined
  refusal(): Refusal
  /** What the header says is left of a limit. */
  left(name: string): number
}

/** What stands within: it gives what the model's calls come to. */
type Model = (body: Json, signal: AbortSignal, reserved: Reserved) => Reply | Promise<Reply>

const ANSWER = { choices: [{ message: { content: 'a' }, finish_reason: 'stop' }] }

/** A model that answers, and took this. */
const taking =
  (...spends: readonly Spend[]): Model =>
  () =>
    answered(ANSWER, { attempts: spends.map((spend) => attempt(spend)) })
/** A model that tells what it took, in a plain answer. */
const telling = (tokens: Tokens): Model => taking({ usage: { tokens }, isCertain: true })
const failing =
  (failure: UpstreamFailure, spend = failure.unspent ? NOTHING_SPENT : SPEND_UNKNOWN): Model =>
  () => ({ ...refused(upstreamFailed(failure)), attempts: [attempt(spend, { failure })] })

interface Change {
  readonly model?: string
  readonly price?: Price | undefined
  readonly contextWindow?: number
  readonly rules?: Partial<ModelRules>
  readonly body?: Json
}

type Given = Limited & Metered & { readonly asked: true }

const newGate = () => limiter({ store: memoryCounterStore({ wallClock, now }), deadlineMs: 2_000 })

/** The middleware as one consumer meets it, over limits of its own. */
function room(
  limits: readonly Limit[],
  others: Partial<Record<'plan' | 'global', readonly Limit[]>> = {},
  gate = newGate(),
) {
  const consumer = { id: 'alice', plan: 'free' }
  const policy = {
    plans: new Map([['free', { name: 'free', limits, shared: others.plan ?? [] }]]),
    global: others.global ?? [],
  }
  return asking(pipeline<Given, Call, Reply>().use(budget({ limiter: gate, wallClock })), { consumer, policy })
}

function asking(
  within: {
    handle(
      handler: (call: Call, context: Given & { readonly reserved: Reserved }) => Reply | Promise<Reply>,
    ): (call: Call, context: Given & ToldContext) => Reply | Promise<Reply>
  },
  limited: Limited,
) {
  return async function ask(
    model: Model = telling({ input: 11, cachedInput: 0, output: 7 }),
    { model: name = 'small', contextWindow, body: json = body(), ...change }: Change = {},
    signal = request.signal,
    context = baseContext(),
  ): Promise<Outcome> {
    const asked: Body = bodyOf(json)
    const price = 'price' in change ? change.price : PRICE
    const rules = { ...RULES, contextWindow, ...change.rules }
    const routed = { model: { name }, price, rules, body: asked }
    const call: Call = {
      signal,
      headers: new Headers(),
      operation: chat,
      route: 'generate',
      model: undefined,
      body: asked,
      streamed: false,
      bodyDigest: () => '',
    }
    let forwarded: Json | undefined
    let reserved: Reserved | undefined
    const handler = within.handle((call, context) => {
      forwarded = context.routed.body.json
      reserved = context.reserved
      return model(forwarded, call.signal, context.reserved)
    })
    const reply = await handler(call, { ...context, ...limited, routed, asked: true })
    const headers = { ...reply.headers, ...(reply.kind === 'refused' ? reply.refusal.headers : {}) }
    return {
      reply,
      status: reply.kind === 'refused' ? reply.refusal.status : 200,
      told: context.told,
      headers,
      forwarded,
      reserved,
      refusal() {
        if (reply.kind !== 'refused') throw new Error(`It was not refused, but ${reply.kind}`)
        return reply.refusal
      },
      left: (name) => Number(new RegExp(`"${name}";r=(\\d+)`).exec(headers.ratelimit ?? '')?.[1] ?? Number.NaN),
    }
  }
}

describe('a completion', () => {
  test('passes untouched where no limit on tokens or money holds', async () => {
    const ask = room([{ ...perDay('tokens', 1), model: 'large' }, perDay('requests', 1)])
    const odd = body({ max_tokens: -1, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] })
    const { status, headers, forwarded, reserved } = await ask(undefined, { body: odd, price: undefined })
    expect(status).toBe(200)
    expect(headers).not.toHaveProperty('ratelimit')
    expect(forwarded).toBe(odd)
    expect(reserved).toEqual({ attempts: 1, output: undefined })
  })

  test('reserves the most that it can take, and settles what it took', async () => {
    const ask = room([
      perDay('input', 100_000),
      perDay('output', 100_000),
      perDay('tokens', 100_000),
      perDay('money', 10_000_000),
    ])
    const first = await ask(telling({ input: 11, cachedInput: 0, output: 7 }))
    expect(first.left('input')).toBe(100_000 - INPUT)
    expect(first.left('output')).toBe(100_000 - 100)
    expect(first.left('tokens')).toBe(100_000 - INPUT - 100)
    // Micro-dollars: 2 a token of input, 8 of output.
    expect(first.left('money')).toBe(10_000 - 2 * INPUT - 800)
    expect(first.told).toMatchObject({
      usage: { input: 11, cachedInput: 0, output: 7 },
      costNanoUsd: 11 * 2_000 + 7 * 8_000,
    })
    expect(first.told).not.toHaveProperty('uncertain')

    const second = await ask()
    expect(second.left('input')).toBe(100_000 - 11 - INPUT)
    expect(second.left('output')).toBe(100_000 - 7 - 100)
    expect(second.left('tokens')).toBe(100_000 - 18 - INPUT - 100)
    expect(second.left('money')).toBe(10_000 - 78 - 2 * INPUT - 800)
    expect(second.headers['ratelimit-policy']).toBe(
      '"input";q=100000;qu="input-tokens";w=86400, "output";q=100000;qu="output-tokens";w=86400, ' +
        '"tokens";q=100000;qu="tokens";w=86400, "money";q=10000;qu="micro-usd";w=86400',
    )
    expect(second.headers['x-ratelimit-remaining-tokens']).toBe(String(second.left('tokens')))
  })

  test('pays for cached input as for such', async () => {
    const ask = room([perDay('money', 10_000_000)])
    const { told } = await ask(telling({ input: 400, cachedInput: 600, output: 10 }))
    expect(told.costNanoUsd).toBe(400 * 2_000 + 600 * 1_000 + 10 * 8_000)
    expect((await ask()).left('money')).toBe(10_000 - 1_480 - 2 * INPUT - 800)
  })

  test('counts every choice', async () => {
    const { left } = await room([perDay('output', 1_000)])(undefined, { body: body({ n: 3 }) })
    expect(left('output')).toBe(700)
  })

  test('that took more than was reserved leaves a debt', async () => {
    const ask = room([perDay('output', 1_000)])
    await ask(telling({ input: 1, cachedInput: 0, output: 400 }))
    expect((await ask()).left('output')).toBe(500)
  })

  test('that tells of more than any answer has is believed that much, and the log says so', async () => {
    const ask = room([perDay('output', 1_000_000), perDay('input', 1_000_000)])
    const lines: unknown[] = []
    const context = baseContext({ log: (level, event, fields) => void lines.push([level, event, fields]) })
    const broken = { input: 1_000_000, cachedInput: 900_000, output: 2_000_000 }
    const { told } = await ask(telling({ ...broken, input: 100_000 }), {}, request.signal, context)
    const capped = { input: 131_072, cachedInput: 131_072, output: 131_072 }
    expect(told.usage).toEqual(capped)
    const reserved = { input: INPUT, cachedInput: 0, output: 100 }
    expect(lines).toEqual([['warn', 'usage capped', { told: broken, capped, reserved }]])
    const next = await ask(telling({ input: INPUT, cachedInput: 0, output: 1_600 }))
    expect([next.told.usage?.output, next.left('output'), next.left('input')]).toEqual([
      1_600,
      1_000_000 - 131_072 - 100,
      1_000_000 - 131_072 - INPUT,
    ])
  })

  test('is charged whole, however short an answer its caller asks for', async () => {
    const ask = room([perDay('output', 100_000)])
    await ask(telling({ input: 1, cachedInput: 0, output: 8_000 }), { body: body({ max_tokens: 1 }) })
    expect((await ask()).left('output')).toBe(100_000 - 8_000 - 100)
  })

  test('holds for the limits of its own model, its plan and all together', async () => {
    const ask = room(
      [{ ...perDay('tokens', 5_000, { name: 'tokens:small', key: 'tokens:day@small' }), model: 'small' }],
      { plan: [perDay('tokens', 9_000, { name: 'plan-tokens' })], global: [perHours('output', 50_000)] },
    )
    const { left } = await ask()
    expect([left('tokens:small'), left('plan-tokens'), left('output-1d')]).toEqual([
      5_000 - INPUT - 100,
      9_000 - INPUT - 100,
      49_900,
    ])
    const other = await ask(undefined, { model: 'large' })
    expect([other.left('tokens:small'), other.left('plan-tokens')]).toEqual([Number.NaN, 9_000 - 18 - INPUT - 100])
  })
})

describe('a call that fails', () => {
  const LIMITS = [perDay('tokens', 10_000)]
  const RESERVED = INPUT + 100

  test('costs nothing where the model certainly generated nothing', async () => {
    const ask = room(LIMITS)
    const { told } = await ask(failing({ status: 429, unspent: true }))
    expect(told).not.toHaveProperty('uncertain')
    expect(told).not.toHaveProperty('usage')
    expect((await ask()).left('tokens')).toBe(10_000 - RESERVED)
  })

  test.each<[string, Model]>([
    ['fails in some other way', failing({ code: 'timeout' })],
    ['gives an answer that tells no usage', taking(SPEND_UNKNOWN)],
    ['refuses without a word why', failing({ status: 503 })],
  ])('costs all that was reserved where it %s, and the log says so', async (_what, model) => {
    const ask = room(LIMITS)
    const { told } = await ask(model)
    expect(told).toMatchObject({ uncertain: true, usage: { input: INPUT, cachedInput: 0, output: 100 } })
    expect((await ask()).left('tokens')).toBe(10_000 - 2 * RESERVED)
  })

  test('B1: costs nothing where a middleware within throws before anything was sent', async () => {
    const ask = room(LIMITS)
    const thrown = ask(() => {
      const failure = { code: 'request_failed', unspent: true } as const
      throw faultAfter(new TypeError('fault'), [attempt(NOTHING_SPENT, { failure })])
    })
    await expect(thrown).rejects.toThrow('fault')
    expect((await ask()).left('tokens')).toBe(10_000 - RESERVED)
  })

  test('costs all that was reserved where a middleware within throws', async () => {
    const ask = room(LIMITS)
    const context = baseContext()
    const thrown = ask(
      () => {
        throw new Error('fault')
      },
      {},
      request.signal,
      context,
    )
    await expect(thrown).rejects.toThrow('fault')
    expect(context.told).toMatchObject({ uncertain: true, usage: { input: INPUT, output: 100 } })
    expect((await ask()).left('tokens')).toBe(10_000 - 2 * RESERVED)
  })

  test('takes nothing where it was refused before any call', async () => {
    const ask = room(LIMITS)
    const { told } = await ask(() => refused({ kind: 'refusal', code: 'shutting_down', status: 503, message: '' }))
    expect(told).toEqual({})
    expect((await ask()).left('tokens')).toBe(10_000 - RESERVED)
  })
})

describe('several calls for one request', () => {
  const LIMITS = [perDay('tokens', 10_000), perDay('money', 10_000_000)]
  const told: Spend = { usage: { tokens: { input: 11, cachedInput: 0, output: 7 } }, isCertain: true }

  test('cost what all of them took, each by its own price', async () => {
    const ask = room(LIMITS)
    const dear = { rates: { input: 4_000_000, cachedInput: 4_000_000, output: 16_000_000 } }
    const attempts = [attempt(NOTHING_SPENT), attempt(told), attempt(told, { price: dear })]
    const outcome = await ask(() => answered(ANSWER, { attempts }))
    const cost = 11 * 2_000 + 7 * 8_000
    expect(outcome.told).toEqual({ usage: { input: 22, cachedInput: 0, output: 14 }, costNanoUsd: 3 * cost })
    const next = await ask()
    expect(next.left('tokens')).toBe(10_000 - 36 - INPUT - 100)
    expect(next.left('money')).toBe(10_000 - (3 * cost) / 1_000 - 2 * INPUT - 800)
  })

  test('cost one search where the service had turned away all but the last: those have called no tool', async () => {
    const search = 5_000_000
    const price = { ...PRICE, tools: { web_search: search * 1_000 } }
    const change = {
      price,
      rules: { tools: ['web_search'] },
      contextWindow: 1_000,
      body: body({ web_search_options: {} }),
    }
    const ask = room([perDay('money', 2 * search)])
    const attempts = [attempt(NOTHING_SPENT), attempt(NOTHING_SPENT), attempt(told)]
    const { told: facts, status } = await ask(() => answered(ANSWER, { attempts }), change)
    expect([status, facts.costNanoUsd]).toEqual([200, search + 11 * 2_000 + 7 * 8_000])
    expect((await ask()).left('money')).toBe((2 * search - (facts.costNanoUsd ?? 0)) / 1_000 - 2 * INPUT - 800)
  })

  test('cost all that was reserved for each of which nobody knows', async () => {
    const ask = room(LIMITS)
    const { told: facts } = await ask(taking(SPEND_UNKNOWN, told))
    const most = costOf({ tokens: { input: INPUT, output: 100 } }, PRICE)
    expect(facts).toEqual({
      usage: { input: INPUT + 11, cachedInput: 0, output: 107 },
      costNanoUsd: most + 11 * 2_000 + 7 * 8_000,
      uncertain: true,
    })
    expect((await ask()).left('tokens')).toBe(10_000 - (INPUT + 100) - 18 - (INPUT + 100))
  })
})

describe('a completion for which there is not enough left', () => {
  test('is refused when the budget is spent, and costs nothing', async () => {
    const ask = room([perDay('tokens', INPUT + 110)])
    await ask(telling({ input: INPUT, cachedInput: 0, output: 100 }))
    const { status, headers, refusal, told, left } = await ask()
    expect(status).toBe(429)
    expect(headers).toMatchObject({
      'retry-after': expect.stringMatching(/^\d{5}$/),
      'x-should-retry': 'false',
    })
    expect(refusal()).toMatchObject({
      code: 'insufficient_quota',
      message: `The budget 'tokens' has 10 tokens left, and this request may take ${INPUT + 100} tokens.`,
      details: expect.stringMatching(new RegExp(`^limit 'tokens': ${INPUT + 110} tokens per day; come back in 1`)),
    })
    expect(told.limit).toBe('tokens')
    expect(left('tokens')).toBe(10)
  })

  test('shows money as such', async () => {
    const cost = 2_000 * INPUT + 100 * 8_000
    const ask = room([perDay('money', cost)])
    await ask(telling({ input: INPUT, cachedInput: 0, output: 100 }))
    expect((await ask()).refusal()).toMatchObject({
      message: "The budget 'money' is spent.",
      details: expect.stringContaining(`limit 'money': ${cost / 1e9} USD per day`),
    })
  })

  test('has its answer bounded to what a budget has left', async () => {
    const ask = room([perDay('tokens', 2 * INPUT + 150), perHours('tokens', 1_000_000)])
    await ask(telling({ input: INPUT, cachedInput: 0, output: 100 }))
    const { forwarded, told, left, status, reply, reserved } = await ask(
      telling({ input: 11, cachedInput: 0, output: 50 }),
    )
    expect(status).toBe(200)
    expect(forwarded).toEqual(body({ max_tokens: 50 }))
    expect(told.clamped).toBe(true)
    expect(reply).toMatchObject({ storable: false })
    expect(reserved).toEqual({ attempts: 1, output: 50, cover: expect.any(Function) })
    expect(left('tokens')).toBe(0)
    expect((await ask()).told).not.toHaveProperty('clamped')
  })

  test('has it bounded for every choice, in the field that the body has, and to whole tokens of money', async () => {
    const ask = room([perDay('money', 2_000 * INPUT + 8_000 * 65 + 7_999)])
    const asked = body({ n: 2, max_completion_tokens: 1_000 })
    const { max_tokens: _, ...style } = asked
    const input = inputBound(style)
    const left = 2_000 * INPUT + 8_000 * 65 + 7_999 - 2_000 * input
    const { forwarded } = await ask(undefined, { body: style })
    expect(forwarded).toEqual({ ...style, max_completion_tokens: Math.floor(left / 8_000 / 2) })
  })

  test('has it bounded though nothing is known yet of what others have left', async () => {
    const gate = newGate()
    const own = [perDay('output', 150)]
    await room(own, {}, gate)(telling({ input: 1, cachedInput: 0, output: 100 }))
    const global = [perDay('output', 5_000, { name: 'global-output' })]
    const { forwarded, left } = await room(own, { global }, gate)()
    expect([forwarded?.max_tokens, left('output'), left('global-output')]).toEqual([50, 0, 4_950])
  })

  test('is bounded by the first look already, where the budget is smaller than what was asked', async () => {
    const { forwarded, told } = await room([perDay('output', 60)])()
    expect([forwarded?.max_tokens, told.clamped]).toEqual([60, true])
  })

  test('is refused where the rest would be next to nothing', async () => {
    const { refusal } = await room([perDay('output', 15)])()
    expect(refusal()).toMatchObject({
      code: 'request_too_expensive',
      status: 400,
      message:
        "This request may take 100 output tokens, which the limit 'output' (15 output tokens per day) never grants at once. " +
        'Lower max_tokens, or shorten the input.',
    })
  })

  test('is not bounded to fit a rate: that refills', async () => {
    const ask = room([perHours('output', 150)])
    await ask(telling({ input: 1, cachedInput: 0, output: 100 }))
    const { refusal, headers } = await ask()
    expect(refusal()).toMatchObject({
      code: 'rate_limit_exceeded',
      details: expect.stringMatching(
        /^limit 'output-1d': 150 output tokens per 1d; this request may take 100 output tokens; come back in 8 h/,
      ),
    })
    expect(headers['x-should-retry']).toBe('false')
    expect(await (await room([perHours('output', 99)])()).refusal()).toMatchObject({ code: 'request_too_expensive' })
  })
})

describe('what can’t be counted', () => {
  const image = body({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'image_url' }] }] })

  test('is refused under a limit on tokens, naming the field', async () => {
    const { refusal } = await room([perDay('tokens', 1_000_000)])(undefined, { body: image })
    expect(refusal()).toMatchObject({
      code: 'input_unbounded',
      status: 400,
      param: 'messages[0].content[1]',
      message: expect.stringContaining('models.small.contextWindow'),
    })
  })

  test('reserves the context window, where the policy states one', async () => {
    const ask = room([perDay('tokens', 1_000_000)])
    const { left } = await ask(undefined, { body: image, contextWindow: 128_000 })
    expect(left('tokens')).toBe(1_000_000 - 128_000 - 100)
    // And never more than that.
    const long = body({ messages: [{ role: 'user', content: 'x'.repeat(300_000) }] })
    expect((await ask(undefined, { body: long, contextWindow: 128_000 })).left('tokens')).toBe(
      1_000_000 - 18 - 128_000 - 100,
    )
  })

  test('passes where only the answer is counted', async () => {
    expect((await room([perDay('output', 1_000)])(undefined, { body: image })).status).toBe(200)
  })

  test('is a model without a price, under a limit on money alone', async () => {
    const { refusal } = await room([perDay('money', 1_000)])(undefined, { price: undefined })
    expect(refusal()).toMatchObject({
      code: 'model_not_priced',
      status: 403,
      message: expect.stringContaining('models.small.price'),
    })
    const { status, told } = await room([perDay('tokens', 1_000)])(undefined, { price: undefined })
    expect(status).toBe(200)
    expect(told).not.toHaveProperty('costNanoUsd')
  })

  test.each([{ max_tokens: 0 }, { max_tokens: 1.5 }, { n: 0 }, { n: 'x' }, { max_tokens: 2 ** 52, n: 100 }])(
    'is a bound that is none: %o',
    async (change) => {
      const { refusal } = await room([perDay('output', 1_000)])(undefined, { body: body(change) })
      expect(refusal()).toMatchObject({ code: 'invalid_request', status: 400 })
    },
  )
})

describe('a stream', () => {
  const RESERVED = INPUT + 100
  const chunk = (fields: object) => Buffer.from(`data: ${JSON.stringify(fields)}\n\n`)
  const piece = (delta: object = { content: 'a' }, finish_reason: string | null = null) =>
    chunk({ choices: [{ index: 0, delta, finish_reason }] })
  const USAGE = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }
  const usage = chunk({ choices: [], usage: USAGE })
  const finish = piece({}, 'stop')
  const done = Buffer.from('data: [DONE]\n\n')
  const HANG = 'hang'
  const BREAK = 'break'

  interface Streaming {
    readonly model: Model
    /** Once the model was asked. */
    readonly played: () => PlayedStream
  }

  function streaming(parts: readonly (Uint8Array | typeof HANG | typeof BREAK)[]): Streaming {
    let played: PlayedStream | undefined
    return {
      model(_body, signal) {
        played = playedStream({ signal })
        for (const part of parts) {
          if (part === BREAK) played.send(new Error('cut'))
          else if (part !== HANG) played.send(Buffer.from(part).toString())
        }
        if (!parts.includes(HANG) && !parts.includes(BREAK)) played.send('end')
        return played.reply
      },
      played() {
        if (played === undefined) throw new Error('The model was not asked')
        return played
      },
    }
  }
  const streamOf = ({ reply }: Outcome) => {
    if (reply.kind !== 'stream') throw new Error(`It is no stream, but ${reply.kind}`)
    return reply
  }
  const read = (outcome: Outcome) => textOf(outcome.reply).catch((error: unknown) => error)

  test('settles what its last chunk tells, before its end is passed on', async () => {
    const ask = room([perDay('tokens', 10_000)])
    const outcome = await ask(streaming([piece(), piece(), finish, usage, done]).model)
    let atEnd: Facts | undefined
    const ended = streamOf(outcome).ended.then(() => {
      atEnd = { ...outcome.told }
    })
    await read(outcome)
    await ended
    expect(atEnd?.usage).toEqual({ input: 11, cachedInput: 0, output: 7 })
    expect(atEnd).not.toHaveProperty('uncertain')
    expect((await ask()).left('tokens')).toBe(10_000 - 18 - RESERVED)
    streamOf(outcome).events.cancel()
    expect((await ask()).left('tokens')).toBe(10_000 - 36 - RESERVED)
  })

  test('is passed on as it is, and may have as much output as was reserved for all of its choices', async () => {
    const { model, played } = streaming([piece(), finish, usage, done])
    const outcome = await room([perDay('tokens', 10_000)])(model, { body: body({ n: 3 }) })
    expect(streamOf(outcome).events).toBe(played().reply.events)
    expect(outcome.reserved).toEqual({ attempts: 1, output: 300, cover: expect.any(Function) })
  })

  test('of a clamped request is its asker’s alone', async () => {
    const { model } = streaming([piece(), finish, usage, done])
    const outcome = await room([perDay('output', 60)])(model)
    expect([streamOf(outcome).storable, outcome.reserved?.output]).toEqual([false, 60])
  })

  const leave = async (outcome: Outcome) => {
    const { events } = streamOf(outcome)
    await events.read()
    events.cancel()
  }
  test.each<[string, Parameters<typeof streaming>[0], (outcome: Outcome, client: AbortController) => unknown, boolean]>(
    [
      ['ends without its usage', [piece(), finish, done], read, true],
      ['is cut', [piece(), BREAK], read, true],
      ['ends too early', [piece()], read, true],
      ['tells of an error', [piece(), chunk({ error: { code: 'x' } })], read, true],
      ['is cut after its usage', [piece(), finish, usage, BREAK], read, false],
      [
        'tells its usage on the way, and is cut',
        [chunk({ choices: [{ index: 0, delta: { content: 'a' } }], usage: USAGE }), BREAK],
        read,
        true,
      ],
      ['is cancelled', [piece(), HANG], leave, true],
      ['is cancelled unread', [piece(), HANG], (outcome) => streamOf(outcome).events.cancel(), true],
      [
        'is cancelled while it is waited for',
        [HANG],
        async (outcome) => {
          const { events } = streamOf(outcome)
          const pending = events.read()
          events.cancel()
          expect(await pending).toBeUndefined()
        },
        true,
      ],
      ['is left by its client, unread', [piece(), HANG], (_outcome, client) => client.abort(), true],
      [
        'is cancelled and left',
        [piece(), HANG],
        async (outcome, client) => {
          await leave(outcome)
          client.abort()
        },
        true,
      ],
      ['is whole', [piece(), finish, usage, done], read, false],
      ['is whole without a [DONE]', [piece(), finish, usage], read, false],
    ],
  )('that %s is settled once, before its end is told', async (_how, parts, end, uncertain) => {
    const ask = room([perDay('tokens', 10_000)])
    const client = new AbortController()
    const told: Facts[] = []
    const outcome = await ask(streaming(parts).model, {}, client.signal, {
      ...baseContext(),
      tell: (facts) => void told.push(facts),
    })
    await end(outcome, client)
    await streamOf(outcome).ended
    expect(told.map((facts) => facts.uncertain ?? false)).toEqual([uncertain])
    expect((await ask()).left('tokens')).toBe(10_000 - (uncertain ? RESERVED : 18) - RESERVED)
  })

  test('that is cut after it has told of more input than was reserved costs that, and is logged so', async () => {
    const ask = room([perDay('tokens', 10_000)])
    const told = { prompt_tokens: INPUT + 500, completion_tokens: 1 }
    const parts = [chunk({ choices: [{ index: 0, delta: { content: 'a' } }], usage: told }), BREAK] as const
    const outcome = await ask(streaming(parts).model)
    await read(outcome)
    await streamOf(outcome).ended
    expect(outcome.told).toMatchObject({ uncertain: true, usage: { input: INPUT + 500, cachedInput: 0, output: 100 } })
    expect(outcome.told.costNanoUsd).toBe(costOf({ tokens: { input: INPUT + 500, output: 1 } }, PRICE))
    expect((await ask()).left('tokens')).toBe(10_000 - (INPUT + 501) - RESERVED)
  })

  test('that was ended since it would pass its bound costs all that was reserved', async () => {
    const ask = room([perDay('tokens', 10_000)])
    const { model, played } = streaming([piece(), HANG])
    const outcome = await ask(model)
    played().send(new BrokenStream({ code: 'reservation_exceeded' }))
    expect(await read(outcome)).toMatchObject({ name: 'BrokenStream', failure: { code: 'reservation_exceeded' } })
    await streamOf(outcome).ended
    expect(outcome.told.uncertain).toBe(true)
    expect((await ask()).left('tokens')).toBe(10_000 - 2 * RESERVED)
  })

  test('that tells at its end that it has passed its bound costs what it tells', async () => {
    const ask = room([perDay('tokens', 10_000)])
    const over = { prompt_tokens: 11, completion_tokens: 101 }
    const late = await ask(streaming([piece(), finish, chunk({ choices: [], usage: over }), done]).model)
    expect(await read(late)).toContain('[DONE]')
    await streamOf(late).ended
    expect(late.told).toMatchObject({ usage: { output: 101 } })
  })
})

test('whatever is asked, told and left over, a budget never pays for more than it has', async () => {
  const call = fc.record({
    max: fc.integer({ min: 1, max: 400 }),
    n: fc.integer({ min: 1, max: 3 }),
    /** Of what it may write; `undefined` where it doesn't tell. */
    share: fc.option(fc.double({ min: 0, max: 1, noNaN: true }), { nil: undefined }),
  })
  const calls = fc.array(call, { minLength: 1, maxLength: 12 })
  let clamped = 0
  await fc.assert(
    fc.asyncProperty(calls, fc.integer({ min: 50, max: 2_000 }), async (calls, quota) => {
      const ask = room([perDay('output', quota)])
      let spent = 0
      for (const { max, n, share } of calls) {
        const model: Model = (json, signal, reserved) => {
          const { max_tokens } = json as { readonly max_tokens: number }
          expect(max_tokens).toBeLessThanOrEqual(max)
          const output = Math.floor(max_tokens * n * (share ?? 1))
          spent += output
          const spend = { usage: { tokens: { input: 1, output } }, isCertain: true }
          return taking(share === undefined ? SPEND_UNKNOWN : spend)(json, signal, reserved)
        }
        const { status, told, left } = await ask(model, { body: body({ max_tokens: max, n }) })
        if (told.clamped) clamped += 1
        // Who is refused could not have had sixteen tokens for each choice, or what was asked if that is less.
        if (status !== 200) expect(quota - spent).toBeLessThan(Math.min(16, max) * n)
        else expect(left('output')).toBeLessThanOrEqual(quota - spent)
      }
      expect(spent).toBeLessThanOrEqual(quota)
    }),
    { numRuns: 60 },
  )
  expect(clamped).toBeGreaterThan(10)
})

describe('a request that calls its model again', () => {
  /** What one call came to: output tokens; `undefined` where it certainly took nothing. */
  type Came = number | 'unknown' | undefined
  type How = 'answer' | 'refused' | 'stream' | 'fault'
  const MOST = 100

  /** Calls as `upstream` does: where those before may have taken what was reserved, only by a further reservation. */
  async function calling(calls: readonly Came[], quota: number, how: How = 'answer') {
    const limits = [perDay('output', quota), perDay('money', 1_000_000_000)]
    const gate = newGate()
    const ask = room(limits, {}, gate)
    const made: Came[] = []
    const attempts = () =>
      made.map((came) => {
        if (came === undefined) return attempt(NOTHING_SPENT, { failure: { status: 429, unspent: true } })
        if (came === 'unknown') return attempt(SPEND_UNKNOWN, { failure: { status: 500 } })
        return attempt({ usage: { tokens: { input: 1, output: came } }, isCertain: true })
      })
    const model: Model = async (_body, _signal, { attempts: reserved, cover }) => {
      let covered = reserved
      for (const came of calls) {
        if (made.filter((each) => each !== undefined).length === covered) {
          if (!(await cover?.())) break
          covered += 1
        }
        made.push(came)
      }
      if (how === 'fault') throw faultAfter(new Error('a defect'), attempts())
      if (how === 'answer') return answered(ANSWER, { attempts: attempts() })
      if (how === 'refused') return { ...refused(upstreamFailed({ status: 500 })), attempts: attempts() }
      return { ...playedStream().reply, ended: Promise.resolve({ how: 'broken', attempts: attempts() }) }
    }
    const context = baseContext()
    const outcome = await ask(model, { body: body({ max_tokens: MOST }) }, undefined, context).catch(() => undefined)
    if (outcome?.reply.kind === 'stream') await outcome.reply.ended
    const subject = { id: 'consumer:alice', limits }
    const { standings } = await gate.look(limits.map((limit) => ({ subject, limit, units: 0 })))
    const left = (measure: Measure) => standings.find(({ limit }) => limit.measure === measure)?.remaining ?? Number.NaN
    const charged = { output: quota - left('output'), nanoUsd: 1_000_000_000 - left('money') }
    return { made, charged, told: context.told }
  }
  const outputOf = (came: Came) => (came === 'unknown' ? MOST : (came ?? 0))
  const nanoUsdOf = (came: Came) => {
    if (came === undefined) return 0
    return costOf({ tokens: came === 'unknown' ? { input: INPUT, output: MOST } : { input: 1, output: came } }, PRICE)
  }
  const sum = (figures: readonly number[]) => figures.reduce((total, each) => total + each, 0)

  test('is charged the sum of its calls, however it ends, and never makes one that there is nothing left for', async () => {
    const came = fc.oneof(fc.constant(undefined), fc.constant('unknown' as const), fc.integer({ min: 0, max: MOST }))
    const how = fc.constantFrom<How>('answer', 'refused', 'stream', 'fault')
    let denied = 0
    await fc.assert(
      fc.asyncProperty(
        fc.array(came, { minLength: 1, maxLength: 5 }),
        fc.integer({ min: MOST, max: 5 * MOST }),
        how,
        async (calls, quota, how) => {
          const { made, charged, told } = await calling(calls, quota, how)
          expect(charged).toEqual({ output: sum(made.map(outputOf)), nanoUsd: sum(made.map(nanoUsdOf)) })
          expect(charged.output).toBeLessThanOrEqual(quota)
          if (made.some((each) => each !== undefined)) expect(told.costNanoUsd).toBe(charged.nanoUsd)
          // As many reservations as fit are to be had: what is held meanwhile is as much for each call.
          const spent = made.filter((each) => each !== undefined).length
          if (made.length === calls.length) return
          denied += 1
          expect((spent + 1) * MOST).toBeGreaterThan(quota)
        },
      ),
      { numRuns: 200 },
    )
    expect(denied).toBeGreaterThan(5)
  })

  test('gives all back that was reserved for a call which was not made', async () => {
    const limits = [perDay('output', 1_000)]
    const gate = newGate()
    const model: Model = async (_body, _signal, { cover }) => {
      expect([await cover?.(), await cover?.()]).toEqual([true, true])
      return taking(SPEND_UNKNOWN)(_body, _signal, { attempts: 1, output: undefined })
    }
    await room(limits, {}, gate)(model)
    const subject = { id: 'consumer:alice', limits }
    const [limit] = limits as [BudgetLimit]
    expect((await gate.look([{ subject, limit, units: 0 }])).standings).toMatchObject([{ remaining: 900 }])
  })

  test('of which nobody knows anything has taken all that was reserved', async () => {
    const limits = [perDay('output', 1_000)]
    const gate = newGate()
    const model: Model = async (_body, _signal, { cover }) => {
      await cover?.()
      throw new Error('a defect')
    }
    await expect(room(limits, {}, gate)(model)).rejects.toThrow('a defect')
    const subject = { id: 'consumer:alice', limits }
    const [limit] = limits as [BudgetLimit]
    expect((await gate.look([{ subject, limit, units: 0 }])).standings).toMatchObject([{ remaining: 800 }])
  })

  test('is reserved for by all limits or by none', async () => {
    const limits = [perDay('output', 1_000), perDay('tokens', 2 * (INPUT + MOST))]
    const gate = newGate()
    let covered: unknown
    const model: Model = async (_body, _signal, { cover }) => {
      covered = [await cover?.(), await cover?.()]
      return taking(NOTHING_SPENT)(_body, _signal, { attempts: 1, output: undefined })
    }
    await room(limits, {}, gate)(model)
    expect(covered).toEqual([true, false])
    const subject = { id: 'consumer:alice', limits }
    const looked = await gate.look(limits.map((limit) => ({ subject, limit, units: 0 })))
    expect(looked.standings.map(({ remaining }) => remaining)).toEqual([1_000, 2 * (INPUT + MOST)])
  })

  test('is charged the dearer where the tier that was asked for is not told', async () => {
    const price: Price = { ...PRICE, tiers: { flex: 500, priority: 2_000 } }
    const rules = { tiers: ['flex', 'priority'] }
    const usage = { tokens: { input: 11, output: 7 } }
    const usual = costOf(usage, price)
    for (const [asked, told, expected] of [
      ['flex', undefined, usual],
      ['flex', 'flex', usual / 2],
      ['flex', 'default', usual],
      ['priority', undefined, usual * 2],
      ['priority', 'default', usual],
    ] as const) {
      const spend = { usage: { ...usage, ...(told === undefined ? {} : { tier: told }) }, isCertain: true }
      const model: Model = () => answered(ANSWER, { attempts: [attempt(spend, { tier: asked })] })
      const outcome = await room([perDay('money', 1_000_000_000)])(model, { price, rules })
      expect(outcome.told.costNanoUsd).toBe(expected)
    }
  })
})

const NO_LIMITS: Limited = { consumer: { id: 'alice', plan: 'free' }, policy: { plans: new Map(), global: [] } }

describe.each([
  ['H2: a consumer without limits on usage', () => room([])],
  ['H2: a gateway without budgets', () => asking(pipeline<Given, Call, Reply>().use(noBudget()), NO_LIMITS)],
])('%s', (_who, open) => {
  const most = { input: INPUT, cachedInput: 0, output: 100 }
  const atMost = { uncertain: true, usage: most, costNanoUsd: costOf({ tokens: most }, PRICE) }
  const told = { input: 11, cachedInput: 0, output: 7 }

  test('has in the log what a call may have cost that was ended before its end', async () => {
    const ended = await open()(failing({ code: 'shutting_down' }))
    expect(ended.told).toEqual(atMost)
    const { reply, send } = playedStream()
    const stream = await open()(() => reply)
    send('data: {"choices":[{"index":0,"delta":{"content":"a"}}]}\n\n')
    expect(stream.told).toEqual({})
    if (stream.reply.kind !== 'stream') throw new Error('It is no stream')
    stream.reply.events.cancel()
    await stream.reply.ended
    expect(stream.told).toEqual(atMost)
  })

  test('and of a call that failed before another one served', async () => {
    const attempts = [
      attempt(SPEND_UNKNOWN, { failure: { code: 'timeout' } }),
      attempt({ usage: { tokens: told }, isCertain: true }),
    ]
    const served = await open()(() => answered(ANSWER, { attempts }))
    expect(served.told).toMatchObject({ uncertain: true, usage: { input: INPUT + 11, cachedInput: 0, output: 107 } })
  })

  test('and nothing of one that certainly took nothing, and what was told of one that told it', async () => {
    const turnedAway = await open()(failing({ status: 401, unspent: true }))
    expect([turnedAway.told.usage, turnedAway.told.uncertain]).toEqual([undefined, undefined])
    const served = await open()()
    expect([served.told.usage, served.told.uncertain]).toEqual([told, undefined])
  })

  test('and nothing of a whole answer that told nothing', async () => {
    expect((await open()(taking(SPEND_UNKNOWN))).told).toEqual({})
    const whole = await open()(() =>
      streamed('data: {"choices":[{"index":0,"delta":{"content":"a"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'),
    )
    await textOf(whole.reply)
    if (whole.reply.kind === 'stream') expect((await whole.reply.ended).how).toBe('complete')
    expect(whole.told).toEqual({})
  })
})
