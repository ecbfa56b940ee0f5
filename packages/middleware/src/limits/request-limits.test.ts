import { describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/base-context.ts'
import { answered, playedStream } from '../../../../test/support/replies.ts'
import { bodyOf, type Call, chat, type Reply } from '../operations/index.ts'
import {
  type ByteStream,
  type ByteStreamEnd,
  type HttpReply,
  isRefusal,
  isStream,
  jsonResponse,
  pipeline,
  type Refusal,
  RequestEnded,
} from '../pipeline/index.ts'
import type { BudgetLimit, ConcurrencyLimit, Limit, RateLimit } from '../policy/index.ts'
import {
  type Admits,
  type CounterStore,
  type Limited,
  limiter,
  memoryCounterStore,
  modelLimits,
  noLimits,
  noModelLimits,
  requestLimits,
  subjectsOf,
} from './index.ts'

const rate = (change: Partial<RateLimit> = {}): RateLimit => ({
  kind: 'rate',
  key: 'requests:60000',
  name: 'requests',
  measure: 'requests',
  model: undefined,
  quota: 10,
  periodMs: 60_000,
  burst: 5,
  capacity: 15,
  refill: 10,
  ...change,
})
const quota = (change: Partial<BudgetLimit> = {}): BudgetLimit => ({
  kind: 'budget',
  key: 'requests:day',
  name: 'requests-day',
  measure: 'requests',
  model: undefined,
  quota: 2,
  per: 'day',
  ...change,
})
const slots = (size: number): ConcurrencyLimit => ({
  kind: 'concurrency',
  key: 'concurrency',
  name: 'concurrent',
  measure: 'concurrency',
  model: undefined,
  quota: size,
})

/** Noon, so that no day ends while a test runs. */
const NOON = Date.UTC(2026, 5, 15, 12)
const now = () => performance.now()
const wallClock = () => NOON + performance.now()
const gate = (store: CounterStore = memoryCounterStore({ wallClock, now }), storeDown: 'closed' | 'open' = 'closed') =>
  limiter({ store, deadlineMs: 300, storeDown })
interface Limits {
  /** The consumer's own. */
  readonly own?: readonly Limit[]
  /** Those of all consumers of its plan together. */
  readonly plan?: readonly Limit[]
  readonly global?: readonly Limit[]
}
const limited = ({ own = [], plan = [], global = [] }: Limits): Limited => ({
  consumer: { id: 'alice', plan: 'free' },
  policy: { plans: new Map([['free', { name: 'free', limits: own, shared: plan }]]), global },
})

const refusal = (code: Refusal['code'], status: number): Refusal => ({ kind: 'refusal', code, status, message: '' })
const OK = () => jsonResponse(200, 'ok')

type Answer = (signal: AbortSignal) => HttpReply | Promise<HttpReply>

/** The limits around an answer, as one consumer meets them; what every request tells is its own. */
function room(limits: Limits, by: Admits = gate()) {
  let answering: Answer = OK
  const given = limited(limits)
  const within = pipeline<Limited>().use(requestLimits({ limiter: by, wallClock }))
  return {
    answers: (next: Answer) => {
      answering = next
    },
    async ask(signal = request.signal) {
      const mine = answering
      const context = baseContext()
      const handler = within.handle(({ signal }) => mine(signal))
      const reply = await handler({ ...request, signal }, { ...context, ...given })
      return { reply, status: reply.status, headers: reply.headers ?? {}, told: context.told }
    },
  }
}
const refusalIn = (reply: HttpReply): Refusal => {
  if (!isRefusal(reply)) throw new Error('It was not refused')
  return reply
}
const statuses = async (asked: ReturnType<typeof room>, times: number) => {
  const all: number[] = []
  for (let i = 0; i < times; i += 1) all.push((await asked.ask()).status)
  return all
}

const ANSWER = { choices: [{ message: { content: 'a' }, finish_reason: 'stop' }] }

const newCall = (signal = request.signal): Call => ({
  signal,
  headers: new Headers(),
  operation: chat,
  route: 'generate',
  model: undefined,
  body: bodyOf({}),
  streamed: false,
  bodyDigest: () => '',
})

interface Calling {
  readonly by: Admits
  readonly given: Limited
  readonly answer: (signal: AbortSignal) => Reply
}

/** The limits of the model `small` around a call, as one consumer meets them. */
function calls({ by, given, answer }: Calling): (signal?: AbortSignal) => Promise<Reply> {
  const within = pipeline<Limited & { readonly routed: { readonly model: { readonly name: string } } }, Call, Reply>()
    .use(modelLimits({ limiter: by, wallClock }))
    .handle(({ signal }) => answer(signal))
  return async (signal = request.signal) => {
    return within(newCall(signal), { ...baseContext(), ...given, routed: { model: { name: 'small' } } })
  }
}

describe('a request over its limit', () => {
  test('is told which, how large it is, and when to come back', async () => {
    const asked = room({ own: [rate()] })
    expect(new Set(await statuses(asked, 15))).toEqual(new Set([200]))
    const { reply, status, headers, told } = await asked.ask()
    expect(status).toBe(429)
    expect(reply).toMatchObject({
      code: 'rate_limit_exceeded',
      details: expect.stringMatching(/^limit 'requests': 10 per 1m, burst 5; come back in [67] s$/),
    })
    expect(headers).toMatchObject({
      'retry-after': expect.stringMatching(/^[67]$/),
      'ratelimit-policy': '"requests";q=10;w=60;burst=5',
      ratelimit: expect.stringMatching(/^"requests";r=0;t=[67]$/),
      'x-ratelimit-limit-requests': '15',
      'x-ratelimit-remaining-requests': '0',
      'x-ratelimit-reset-requests': expect.stringMatching(/^1m3[01]s$/),
    })
    expect(headers).not.toHaveProperty('x-should-retry')
    expect(told.limit).toBe('requests')
  })

  test.each<[string, Limit, number, string, string | undefined, RegExp]>([
    [
      'a day’s budget',
      quota(),
      2,
      'insufficient_quota',
      'false',
      /^limit 'requests-day': 2 per day; come back in 1[12] h/,
    ],
    [
      'an hour’s budget',
      quota({ per: 'hour', quota: 1 }),
      1,
      'insufficient_quota',
      'false',
      /1 per hour; come back in/,
    ],
    ['a minute’s budget', quota({ per: 'minute', quota: 1 }), 1, 'rate_limit_exceeded', undefined, /1 per minute/],
    [
      'a bucket that refills slowly',
      rate({ periodMs: 3_600_000, quota: 1, refill: 1, capacity: 1, burst: 0 }),
      1,
      'rate_limit_exceeded',
      'false',
      /^limit 'requests': 1 per 1h; come back in 1 h(?: 1 min)?$/,
    ],
  ])('of %s', async (_what, limit, admitted, code, retry, details) => {
    const asked = room({ own: [limit] })
    expect(await statuses(asked, admitted)).toEqual(Array.from({ length: admitted }, () => 200))
    const { reply, status, headers } = await asked.ask()
    expect(status).toBe(429)
    expect(headers['x-should-retry']).toBe(retry)
    expect(Number(headers['retry-after'])).toBeGreaterThan(0)
    const refusal = refusalIn(reply)
    expect(refusal.code).toBe(code)
    expect(refusal.details).toMatch(details)
    if (code === 'insufficient_quota') expect(refusal.message).toBe(`The budget '${limit.name}' is spent.`)
  })

  test('takes nothing from the other limits', async () => {
    const asked = room({ own: [rate()], global: [quota()] })
    expect(await statuses(asked, 4)).toEqual([200, 200, 429, 429])
    expect((await asked.ask()).headers.ratelimit).toMatch(/^"requests";r=13;/)
  })
})

describe('what passes', () => {
  test('is told of every limit, the outermost first, and of the tightest one as OpenAI does', async () => {
    const by = gate()
    const small = rate({ key: 'requests:60000@small', name: 'requests:small', model: 'small', burst: 0, capacity: 10 })
    const given = limited({ own: [rate(), slots(3)], plan: [small], global: [quota({ quota: 400 })] })
    const inner = calls({ by, given, answer: () => answered(ANSWER) })
    const reply = await pipeline<Limited>()
      .use(requestLimits({ limiter: by, wallClock }))
      .handle(async ({ signal }) => jsonResponse(200, 'ok', (await inner(signal)).headers))(request, {
      ...baseContext(),
      ...given,
    })
    expect(reply.headers).toMatchObject({
      'ratelimit-policy':
        '"requests";q=10;w=60;burst=5, "concurrent";q=3;qu="concurrent-requests", "requests-day";q=400;w=86400, "requests:small";q=10;w=60',
      ratelimit: expect.stringMatching(
        /^"requests";r=14;t=[67], "concurrent";r=2;t=1, "requests-day";r=399;t=\d+, "requests:small";r=9;t=[67]$/,
      ),
      'x-ratelimit-limit-requests': '10',
      'x-ratelimit-remaining-requests': '9',
      'x-ratelimit-reset-requests': expect.stringMatching(/^[67]s$/),
    })
  })

  test('without a limit costs nothing and is told nothing', async () => {
    const never: Admits = { admitAtOnce: () => undefined, admit: () => Promise.reject(new Error('asked')) }
    const { status, headers } = await room({}, never).ask()
    expect(status).toBe(200)
    expect(headers).not.toHaveProperty('ratelimit')
  })

  test('counts as a request whatever becomes of it, but for a refusal by a limit further in', async () => {
    const asked = room({ own: [rate(), slots(1)] })
    for (const answer of [
      refusal('rate_limit_exceeded', 429),
      refusal('insufficient_quota', 429),
      refusal('request_too_expensive', 400),
      refusal('input_unbounded', 400),
      refusal('model_not_priced', 403),
      refusal('store_unavailable', 503),
    ]) {
      asked.answers(() => answer)
      await asked.ask()
    }
    asked.answers(OK)
    expect((await asked.ask()).headers.ratelimit).toMatch(/^"requests";r=14;/)
    for (const answer of [
      refusal('invalid_request', 400),
      refusal('upstream_failed', 502),
      refusal('slot_lost', 503),
    ]) {
      asked.answers(() => answer)
      await asked.ask()
    }
    asked.answers(() => {
      throw new Error('fault')
    })
    await expect(asked.ask()).rejects.toThrow('fault')
    asked.answers(OK)
    expect((await asked.ask()).headers.ratelimit).toMatch(/^"requests";r=9;/)
  })
})

describe('a slot', () => {
  /** A response's body that comes when the test says so. */
  function playedBody() {
    const { promise: ended, resolve } = Promise.withResolvers<ByteStreamEnd>()
    const waiting = Promise.withResolvers<Uint8Array | undefined>()
    // What a test doesn't read breaks unheard.
    waiting.promise.catch(() => {})
    const body: ByteStream = {
      read: () => waiting.promise,
      cancel() {
        waiting.resolve(undefined)
        resolve({ how: 'client_left', hasBegun: false })
      },
      ended,
    }
    return {
      body,
      end() {
        waiting.resolve(undefined)
        resolve({ how: 'complete', hasBegun: false })
      },
      break() {
        waiting.reject(new Error('broken'))
        resolve({ how: 'broken', hasBegun: false })
      },
    }
  }

  /** Whether the one slot is taken: such a request must come back in a second. */
  async function isTaken(asked: ReturnType<typeof room>): Promise<boolean> {
    asked.answers(OK)
    const { status, headers } = await asked.ask()
    if (status === 429) expect(headers['retry-after']).toBe('1')
    return status === 429
  }

  type Played = ReturnType<typeof playedBody>
  test.each<[string, (body: ByteStream, played: Played, leave: () => void) => unknown]>([
    [
      'ends',
      async (body, { end }) => {
        const last = body.read()
        end()
        await last
        await body.ended
      },
    ],
    [
      'breaks',
      async (body, played) => {
        const read = body.read()
        played.break()
        await expect(read).rejects.toThrow('broken')
        await body.ended
      },
    ],
    [
      'is cancelled',
      async (body) => {
        body.cancel()
        await body.ended
      },
    ],
    [
      'is cancelled while it is waited for',
      async (body) => {
        const pending = body.read()
        body.cancel()
        expect(await pending).toBeUndefined()
        await body.ended
      },
    ],
    ['is left unread by its client', (_body, _played, leave) => leave()],
  ])('is held by a stream until it %s', async (_how, end) => {
    const asked = room({ own: [slots(1)] })
    const client = new AbortController()
    const played = playedBody()
    asked.answers(() => ({ kind: 'response', status: 200, headers: {}, body: played.body }))
    const { reply } = await asked.ask(client.signal)
    if (isRefusal(reply) || !isStream(reply.body)) throw new Error('It is no stream')
    expect(await isTaken(asked)).toBe(true)
    await end(reply.body, played, () => client.abort())
    expect(await isTaken(asked)).toBe(false)
  })

  test('of a model is held by a stream of events until that has ended, and no longer when its end is told', async () => {
    const given = limited({ own: [{ ...slots(1), model: 'small' }] })
    const by = gate()
    const ask = calls({ by, given, answer: (signal) => playedStream({ signal }).reply })
    const client = new AbortController()
    for (const end of ['cancel', 'leave'] as const) {
      const reply = await ask(end === 'leave' ? client.signal : request.signal)
      if (reply.kind !== 'stream') throw new Error(`It is no stream, but ${reply.kind}`)
      expect(reply.headers.ratelimit).toBe('"concurrent";r=0;t=1')
      expect(await ask()).toMatchObject({ kind: 'refused', refusal: { code: 'rate_limit_exceeded', status: 429 } })
      if (end === 'leave') client.abort()
      else reply.events.cancel()
      await reply.ended
      expect(by.leases('consumer:alice').map(({ inFlight }) => inFlight)).toEqual([0])
    }
  })

  test('is held by a plain answer until it is there, or a fault is', async () => {
    const asked = room({ own: [slots(1)] })
    for (const outcome of ['answer', 'fault'] as const) {
      const { promise, resolve, reject } = Promise.withResolvers<HttpReply>()
      asked.answers(() => promise)
      const pending = asked.ask().catch(() => undefined)
      await expect.poll(() => isTaken(asked)).toBe(true)
      if (outcome === 'answer') resolve(OK())
      else reject(new Error('fault'))
      await pending
      expect(await isTaken(asked)).toBe(false)
    }
  })

  test('that can’t be kept ends the request, which can tell that from a client that left', async () => {
    const lost = new AbortController()
    const by = gate()
    const losing: Admits = {
      admitAtOnce: () => undefined,
      async admit(claims) {
        const decision = await by.admit(claims)
        return decision.admitted ? { ...decision, lost: lost.signal } : decision
      },
    }
    const asked = room({ own: [slots(1)] }, losing)
    const reasons: unknown[] = []
    asked.answers(
      (signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            resolve(OK())
          })
          lost.abort()
        }),
    )
    await asked.ask()
    expect(reasons).toEqual([expect.any(RequestEnded)])
    expect(reasons[0]).toMatchObject({ code: 'slot_lost', refusal: { code: 'slot_lost', status: 503 } })
  })
})

