import { afterEach, describe, expect, test, vi } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import {
  ALWAYS_KNOWN,
  cacheRoom,
  clamped,
  completionOf,
  memoryShared,
  PRICE,
  plain,
  RULE,
  refusedByModel,
  START,
  streamOf,
  textIn,
} from '../../../../test/support/cache-room.ts'
import { bodyOf, type Call, chat, type Reply, type StreamReply } from '../operations/index.ts'
import { digestWith } from '../pipeline/index.ts'
import type { Cacheable } from './cache-request.ts'
import { completionCache, noCache } from './completion-cache.ts'
import { localTier } from './local-tier.ts'

/* What the middlewares around the cache rely on, beside what it serves. */

afterEach(() => vi.restoreAllMocks())

const LATE = 'call of a request that had left'
const settled = () => new Promise((resolve) => setImmediate(resolve))
const json = (reply: Reply) => (reply.kind === 'answer' ? reply.answer.json() : undefined)

function streamReply(reply: Reply): StreamReply {
  if (reply.kind !== 'stream') throw new Error('This is no stream')
  return reply
}

describe('the JSON of an answer is parsed', () => {
  test('by no miss, by no hit in memory, and once by a hit in the store', async () => {
    const shared = memoryShared()
    const answer = completionOf('x')
    const rooms = [1, 2].map(() => cacheRoom({ shared, model: () => answer }))
    const parse = vi.spyOn(JSON, 'parse')
    for (const status of ['tollgate; fwd=miss; stored', 'tollgate; hit; ttl=3600']) {
      expect((await rooms[0]?.ask())?.status).toBe(status)
    }
    expect(parse).not.toHaveBeenCalled()
    const found = await rooms[1]?.ask()
    expect(found?.status).toContain('hit')
    expect(parse).toHaveBeenCalledTimes(1)
    // What was parsed is handed on.
    expect(found && json(found.reply)).toMatchObject({ field_of_next_year: 'kept' })
    expect(parse).toHaveBeenCalledTimes(1)
    expect((await rooms[1]?.ask())?.status).toContain('hit')
    expect(parse).toHaveBeenCalledTimes(1)
  })

  test('by no streamed hit in memory, whose events are the stored bytes', async () => {
    const { ask } = cacheRoom({ model: () => streamOf(['one ', 'two']) })
    const first = await (await ask({ stream: true })).text()
    const parse = vi.spyOn(JSON, 'parse')
    const again = await ask({ stream: true })
    expect([again.status, await again.text()]).toEqual([expect.stringContaining('hit'), first])
    expect(parse).not.toHaveBeenCalled()
  })

  test('once for all who follow a call, who get the very same answer', async () => {
    const { ask } = cacheRoom({ model: () => completionOf('x') })
    const all = await Promise.all([ask(), ask(), ask()])
    const answers = all.map(({ reply }) => (reply.kind === 'answer' ? reply.answer : undefined))
    expect(new Set(answers).size).toBe(1)
  })
})

describe('a reply', () => {
  test('tells where it comes from, and has the attempts of its own call alone', async () => {
    const { ask } = cacheRoom({ model: () => completionOf('x') })
    const [first, second] = await Promise.all([ask(), ask()])
    const third = await ask()
    expect([first, second, third].map(({ reply }) => reply.source)).toEqual(['call', 'shared', 'cache'])
    const attempts = [first, second, third].map(({ reply }) => (reply.kind === 'answer' ? reply.attempts.length : -1))
    expect(attempts).toEqual([1, 0, 0])
  })

  test('of a refusal that is remembered comes from the cache, and concerns nobody else', async () => {
    const { ask } = cacheRoom({ model: () => refusedByModel({ status: 400, code: 'context_length_exceeded' }) })
    expect((await ask()).reply).toMatchObject({ source: 'call', shared: true })
    expect((await ask()).reply).toMatchObject({ source: 'cache', shared: false, fallible: false, attempts: [] })
  })

  test('of a failure that another model may make good says so to all who share it, without the one call’s id', async () => {
    const failure = { ...refusedByModel({ status: 503, requestId: 'req_1' }), fallible: true }
    const { ask } = cacheRoom({ model: () => failure })
    const [first, second] = await Promise.all([ask(), ask()])
    expect([first, second].map(({ reply }) => reply.kind === 'refused' && reply.fallible)).toEqual([true, true])
    expect(first.record.upstream?.requestId).toBe('req_1')
    expect(second.reply).toMatchObject({ source: 'shared', refusal: { upstream: { status: 503 } } })
    expect(second.record.upstream).not.toHaveProperty('requestId')
  })

  test('keeps the headers of what is within', async () => {
    const answer = { ...completionOf('x'), headers: { 'x-ratelimit-remaining-tokens': '7' } }
    const { ask } = cacheRoom({ model: () => answer })
    expect((await ask()).reply.headers).toEqual({
      'x-ratelimit-remaining-tokens': '7',
      'cache-status': 'tollgate; fwd=miss; stored',
    })
    const off = await ask({ routed: { cache: undefined } })
    expect(off.reply.headers).toMatchObject({ 'x-ratelimit-remaining-tokens': '7' })
    // They were the one call's.
    expect(Object.keys((await ask()).reply.headers)).toEqual(['age', 'cache-status'])
  })
})

