import { afterEach, describe, expect, test, vi } from 'vitest'
import {
  type CacheRoom,
  type CacheRoomOptions,
  cacheRoom,
  clamped,
  completionOf,
  eventsOf,
  type Model,
  memoryShared,
  RULE,
  refusedByLimit,
  refusedByModel,
  START,
  streamOf,
  textIn,
} from '../../../../test/support/cache-room.ts'
import { textOf } from '../../../../test/support/replies.ts'
import { type AnswerReply, BrokenStream, type EventSource, type Reply } from '../operations/index.ts'
import { type Refusal, RequestEnded } from '../pipeline/index.ts'
import { inFlightCall } from './single-flight.ts'
import { memoryCacheStore } from './stores/memory.ts'

const room = (model: Model, options: CacheRoomOptions = {}) => cacheRoom({ model, ...options })

/** A model that answers when the test says so, and notes whether its call was aborted. */
function heldBack(answer: () => Reply = () => completionOf('answer')) {
  const calls: { readonly signal: AbortSignal; answer(): void; fail(fault: unknown): void }[] = []
  const model: Model = ({ signal }) => {
    const { promise, resolve, reject } = Promise.withResolvers<Reply>()
    calls.push({ signal, answer: () => resolve(answer()), fail: reject })
    signal.addEventListener('abort', () => resolve(refusedByModel({ code: 'client_left' })))
    return promise
  }
  return { model, calls }
}

const LATE = 'call of a request that had left'
const SLOT_LOST: Refusal = { kind: 'refusal', code: 'slot_lost', status: 503, message: 'lost' }
const settled = () => new Promise((resolve) => setImmediate(resolve))

