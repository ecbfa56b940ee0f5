import { describe, expect, test, vi } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import { handClock } from '../../../../test/support/hand-clock.ts'
import type { FinishedRequest, Time } from '../pipeline/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import { FLUSH_MS, forgetConsumer, ledger, removeOld, rollUp, takenSince, usageReader } from './index.ts'

const NOON = Date.UTC(2026, 10, 27, 12)
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const signal = new AbortController().signal
const kept = () => ({ detailMs: 30 * 24 * HOUR_MS, hoursMs: 400 * 24 * HOUR_MS })

/** A table whose service has the same clock. */
function tableOf({ time }: ReturnType<typeof handClock>): Table {
  return memoryTable({ wallClock: time.wallClock })
}

/** A table that tells what is asked of it, and fails as the test says. */
function watched(inner: Table) {
  const calls: string[] = []
  let fault: ((method: string) => unknown) | undefined
  const table = new Proxy(inner, {
    get(target, name: keyof Table) {
      const method = target[name] as (...args: unknown[]) => unknown
      return (...args: unknown[]) => {
        calls.push(name)
        const thrown = fault?.(name)
        if (thrown !== undefined) return Promise.reject(thrown)
        return method.apply(target, args)
      }
    },
  })
  return { table, calls, failWith: (next: typeof fault) => (fault = next) }
}

function opened({ clock = handClock(NOON), inner = tableOf(clock), maxBytes = 32 * 1024 * 1024 } = {}) {
  const lines: [string, string, Readonly<Record<string, unknown>> | undefined][] = []
  const { table, calls, failWith } = watched(inner)
  const book = ledger({ table, time: clock.time, maxBytes, log: (...line) => lines.push(line as never) })
  const reader = usageReader({ table: inner, kept, wallClock: clock.time.wallClock })
  const report = (by: 'consumer' | 'model' | 'target' = 'consumer') =>
    reader.report({ by, since: NOON - HOUR_MS, until: clock.time.wallClock() + 1 }, signal)
  const why = (id = finishedRequest().requestId) =>
    reader.why(id, { since: NOON - HOUR_MS, until: clock.time.wallClock() + HOUR_MS }, signal)
  return { book, reader, report, why, clock, table: inner, calls, lines, failWith }
}