describe('when the limits can’t be checked', () => {
  const down = { read: () => Promise.reject(new Error('down')), writeIfMatch: () => Promise.reject(new Error('down')) }

  test('nobody is admitted, and the log says why', async () => {
    const { reply, status, told, headers } = await room({ own: [rate()] }, gate(down)).ask()
    expect(status).toBe(503)
    expect(reply).toMatchObject({ code: 'store_unavailable' })
    expect(headers['retry-after']).toBe('1')
    expect(told).toEqual({ limits: 'store_failed' })
  })

  test('contention is told apart', async () => {
    const store = memoryCounterStore({ wallClock, now })
    const contended: CounterStore = {
      ...store,
      writeIfMatch: async (...args) => ({ ...(await store.writeIfMatch(...args)), etag: undefined }),
    }
    const { told } = await room({ own: [rate()] }, gate(contended)).ask()
    expect(told.limits).toBe('contention')
  })

  test('B1: a programming fault is thrown, and the log blames no store', async () => {
    const broken = { ...down, read: () => Promise.reject(new TypeError('x is not a function')) }
    for (const storeDown of ['closed', 'open'] as const) {
      const asked = room({ own: [rate()] }, gate(broken, storeDown))
      await expect(asked.ask()).rejects.toBeInstanceOf(TypeError)
    }
  })

  test('everybody is, where the policy says so: without a word of limits', async () => {
    const works = memoryCounterStore({ wallClock, now })
    let store: CounterStore = works
    const asked = room(
      { own: [rate()] },
      gate({ read: (...args) => store.read(...args), writeIfMatch: (...args) => store.writeIfMatch(...args) }, 'open'),
    )
    expect((await asked.ask()).headers).toHaveProperty('ratelimit')
    store = down
    const { status, told, headers } = await asked.ask()
    expect(status).toBe(200)
    expect(headers).not.toHaveProperty('ratelimit')
    expect(told.limits).toBe('unchecked')
  })
})