describe('a streamed reply has ended', () => {
  test('once what its call took is told', async () => {
    const { ask } = cacheRoom({ model: () => streamOf(['one']) })
    const answer = await ask({ stream: true })
    const { ended } = streamReply(answer.reply)
    expect(textIn(await answer.text())).toBe('one')
    expect(await ended).toMatchObject({ how: 'complete', attempts: [{ spend: { usage: { tokens: { output: 7 } } } }] })
    expect(answer.record).toMatchObject({ cache: 'miss', usage: { output: 7 }, costNanoUsd: 25_000 })
  })

  test('for who follows it, once what it spared is told, and with no attempt', async () => {
    const { ask } = cacheRoom({ model: () => streamOf(['one']) })
    const first = await ask({ stream: true })
    const second = await ask({ stream: true })
    await Promise.all([first.text(), second.text()])
    expect(await streamReply(second.reply).ended).toEqual({ how: 'complete', attempts: [] })
    expect(second.record).toMatchObject({ cache: 'collapsed', spared: { output: 7 }, sparedNanoUsd: 25_000 })
    expect(second.record).not.toHaveProperty('costNanoUsd')
  })

  test('at once for a leader who leaves its call to others, and the call tells the rest by a line of its own', async () => {
    const gate = Promise.withResolvers<void>()
    const { ask, events, lines } = cacheRoom({
      model: ({ tell }) => {
        tell({ clamped: true })
        return streamOf(['one ', 'two'], { before: (index) => (index === 1 ? gate.promise : undefined) })
      },
    })
    const first = await ask({ stream: true })
    const second = await ask({ stream: true })
    await first.events.read()
    first.events.cancel()
    expect(await streamReply(first.reply).ended).toEqual({ how: 'client_left', attempts: [] })
    gate.resolve()
    expect(textIn(await second.text())).toBe('one two')
    expect(events).toEqual([LATE])
    expect(lines[0]?.[2]).toEqual({ usage: { input: 11, cachedInput: 0, output: 7 }, costNanoUsd: 25_000 })
    expect(first.record).toEqual({ cache: 'miss', clamped: true })
  })

  test('for the last who leaves, once its call has ended and told what it took', async () => {
    let played: ReturnType<typeof streamOf> | undefined
    const { ask, events } = cacheRoom({
      model: () => {
        played = streamOf(['one ', 'two'], { before: () => new Promise(() => {}) })
        return played
      },
    })
    const answer = await ask({ stream: true })
    await answer.events.read()
    const pending = answer.events.read()
    answer.events.cancel('gone')
    // In the same turn.
    expect(played?.cancels.length).toBe(1)
    expect(await pending).toBeUndefined()
    expect(await streamReply(answer.reply).ended).toMatchObject({ how: 'client_left', attempts: [{}] })
    expect(events).toEqual([])
  })

  test('and was given up, for a client that had left before its stream came', async () => {
    const gate = Promise.withResolvers<void>()
    let played: ReturnType<typeof streamOf> | undefined
    const { ask } = cacheRoom({
      async model() {
        await gate.promise
        played = streamOf(['one'])
        return played
      },
    })
    const leaving = new AbortController()
    const asking = ask({ stream: true, signal: leaving.signal })
    await settled()
    leaving.abort(new Error('gone'))
    gate.resolve()
    const { reply, record } = await asking
    expect(await streamReply(reply).ended).toMatchObject({ how: 'client_left', attempts: [{}] })
    expect([played?.cancels.length, record.cache]).toEqual([1, 'miss'])
  })

  test('and was given up, where it is its leader’s alone and that had left, and others ask for themselves', async () => {
    const gate = Promise.withResolvers<void>()
    const played: ReturnType<typeof streamOf>[] = []
    const { ask, lines } = cacheRoom({
      async model() {
        const stream = streamOf(['one'])
        played.push(stream)
        if (played.length > 1) return stream
        await gate.promise
        return clamped(stream)
      },
    })
    const leaving = new AbortController()
    const asking = ask({ stream: true, signal: leaving.signal })
    await settled()
    const waiting = ask({ stream: true })
    await settled()
    leaving.abort(new Error('gone'))
    expect((await asking).reply.kind).toBe('refused')
    gate.resolve()
    expect(textIn(await (await waiting).text())).toBe('one')
    expect(played.map(({ cancels }) => cancels.length)).toEqual([1, 0])
    await settled()
    expect(lines.map(([, event]) => event)).toEqual([LATE])
  })

  test('for a stored stream: read to its end, cancelled, or with its request', async () => {
    const { ask } = cacheRoom({ model: () => streamOf(['one']) })
    await (await ask({ stream: true })).text()
    const leaving = new AbortController()
    const [whole, cancelled, left] = [
      await ask({ stream: true }),
      await ask({ stream: true }),
      await ask({ stream: true, signal: leaving.signal }),
    ]
    await whole.text()
    cancelled.events.cancel()
    expect(await cancelled.events.read()).toBeUndefined()
    leaving.abort()
    await expect(left.events.read()).rejects.toMatchObject({ failure: { code: 'client_left' } })
    const ends = [whole, cancelled, left].map(({ reply }) => streamReply(reply).ended)
    expect((await Promise.all(ends)).map(({ how }) => how)).toEqual(['complete', 'client_left', 'client_left'])
  })
})

