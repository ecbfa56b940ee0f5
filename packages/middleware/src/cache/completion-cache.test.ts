import { beforeEach, describe, expect, test } from 'vitest'
import {
  ALWAYS_KNOWN,
  type Asking,
  type CacheRoomOptions,
  cacheRoom,
  clamped,
  completionOf,
  eventsOf,
  HOUR,
  memoryShared,
  plain,
  RULE,
  refusedByModel,
  START,
  streamOf,
  textIn,
} from '../../../../test/support/cache-room.ts'
import type { AnswerReply } from '../operations/index.ts'
import type { CacheEntry } from './entry.ts'
import type { CacheStore } from './store.ts'
import { pack, unpack } from './stores/packing.ts'

let time: number
beforeEach(() => {
  time = START
})
const room = (options: CacheRoomOptions = {}) => cacheRoom({ wallClock: () => time, ...options })

/** The answer's text and how the cache says that it came, once it is read to its end. */
async function read(asked: ReturnType<ReturnType<typeof room>['ask']>) {
  const answer = await asked
  const { status, code, reply } = answer
  return { status, text: await answer.text(), record: answer.record, code, age: reply.headers.age }
}

describe('the completion cache', () => {
  test('serves an entry, byte for byte, until its time is up', async () => {
    const { ask, asked } = room()
    const first = await read(ask())
    expect(first.status).toBe('tollgate; fwd=miss; stored')
    time += 61_500
    expect(await read(ask())).toMatchObject({ text: first.text, status: 'tollgate; hit; ttl=3538', age: '61' })
    time = START + HOUR - 1
    expect((await read(ask())).status).toBe('tollgate; hit; ttl=0')
    time = START + HOUR
    expect((await read(ask())).status).toBe('tollgate; fwd=miss; stored')
    expect(asked()).toBe(2)
  })

  test('lets lifetimes differ by a tenth, so that what came together doesn’t expire together', async () => {
    for (const [random, lifeMs] of [
      [0, 0.9 * HOUR],
      [1, 1.1 * HOUR],
    ] as const) {
      time = START
      const { ask } = room({ random: () => random })
      await read(ask())
      time = START + lifeMs - 1
      expect((await read(ask())).status).toContain('hit')
      time = START + lifeMs
      expect((await read(ask())).status).toContain('fwd=miss')
    }
  })

  test('keeps to a shorter time as soon as the route says so', async () => {
    const { ask } = room()
    await read(ask())
    time += 10_000
    const rule = (ttlMs: number) => ({ routed: { cache: { ...RULE, ttlMs } } })
    expect((await read(ask(rule(10_000)))).status).toBe('tollgate; hit; ttl=1')
    expect((await read(ask(rule(9_000)))).status).toBe('tollgate; fwd=miss; stored')
  })

  test('tells what each hit spared: tokens, and their price of today', async () => {
    const { ask } = room()
    expect((await read(ask())).record.spared).toBeUndefined()
    expect((await read(ask())).record).toMatchObject({
      cache: 'hit',
      spared: { input: 11, cachedInput: 0, output: 7 },
      sparedNanoUsd: 25_000,
    })
  })

  test.each<[string, Asking, Asking, 'hit' | 'fwd=miss']>([
    ['is the consumer’s alone', { consumer: 'alice' }, { consumer: 'bob' }, 'fwd=miss'],
    ['is no other consumer’s of the same plan', { plan: 'pro' }, { consumer: 'bob', plan: 'pro' }, 'fwd=miss'],
    [
      'is the plan’s where the route says so',
      { routed: { cache: { ...RULE, scope: 'plan' } } },
      { consumer: 'bob', routed: { cache: { ...RULE, scope: 'plan' } } },
      'hit',
    ],
    [
      'is not another plan’s then',
      { routed: { cache: { ...RULE, scope: 'plan' } } },
      { consumer: 'bob', plan: 'pro', routed: { cache: { ...RULE, scope: 'plan' } } },
      'fwd=miss',
    ],
    [
      'is everybody’s where the route says so',
      { routed: { cache: { ...RULE, scope: 'shared' } } },
      { consumer: 'bob', plan: 'pro', routed: { cache: { ...RULE, scope: 'shared' } } },
      'hit',
    ],
    [
      'tells targets apart that may answer differently',
      {},
      { routed: { candidates: [{ target: { identity: 'u' } }] } },
      'fwd=miss',
    ],
    ['tells apart what was done to a prompt', {}, { routed: { transforms: 'eol.2' } }, 'fwd=miss'],
  ])('%s', async (_what, first, second, status) => {
    const { ask } = room()
    await read(ask(first))
    expect((await read(ask(second))).status).toContain(status)
  })

  test('is passed by where the route says so, or the answer is sampled and that is not wanted', async () => {
    const { ask } = room()
    expect((await read(ask({ routed: { cache: undefined } }))).status).toBe('tollgate; fwd=bypass; detail=off')
    const cache = { ...RULE, sampled: false }
    expect((await read(ask({ routed: { cache } }))).status).toBe('tollgate; fwd=bypass; detail=sampled')
    const exact = { body: { messages: [], temperature: 0 }, routed: { cache } }
    expect((await read(ask(exact))).status).toBe('tollgate; fwd=miss; stored')
    expect((await read(ask(exact))).status).toContain('hit')
  })

  test('is passed by when the body has no canonical form', async () => {
    const { ask } = room()
    expect((await read(ask({ prompt: '\ud800' }))).status).toBe('tollgate; fwd=bypass; detail=no-key')
  })

  test('forgets all that is of another purge version', async () => {
    let version = ''
    const { ask } = room({ purgeVersions: { ...ALWAYS_KNOWN, tag: () => version } })
    await read(ask())
    expect((await read(ask())).status).toContain('hit')
    version = 'purged'
    expect((await read(ask())).status).toBe('tollgate; fwd=miss; stored')
    expect((await read(ask())).status).toContain('hit')
  })

  test('serves nothing and stores nothing while nobody can tell what was purged', async () => {
    let known = true
    const shared = memoryShared()
    let looks = 0
    const get: CacheStore['get'] = (key, signal) => {
      looks += 1
      return shared.get(key, signal)
    }
    const { ask, asked } = room({
      shared: { ...shared, get },
      purgeVersions: { ...ALWAYS_KNOWN, tag: () => (known ? '' : undefined) },
    })
    await read(ask())
    known = false
    expect((await read(ask())).status).toBe('tollgate; fwd=miss')
    expect((await read(ask())).status).toBe('tollgate; fwd=miss')
    // Calls are shared nevertheless: a store's outage is when the model can bear a stampede least.
    const both = await Promise.all([read(ask()), read(ask())])
    expect(both.map(({ status }) => status)).toEqual(['tollgate; fwd=miss', 'tollgate; fwd=miss; collapsed'])
    expect([asked(), looks]).toEqual([4, 1])
  })
})