describe('H1: a request that ends while its limits are checked', () => {
  /** A store whose first read waits until the test says so. */
  function held() {
    const store = memoryCounterStore({ wallClock, now })
    const told = Promise.withResolvers<void>()
    const asked = Promise.withResolvers<void>()
    const slow: CounterStore = {
      ...store,
      async read(id, signal) {
        asked.resolve()
        await told.promise
        return store.read(id, signal)
      },
    }
    return { store: slow, asked: asked.promise, tell: () => told.resolve() }
  }
  const shuttingDown = new RequestEnded('shutting_down', refusal('shutting_down', 503))

  test.each([
    ['its client has left', new DOMException('The client has left', 'AbortError'), 499, 'client_left'],
    ['the process ends', shuttingDown, 503, 'shutting_down'],
  ])('since %s: it waits no longer, asks nothing, and takes nothing', async (_why, reason, status, code) => {
    const { store, asked, tell } = held()
    const { ask, answers } = room({ own: [slots(1)] }, gate(store))
    let calls = 0
    answers(() => {
      calls += 1
      return OK()
    })
    const client = new AbortController()
    const waiting = ask(client.signal)
    await asked
    client.abort(reason)
    const { reply } = await waiting
    expect([reply.status, refusalIn(reply).code, calls]).toEqual([status, code, 0])
    tell()
    // What its claim came to meanwhile is given back.
    await expect.poll(async () => (await ask()).status).toBe(200)
    expect(calls).toBe(1)
  })
})

