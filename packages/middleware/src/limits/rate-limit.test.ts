import type { UnderlyingSource } from 'node:stream/web'
import { describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import { type BaseContext, pipeline, type Refusal, RequestEnded } from '../pipeline/index.ts'
import type { BudgetLimit, ConcurrencyLimit, Limit, RateLimit } from '../policy/index.ts'
import { type CounterStore, type Limiter, limiter, memoryCounterStore, rateLimit, type Subject } from './index.ts'

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
const subject = (limits: readonly Limit[], id = 'consumer:alice'): Subject => ({ id, limits })
const claims = (subjects: readonly Subject[]) => () =>
  subjects.flatMap((each) => each.limits.map((limit) => ({ subject: each, limit, units: 1 })))

/** A refusal shows as JSON what the room said. */
const context = () =>
  baseContext({ refuse: (refusal) => Response.json(refusal, { status: refusal.status, ...headersOf(refusal) }) })
const headersOf = ({ headers }: Refusal) => (headers === undefined ? {} : { headers })

type Answer = (context: BaseContext, signal: AbortSignal) => Response | Promise<Response>

/** A room around an answer, as one consumer meets it; every call has a record of its own, which notes its refusals. */
function room(subjects: readonly Subject[], by: Limiter = gate()) {
  let answering: Answer = () => new Response('ok')
  const rooms = pipeline().use(rateLimit({ limiter: by, claims: claims(subjects), wallClock }))
  return {
    answers: (next: Answer) => {
      answering = next
    },
    async ask(signal = request.signal) {
      const { record, refuse, log } = context()
      const mine = answering
      const handler = rooms.handle((request, context) => mine(context, request.signal))
      const noting = (refusal: Refusal) => {
        record.refusal = refusal.code
        return refuse(refusal)
      }
      const response = await handler({ ...request, signal }, { record, refuse: noting, log })
      return { response, record, headers: Object.fromEntries(response.headers) }
    },
  }
}
const statuses = async (asked: ReturnType<typeof room>, times: number) => {
  const all: number[] = []
  for (let i = 0; i < times; i += 1) all.push((await asked.ask()).response.status)
  return all
}

describe('a request over its limit', () => {
  test('is told which, how large it is, and when to come back', async () => {
    const asked = room([subject([rate()])])
    expect(new Set(await statuses(asked, 15))).toEqual(new Set([200]))
    const { response, headers, record } = await asked.ask()
    expect(response.status).toBe(429)
    expect(await response.json()).toMatchObject({
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
    expect(record.limit).toBe('requests')
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
    const asked = room([subject([limit])])
    expect(await statuses(asked, admitted)).toEqual(Array.from({ length: admitted }, () => 200))
    const { response, headers } = await asked.ask()
    expect(response.status).toBe(429)
    expect(headers['x-should-retry']).toBe(retry)
    expect(Number(headers['retry-after'])).toBeGreaterThan(0)
    const refusal = (await response.json()) as Refusal
    expect(refusal.code).toBe(code)
    expect(refusal.details).toMatch(details)
    if (code === 'insufficient_quota') expect(refusal.message).toBe(`The budget '${limit.name}' is spent.`)
  })

  test('takes nothing from the other limits', async () => {
    const asked = room([subject([rate()]), subject([quota()], 'global')])
    expect(await statuses(asked, 4)).toEqual([200, 200, 429, 429])
    expect((await asked.ask()).headers.ratelimit).toMatch(/^"requests";r=13;/)
  })
})

describe('what passes', () => {
  test('is told of every limit, the outermost first, and of the tightest one as OpenAI does', async () => {
    const by = gate()
    const outer = rateLimit({
      limiter: by,
      claims: claims([subject([rate(), slots(3)]), subject([quota({ quota: 400 })], 'global')]),
      wallClock,
    })
    const small = rate({ key: 'requests:60000@small', name: 'requests:small', model: 'small', burst: 0, capacity: 10 })
    const inner = rateLimit({ limiter: by, claims: claims([subject([small], 'plan:free')]), wallClock })
    const response = await pipeline()
      .use(outer)
      .use(inner)
      .handle(() => new Response())(request, context())
    expect(Object.fromEntries(response.headers)).toMatchObject({
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
    const never: Limiter = { ...gate(), admit: () => Promise.reject(new Error('asked')) }
    const { response, headers } = await room([subject([])], never).ask()
    expect(response.status).toBe(200)
    expect(headers).not.toHaveProperty('ratelimit')
  })

  test('counts as a request whatever becomes of it, but for a refusal by a limit further in', async () => {
    const asked = room([subject([rate(), slots(1)])])
    const refuse =
      (code: Refusal['code'], status: number): Answer =>
      ({ refuse }) =>
        refuse({ code, status, message: '' })
    for (const answer of [
      refuse('rate_limit_exceeded', 429),
      refuse('insufficient_quota', 429),
      refuse('request_too_expensive', 400),
      refuse('input_unbounded', 400),
      refuse('model_not_priced', 403),
      refuse('store_unavailable', 503),
    ]) {
      asked.answers(answer)
      await asked.ask()
    }
    asked.answers(() => new Response())
    expect((await asked.ask()).headers.ratelimit).toMatch(/^"requests";r=14;/)
    for (const answer of [refuse('invalid_request', 400), refuse('upstream_failed', 502), refuse('slot_lost', 503)]) {
      asked.answers(answer)
      await asked.ask()
    }
    asked.answers(() => {
      throw new Error('fault')
    })
    await expect(asked.ask()).rejects.toThrow('fault')
    asked.answers(() => new Response())
    expect((await asked.ask()).headers.ratelimit).toMatch(/^"requests";r=9;/)
  })
})

describe('a slot', () => {
  const events = (source: UnderlyingSource<Uint8Array> = {}) =>
    new Response(new ReadableStream(source, { highWaterMark: 0 }), { headers: { 'content-type': 'text/event-stream' } })
  const never = () => new Promise<never>(() => {})

  /** Whether the one slot is taken: such a request must come back in a second. */
  async function isTaken(asked: ReturnType<typeof room>): Promise<boolean> {
    asked.answers(() => new Response())
    const { response, headers } = await asked.ask()
    if (response.status === 429) expect(headers['retry-after']).toBe('1')
    return response.status === 429
  }

  test.each<[string, (response: Response, leave: () => void) => unknown, UnderlyingSource<Uint8Array>]>([
    ['ends', (response) => response.text(), { pull: (controller) => controller.close() }],
    [
      'breaks',
      (response) => response.text().catch(() => {}),
      { pull: (controller) => controller.error(new Error('broken')) },
    ],
    ['is cancelled', (response) => response.body?.cancel(), { pull: never }],
    [
      'is cancelled while it is waited for',
      async (response) => {
        const reader = response.body?.getReader()
        void reader?.read()
        await reader?.cancel()
      },
      { pull: never },
    ],
    ['is left unread by its client', (_response, leave) => leave(), { pull: never }],
  ])('is held by a stream until it %s', async (_how, end, source) => {
    const asked = room([subject([slots(1)])])
    const client = new AbortController()
    asked.answers(() => events(source))
    const { response } = await asked.ask(client.signal)
    expect(await isTaken(asked)).toBe(true)
    await end(response, () => client.abort())
    expect(await isTaken(asked)).toBe(false)
  })

  test('is held by a plain answer until it is there, or a fault is', async () => {
    const asked = room([subject([slots(1)])])
    for (const outcome of ['answer', 'fault'] as const) {
      const { promise, resolve, reject } = Promise.withResolvers<Response>()
      asked.answers(() => promise)
      const pending = asked.ask().catch(() => undefined)
      await expect.poll(() => isTaken(asked)).toBe(true)
      if (outcome === 'answer') resolve(new Response())
      else reject(new Error('fault'))
      await pending
      expect(await isTaken(asked)).toBe(false)
    }
  })

  test('that can’t be kept ends the request, which can tell that from a client that left', async () => {
    const lost = new AbortController()
    const by = gate()
    const losing: Limiter = {
      ...by,
      async admit(claims) {
        const decision = await by.admit(claims)
        return decision.admitted ? { ...decision, lost: lost.signal } : decision
      },
    }
    const asked = room([subject([slots(1)])], losing)
    const reasons: unknown[] = []
    asked.answers(
      (_context, signal) =>
        new Promise((resolve) => {
          signal.addEventListener('abort', () => {
            reasons.push(signal.reason)
            resolve(new Response())
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

  test('nobody is admitted, and the record says why', async () => {
    const { response, record, headers } = await room([subject([rate()])], gate(down)).ask()
    expect(response.status).toBe(503)
    expect(await response.json()).toMatchObject({ code: 'store_unavailable' })
    expect(headers['retry-after']).toBe('1')
    expect(record).toMatchObject({ refusal: 'store_unavailable', limits: 'store_failed' })
  })

  test('contention is told apart', async () => {
    const store = memoryCounterStore({ wallClock, now })
    const contended: CounterStore = {
      ...store,
      writeIfMatch: async (...args) => ({ ...(await store.writeIfMatch(...args)), etag: undefined }),
    }
    const { record } = await room([subject([rate()])], gate(contended)).ask()
    expect(record.limits).toBe('contention')
  })

  test('B1: a programming fault is thrown, and the record blames no store', async () => {
    const broken = { ...down, read: () => Promise.reject(new TypeError('x is not a function')) }
    for (const storeDown of ['closed', 'open'] as const) {
      const asked = room([subject([rate()])], gate(broken, storeDown))
      await expect(asked.ask()).rejects.toBeInstanceOf(TypeError)
    }
  })

  test('everybody is, where the policy says so: without a word of limits', async () => {
    const works = memoryCounterStore({ wallClock, now })
    let store: CounterStore = works
    const asked = room(
      [subject([rate()])],
      gate({ read: (...args) => store.read(...args), writeIfMatch: (...args) => store.writeIfMatch(...args) }, 'open'),
    )
    expect((await asked.ask()).headers).toHaveProperty('ratelimit')
    store = down
    const { response, record, headers } = await asked.ask()
    expect(response.status).toBe(200)
    expect(headers).not.toHaveProperty('ratelimit')
    expect(record.limits).toBe('unchecked')
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
  const shuttingDown = new RequestEnded('shutting_down', { code: 'shutting_down', status: 503, message: 'ending' })

  test.each([
    ['its client has left', new DOMException('The client has left', 'AbortError'), 499, 'client_left'],
    ['the process ends', shuttingDown, 503, 'shutting_down'],
  ])('since %s: it waits no longer, asks nothing, and takes nothing', async (_why, reason, status, code) => {
    const { store, asked, tell } = held()
    const { ask, answers } = room([subject([slots(1)])], gate(store))
    let calls = 0
    answers(() => {
      calls += 1
      return new Response('ok')
    })
    const client = new AbortController()
    const waiting = ask(client.signal)
    await asked
    client.abort(reason)
    const { response, record } = await waiting
    expect([response.status, record.refusal, calls]).toEqual([status, code, 0])
    tell()
    // What its claim came to meanwhile is given back.
    await expect.poll(async () => (await ask()).response.status).toBe(200)
    expect(calls).toBe(1)
  })
})
