import { beforeEach, describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import { digestWith } from '../completion/index.ts'
import { pipeline, type RequestRecord } from '../pipeline/index.ts'
import { type Cacheable, type CacheStore, completionCache, memoryCacheStore } from './index.ts'

const TTL = 3_600_000
const START = 1_790_000_000_000
let time: number
let asked: number
let events: string[]
beforeEach(() => {
  time = START
  asked = 0
  events = []
})

const answer = (reason = 'stop') =>
  JSON.stringify({ choices: [{ message: { content: `answer ${asked}` }, finish_reason: reason }], reasoning: 'kept' })

function gate(store: CacheStore, respond: (record: RequestRecord) => Response = () => new Response(answer())) {
  const handler = pipeline<Cacheable>()
    .use(completionCache({ store, digest: digestWith(undefined), deadlineMs: 40, wallClock: () => time }))
    .handle((_request, { record }) => {
      asked += 1
      return respond(record)
    })
  return async (change: Partial<Cacheable['routed']> = {}, consumer = 'alice') => {
    const base = baseContext({ log: (_level, event) => events.push(event) })
    const routed: Cacheable['routed'] = {
      route: 'generate',
      target: { identity: 't' },
      cache: { ttlMs: TTL, sampled: true },
      body: { model: 'm', messages: [{ role: 'user', content: 'Why?' }], temperature: 0.7 },
      ...change,
    }
    const response = await handler(request, { ...base, consumer: { id: consumer }, routed })
    return {
      text: await response.text(),
      status: response.headers.get('cache-status'),
      age: response.headers.get('age'),
      record: base.record,
    }
  }
}
const memory = () => memoryCacheStore({ maxBytes: 1_000_000 })

describe('the completion cache', () => {
  test('serves an entry, byte for byte, until its time is up', async () => {
    const ask = gate(memory())
    const first = await ask()
    time += 61_500
    expect(await ask()).toMatchObject({
      text: first.text,
      status: 'tollgate; hit; ttl=3538',
      age: '61',
      record: { cache: 'hit' },
    })
    time = START + TTL - 1
    expect((await ask()).status).toBe('tollgate; hit; ttl=0')
    time = START + TTL
    expect((await ask()).status).toBe('tollgate; fwd=miss; stored')
    expect(asked).toBe(2)
  })

  test('keeps to a shorter time as soon as the route says so', async () => {
    const ask = gate(memory())
    await ask()
    time += 10_000
    expect((await ask({ cache: { ttlMs: 11_000, sampled: true } })).status).toBe('tollgate; hit; ttl=1')
    expect((await ask({ cache: { ttlMs: 10_000, sampled: true } })).status).toBe('tollgate; fwd=miss; stored')
  })

  test('is the consumer’s alone', async () => {
    const ask = gate(memory())
    await ask({}, 'alice')
    expect((await ask({}, 'bob')).status).toContain('fwd=miss')
  })

  test('tells targets apart that may answer differently', async () => {
    const ask = gate(memory())
    await ask()
    expect((await ask({ target: { identity: 'other' } })).status).toContain('fwd=miss')
  })

  test('is passed by where the route says so, or the answer is sampled and that is not wanted', async () => {
    const ask = gate(memory())
    expect((await ask({ cache: undefined })).status).toBe('tollgate; fwd=bypass; detail=off')
    const strict = { cache: { ttlMs: TTL, sampled: false } }
    expect((await ask(strict)).status).toBe('tollgate; fwd=bypass; detail=sampled')
    const exact = { ...strict, body: { model: 'm', messages: [], temperature: 0 } }
    expect((await ask(exact)).status).toBe('tollgate; fwd=miss; stored')
    expect((await ask(exact)).status).toContain('hit')
  })

  test('is passed by when the body has no canonical form', async () => {
    const body = { model: 'm', messages: [{ role: 'user', content: '\ud800' }] }
    expect((await gate(memory())({ body })).status).toBe('tollgate; fwd=bypass; detail=no-key')
  })

  test.each([
    ['an error that looks like an answer', () => new Response(answer(), { status: 500 })],
    ['a refusal that looks like an answer', () => new Response(answer(), { status: 429 })],
    ['an error', () => new Response('{"error":"no"}', { status: 502 })],
    ['a 200 that holds an error', () => new Response('{"error":{"message":"no"}}')],
    ['a 200 that is no JSON', () => new Response('<html>')],
    ['an answer without choices', () => new Response('{"choices":[]}')],
    ['a filtered answer', () => new Response(answer('content_filter'))],
    ['a tool call', () => new Response(answer('tool_calls'))],
  ])('never stores %s', async (_what, respond) => {
    const ask = gate(memory(), respond)
    expect((await ask()).status).toBe('tollgate; fwd=miss')
    expect((await ask()).status).toBe('tollgate; fwd=miss')
    expect(asked).toBe(2)
  })

  test('never stores an answer that was allowed less than was asked for', async () => {
    const ask = gate(memory(), (record) => {
      record.clamped = true
      return new Response(answer('length'))
    })
    expect((await ask()).status).toBe('tollgate; fwd=miss')
    expect((await ask()).status).toBe('tollgate; fwd=miss')
  })

  test('stores an answer that ended at its length', async () => {
    expect((await gate(memory(), () => new Response(answer('length')))()).status).toBe('tollgate; fwd=miss; stored')
  })
})

describe('a cache store that fails', () => {
  const never = () => new Promise<never>(() => {})
  const broken = () => Promise.reject(new Error('down'))

  test.each([
    ['hangs on reading', { get: never }, 'cache lookup failed'],
    ['fails on reading', { get: broken }, 'cache lookup failed'],
  ])('and %s is a miss', async (_what, fault, event) => {
    const ask = gate({ ...memory(), ...fault })
    expect((await ask()).status).toBe('tollgate; fwd=miss; stored')
    expect(events).toContain(event)
  })

  test.each([
    ['hangs on writing', { set: never }],
    ['fails on writing', { set: broken }],
    ['finds the entry too large', { set: async () => false }],
  ])('and %s costs the caller nothing', async (_what, fault) => {
    const { text, status } = await gate({ ...memory(), ...fault })()
    expect(text).toContain('answer 1')
    expect(status).toBe('tollgate; fwd=miss')
  })
})