describe('recording', () => {
  test('a request asks the table for nothing, and all of ten seconds are one write', async () => {
    const { book, clock, calls, report } = opened()
    for (let count = 0; count < 500; count += 1) book.record(finishedRequest())
    expect(calls).toEqual([])
    clock.pass(FLUSH_MS)
    await vi.waitFor(async () => expect((await report()).total.requests).toBe(500))
    expect(calls).toEqual(['put'])
  })

  test('nothing is written, and no timer runs, while there is nothing to write', async () => {
    const { book, clock, calls } = opened()
    expect(clock.pending()).toBe(0)
    book.record(finishedRequest())
    await book.flush()
    clock.pass(FLUSH_MS)
    await book.flush()
    expect(calls).toEqual(['put'])
    await book.close()
    expect(clock.pending()).toBe(0)
  })

  test('a step that is told after the end is in the row', async () => {
    const { book, why } = opened()
    const request = finishedRequest({ facts: miss(5) })
    book.record(request)
    ;(request.story.steps as object[]).push({ name: 'store', decision: 'stored', ms: 4 })
    await book.flush()
    expect((await why())[0]?.steps.at(-1)).toEqual({ name: 'store', decision: 'stored', ms: 4 })
  })

  test('a row gives back all that was told', async () => {
    const { book, why } = opened()
    const price = { rates: { input: 1_250, output: 10_000 } }
    const attempts = [
      { model: 'chat', target: 'ptu', ms: 20.126, failure: { status: 429, code: 'busy' }, price },
      {
        model: 'chat',
        target: 'payg',
        ms: 800,
        firstTokenMs: 90.001,
        usage: { input: 9, cachedInput: 2, output: 3 },
        costNanoUsd: 42,
        price,
      },
    ]
    const facts = { ...miss(42), attempts, uncertain: true, tier: 'flex', toolCalls: { web_search: 2 } } as const
    const reserved = { input: 100, output: 4_096, costNanoUsd: 41_000 }
    book.record(
      finishedRequest({ facts, stream: 'complete', firstTokenMs: 91.239, story: { reserved, streamed: true } }),
    )
    book.record(finishedRequest({ requestId: 'other', call: 1, facts: miss(7) }))
    await book.flush()
    const [row, ...more] = await why()
    expect(more).toEqual([])
    expect(row).toMatchObject({
      requestId: finishedRequest().requestId,
      call: 0,
      startedAt: NOON,
      ms: 3.22,
      firstTokenMs: 91.24,
      status: 200,
      outcome: 'answered',
      stream: 'complete',
      consumer: 'alice',
      plan: 'pro',
      policy: '0123456789ab',
      model: 'chat',
      cache: 'miss',
      tier: 'flex',
      toolCalls: { web_search: 2 },
      reserved,
      costNanoUsd: 42,
      uncertain: true,
      attempts: [
        { model: 'chat', target: 'ptu', ms: 20.13, status: 429, code: 'busy', price },
        {
          model: 'chat',
          target: 'payg',
          ms: 800,
          firstTokenMs: 90,
          usage: { input: 9, cachedInput: 2, output: 3 },
          costNanoUsd: 42,
          price,
        },
      ],
      left: [
        { limit: 'requests', measure: 'requests', of: 1_000, left: 990 },
        { limit: 'concurrent', measure: 'concurrency', of: 50, left: 49 },
      ],
    })
    expect(row?.steps.map(({ name, decision }) => `${name} ${decision}`)).toContain('cache hit')
    const [call] = await why('other')
    expect(call).toMatchObject({ outcome: 'call', call: 1, costNanoUsd: 7 })
    expect(call?.id).not.toBe(row?.id)
  })
})