describe('only what is whole is stored', () => {
  test.each<[string, CacheRoomOptions['model']]>([
    ['an error', () => refusedByModel({ status: 500 })],
    ['a refusal', () => refusedByModel({ status: 429 })],
    ['a 200 that holds an error', () => plain('{"error":{"message":"no"}}')],
    ['a 200 that holds an error beside its choices', () => completionOf('x', 'stop', { error: { message: 'no' } })],
    ['a 200 that is no JSON', () => plain('<html>')],
    ['an answer without choices', () => plain('{"choices":[]}')],
    ['an answer without an end', () => completionOf('x', null)],
    ['a filtered answer', () => completionOf('x', 'content_filter')],
    ['a tool call', () => completionOf('x', 'tool_calls')],
    ['a tool call that says stop', () => toolCall('stop')],
    ['an answer that was allowed less than was asked for', () => clamped(completionOf('x', 'length') as AnswerReply)],
    ['fewer choices than were asked for', () => completionOf('x')],
    ['a filtered stream', () => streamOf(['x'], { finish: 'content_filter' })],
    ['a stream that calls a tool', () => streamOf(['x'], { finish: 'tool_calls' })],
    ['a stream that was cut', () => eventsOf([chunk('one'), chunk('two')])],
    ['a stream that broke', () => streamOf(['x'], { before: () => Promise.reject(new Error('broken')) })],
    ['a stream that was allowed less than was asked for', () => clamped(streamOf(['x'], { finish: 'length' }))],
    ['a stream with an error event', () => eventsOf([chunk('one'), 'data: {"error":{"code":"server_error"}}\n\n'])],
  ])('never %s', async (what, model) => {
    const { ask, asked } = room({ ...(model === undefined ? {} : { model }) })
    for (const _ of [1, 2]) {
      const body = { messages: [], ...(what.startsWith('fewer') ? { n: 2 } : {}) }
      const stream = what.includes('stream')
      const { status, text } = await ask({ body, stream })
      expect(status).toBe('tollgate; fwd=miss')
      await text().catch(() => {})
    }
    expect(asked()).toBe(2)
  })

  test('an answer that ended at its length', async () => {
    const { ask } = room({ model: () => completionOf('x', 'length') })
    expect((await read(ask())).status).toBe('tollgate; fwd=miss; stored')
  })

  test('an answer of up to 8 MiB, and no larger one', async () => {
    const lengths = [8 * 1024 * 1024 - 1_000, 8 * 1024 * 1024]
    const { ask, events } = room({ model: ({ body }) => completionOf('x'.repeat(lengths[Number(body.seed)] ?? 0)) })
    const asked = lengths.map((_, seed) => ask({ body: { messages: [], seed } }))
    const statuses = (await Promise.all(asked)).map(({ status }) => status)
    expect(statuses).toEqual(['tollgate; fwd=miss; stored', 'tollgate; fwd=miss'])
    expect(events).toEqual(['completion too large to store'])
  })

  test('tool calls where the route says so', async () => {
    const { ask } = room({ model: () => toolCall('tool_calls') })
    const rule = { routed: { cache: { ...RULE, tools: true } } }
    const first = await read(ask(rule))
    expect(first.status).toBe('tollgate; fwd=miss; stored')
    expect((await read(ask(rule))).text).toBe(first.text)
  })

  function toolCall(finish: string): ReturnType<typeof completionOf> {
    const message = { role: 'assistant', tool_calls: [{ id: 'c', type: 'function', function: { name: 'f' } }] }
    return completionOf('', finish, { choices: [{ index: 0, message, finish_reason: finish }] })
  }

  function chunk(content: string): string {
    return `data: ${JSON.stringify({ choices: [{ index: 0, delta: { content }, finish_reason: null }] })}\n\n`
  }
})