describe('what a call tells belongs to the call', () => {
  test('and goes to its leader’s line while the leader is there, as it is told', async () => {
    const gate = Promise.withResolvers<void>()
    const { ask } = cacheRoom({
      model: async ({ tell }) => {
        tell({ savedTokens: 3 })
        tell({ uncertain: true, upstream: { code: 'timeout' } })
        await gate.promise
        return refusedByModel({ code: 'timeout' })
      },
    })
    const asking = ask()
    gate.resolve()
    expect((await asking).record).toMatchObject({ savedTokens: 3, uncertain: true, upstream: { code: 'timeout' } })
  })

  test('and not to the line of a leader that has left, however early it was told', async () => {
    const [began, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    const { ask, lines } = cacheRoom({
      model: async ({ tell }) => {
        tell({ uncertain: true, costNanoUsd: 5 })
        began.resolve()
        await gate.promise
        return plain('{"choices":[{"message":{"content":"x"},"finish_reason":"stop"}]}')
      },
    })
    const leaving = new AbortController()
    const [first, second] = [ask({ signal: leaving.signal }), ask()]
    await began.promise
    leaving.abort()
    const { record } = await first
    gate.resolve()
    await second
    expect(record).toEqual({ cache: 'miss', upstream: { code: 'client_left' } })
    expect(lines).toEqual([['info', LATE, { usage: undefined, costNanoUsd: 5, uncertain: true, upstream: undefined }]])
  })
})

describe('before the cache', () => {
  const context: Cacheable = {
    consumer: { id: 'alice', plan: 'free' },
    modelAdmitted: true,
    routed: {
      route: 'r',
      model: { name: 'm' },
      price: PRICE,
      candidates: [{ target: { identity: 't' } }],
      cache: RULE,
      transforms: '',
      body: bodyOf({ messages: [] }),
    },
  }
  const call: Call = {
    operation: chat,
    route: 'r',
    model: undefined,
    body: bodyOf({ messages: [] }),
    streamed: false,
    bodyDigest: () => 'd',
    headers: new Headers(),
    signal: new AbortController().signal,
  }

  test('a hit in memory waits for nothing', async () => {
    const cache = completionCache({
      local: localTier({ maxBytes: 1_000_000, maxAgeMs: 60_000 }),
      shared: memoryShared(),
      purgeVersions: ALWAYS_KNOWN,
      digest: digestWith(undefined),
      deadlineMs: 40,
      log: () => {},
      time: { now: () => 0, wallClock: () => START, after: () => () => {}, every: () => () => {} },
    })
    const asking = () => cache(call, { ...baseContext(), ...context }, async () => completionOf('x'))
    expect(await asking()).toMatchObject({ source: 'call' })
    await settled()
    expect(asking()).toMatchObject({ kind: 'answer', source: 'cache' })
  })

  test('who wants none says so: the model is asked, and nothing is said of a cache', async () => {
    const base = baseContext()
    const reply = await noCache()(call, base, async (added) => {
      expect(added).toEqual({ asked: true })
      return completionOf('x')
    })
    expect([reply.kind, reply.headers, base.told]).toEqual(['answer', {}, {}])
  })
})