describe('what requests came to', () => {
  const ends: FinishedRequest[] = [
    finishedRequest(),
    finishedRequest({ facts: miss(1_000) }),
    finishedRequest({ facts: { ...miss(2_000, { target: 'azure-2' }), consumer: 'bob' }, startedAt: NOON + 70_000 }),
    finishedRequest({
      status: 429,
      refusal: 'rate_limit_exceeded',
      facts: { cache: undefined, sparedNanoUsd: undefined, limit: 'requests' } as never,
    }),
    finishedRequest({ status: 502, refusal: 'upstream_failed', facts: miss(0) }),
    finishedRequest({
      status: 401,
      refusal: 'invalid_api_key',
      facts: {
        consumer: undefined,
        plan: undefined,
        model: undefined,
        sparedNanoUsd: undefined,
        cache: undefined,
      } as never,
    }),
    finishedRequest({ call: 1, facts: miss(300) }),
    finishedRequest({ facts: { dryRun: true } }),
  ]

  test('by consumer, model and target: the total is the one of the rows', async () => {
    const { book, report, reader, clock } = opened()
    for (const end of ends) book.record(end)
    clock.pass(2 * MINUTE_MS)
    await book.flush()
    const consumers = await report()
    expect(consumers.rows.map(({ name, requests, costNanoUsd }) => [name, requests, costNanoUsd])).toEqual([
      ['bob', 1, 2_000],
      ['alice', 4, 1_300],
      ['', 1, 0],
    ])
    expect(consumers.total).toMatchObject({
      requests: 6,
      answered: 3,
      hits: 1,
      refused: 2,
      failed: 1,
      costNanoUsd: 3_300,
      savedNanoUsd: 1_500,
      tokens: { input: 44, cachedInput: 0, output: 28 },
    })
    expect((await report('model')).total).toEqual(consumers.total)
    const targets = await report('target')
    expect(targets.rows.map(({ name, requests, costNanoUsd }) => [name, requests, costNanoUsd])).toEqual([
      ['azure-2', 1, 2_000],
      ['azure-1', 3, 1_300],
    ])
    const { models } = await reader.totals(signal)
    const chat = models.find(({ model }) => model === 'chat')
    expect(chat?.sums.requests).toBe(5)
    expect(chat?.duration.counts.reduce((sum, times) => sum + times, 0)).toBe(5)
    expect(chat?.refusedBy).toEqual({ requests: 1 })
    expect(chat?.targets['azure-1']?.sums.costNanoUsd).toBe(1_300)
  })

  test('what a model took before another one answered is its own', async () => {
    const { book, report, clock, table } = opened()
    const first = miss(100, { model: 'large', target: 'large-1', input: 10, output: 1 })
    const second = miss(30, { model: 'small', target: 'small-1', input: 20, output: 2 })
    const attempts = [...(first.attempts ?? []), ...(second.attempts ?? [])]
    const usage = { input: 30, cachedInput: 0, output: 3 }
    book.record(finishedRequest({ facts: { ...second, attempts, usage, costNanoUsd: 130 } }))
    await book.flush()
    const { rows, total } = await report('model')
    expect(rows).toMatchObject([
      { name: 'large', requests: 0, costNanoUsd: 100, tokens: { input: 10, output: 1 } },
      { name: 'small', requests: 1, costNanoUsd: 30, tokens: { input: 20, output: 2 } },
    ])
    expect(total).toMatchObject({ requests: 1, costNanoUsd: 130, tokens: usage })
    const taken = await takenSince(table, NOON, clock.time.wallClock(), signal)
    const of = (model: string | undefined) => taken({ subject: 'consumer:alice', measure: 'tokens', model })
    expect([of('large'), of('small'), of(undefined)]).toEqual([11, 22, 33])
  })

  test('is the same once it is rolled up', async () => {
    const { book, report, clock, table, reader } = opened()
    for (const end of ends) book.record(end)
    clock.pass(2 * MINUTE_MS)
    await book.flush()
    const before = await Promise.all([report(), report('target'), report('model'), reader.totals(signal)])
    clock.pass(40 * 24 * HOUR_MS)
    for (let run = 0; run < 4; run += 1) await rollUp({ table, now: clock.time.wallClock(), signal })
    const after = await Promise.all([report(), report('target'), report('model'), reader.totals(signal)])
    for (const [index, one] of after.entries()) {
      const { asOf: _, until: __, ...figures } = one as never as Record<string, unknown>
      expect(before[index]).toMatchObject(figures)
    }
  })
})

