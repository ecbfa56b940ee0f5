import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { type Attempt, NOTHING_SPENT, SPEND_UNKNOWN, type UpstreamFailure } from '../pipeline/index.ts'
import { type Left, type RetriedModel, type RetryPolicy, retryWithinBudget } from './index.ts'
import { BACKOFF_MS, LONGEST_BUSY_MS, RETRY_FLOOR } from './retry.ts'

const failed = (failure: UpstreamFailure, more: Partial<Attempt> = {}): Attempt => ({
  model: 'm',
  target: 'a',
  price: undefined,
  spend: failure.unspent ? NOTHING_SPENT : SPEND_UNKNOWN,
  failure,
  ms: 1,
  ...more,
})
const FAILING = failed({ status: 500 })
const BUSY = failed({ status: 429, retryAfterMs: 5_000, unspent: true })
const MISCONFIGURED = failed({ status: 404, unspent: true })
const OVERSIZED = failed({ status: 429, code: 'request_too_large', unspent: true })
const NOWHERE = Number.POSITIVE_INFINITY

describe('a retry', () => {
  let now: number
  let dice: number
  let retry: RetryPolicy
  let model: RetriedModel
  beforeEach(() => {
    now = 0
    dice = 0.5
    retry = retryWithinBudget({ time: { now: () => now }, random: () => dice })
    model = { name: 'm' }
  })
  const next = (attempts: readonly Attempt[], left: Partial<Left> = {}) =>
    retry.next(attempts, { model, coveredAttempts: 1, ms: 60_000, waits: { elsewhereMs: 0, anywhereMs: 0 }, ...left })
  /** How many may be made now. */
  const drain = () => {
    let made = 0
    while (next([FAILING]) !== undefined) made += 1
    return made
  }

  test('of what failed comes after full jitter, which grows', () => {
    for (const random of [0, 0.25, 0.999]) {
      dice = random
      expect(next([FAILING])).toEqual({ afterMs: random * BACKOFF_MS.first })
      expect(next([FAILING, FAILING])).toEqual({ afterMs: random * BACKOFF_MS.first * 2 })
    }
    dice = 1
    const eager = { ...model, retry: { attempts: 9, budget: 1 } }
    expect(next(Array(8).fill(FAILING), { model: eager })).toEqual({ afterMs: BACKOFF_MS.most })
  })

  test.each<[string, UpstreamFailure, Partial<Attempt>?]>([
    ['the request was at fault', { status: 400, unspent: true }],
    ['a filter refused it', { status: 400, code: 'content_filter' }],
    ['it was too large', { status: 413, unspent: true }],
    ['its client left', { code: 'client_left' }],
    ['the gateway ended it', { code: 'shutting_down' }],
    ['an answer had begun that broke off', { code: 'connection_failed' }, { begun: true }],
    ['an answer came that is none', { status: 200, code: 'invalid_response' }, { begun: true }],
    ['a conflict says nothing of the service', { status: 409, unspent: true }],
  ])('is never where %s', (_why, failure, more) => {
    expect(next([failed(failure, more)])).toBeUndefined()
  })

  test('is never beyond the calls that a model allows', () => {
    for (const last of [FAILING, BUSY, MISCONFIGURED]) {
      expect(next([FAILING, last])).toBeDefined()
      expect(next([FAILING, FAILING, last])).toBeUndefined()
      const once = { name: 'once', retry: { attempts: 1, budget: 0.1 } }
      expect(next([last], { model: once })).toBeUndefined()
    }
  })

  test('is never beyond the deadline', () => {
    dice = 0.5
    expect(next([FAILING], { ms: 126 })).toEqual({ afterMs: 125 })
    expect(next([FAILING], { ms: 125 })).toBeUndefined()
    for (const last of [BUSY, MISCONFIGURED]) {
      expect(next([last], { ms: 1 })).toEqual({ afterMs: 0 })
      expect(next([last], { ms: 0 })).toBeUndefined()
    }
  })

  test('is not where nothing may be asked', () => {
    expect(next([FAILING], { waits: { elsewhereMs: NOWHERE, anywhereMs: 1 } })).toBeUndefined()
  })

  test('goes from what is busy, misconfigured or too small to the next at once, out of no budget', () => {
    drain()
    for (const last of [BUSY, MISCONFIGURED, OVERSIZED]) {
      for (let times = 0; times < 100; times += 1) expect(next([last])).toEqual({ afterMs: 0 })
    }
  })

  test('waits for what is busy where there is nowhere else, if that is short', () => {
    const waits = { elsewhereMs: 1_000, anywhereMs: 1_000 }
    expect(next([BUSY], { waits })?.afterMs).toBeGreaterThan(1_000)
    expect(next([BUSY], { waits })?.afterMs).toBeLessThan(1_250)
    expect(next([BUSY], { waits, ms: 1_000 })).toBeUndefined()
    expect(next([BUSY], { waits: { elsewhereMs: NOWHERE, anywhereMs: LONGEST_BUSY_MS + 1 } })).toBeUndefined()
    drain()
    expect(next([BUSY], { waits })).toBeUndefined()
  })

  test('is not where a misconfigured target, or one that is too small, is the only one', () => {
    for (const last of [MISCONFIGURED, OVERSIZED]) {
      expect(next([last], { waits: { elsewhereMs: NOWHERE, anywhereMs: 0 } })).toBeUndefined()
    }
  })

  test('is there for a quiet model too: ten at first, and one a second', () => {
    expect(drain()).toBe(RETRY_FLOOR.most)
    now += 999
    expect(drain()).toBe(0)
    now += 1
    expect(drain()).toBe(RETRY_FLOOR.perSecond)
    now += 3_600_000
    expect(drain()).toBe(RETRY_FLOOR.most)
  })

  test('of one model takes nothing from another', () => {
    drain()
    expect(next([FAILING], { model: { name: 'other' } })).toBeDefined()
  })

  test('is never of a model whose budget is nothing', () => {
    const none = { name: 'none', retry: { attempts: 3, budget: 0 } }
    now += 60_000
    expect(next([FAILING], { model: none })).toBeUndefined()
  })

  test('takes no more than its share of the requests, whatever comes', () => {
    const arrival = fc.record({ afterMs: fc.integer({ min: 0, max: 200 }), fails: fc.boolean() })
    fc.assert(
      fc.property(
        fc.array(arrival, { maxLength: 400 }),
        fc.double({ min: 0.01, max: 1, noNaN: true }),
        (all, budget) => {
          const own = { name: 'own', retry: { attempts: 3, budget } }
          const began = now
          let retried = 0
          for (const { afterMs, fails } of all) {
            now += afterMs
            retry.began?.(own)
            if (!fails) continue
            for (const attempts of [[FAILING], [FAILING, FAILING]]) {
              if (next(attempts, { model: own }) === undefined) break
              retried += 1
            }
          }
          const floor = RETRY_FLOOR.most + ((now - began) / 1_000) * RETRY_FLOOR.perSecond
          expect(retried).toBeLessThanOrEqual(all.length * budget + floor + 1e-6)
        },
      ),
    )
  })
})