describe('many requests for the same answer', () => {
  test('make one call, and are told so', async () => {
    const { model, calls } = heldBack()
    const { ask, asked } = room(model)
    const all = Array.from({ length: 1_000 }, () => ask())
    await vi.waitUntil(() => calls.length > 0)
    calls[0]?.answer()
    const answers = await Promise.all(all)
    expect(asked()).toBe(1)
    expect(answers.filter(({ record }) => record.cache === 'miss').length).toBe(1)
    expect(answers[1]).toMatchObject({
      status: 'tollgate; fwd=miss; collapsed',
      record: { cache: 'collapsed', spared: { input: 11, cachedInput: 0, output: 7 }, sparedNanoUsd: 25_000 },
    })
    expect(new Set(await Promise.all(answers.map(({ text }) => text()))).size).toBe(1)
    expect((await ask()).status).toContain('hit')
  })

  test('of different consumers make one call each', async () => {
    const { ask, asked } = room(() => completionOf('x'))
    await Promise.all(['alice', 'bob', 'alice', 'bob'].map((consumer) => ask({ consumer })))
    expect(asked()).toBe(2)
  })

  test('share what the model finds wrong with them only where that can’t be in a field that is no part of their key', async () => {
    const refusing = () => room(() => refusedByModel({ status: 400, code: 'invalid_type' }))
    const same = refusing()
    await Promise.all([1, 2, 3].map(() => same.ask({ body: { temperature: 0 } })))
    expect(same.asked()).toBe(1)
    const others = refusing()
    await Promise.all([1, 2, 3].map((id) => others.ask({ body: { metadata: { id } } })))
    expect(others.asked()).toBe(3)
    // Nor is it remembered.
    await others.ask({ body: { metadata: {} } })
    expect(others.asked()).toBe(4)
  })

  test('share its failure, each by its own refusal', async () => {
    const upstream = { status: 500, code: 'server_error' } as const
    const { ask, asked } = room(() => refusedByModel(upstream))
    const answers = await Promise.all([ask(), ask(), ask()])
    expect(answers.map(({ code }) => code)).toEqual([502, 502, 502])
    expect(answers[2]?.record).toMatchObject({ cache: 'collapsed', upstream })
    expect(asked()).toBe(1)
    await ask()
    expect(asked()).toBe(2)
  })

  test('ask in turn where a limit is the asker’s own concern', async () => {
    let refused = 0
    const { ask, asked } = room(() => {
      refused += 1
      return refused > 2 ? completionOf('x') : refusedByLimit('insufficient_quota', 429)
    })
    const answers = await Promise.all(Array.from({ length: 10 }, () => ask()))
    expect(answers.filter(({ code }) => code === 429).length).toBe(2)
    expect(answers.filter(({ code }) => code === 200).length).toBe(8)
    expect(asked()).toBe(3)
  })

  test('ask each for itself where the answer was cut to the asker’s budget', async () => {
    const { ask, asked } = room(() => clamped(completionOf('x', 'length') as AnswerReply))
    const answers = await Promise.all([ask(), ask(), ask()])
    expect(answers.map(({ record }) => record.cache)).toEqual(['miss', 'miss', 'miss'])
    expect(asked()).toBe(3)
  })

  test('that come while such an answer is streamed ask for themselves', async () => {
    let isCut = true
    const gate = Promise.withResolvers<void>()
    const { ask, asked } = room(() => {
      if (!isCut) return completionOf('x')
      isCut = false
      return clamped(streamOf(['one ', 'two'], { finish: 'length', before: () => gate.promise }))
    })
    const stream = await ask({ stream: true })
    expect((await ask()).status).toBe('tollgate; fwd=miss; stored')
    gate.resolve()
    expect(textIn(await stream.text())).toBe('one two')
    expect(asked()).toBe(2)
  })

  test('ask all at once where turning them away takes long', async () => {
    let now = 0
    const refusals: (() => void)[] = []
    const { ask, asked } = room(
      () =>
        new Promise((resolve) => {
          refusals.push(() => resolve(refusedByLimit('store_unavailable', 503)))
        }),
      { now: () => now },
    )
    const all = Array.from({ length: 50 }, () => ask())
    await vi.waitUntil(() => refusals.length === 1)
    refusals[0]?.()
    await vi.waitUntil(() => refusals.length === 2)
    now += 2_000
    refusals[1]?.()
    await vi.waitUntil(() => refusals.length === 50)
    for (const refuse of refusals) refuse()
    expect((await Promise.all(all)).every(({ code }) => code === 503)).toBe(true)
    expect(asked()).toBe(50)
  })

  test('ask each for itself where tools are offered, unless the route stores their calls', async () => {
    const body = { messages: [], tools: [{ type: 'function' }] }
    const { ask, asked } = room(() => completionOf('x'))
    await Promise.all([ask({ body }), ask({ body })])
    expect(asked()).toBe(2)
    const opted = { body: { ...body, seed: 1 }, routed: { cache: { ...RULE, tools: true } } }
    await Promise.all([ask(opted), ask(opted)])
    expect(asked()).toBe(3)
  })

  test('throw what the first call threw only at its own request', async () => {
    let calls = 0
    const { ask, asked } = room(() => {
      calls += 1
      if (calls === 1) throw new Error('a fault')
      return completionOf('x')
    })
    const answers = await Promise.allSettled([ask(), ask(), ask()])
    expect(answers.map(({ status }) => status)).toEqual(['rejected', 'fulfilled', 'fulfilled'])
    expect(asked()).toBe(2)
  })
})