describe('a table that fails', () => {
  const DOWN = Object.assign(new Error('busy'), { code: 'ServerBusy', statusCode: 503 })

  test('is told once, and all is written once it is there again', async () => {
    const { book, failWith, lines, report } = opened()
    failWith(() => DOWN)
    for (let flush = 0; flush < 3; flush += 1) {
      book.record(finishedRequest({ facts: miss(7) }))
      await book.flush()
    }
    expect(lines.map(([level, event, fields]) => [level, event, fields?.requests])).toEqual([
      ['warn', 'usage not written', 1],
    ])
    failWith(undefined)
    await book.flush()
    expect(lines.at(-1)).toEqual(['info', 'usage written again', { ms: 0, lost: 0, lostDetail: 0 }])
    expect((await report()).total).toMatchObject({ requests: 3, costNanoUsd: 21 })
  })

  test('a write whose answer was lost, or that arrives after the next one, changes nothing', async () => {
    const clock = handClock(NOON)
    const inner = tableOf(clock)
    const arriving: (() => Promise<unknown>)[] = []
    let lost: 'reply' | 'late' | undefined
    const table: Table = {
      ...inner,
      async put(...args) {
        if (lost === 'late') arriving.push(() => inner.put(...args))
        else if (lost === undefined) return inner.put(...args)
        else await inner.put(...args)
        throw DOWN
      },
    }
    const { book, report } = opened({ clock, inner: table })
    for (const how of ['reply', 'late', undefined, 'late', 'reply', undefined] as const) {
      lost = how
      book.record(finishedRequest({ facts: miss(7) }))
      await book.flush()
    }
    for (const arrive of arriving) await arrive()
    expect((await report()).total).toMatchObject({ requests: 6, costNanoUsd: 42 })
  })

  test('a write that hangs while another fails puts no older rows over newer ones', async () => {
    const clock = handClock(NOON)
    const inner = tableOf(clock)
    let first: PromiseWithResolvers<void> | undefined = Promise.withResolvers<void>()
    let isDown = true
    const table: Table = {
      ...inner,
      async put(entity, ...how) {
        if (isDown && entity.rowKey.startsWith('00')) throw DOWN
        const hanging = first
        first = undefined
        await hanging?.promise
        return inner.put(entity, ...how)
      },
    }
    const { book, report } = opened({ clock, inner: table })
    const { resolve } = first
    const record = () => book.record(finishedRequest({ facts: miss(7), startedAt: clock.time.wallClock() }))
    record()
    clock.pass(MINUTE_MS)
    record()
    // The first minute's segment fails, the second one's hangs.
    const flushing = book.flush()
    await new Promise((done) => setImmediate(done))
    isDown = false
    record()
    clock.pass(1)
    const closing = book.close()
    await new Promise((done) => setImmediate(done))
    resolve()
    await Promise.all([flushing, closing])
    await new Promise((done) => setImmediate(done))
    expect((await report()).total).toMatchObject({ requests: 3, costNanoUsd: 21 })
  })

  test('rows go before sums where more is kept than fits, and the log counts them', async () => {
    const { book, failWith, lines, report, why, clock } = opened({ maxBytes: 1_000_000 })
    failWith(() => DOWN)
    for (let count = 0; count < 50_000; count += 1) {
      const requestId = `${count}-${Math.sin(count)}`
      book.record(finishedRequest({ requestId, facts: miss(1), startedAt: NOON + count }))
    }
    await book.flush()
    const [, , lost] = lines.find(([, event]) => event === 'usage lost') ?? []
    expect(lost).toEqual({ requests: 0, details: expect.any(Number) })
    failWith(undefined)
    clock.pass(MINUTE_MS)
    await book.flush()
    expect((await report()).total).toMatchObject({ requests: 50_000, costNanoUsd: 50_000 })
    expect(await why(`49999-${Math.sin(49_999)}`)).toHaveLength(1)
    expect(await why(`0-${Math.sin(0)}`)).toHaveLength(0)
  })

  test('an instance that was frozen writes with its next request', async () => {
    const { book, clock, calls } = opened()
    const time: Time = { ...clock.time, every: () => () => {} }
    const frozen = opened({ clock: { ...clock, time } })
    frozen.book.record(finishedRequest())
    clock.pass(HOUR_MS)
    expect(frozen.calls).toEqual([])
    frozen.book.record(finishedRequest())
    await vi.waitFor(() => expect(frozen.calls).toContain('put'))
    await book.close()
    expect(calls).toEqual([])
  })
})

describe('a large segment', () => {
  test('is written in parts, all of whose rows are found', async () => {
    const { book, report, why, clock, table } = opened()
    const count = 12_000
    for (let index = 0; index < count; index += 1) {
      const requestId = `${index}-${Math.sin(index)}`
      book.record(
        finishedRequest({ requestId, facts: { consumer: `consumer-${index % 700}` }, ms: Math.random() * 100 }),
      )
    }
    clock.pass(MINUTE_MS)
    await book.flush()
    const { rows, total } = await report()
    expect([rows.length, total.requests]).toEqual([700, count])
    const segments = await Array.fromAsync(table.scan({ partition: { from: 's-', before: 's.' } }))
    expect(segments.length).toBeGreaterThan(1)
    for (const index of [0, 5_000, count - 1]) {
      expect((await why(`${index}-${Math.sin(index)}`)).map(({ consumer }) => consumer)).toEqual([
        `consumer-${index % 700}`,
      ])
    }
  })

  test('an hour of more consumers than a row can hold is rolled up into parts, and read as one', async () => {
    const { book, report, clock, table, reader } = opened()
    const count = 24_000
    for (let index = 0; index < count; index += 1) {
      const consumer = `${Math.sin(index)}`.repeat(2).slice(0, 40)
      book.record(finishedRequest({ facts: { ...miss(1_000_000_000 * Math.random()), consumer } }))
    }
    await book.flush()
    clock.pass(4 * HOUR_MS)
    const before = await report()
    for (let run = 0; run < 2; run += 1) await rollUp({ table, now: clock.time.wallClock(), signal })
    const parts = await Array.fromAsync(table.scan({ partition: 'hours-202611', select: ['rows'] }))
    expect(parts.some(({ rowKey }) => rowKey.includes('~'))).toBe(true)
    const after = await report()
    expect(after.rows).toEqual(before.rows)
    expect((await reader.totals(signal)).models[0]?.sums.requests).toBe(count)
  })
})

