import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import { type ChatBody, costOf, inputBound, noteUsage } from '../operations/index.ts'
import { pipeline, type Refusal, type RequestRecord, type TokenPrice, type TokenUsage } from '../pipeline/index.ts'
import type { BudgetLimit, Limit, Measure, RateLimit } from '../policy/index.ts'
import { budget, limiter, type Metered, memoryCounterStore, type Subject } from './index.ts'

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
const PRICE: TokenPrice = { input: 2_000_000, cachedInput: 1_000_000, output: 8_000_000 }
const body = (change: Partial<ChatBody> = {}): ChatBody => ({
  model: 'm',
  messages: [{ role: 'user', content: 'Why?' }],
  max_tokens: 100,
  ...change,
})
/** The bound of that body's input. */
const INPUT = inputBound(body())

interface Outcome {
  readonly response: Response
  readonly record: RequestRecord
  readonly forwarded: ChatBody | undefined
  refusal(): Promise<Refusal>
  /** What the header says is left of a limit. */
  left(name: string): number
}

type Model = (record: RequestRecord, body: ChatBody) => Response | Promise<Response>

/** A model that tells what it took, in a plain answer. */
const telling =
  (usage: TokenUsage): Model =>
  (record) => {
    noteUsage(record, usage)
    return new Response('{}')
  }
const failing =
  (upstream: NonNullable<RequestRecord['upstream']>): Model =>
  (record) => {
    record.upstream = upstream
    return new Response(null, { status: 502 })
  }

const newGate = () => limiter({ store: memoryCounterStore({ wallClock, now }), deadlineMs: 2_000 })

/** The room as one consumer meets it, over limits of its own. */
function room(limits: readonly Limit[], others: readonly Subject[] = [], gate = newGate()) {
  const subjects: readonly Subject[] = [{ id: 'consumer:alice', limits }, ...others]
  const rooms = pipeline<Metered>().use(budget<object>({ limiter: gate, subjects: () => subjects, wallClock }))
  return async function ask(
    model: Model = telling({ input: 11, cachedInput: 0, output: 7 }),
    change: Partial<Metered['routed']> = {},
    signal = request.signal,
  ): Promise<Outcome> {
    const routed = { model: 'small', price: PRICE, contextWindow: undefined, body: body(), ...change }
    let forwarded: ChatBody | undefined
    const context = baseContext({
      refuse: (refusal) => Response.json(refusal, { status: refusal.status, headers: refusal.headers ?? {} }),
    })
    if (routed.price !== undefined) context.record.price = routed.price
    const handler = rooms.handle((_given, { routed, record }) => {
      forwarded = routed.body
      return model(record, routed.body)
    })
    const response = await handler({ ...request, signal }, { ...context, routed })
    const header = response.headers.get('ratelimit') ?? ''
    return {
      response,
      record: context.record,
      forwarded,
      refusal: async () => (await response.json()) as Refusal,
      left: (name) => Number(new RegExp(`"${name}";r=(\\d+)`).exec(header)?.[1] ?? Number.NaN),
    }
  }
}