describe('what is stored', () => {
  test('keeps no more memory than it counts', async () => {
    const entries: CacheEntry[] = []
    const shared = memoryShared()
    const set: CacheStore['set'] = async (_key, entry) => {
      entries.push(entry)
      return true
    }
    const { ask } = room({ shared: { ...shared, set }, model: () => completionOf('short') })
    await read(ask())
    const streamed = room({ shared: { ...shared, set }, model: () => streamOf(['a', 'b']) })
    await read(streamed.ask({ stream: true }))
    const [unpacked] = await Promise.all(entries.map(async (entry) => unpack((await pack(entry)) ?? new Uint8Array())))
    expect(entries.length).toBe(2)
    for (const { answer, events = new Uint8Array() } of [...entries, unpacked ?? fail()]) {
      expect(answer.buffer.byteLength).toBe(answer.byteLength)
      expect(events.buffer.byteLength).toBe(events.byteLength)
    }
  })

  function fail(): never {
    throw new Error('Nothing was unpacked')
  }
})

describe('plain and streamed requests answer each other', () => {
  test('a stored stream is served again byte for byte, and whole to who wants it so', async () => {
    const { ask, asked } = room({ model: () => streamOf(['The ', 'sky ', 'is blue.']) })
    const first = await read(ask({ stream: true }))
    expect(first.status).toBe('tollgate; fwd=miss')
    const again = await read(ask({ stream: true }))
    expect([again.status, again.text]).toEqual([expect.stringContaining('hit'), first.text])
    const whole = await read(ask())
    expect(whole.status).toContain('hit')
    expect(JSON.parse(whole.text)).toMatchObject({
      object: 'chat.completion',
      choices: [{ message: { role: 'assistant', content: 'The sky is blue.' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 11, completion_tokens: 7 },
    })
    expect(whole.record).toMatchObject({ cache: 'hit', spared: { input: 11, cachedInput: 0, output: 7 } })
    expect(asked()).toBe(1)
  })

  test('a stored answer is streamed in pieces, and nothing of it is lost', async () => {
    const text = 'Because of the way in which light is scattered by the air above us.'
    const { ask, asked } = room({ model: () => completionOf(text) })
    const whole = await read(ask())
    const streamed = await read(ask({ stream: true }))
    expect(streamed.status).toContain('hit')
    expect(textIn(streamed.text)).toBe(text)
    expect(streamed.text.split('\n\n').length).toBeGreaterThan(4)
    expect(streamed.text).toContain('"field_of_next_year":"kept"')
    expect(streamed.text).toMatch(/data: \[DONE\]\n\n$/)
    expect((await read(ask())).text).toBe(whole.text)
    expect(asked()).toBe(1)
  })

  test('nothing of a stream is stored when its reader leaves half-way', async () => {
    const { ask, asked } = room({ model: () => streamOf(['one', 'two', 'three']) })
    const { events } = await ask({ stream: true })
    await events.read()
    events.cancel()
    expect((await read(ask({ stream: true }))).status).toBe('tollgate; fwd=miss')
    expect(asked()).toBe(2)
  })
})

describe('a request’s Cache-Control', () => {
  const control = (value: string) => ({ headers: { 'cache-control': value } })

  test('no-cache asks the model, and stores what it says', async () => {
    let count = 0
    const { ask } = room({ model: () => completionOf(`answer ${++count}`) })
    await read(ask())
    expect(await read(ask(control('no-cache')))).toMatchObject({
      status: 'tollgate; fwd=request; stored',
      text: expect.stringContaining('answer 2'),
    })
    expect(await read(ask())).toMatchObject({
      status: expect.stringContaining('hit'),
      text: expect.stringContaining('answer 2'),
    })
  })

  test('no-store keeps nothing, and is served what is there', async () => {
    const { ask, asked } = room()
    expect((await read(ask(control('no-store')))).status).toBe('tollgate; fwd=miss')
    expect((await read(ask(control('no-store')))).status).toBe('tollgate; fwd=miss')
    await read(ask())
    expect((await read(ask(control('No-Store')))).status).toContain('hit')
    expect(asked()).toBe(3)
  })

  test('max-age takes nothing older', async () => {
    const { ask } = room()
    await read(ask())
    time += 10_000
    expect((await read(ask(control('max-age=10')))).status).toContain('hit')
    time += 1
    expect((await read(ask(control('max-age=10')))).status).toBe('tollgate; fwd=request; stored')
    time += 1
    expect((await read(ask(control('max-age=0')))).status).toContain('fwd=request')
    expect((await read(ask(control('max-age=soon')))).status).toContain('hit')
  })

  test('only-if-cached asks nobody', async () => {
    const { ask, asked } = room()
    expect(await read(ask(control('only-if-cached')))).toMatchObject({
      code: 504,
      status: 'tollgate; detail=only-if-cached',
      text: expect.stringContaining('"code":"not_cached"'),
    })
    await read(ask())
    expect((await read(ask(control('only-if-cached, max-age=60')))).status).toContain('hit')
    expect(asked()).toBe(1)
  })

  test.each([
    ['the route has no cache', { routed: { cache: undefined } }],
    ['the answer is sampled', { routed: { cache: { ...RULE, sampled: false } } }],
    ['the body has no canonical form', { prompt: '\ud800' }],
  ])('only-if-cached asks nobody where %s either', async (_what, asking) => {
    const { ask, asked } = room()
    expect((await read(ask({ ...control('only-if-cached'), ...asking }))).code).toBe(504)
    expect(asked()).toBe(0)
  })
})

describe('a request that the model turns away for what it is', () => {
  const refusing = (status: number, code: string, more: { readonly retryAfterMs?: number } = {}) =>
    room({
      model: () => refusedByModel({ status, code, ...more, unspent: true }),
    })

  test('is turned away again without asking, but for no other consumer, and not for long', async () => {
    const { ask, asked } = refusing(400, 'context_length_exceeded')
    await read(ask())
    expect(await read(ask())).toMatchObject({
      code: 502,
      status: expect.stringMatching(/^tollgate; hit; ttl=4\d; detail=refused$/),
      record: { cache: 'hit', upstream: { status: 400, code: 'context_length_exceeded' } },
    })
    expect(asked()).toBe(1)
    await read(ask({ consumer: 'bob' }))
    for (const directive of ['no-cache', 'max-age=0']) await read(ask({ headers: { 'cache-control': directive } }))
    expect(asked()).toBe(4)
  })

  test('is the one consumer’s, also where completions are the plan’s', async () => {
    const { ask, asked } = refusing(400, 'context_length_exceeded')
    const routed = { cache: { ...RULE, scope: 'plan' } } as const
    for (const consumer of ['alice', 'bob', 'alice']) await read(ask({ consumer, routed }))
    expect(asked()).toBe(2)
  })

  test('is not remembered where the request says so', async () => {
    const { ask, asked } = refusing(400, 'context_length_exceeded')
    await read(ask({ headers: { 'cache-control': 'no-store' } }))
    await read(ask())
    expect(asked()).toBe(2)
  })

  test('is asked again where it was told when to come back', async () => {
    const { ask, asked } = refusing(400, 'busy', { retryAfterMs: 5_000 })
    await read(ask())
    await read(ask())
    expect(asked()).toBe(2)
  })

  test.each([
    [401, 'invalid_api_key'],
    [403, 'forbidden'],
    [429, 'rate_limit_exceeded'],
    [500, 'server_error'],
    [400, 'content_filter'],
  ])('is asked again after %i %s', async (status, code) => {
    const { ask, asked } = refusing(status, code)
    await read(ask())
    await read(ask())
    expect(asked()).toBe(2)
  })
})

describe('a cache store that fails', () => {
  const never = () => new Promise<never>(() => {})
  const broken = () => Promise.reject(new Error('down'))
  const store = (fault: Partial<CacheStore>): CacheStore => ({ ...memoryShared(), ...fault })

  test.each([
    ['hangs on reading', { get: never, claim: never }],
    ['fails on reading', { get: broken, claim: broken }],
  ])('and %s is a miss', async (_what, fault) => {
    const { ask, events } = room({ shared: store(fault) })
    expect((await read(ask())).status).toBe('tollgate; fwd=miss; stored')
    expect(events).toContain('cache store failed')
    expect((await read(ask())).status).toContain('hit')
  })

  test.each([
    ['hangs on claiming', never],
    ['fails on claiming', broken],
  ])('and %s is a miss', async (_what, claim) => {
    const { ask, events } = room({ shared: store({ claim }), model: () => completionOf('x', 'content_filter') })
    await read(ask())
    expect((await read(ask())).status).toBe('tollgate; fwd=miss')
    expect(events).toContain('cache store failed')
  })

  test.each([
    ['hangs on writing', { set: never }, undefined],
    ['fails on writing', { set: broken }, 'cache store failed'],
    ['finds the entry too large', { set: async () => false }, 'completion not stored'],
  ])('and %s costs the caller nothing', async (_what, fault, event) => {
    const { ask, events } = room({ shared: store(fault) })
    const { text, status } = await read(ask())
    expect(text).toContain('answer to Why?')
    // In this process it is.
    expect(status).toBe('tollgate; fwd=miss; stored')
    expect(events[0]).toBe(event)
  })

  test('is asked no more than now and then once it is down for certain, and told of twice', async () => {
    let calls = 0
    let works = false
    const shared = memoryShared()
    const get: CacheStore['get'] = (key, signal) => {
      calls += 1
      return works ? shared.get(key, signal) : broken()
    }
    let now = 0
    const { ask, events } = room({ shared: { ...shared, get, set: broken }, now: () => now })
    for (let index = 0; index < 20; index += 1) await read(ask({ prompt: `${index}` }))
    expect(calls).toBe(2)
    works = true
    now += 1_000
    await read(ask({ prompt: 'later' }))
    expect(calls).toBe(3)
    expect(events).toEqual(['cache store failed', 'cache store recovered', 'cache store failed'])
  })
})

describe('B1: a programming fault in a cache store', () => {
  const store = (fault: Partial<CacheStore>): CacheStore => ({ ...memoryShared(), ...fault })
  const defect = () => Promise.reject(new TypeError("Cannot read properties of undefined (reading 'SECRET prompt')"))

  test.each<[string, Partial<CacheStore>]>([
    ['in reading', { get: defect }],
    ['in writing', { set: defect }],
    ['in claiming', { get: async () => 'claimed', claim: defect }],
    ['in a claim', { get: async () => 'claimed', claim: async () => ({ kind: 'claimed', claim: {} as never }) }],
    ['in calling the store', { get: undefined as never }],
  ])('%s costs the caller nothing, and is logged as what it is, with its message and place', async (_what, fault) => {
    const { ask, lines } = room({ shared: store(fault) })
    expect(await read(ask())).toMatchObject({ code: 200, status: 'tollgate; fwd=miss; stored' })
    const [line, ...more] = lines
    expect(line).toEqual([
      'error',
      'fault',
      expect.objectContaining({ in: 'cache store', fault: 'TypeError', at: expect.any(Array) }),
    ])
    expect(line?.[2]).toHaveProperty('message', expect.stringMatching(/Cannot read properties|is not a function/))
    expect(JSON.stringify(lines)).not.toContain('SECRET')
    expect(more.map(([, event]) => event)).not.toContain('cache store failed')
  })

  test.each([[null], ['x'], [42], [{}], [[1]], [{ answer: 'x', storedAt: 1, expiresAt: 9e15 }]])(
    'in the form of what it gives costs the caller nothing: %j',
    async (given) => {
      for (const fault of [{ get: async () => given }, { get: async () => 'claimed', claim: async () => given }]) {
        const { ask, lines } = room({ shared: store(fault as unknown as Partial<CacheStore>) })
        expect(await read(ask())).toMatchObject({ code: 200, status: 'tollgate; fwd=miss; stored' })
        expect(await read(ask({ prompt: 'another' }))).toMatchObject({ code: 200 })
        if (given === null && !('claim' in fault)) expect(lines).toEqual([])
        else expect(lines[0]?.[2]).toMatchObject({ in: 'cache store', fault: 'TypeError' })
      }
    },
  )

  test('is logged again while it lasts, once a second, and the store is asked all the same', async () => {
    let now = 0
    let asked = 0
    const get = () => {
      asked += 1
      return defect()
    }
    const { ask, lines } = room({ shared: store({ get }), now: () => now })
    for (let index = 0; index < 50; index += 1) {
      await read(ask({ prompt: `${index}` }))
      now += 100
    }
    expect(asked).toBe(50)
    const faults = lines.filter(([, event]) => event === 'fault')
    expect(faults.map(([, , fields]) => fields?.times)).toEqual([1, 10, 10, 10, 10])
  })
})

describe('C3: an entry in the store that can’t be served', () => {
  const deep = `${'['.repeat(20_000)}${']'.repeat(20_000)}`
  const good = '{"choices":[{"message":{"content":"a"},"finish_reason":"stop"}]}'
  test.each([
    ['is nested too deeply', `{"x":${deep},${good.slice(1)}`, undefined],
    ['has a content that is none', good.replace('"a"', '1'), undefined],
    ['is no completion', '{"error":{}}', undefined],
    ['has events that were cut', good, 'data: {"choices":[{"delta":{"content":"a"},"finish_reason":"null"}]}\n\n'],
  ])('since it %s, is a miss, and is replaced', async (_why, answer, events) => {
    const shared = memoryShared()
    const bad = {
      answer: Buffer.from(answer),
      events: events === undefined ? undefined : Buffer.from(events),
      usage: undefined,
      storedAt: START,
      expiresAt: START + HOUR,
    }
    let stored: unknown
    const store = {
      ...shared,
      get: async () => bad,
      claim: async () => ({ kind: 'found', entry: bad }) as const,
      set: async (_key: string, entry: unknown) => {
        stored = entry
        return true
      },
    }
    const { ask } = cacheRoom({ shared: store })
    const first = await ask()
    expect([first.code, first.record.cache]).toEqual([200, 'miss'])
    expect(await first.text()).toContain('answer to Why?')
    expect(stored).toMatchObject({ answer: expect.anything(), storedAt: START })
    expect((await ask({ headers: { 'cache-control': 'max-age=60' } })).status).toContain('hit')
  })
})
