import { describe, expect, test, vi } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import type { FinishedRequest, Time } from '../pipeline/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import { FLUSH_MS, ledger, rollUp, usageReader } from './index.ts'

const NOON = Date.UTC(2026, 10, 27, 12)
const MINUTE_MS = 60_000
const HOUR_MS = 3_600_000
const signal = new AbortController().signal
const kept = () => ({ detailMs: 30 * 24 * HOUR_MS, hoursMs: 400 * 24 * HOUR_MS })

/** A clock that a test moves, and whose timers fire as it does. */
function handClock(start = NOON) {
  let now = start
  const timers = new Map<object, { at: number; ms: number; callback: () => void }>()
  const time: Time = {
    now: () => now - start,
    wallClock: () => now,
    after: (ms, callback) => add(ms, Number.POSITIVE_INFINITY, callback),
    every: (ms, callback) => add(ms, ms, callback),
  }
  function add(ms: number, again: number, callback: () => void) {
    const timer = {}
    timers.set(timer, { at: now + ms, ms: again, callback })
    return () => void timers.delete(timer)
  }
  return {
    time,
    pending: () => timers.size,
    pass(ms: number) {
      now += ms
      for (const [id, timer] of [...timers]) {
        if (timer.at > now) continue
        if (Number.isFinite(timer.ms)) timer.at += timer.ms
        else timers.delete(id)
        timer.callback()
      }
    },
  }
}

/** A table that tells what is asked of it, and fails as the test says. */
function watched(inner = memoryTable()) {
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

function opened({ clock = handClock(), inner = memoryTable(), maxBytes = 32 * 1024 * 1024 } = {}) {
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