describe('a completion', () => {
  test('passes untouched where no limit on tokens or money holds', async () => {
    const ask = room([{ ...perDay('tokens', 1), model: 'large' }, perDay('requests', 1)])
    const odd = body({ max_tokens: -1, messages: [{ role: 'user', content: [{ type: 'image_url' }] }] })
    const { response, forwarded } = await ask(undefined, { body: odd, price: undefined })
    expect(response.status).toBe(200)
    expect(response.headers.has('ratelimit')).toBe(false)
    expect(forwarded).toBe(odd)
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
    expect(first.record).toMatchObject({
      usage: { input: 11, cachedInput: 0, output: 7 },
      costNanoUsd: 11 * 2_000 + 7 * 8_000,
    })
    expect(first.record).not.toHaveProperty('uncertain')

    const second = await ask()
    expect(second.left('input')).toBe(100_000 - 11 - INPUT)
    expect(second.left('output')).toBe(100_000 - 7 - 100)
    expect(second.left('tokens')).toBe(100_000 - 18 - INPUT - 100)
    expect(second.left('money')).toBe(10_000 - 78 - 2 * INPUT - 800)
    expect(second.response.headers.get('ratelimit-policy')).toBe(
      '"input";q=100000;qu="input-tokens";w=86400, "output";q=100000;qu="output-tokens";w=86400, ' +
        '"tokens";q=100000;qu="tokens";w=86400, "money";q=10000;qu="micro-usd";w=86400',
    )
    expect(second.response.headers.get('x-ratelimit-remaining-tokens')).toBe(String(second.left('tokens')))
  })

  test('pays for cached input as for such', async () => {
    const ask = room([perDay('money', 10_000_000)])
    const { record } = await ask(telling({ input: 1_000, cachedInput: 600, output: 10 }))
    expect(record.costNanoUsd).toBe(400 * 2_000 + 600 * 1_000 + 10 * 8_000)
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

  test('holds for the limits of its own model, its plan and all together', async () => {
    const ask = room(
      [{ ...perDay('tokens', 5_000, { name: 'tokens:small', key: 'tokens:day@small' }), model: 'small' }],
      [
        { id: 'plan:free', limits: [perDay('tokens', 9_000, { name: 'plan-tokens' })] },
        { id: 'global', limits: [perHours('output', 50_000)] },
      ],
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
    const { record } = await ask(failing({ status: 429, unspent: true }))
    expect(record).not.toHaveProperty('uncertain')
    expect(record).not.toHaveProperty('usage')
    expect((await ask()).left('tokens')).toBe(10_000 - RESERVED)
  })

  test.each<[string, Model]>([
    ['fails in some other way', failing({ code: 'timeout' })],
    ['gives an answer that tells no usage', () => new Response('{}')],
    ['refuses without a word why', () => new Response(null, { status: 503 })],
  ])('costs all that was reserved where it %s, and the record says so', async (_what, model) => {
    const ask = room(LIMITS)
    const { record } = await ask(model)
    expect(record).toMatchObject({ uncertain: true, usage: { input: INPUT, cachedInput: 0, output: 100 } })
    expect((await ask()).left('tokens')).toBe(10_000 - 2 * RESERVED)
  })

  test('B1: costs nothing where a room within throws before anything was sent', async () => {
    const ask = room(LIMITS)
    const thrown = ask((record) => {
      record.upstream = { code: 'request_failed', unspent: true }
      throw new TypeError('fault')
    })
    await expect(thrown).rejects.toThrow('fault')
    expect((await ask()).left('tokens')).toBe(10_000 - RESERVED)
  })

  test('costs all that was reserved where a room within throws', async () => {
    const ask = room(LIMITS)
    let seen: RequestRecord | undefined
    const thrown = ask((record) => {
      seen = record
      throw new Error('fault')
    })
    await expect(thrown).rejects.toThrow('fault')
    expect(seen).toMatchObject({ uncertain: true, usage: { input: INPUT, output: 100 } })
    expect((await ask()).left('tokens')).toBe(10_000 - 2 * RESERVED)
  })
})

describe('a completion for which there is not enough left', () => {
  test('is refused when the budget is spent, and costs nothing', async () => {
    const ask = room([perDay('tokens', INPUT + 110)])
    await ask(telling({ input: INPUT, cachedInput: 0, output: 100 }))
    const { response, refusal, record, left } = await ask()
    expect(response.status).toBe(429)
    expect(Object.fromEntries(response.headers)).toMatchObject({
      'retry-after': expect.stringMatching(/^\d{5}$/),
      'x-should-retry': 'false',
    })
    expect(await refusal()).toMatchObject({
      code: 'insufficient_quota',
      message: `The budget 'tokens' has 10 tokens left, and this request may take ${INPUT + 100} tokens.`,
      details: expect.stringMatching(new RegExp(`^limit 'tokens': ${INPUT + 110} tokens per day; come back in 1`)),
    })
    expect(record.limit).toBe('tokens')
    expect(left('tokens')).toBe(10)
  })

  test('shows money as such', async () => {
    const cost = 2_000 * INPUT + 100 * 8_000
    const ask = room([perDay('money', cost)])
    await ask(telling({ input: INPUT, cachedInput: 0, output: 100 }))
    expect(await (await ask()).refusal()).toMatchObject({
      message: "The budget 'money' is spent.",
      details: expect.stringContaining(`limit 'money': ${cost / 1e9} USD per day`),
    })
  })

  test('has its answer bounded to what a budget has left', async () => {
    const ask = room([perDay('tokens', 2 * INPUT + 150), perHours('tokens', 1_000_000)])
    await ask(telling({ input: INPUT, cachedInput: 0, output: 100 }))
    const { forwarded, record, left, response } = await ask(telling({ input: 11, cachedInput: 0, output: 50 }))
    expect(response.status).toBe(200)
    expect(forwarded).toEqual(body({ max_tokens: 50 }))
    expect(record.clamped).toBe(true)
    expect(left('tokens')).toBe(0)
    expect((await ask()).record).not.toHaveProperty('clamped')
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
    await room(own, [], gate)(telling({ input: 1, cachedInput: 0, output: 100 }))
    const all = { id: 'global', limits: [perDay('output', 5_000, { name: 'global-output' })] }
    const { forwarded, left } = await room(own, [all], gate)()
    expect([forwarded?.max_tokens, left('output'), left('global-output')]).toEqual([50, 0, 4_950])
  })

  test('is bounded by the first look already, where the budget is smaller than what was asked', async () => {
    const { forwarded, record } = await room([perDay('output', 60)])()
    expect([forwarded?.max_tokens, record.clamped]).toEqual([60, true])
  })

  test('is refused where the rest would be next to nothing', async () => {
    const { refusal } = await room([perDay('output', 15)])()
    expect(await refusal()).toMatchObject({
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
    const { refusal, response } = await ask()
    expect(await refusal()).toMatchObject({
      code: 'rate_limit_exceeded',
      details: expect.stringMatching(
        /^limit 'output-1d': 150 output tokens per 1d; this request may take 100 output tokens; come back in 8 h/,
      ),
    })
    expect(response.headers.get('x-should-retry')).toBe('false')
    expect(await (await room([perHours('output', 99)])()).refusal()).toMatchObject({ code: 'request_too_expensive' })
  })
})

describe('what can’t be counted', () => {
  const image = body({ messages: [{ role: 'user', content: [{ type: 'text', text: 'a' }, { type: 'image_url' }] }] })

  test('is refused under a limit on tokens, naming the field', async () => {
    const { refusal } = await room([perDay('tokens', 1_000_000)])(undefined, { body: image })
    expect(await refusal()).toMatchObject({
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
    expect((await room([perDay('output', 1_000)])(undefined, { body: image })).response.status).toBe(200)
  })

  test('is a model without a price, under a limit on money alone', async () => {
    const { refusal } = await room([perDay('money', 1_000)])(undefined, { price: undefined })
    expect(await refusal()).toMatchObject({
      code: 'model_not_priced',
      status: 403,
      message: expect.stringContaining('models.small.price'),
    })
    const { response, record } = await room([perDay('tokens', 1_000)])(undefined, { price: undefined })
    expect(response.status).toBe(200)
    expect(record).not.toHaveProperty('costNanoUsd')
  })

  test.each([{ max_tokens: 0 }, { max_tokens: 1.5 }, { n: 0 }, { n: 'x' }, { max_tokens: 2 ** 52, n: 100 }])(
    'is a bound that is none: %o',
    async (change) => {
      const { refusal } = await room([perDay('output', 1_000)])(undefined, { body: body(change as Partial<ChatBody>) })
      expect(await refusal()).toMatchObject({ code: 'invalid_request', status: 400 })
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

  function streaming(parts: readonly (Uint8Array | typeof HANG | typeof BREAK)[], cancelled?: () => void): Model {
    return () => {
      const left = [...parts]
      const source = new ReadableStream<Uint8Array>(
        {
          async pull(controller) {
            const part = left.shift()
            if (part === undefined) controller.close()
            else if (part === HANG) await new Promise(() => {})
            else if (part === BREAK) controller.error(new Error('cut'))
            else controller.enqueue(part)
          },
          cancel: () => cancelled?.(),
        },
        { highWaterMark: 0 },
      )
      return new Response(source, { headers: { 'content-type': 'text/event-stream' } })
    }
  }
  const read = (response: Response) => response.text().catch((error: unknown) => error)

  test('settles what its last chunk tells, before its end is passed on', async () => {
    const ask = room([perDay('tokens', 10_000)])
    const { response, record } = await ask(streaming([piece(), piece(), finish, usage, done, HANG]))
    const reader = response.body?.getReader()
    for (let i = 0; i < 5; i += 1) await reader?.read()
    expect(record.usage).toEqual({ input: 11, cachedInput: 0, output: 7 })
    expect(record).not.toHaveProperty('uncertain')
    expect((await ask()).left('tokens')).toBe(10_000 - 18 - RESERVED)
    await reader?.cancel()
    expect((await ask()).left('tokens')).toBe(10_000 - 36 - RESERVED)
  })

  test('is passed on byte for byte', async () => {
    const parts = [Buffer.from(': hello\n\n'), piece(), finish, usage, done]
    const { response } = await room([perDay('tokens', 10_000)])(streaming(parts))
    expect(await read(response)).toBe(Buffer.concat(parts).toString())
  })

  const leave = async ({ response }: Outcome) => {
    const reader = response.body?.getReader()
    await reader?.read()
    await reader?.cancel()
  }
  test.each<[string, Parameters<typeof streaming>[0], (outcome: Outcome, client: AbortController) => unknown, boolean]>(
    [
      ['ends without its usage', [piece(), finish, done], ({ response }) => read(response), true],
      ['is cut', [piece(), BREAK], ({ response }) => read(response), true],
      ['ends too early', [piece()], ({ response }) => read(response), true],
      ['tells of an error', [piece(), chunk({ error: { code: 'x' } })], ({ response }) => read(response), true],
      ['is cut after its usage', [piece(), finish, usage, BREAK], ({ response }) => read(response), false],
      [
        'tells its usage on the way, and is cut',
        [chunk({ choices: [{ index: 0, delta: { content: 'a' } }], usage: USAGE }), BREAK],
        ({ response }) => read(response),
        true,
      ],
      ['is cancelled', [piece(), HANG], leave, true],
      ['is cancelled unread', [piece(), HANG], ({ response }) => response.body?.cancel(), true],
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
      ['is whole', [piece(), finish, usage, done], ({ response }) => read(response), false],
      ['is whole without a [DONE]', [piece(), finish, usage], ({ response }) => read(response), false],
    ],
  )('that %s is settled once', async (_how, parts, end, uncertain) => {
    const ask = room([perDay('tokens', 10_000)])
    const client = new AbortController()
    const outcome = await ask(streaming(parts), {}, client.signal)
    await end(outcome, client)
    expect(outcome.record.uncertain ?? false).toBe(uncertain)
    expect((await ask()).left('tokens')).toBe(10_000 - (uncertain ? RESERVED : 18) - RESERVED)
  })

  test('that is cut after it has told of more input than was reserved costs that, and is logged so', async () => {
    const ask = room([perDay('tokens', 10_000)])
    const told = { prompt_tokens: INPUT + 500, completion_tokens: 1 }
    const parts = [chunk({ choices: [{ index: 0, delta: { content: 'a' } }], usage: told }), BREAK] as const
    const { response, record } = await ask(streaming(parts))
    await read(response)
    expect(record).toMatchObject({ uncertain: true, usage: { input: INPUT + 500, cachedInput: 0, output: 100 } })
    expect(record.costNanoUsd).toBe(costOf({ input: INPUT + 500, cachedInput: 0, output: 1 }, PRICE))
    expect((await ask()).left('tokens')).toBe(10_000 - (INPUT + 501) - RESERVED)
  })

  test.each<[string, object]>([
    ['text', { content: 'a' }],
    ['thoughts', { reasoning_content: 'a' }],
    ['a refusal', { refusal: 'a' }],
    ['calls of tools', { tool_calls: [{ index: 0, function: { arguments: '{' } }] }],
  ])('with more pieces of %s than it may have tokens is ended, and its call with it', async (_what, delta) => {
    const ask = room([perDay('tokens', 10_000)])
    let cancelled = 0
    const parts = [piece({ role: 'assistant', content: '' }), ...Array.from({ length: 200 }, () => piece(delta))]
    const { response, record } = await ask(streaming(parts, () => (cancelled += 1)))
    let pieces = 0
    const reader = response.body?.getReader()
    const broken = (async () => {
      for (;;) {
        await reader?.read()
        pieces += 1
      }
    })()
    await expect(broken).rejects.toMatchObject({ name: 'BrokenStream', failure: { code: 'reservation_exceeded' } })
    expect([pieces, cancelled]).toEqual([101, 1])
    expect(record.uncertain).toBe(true)
    expect((await ask()).left('tokens')).toBe(10_000 - 2 * RESERVED)
  })

  test('that tells on the way that it has passed its bound is ended, too; at its end it is too late', async () => {
    const over = { prompt_tokens: 11, completion_tokens: 101 }
    const ask = room([perDay('tokens', 10_000)])
    const early = await ask(
      streaming([chunk({ choices: [{ index: 0, delta: { content: 'a' } }], usage: over }), finish, done]),
    )
    expect(await read(early.response)).toMatchObject({ failure: { code: 'reservation_exceeded' } })
    const late = await ask(streaming([piece(), finish, chunk({ choices: [], usage: over }), done]))
    expect(await read(late.response)).toContain('[DONE]')
    expect(late.record).toMatchObject({ usage: { output: 101 } })
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
        const model: Model = (record, { max_tokens = 0 }) => {
          expect(max_tokens).toBeLessThanOrEqual(max)
          const output = Math.floor(max_tokens * n * (share ?? 1))
          if (share !== undefined) noteUsage(record, { input: 1, cachedInput: 0, output })
          spent += output
          return new Response('{}')
        }
        const { response, record, left } = await ask(model, { body: body({ max_tokens: max, n }) })
        if (record.clamped) clamped += 1
        // Who is refused could not have had sixteen tokens for each choice, or what was asked if that is less.
        if (response.status !== 200) expect(quota - spent).toBeLessThan(Math.min(16, max) * n)
        else expect(left('output')).toBeLessThanOrEqual(quota - spent)
      }
      expect(spent).toBeLessThanOrEqual(quota)
    }),
    { numRuns: 60 },
  )
  expect(clamped).toBeGreaterThan(10)
})

describe('H2: a consumer without limits on usage', () => {
  const most = { input: INPUT, cachedInput: 0, output: 100 }
  const events = () =>
    new Response(new ReadableStream({ pull: () => {} }, { highWaterMark: 0 }), {
      headers: { 'content-type': 'text/event-stream' },
    })

  test('has on the record what a call may have cost that was ended before its end', async () => {
    const ended = await room([])(failing({ code: 'shutting_down' }))
    expect(ended.record).toMatchObject({ uncertain: true, usage: most, costNanoUsd: costOf(most, PRICE) })
    const stream = await room([])(events)
    expect(stream.record.usage).toBeUndefined()
    await stream.response.body?.cancel()
    expect(stream.record).toMatchObject({ uncertain: true, usage: most, costNanoUsd: costOf(most, PRICE) })
  })

  test('and nothing of one that certainly took nothing, and what was told of one that told it', async () => {
    const refused = await room([])(failing({ status: 401, unspent: true }))
    expect([refused.record.usage, refused.record.uncertain]).toEqual([undefined, undefined])
    const told = await room([])()
    expect([told.record.usage, told.record.uncertain]).toEqual([{ input: 11, cachedInput: 0, output: 7 }, undefined])
  })
})