test('a request that has ended before its limits were checked asks none of them', async () => {
  let asked = 0
  const asking = () => {
    asked += 1
    throw new Error('asked')
  }
  const { ask } = room({ own: [slots(1)] }, { admitAtOnce: asking, admit: asking })
  const { reply } = await ask(AbortSignal.abort())
  expect([refusalIn(reply).code, asked]).toEqual(['client_left', 0])
})

test('a month is told with its own length, whichever was told before', async () => {
  const monthly = quota({ key: 'requests:month', name: 'requests-month', per: 'month', quota: 9 })
  const given = limited({ own: [monthly] })
  let time = 0
  const handler = pipeline<Limited>()
    .use(requestLimits({ limiter: gate(), wallClock: () => time }))
    .handle(OK)
  const days: (string | undefined)[] = []
  for (const month of ['2026-02', '2026-03', '2026-03', '2026-04', '2026-02']) {
    time = Date.parse(`${month}-28T23:59:59.999Z`)
    const { headers } = await handler(request, { ...baseContext(), ...given })
    days.push(headers?.['ratelimit-policy'])
  }
  expect(days).toEqual([28, 31, 31, 30, 28].map((each) => `"requests-month";q=9;w=${each * 86_400}`))
})

test('the subjects of a consumer are the same for as long as its policy is', () => {
  const { policy, consumer } = limited({ own: [rate()], plan: [quota()], global: [slots(9)] })
  const subjects = subjectsOf(policy, consumer)
  expect(subjects).toMatchObject([{ id: 'consumer:alice' }, { id: 'plan:free' }, { id: 'global' }])
  expect(subjectsOf(policy, consumer)).toBe(subjects)
  expect(subjectsOf(policy, { ...consumer, id: 'bob' })).toMatchObject([{ id: 'consumer:bob' }, {}, {}])
})