describe('when some leave', () => {
  test('the call goes on for who is left, and its cost is told afterwards', async () => {
    const { model, calls } = heldBack()
    const { ask, asked, events } = room(model)
    const leaving = new AbortController()
    const first = ask({ signal: leaving.signal })
    const second = ask()
    await vi.waitUntil(() => calls.length > 0)
    leaving.abort()
    expect(await first).toMatchObject({
      status: 'tollgate; fwd=miss',
      record: { cache: 'miss', upstream: { code: 'client_left' } },
    })
    expect(calls[0]?.signal.aborted).toBe(false)
    calls[0]?.answer()
    expect(await (await second).text()).toContain('answer')
    expect(asked()).toBe(1)
    expect(events).toEqual([LATE])
  })

  test.each<[string, (call: ReturnType<typeof heldBack>['calls'][number], leave: () => void) => void, string[]]>([
    ['all others leave too', (_call, leave) => leave(), [LATE]],
    ['the call fails', (call) => call.fail(new Error('a fault')), ['fault', LATE]],
  ])('what the call took is told, though %s', async (_what, end, told) => {
    const { model, calls } = heldBack()
    const { ask, events } = room(model)
    const [leaving, last] = [new AbortController(), new AbortController()]
    const all = [ask({ signal: leaving.signal }), ask({ signal: last.signal })]
    await vi.waitUntil(() => calls.length > 0)
    leaving.abort()
    await all[0]
    const [call] = calls
    if (call !== undefined) end(call, () => last.abort())
    await vi.waitUntil(() => events.length === told.length)
    expect(events).toEqual(told)
    if (calls[1] !== undefined) calls[1].answer()
    await all[1]
  })

  test('all at once, what the call took is told, and in one line', async () => {
    const { model, calls } = heldBack()
    const { ask, events, lines } = room((asked) => {
      asked.signal.addEventListener('abort', () => asked.tell({ costNanoUsd: 25_000, uncertain: true }))
      return model(asked)
    })
    const leaving = new AbortController()
    const asking = [ask({ signal: leaving.signal }), ask({ signal: leaving.signal })]
    await vi.waitUntil(() => calls.length > 0)
    leaving.abort()
    const answers = await Promise.all(asking)
    await vi.waitUntil(() => events.length > 0)
    expect(events).toEqual([LATE])
    expect(lines[0]?.[2]).toMatchObject({ costNanoUsd: 25_000, uncertain: true, upstream: { code: 'client_left' } })
    for (const { record } of answers) expect(record).not.toHaveProperty('costNanoUsd')
  })

  test('the call ends when all have left, and the next request begins another', async () => {
    const { model, calls } = heldBack()
    const { ask, asked } = room(model)
    const leaving = new AbortController()
    const both = [ask({ signal: leaving.signal }), ask({ signal: leaving.signal })]
    await vi.waitUntil(() => calls.length > 0)
    leaving.abort()
    await Promise.all(both)
    expect(calls[0]?.signal.aborted).toBe(true)
    const next = ask()
    await vi.waitUntil(() => calls.length > 1)
    calls[1]?.answer()
    expect((await next).code).toBe(200)
    expect(asked()).toBe(2)
  })

  test('another asks when the first leaves before it could', async () => {
    const shared = memoryShared()
    const { promise: found, resolve: find } = Promise.withResolvers<undefined>()
    const { ask, asked } = room(() => completionOf('x'), { shared: { ...shared, get: () => found }, deadlineMs: 5_000 })
    const leaving = new AbortController()
    const first = ask({ signal: leaving.signal })
    const second = ask()
    leaving.abort()
    await first
    find(undefined)
    expect((await second).status).toBe('tollgate; fwd=miss; stored')
    expect(asked()).toBe(1)
  })

  test('a request that the gateway itself ends is answered so, and nobody else', async () => {
    const { model, calls } = heldBack()
    const { ask } = room(model)
    const ending = new AbortController()
    const first = ask({ signal: ending.signal })
    const second = ask()
    await vi.waitUntil(() => calls.length > 0)
    ending.abort(new RequestEnded('slot_lost', SLOT_LOST))
    expect((await first).code).toBe(503)
    calls[0]?.answer()
    expect((await second).code).toBe(200)
  })

  test('a client that had left before it began asks nobody', async () => {
    const { ask, asked } = room(() => completionOf('x'))
    await ask({ signal: AbortSignal.abort() })
    await settled()
    expect(asked()).toBe(0)
  })
})