describe('the totals', () => {
  test('read nothing that grows with the number of consumers', async () => {
    const clock = handClock(NOON)
    const inner = tableOf(clock)
    const { book } = opened({ clock, inner })
    for (let index = 0; index < 400; index += 1) {
      book.record(finishedRequest({ facts: { ...miss(5), consumer: `consumer-${Math.sin(index)}` } }))
    }
    await book.flush()
    let read = 0
    const table: Table = {
      ...inner,
      async *scan(...args) {
        for await (const row of inner.scan(...args)) {
          for (const value of Object.values(row)) if (value instanceof Uint8Array) read += value.byteLength
          yield row as never
        }
      },
    }
    const { models } = await usageReader({ table, kept, wallClock: clock.time.wallClock }).totals(signal)
    expect(models).toMatchObject([{ model: 'chat', sums: { requests: 400, costNanoUsd: 2_000 } }])
    expect(read).toBeGreaterThan(0)
    expect(read).toBeLessThan(500)
  })
})

describe('what is kept no longer', () => {
  test('goes, and leaves what it came to in the months', async () => {
    const { book, clock, table, reader, why } = opened()
    const kept = { detailMs: HOUR_MS, hoursMs: 24 * HOUR_MS }
    const old = { kept, table, signal }
    book.record(finishedRequest({ facts: miss(5) }))
    await book.flush()
    const run = async () => {
      await rollUp({ table, now: clock.time.wallClock(), signal })
      await rollUp({ table, now: clock.time.wallClock(), signal })
      return removeOld({ ...old, now: clock.time.wallClock() })
    }
    clock.pass(HOUR_MS)
    expect(await run()).toBe(0)
    expect(await why()).toHaveLength(1)
    clock.pass(2 * HOUR_MS)
    expect(await run()).toBe(1)
    expect(await why()).toEqual([])
    const rolled = async () =>
      (await Array.fromAsync(table.scan({ partition: { from: '', before: '~' }, select: ['rows'] }))).map(
        ({ partitionKey }) => partitionKey,
      )
    expect(await rolled()).toContain('hours-202611')
    clock.pass(40 * 24 * HOUR_MS)
    await run()
    clock.pass(24 * HOUR_MS)
    await run()
    expect(await rolled()).not.toContain('hours-202611')
    expect(await rolled()).toContain('months')
    expect((await reader.totals(signal)).models[0]?.sums).toMatchObject({ requests: 1, costNanoUsd: 5 })
  })
})

describe('a segment that comes when the others of its hour are kept no longer', () => {
  test('takes nothing away from what the hour came to', async () => {
    const clock = handClock(NOON)
    const inner = tableOf(clock)
    const [one, late] = [opened({ clock, inner }), opened({ clock, inner })]
    for (let count = 0; count < 3; count += 1) one.book.record(finishedRequest({ facts: miss(5) }))
    await one.book.flush()
    late.book.record(finishedRequest({ facts: miss(7) }))
    late.failWith(() => new Error('down'))
    await late.book.flush()
    clock.pass(3 * HOUR_MS)
    const now = () => clock.time.wallClock()
    const kept = { detailMs: HOUR_MS, hoursMs: HOUR_MS }
    const run = () => rollUp({ table: inner, now: now(), signal })
    await run()
    expect(await removeOld({ table: inner, kept, now: now(), signal })).toBe(1)
    late.failWith(undefined)
    await late.book.flush()
    const seen = async () => (await one.report()).total.costNanoUsd
    expect(await seen()).toBe(15)
    await run()
    expect(await seen()).toBe(15)
  })
})