test('what an instance holds is not waited for', async () => {
  const by = gate()
  let waits = 0
  const watched: Admits = {
    admitAtOnce: by.admitAtOnce,
    admit(claims) {
      waits += 1
      return by.admit(claims)
    },
  }
  const { ask } = room({ own: [rate({ quota: 100_000, capacity: 100_000, refill: 100_000 })] }, watched)
  for (let i = 0; i < 5; i += 1) await ask()
  expect(waits).toBe(1)
  expect((await ask()).headers.ratelimit).toMatch(/^"requests";r=99994;/)
})

describe('a consumer whose plan the policy does not have', () => {
  const { consumer, policy } = { ...limited({}), consumer: { id: 'alice', plan: 'gone' } }

  test('is refused, by the limits of either onion', async () => {
    const by = gate()
    const http = pipeline<Limited>()
      .use(requestLimits({ limiter: by, wallClock }))
      .handle(OK)
    const refusal = { code: 'plan_unavailable', status: 403, message: expect.stringContaining("plan 'gone'") }
    expect(await http(request, { ...baseContext(), consumer, policy })).toMatchObject(refusal)
    const call = calls({ by, given: { consumer, policy }, answer: () => answered(ANSWER) })
    expect(await call()).toMatchObject({ kind: 'refused', refusal, shared: false, fallible: false })
  })
})

test('who wants no limits says so, and what is within is told the same', async () => {
  const http = pipeline()
    .use(noLimits())
    .handle((_request, { admitted }) => jsonResponse(200, admitted))
  expect(await http(request, baseContext())).toEqual(jsonResponse(200, true))
  const within = pipeline<{}, Call, Reply>()
    .use(noModelLimits())
    .handle((_call, { modelAdmitted }) => answered(ANSWER, { storable: modelAdmitted }))
  expect(await within(newCall(), baseContext())).toMatchObject({ kind: 'answer', storable: true })
})