describe('a stream that several read', () => {
  /** Gives a word each time the test says so. */
  function paced(words: readonly string[]) {
    const gates = words.map(() => Promise.withResolvers<void>())
    let aborted = false
    const model: Model = ({ signal }) => {
      signal.addEventListener('abort', () => {
        aborted = true
      })
      return streamOf(words, { before: (index) => gates[index]?.promise })
    }
    return { model, say: (index: number) => gates[index]?.resolve(), isAborted: () => aborted }
  }

  async function readerOf(asking: ReturnType<CacheRoom['ask']>): Promise<EventSource> {
    return (await asking).events
  }

  /** Until a text has come; the end, which comes after it, is read as a surface does. */
  async function readSome(reader: EventSource, until: string): Promise<string> {
    let text = ''
    while (!text.includes(until)) {
      const came = await reader.read()
      if (came === undefined) break
      text += Buffer.concat(came.map(({ bytes }) => bytes)).toString()
    }
    if (until === '[DONE]') expect(await reader.read()).toBeUndefined()
    return text
  }

  test('is read by all as it comes, from its beginning', async () => {
    const { model, say } = paced(['one ', 'two ', 'three'])
    const { ask, asked } = room(model)
    say(0)
    const first = await readerOf(ask({ stream: true }))
    expect(textIn(await readSome(first, 'one '))).toBe('one ')

    const late = await ask({ stream: true })
    expect(late.status).toBe('tollgate; fwd=miss; collapsed')
    const second = late.events
    expect(textIn(await readSome(second, 'one '))).toBe('one ')
    say(1)
    expect(textIn(await readSome(second, 'two '))).toBe('two ')
    expect(textIn(await readSome(first, 'two '))).toBe('two ')
    say(2)
    expect(textIn(await readSome(first, '[DONE]'))).toBe('three')
    expect(textIn(await readSome(second, '[DONE]'))).toBe('three')
    expect(late.record).toMatchObject({ cache: 'collapsed', spared: { output: 7 } })
    expect(asked()).toBe(1)
    expect((await ask({ stream: true })).status).toContain('hit')
  })

  test('answers who wants it whole, though nobody else reads on', async () => {
    const { model, say } = paced(['one ', 'two'])
    const { ask, asked } = room(model)
    say(0)
    say(1)
    const stream = await ask({ stream: true })
    const whole = await ask()
    expect(JSON.parse(await whole.text()).choices[0].message.content).toBe('one two')
    expect([whole.status, whole.record.spared?.output]).toEqual(['tollgate; fwd=miss; collapsed', 7])
    expect(textIn(await stream.text())).toBe('one two')
    expect(asked()).toBe(1)
  })

  test('is streamed to who comes while the answer is awaited whole', async () => {
    const { model, calls } = heldBack(() => completionOf('A few words of an answer that is long enough.'))
    const { ask, asked } = room(model)
    const both = [ask(), ask({ stream: true })] as const
    await vi.waitUntil(() => calls.length > 0)
    calls[0]?.answer()
    expect(textIn(await (await both[1]).text())).toBe('A few words of an answer that is long enough.')
    expect(asked()).toBe(1)
  })

  test('goes on when the one who asked leaves, and ends when the last one does', async () => {
    const { model, say, isAborted } = paced(['one ', 'two ', 'three'])
    const { ask } = room(model)
    say(0)
    const [first, second] = [await readerOf(ask({ stream: true })), await readerOf(ask({ stream: true }))]
    await readSome(first, 'one ')
    first.cancel()
    say(1)
    expect(textIn(await readSome(second, 'two '))).toBe('one two ')
    expect(isAborted()).toBe(false)
    second.cancel()
    expect(isAborted()).toBe(true)
  })

  test('that nobody reads to its end is told of, whoever leaves last', async () => {
    const { model, say, isAborted } = paced(['one ', 'two'])
    const { ask, events } = room(model)
    say(0)
    const [first, second] = [await readerOf(ask({ stream: true })), await readerOf(ask({ stream: true }))]
    await readSome(first, 'one ')
    first.cancel()
    expect(events).toEqual([])
    second.cancel()
    await vi.waitUntil(() => events.length > 0)
    expect([isAborted(), events]).toEqual([true, [LATE]])
  })

  test('has its usage noted for the one who asked, however slowly that one reads', async () => {
    const { ask, events } = room(() => streamOf(['one ', 'two']))
    const slow = await ask({ stream: true })
    await (await ask({ stream: true })).text()
    await settled()
    expect(slow.record).toMatchObject({ cache: 'miss', usage: { output: 7 }, costNanoUsd: 25_000 })
    slow.events.cancel()
    expect(events).toEqual([])
  })

  test('is let go when all have what they wanted, though its connection stays', async () => {
    const stream = await textOf(streamOf(['one']))
    const played = eventsOf(
      (async function* () {
        yield stream
        await new Promise(() => {})
      })(),
    )
    const { ask } = room(() => played)
    const reader = await readerOf(ask({ stream: true }))
    const whole = await ask()
    expect(JSON.parse(await whole.text()).choices[0].message.content).toBe('one')
    await reader.read()
    reader.cancel()
    expect(played.isOver).toBe(true)
  })

  test('breaks off for a reader who falls too far behind, and for no other', async () => {
    const words = Array.from({ length: 50 }, (_, index) => `${index}`.padEnd(300_000, '.'))
    const { ask } = room(() => streamOf(words))
    const still = await readerOf(ask({ stream: true }))
    const quick = await ask({ stream: true })
    await still.read()
    expect(textIn(await quick.text()) === words.join('')).toBe(true)
    await expect(readSome(still, '[DONE]')).rejects.toMatchObject({ failure: { code: 'too_slow' } })
  })

  test('goes on at the pace of the one who reads, though another stands still', async () => {
    const { ask } = room(() => streamOf(['one ', 'two ', 'three']))
    const still = await ask({ stream: true })
    const quick = await ask({ stream: true })
    expect(textIn(await quick.text())).toBe('one two three')
    expect(textIn(await still.text())).toBe('one two three')
  })

  test('is not read ahead of all its readers', async () => {
    let said = 0
    const { ask } = room(() =>
      streamOf(['one ', 'two ', 'three'], {
        before: () => {
          said += 1
        },
      }),
    )
    const reader = await readerOf(ask({ stream: true }))
    await reader.read()
    await settled()
    expect(said).toBe(0)
  })

  test('that breaks, breaks for all; who wanted it whole is refused', async () => {
    const { ask, asked } = room(() =>
      streamOf(['one ', 'two '], {
        before: (index) => (index === 1 ? Promise.reject(new BrokenStream({ code: 'stream_cut' })) : undefined),
      }),
    )
    const streams = await Promise.all([ask({ stream: true }), ask({ stream: true })])
    const whole = ask()
    await Promise.all(streams.map(({ text }) => expect(text()).rejects.toThrow('broke off')))
    expect(await whole).toMatchObject({
      code: 502,
      record: { cache: 'collapsed', upstream: { code: 'stream_cut' } },
    })
    expect(asked()).toBe(1)
  })

  test('that another’s reservation ends is asked for again by who can', async () => {
    let calls = 0
    const { ask, asked } = room(() => {
      calls += 1
      if (calls > 1) return completionOf('whole')
      return streamOf(['one '], { before: () => Promise.reject(new BrokenStream({ code: 'reservation_exceeded' })) })
    })
    const stream = await ask({ stream: true })
    const whole = ask()
    await expect(stream.text()).rejects.toThrow('broke off')
    expect((await whole).code).toBe(200)
    expect(asked()).toBe(2)
  })

  test('a request whose slot is lost breaks off alone', async () => {
    const { model, say } = paced(['one ', 'two'])
    const { ask } = room(model)
    const ending = new AbortController()
    say(0)
    const first = await ask({ stream: true, signal: ending.signal })
    const second = await ask({ stream: true })
    const text = first.text()
    ending.abort(new RequestEnded('slot_lost', SLOT_LOST))
    await expect(text).rejects.toMatchObject({ failure: { code: 'slot_lost' } })
    say(1)
    expect(textIn(await second.text())).toBe('one two')
  })

  test('that is too long to be kept is passed on whole, to who has begun', async () => {
    const words = Array.from({ length: 40 }, (_, index) => `${index}`.padEnd(300_000, '.'))
    const { ask, asked } = room(() => streamOf(words))
    const first = await ask({ stream: true })
    const second = await ask({ stream: true })
    const [one, two] = await Promise.all([first.text(), second.text()])
    expect(textIn(one) === words.join('') && two === one).toBe(true)
    expect((await ask({ stream: true })).status).toBe('tollgate; fwd=miss')
    expect(asked()).toBe(2)
  })
})