describe('a consumer that is to be forgotten', () => {
  test('has no row and no name left, and every total stays', async () => {
    const { book, clock, table, reader, report, why } = opened()
    const record = async () => {
      book.record(finishedRequest({ facts: miss(5), startedAt: clock.time.wallClock() }))
      book.record(
        finishedRequest({
          requestId: 'bobs',
          facts: { ...miss(3), consumer: 'bob' },
          startedAt: clock.time.wallClock(),
        }),
      )
      await book.flush()
    }
    await record()
    clock.pass(50 * HOUR_MS)
    await rollUp({ table, now: clock.time.wallClock(), signal })
    await record()
    const before = await reader.totals(signal)
    clock.pass(MINUTE_MS)
    const forget = () => forgetConsumer({ table, consumer: 'alice', now: clock.time.wallClock(), signal })
    const first = await forget()
    expect(first).toMatchObject({ rows: 2, againAt: expect.any(Number) })
    expect(first.againAt).toBeGreaterThan(clock.time.wallClock())
    expect((await report()).rows.map(({ name, costNanoUsd }) => [name, costNanoUsd])).toEqual([
      ['(forgotten)', 10],
      ['bob', 6],
    ])
    expect((await reader.totals(signal)).models).toEqual(before.models)
    expect(await why()).toEqual([])
    expect(await why('bobs')).toHaveLength(2)
    // Too early: what an instance may still write is told again.
    expect(await forget()).toEqual({ rows: 0, changed: 0, againAt: expect.any(Number), unreadable: [] })
    clock.pass(5 * MINUTE_MS)
    expect(await forget()).toEqual({ rows: 0, changed: 0, againAt: undefined, unreadable: [] })
  })
  test('leaves no row of its dry runs, which are in no sum', async () => {
    const { book, table, report, why, clock } = opened()
    book.record(finishedRequest({ facts: { dryRun: true, cache: 'bypass' } }))
    await book.flush()
    expect((await report()).rows).toEqual([])
    expect(await why()).toHaveLength(1)
    await forgetConsumer({ table, consumer: 'alice', now: clock.time.wallClock(), signal })
    expect(await why()).toEqual([])
    expect((await report()).rows).toEqual([])
  })
})

test('of requests without a valid key, which anybody can send, a segment keeps the detail of 1,024, and counts all', async () => {
  const clock = handClock(NOON)
  const table = tableOf(clock)
  const book = ledger({ table, time: clock.time, log: () => {} })
  const { facts } = finishedRequest()
  const refused = (requestId: string) => {
    const { consumer: _, ...unknown } = facts
    return {
      ...finishedRequest({ requestId, startedAt: NOON, status: 401, refusal: 'invalid_api_key' }),
      facts: unknown,
    }
  }
  for (let index = 0; index < 1_500; index += 1) book.record(refused(`flood-${index}`))
  book.record(finishedRequest({ requestId: 'known', startedAt: NOON }))
  await book.close()
  const reader = usageReader({ table, kept, wallClock: clock.time.wallClock })
  const span = { since: NOON - HOUR_MS, until: NOON + HOUR_MS }
  const { total } = await reader.report({ by: 'consumer', ...span }, signal)
  expect([total.requests, total.refused]).toEqual([1_501, 1_500])
  const found = await Promise.all(['flood-0', 'flood-1499', 'known'].map((id) => reader.why(id, span, signal)))
  expect(found.map((rows) => rows.length)).toEqual([1, 0, 1])
})