describe('across instances', () => {
  afterEach(() => vi.useRealTimers())
  /** Two processes that share what is stored, and the model. */
  function two(model: Model, options: CacheRoomOptions = {}) {
    const time = { now: START }
    const both = { shared: memoryShared(), wallClock: () => time.now, localAgeMs: 1, ...options }
    return { one: room(model, both), other: room(model, both), time }
  }

  /** A key that both have missed is one that is asked for again and again. */
  async function missByBoth({ one, other }: ReturnType<typeof two>) {
    for (const { ask } of [one, other]) await (await ask()).text()
  }

  test('one asks for a key that was missed before, and the other waits for its answer', async () => {
    let filtered = true
    const { model, calls } = heldBack(() => completionOf('answer', filtered ? 'content_filter' : 'stop'))
    const rooms = two((asked) => (filtered ? completionOf('no', 'content_filter') : model(asked)))
    await missByBoth(rooms)
    filtered = false
    const first = rooms.one.ask()
    await vi.waitUntil(() => calls.length > 0)
    const second = rooms.other.ask()
    await settled()
    calls[0]?.answer()
    expect((await first).status).toBe('tollgate; fwd=miss; stored')
    expect((await second).status).toContain('hit')
    expect(calls.length).toBe(1)
  })

  test('one asks for what has expired', async () => {
    const rooms = two(({ signal }) => completionOf(`${signal.aborted}`))
    await (await rooms.one.ask()).text()
    rooms.time.now += 2 * RULE.ttlMs
    const answers = await Promise.all([rooms.one.ask(), rooms.other.ask()])
    expect(answers.map(({ record }) => record.cache).sort()).toEqual(['hit', 'miss'])
    expect(rooms.one.asked() + rooms.other.asked()).toBe(2)
  })

  test('one asks for what has expired, though none of them had missed it before', async () => {
    const time = { now: START }
    const gate = Promise.withResolvers<void>()
    const both = { shared: memoryShared(), wallClock: () => time.now }
    await (await room(() => completionOf('x'), both).ask()).text()
    time.now += 2 * RULE.ttlMs
    const others = [1, 2].map(() => room(() => gate.promise.then(() => completionOf('y')), both))
    const asking = others.map(({ ask }) => ask())
    await vi.waitUntil(() => others.some(({ asked }) => asked() > 0))
    gate.resolve()
    expect((await Promise.all(asking)).map(({ record }) => record.cache).sort()).toEqual(['hit', 'miss'])
  })

  /** Time that passes as fast as it is waited for. */
  function quickTime() {
    let now = 0
    const after = (ms: number, callback: () => void) => {
      const timer = setImmediate(() => {
        now += ms
        callback()
      })
      return () => clearImmediate(timer)
    }
    return { now: () => now, after }
  }

  test.each([
    [true, 3_000],
    [false, 25_000],
  ])('nobody waits longer for another’s answer than is worth it (streamed: %s)', async (stream, longest) => {
    let filtered = true
    const { model, calls } = heldBack()
    const quick = quickTime()
    const rooms = two((asked) => (filtered ? completionOf('no', 'content_filter') : model(asked)), quick)
    await missByBoth(rooms)
    filtered = false
    void rooms.one.ask()
    await vi.waitUntil(() => calls.length > 0)
    const began = quick.now()
    const second = rooms.other.ask({ stream })
    await vi.waitUntil(() => calls.length > 1)
    expect(quick.now() - began).toBeGreaterThan(longest - 300)
    expect(quick.now() - began).toBeLessThan(longest + 300)
    calls[1]?.answer()
    expect((await second).code).toBe(200)
  })

  test('what can’t be stored keeps nobody waiting', async () => {
    let large = false
    const store = memoryCacheStore({ maxBytes: 10_000 })
    const rooms = two(() => (large ? completionOf('x'.repeat(20_000)) : completionOf('no', 'content_filter')), {
      shared: store,
    })
    await missByBoth(rooms)
    large = true
    expect((await rooms.one.ask()).code).toBe(200)
    expect((await rooms.other.ask()).record.cache).toBe('miss')
  })

  test('the other asks at once when the first comes to nothing', async () => {
    let calls = 0
    const rooms = two(() => {
      calls += 1
      return calls < 4 ? completionOf('no', 'content_filter') : completionOf('yes')
    })
    await missByBoth(rooms)
    const answers = await Promise.all([rooms.one.ask(), rooms.other.ask()])
    expect(answers.map(({ record }) => record.cache)).toEqual(['miss', 'miss'])
    expect(calls).toBe(4)
    // With a claim that is not given back it would wait for 25 seconds.
  }, 15_000)

  test('the other takes over when the first has died', async () => {
    let filtered = true
    const { model, calls } = heldBack()
    const rooms = two((asked) => (filtered ? completionOf('no', 'content_filter') : model(asked)))
    await missByBoth(rooms)
    filtered = false
    vi.useFakeTimers({ toFake: ['setInterval'] })
    // It will never answer, and its claim is not renewed while the intervals stand still.
    void rooms.one.ask()
    await vi.waitUntil(() => calls.length > 0)
    rooms.time.now += 5_000
    const second = rooms.other.ask()
    await vi.waitUntil(() => calls.length > 1)
    calls[1]?.answer()
    expect((await second).status).toBe('tollgate; fwd=miss; stored')
    // The first was only asleep. Nobody waits for what it says now, and it replaces nothing.
    rooms.time.now += 1
    calls[0]?.answer()
    await settled()
    expect((await (await rooms.other.ask()).text()).length).toBeGreaterThan(0)
  })

  test('a claim is kept up for as long as the call takes', async () => {
    let filtered = true
    const { model, calls } = heldBack()
    const rooms = two((asked) => (filtered ? completionOf('no', 'content_filter') : model(asked)))
    await missByBoth(rooms)
    filtered = false
    vi.useFakeTimers({ toFake: ['setInterval', 'clearInterval'] })
    const first = rooms.one.ask()
    await vi.waitUntil(() => calls.length > 0)
    for (let seconds = 0; seconds < 60; seconds += 1.5) {
      rooms.time.now += 1_500
      vi.advanceTimersByTime(1_500)
      await settled()
    }
    const second = rooms.other.ask()
    await settled()
    calls[0]?.answer()
    expect((await first).status).toBe('tollgate; fwd=miss; stored')
    expect((await second).status).toContain('hit')
  })
})

test('B1: a programming fault in the search for an answer reaches all that wait for it, and the next one begins anew', async () => {
  const fault = new TypeError('x is not a function')
  let over = 0
  const call = inFlightCall({ find: () => Promise.reject(fault), onOver: () => (over += 1), now: () => 0 })
  const joined = [1, 2].map(() => call.join(() => Promise.reject(new Error('Nobody asks'))))
  for (const { outcome } of joined) await expect(outcome).rejects.toBe(fault)
  expect(over).toBe(1)
})
