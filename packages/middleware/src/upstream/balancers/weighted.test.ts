import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import { type Attempt, NOTHING_SPENT, SPEND_UNKNOWN, type UpstreamFailure } from '../../pipeline/index.ts'
import { type Balanced, type Balancer, weighted } from './index.ts'
import { BLOCK_MS, OPENS_AFTER, PAUSE_MS, STANDS_BACK_MS } from './weighted.ts'

const DATE = Date.UTC(2026, 5, 15)

function at(id: string, { weight = 1, rank = 1, tier }: Partial<Balanced & { weight: number }> = {}): Balanced {
  return { target: { id, weight }, tier, rank }
}
type Candidates = readonly [Balanced, ...Balanced[]]

function ended(candidate: Balanced, failure?: UpstreamFailure, ms = 0): Attempt {
  const spend = failure?.unspent ? NOTHING_SPENT : SPEND_UNKNOWN
  return { model: 'm', target: candidate.target.id, price: undefined, spend, ms, ...(failure && { failure }) }
}
const FAILING: UpstreamFailure = { status: 500 }
const busyFor = (retryAfterMs: number): UpstreamFailure => ({ status: 429, retryAfterMs, unspent: true })

describe('a balancer', () => {
  let now: number
  let dice: number
  let lines: unknown[]
  let balancer: Balancer
  beforeEach(() => {
    now = 1_000
    dice = 0.999_999
    lines = []
    balancer = weighted({
      time: { now: () => now, wallClock: () => DATE + now },
      random: () => dice,
      log: (_level, event, fields) => lines.push({ event, ...fields }),
    })
  })

  const pick = (candidates: Candidates, sticky?: string, attempts: readonly Attempt[] = []) => {
    const picked = balancer.pick(candidates, { attempts, sticky })
    return 'blockedForMs' in picked ? picked.blockedForMs : picked
  }
  const report = (candidate: Balanced, failure?: UpstreamFailure, ms?: number) =>
    balancer.report(candidate, ended(candidate, failure, ms))
  const failAgainAndAgain = (candidate: Balanced) => {
    for (let times = 0; times < OPENS_AFTER; times += 1) report(candidate, FAILING)
  }
  const [a, b] = [at('a'), at('b')]

  describe('among those that are well', () => {
    test('asks those of the lowest rank alone', () => {
      const spare = at('c', { rank: 2, weight: 1_000 })
      for (let n = 0; n < 100; n += 1) expect(pick([a, b, spare], `s${n}`)).not.toBe(spare)
      expect(pick([a, spare], 's')).toBe(a)
    })

    test('shares conversations by weight, and keeps each', () => {
      fc.assert(
        fc.property(
          fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 5 }),
          fc.string({ minLength: 1, maxLength: 8 }),
          (weights, salt) => {
            const candidates = weights.map((weight, n) => at(`${salt}${n}`, { weight })) as unknown as Candidates
            const counts = new Map<unknown, number>()
            let moved = 0
            const calls = 2_000
            for (let n = 0; n < calls; n += 1) {
              const picked = pick(candidates, `conversation ${n}`)
              if (pick(candidates, `conversation ${n}`) !== picked) moved += 1
              counts.set(picked, (counts.get(picked) ?? 0) + 1)
            }
            expect(moved).toBe(0)
            const whole = weights.reduce((sum, weight) => sum + weight, 0)
            for (const candidate of candidates) {
              const share = candidate.target.weight / whole
              const spread = Math.sqrt((share * (1 - share)) / calls)
              expect(Math.abs((counts.get(candidate) ?? 0) / calls - share)).toBeLessThan(5 * spread)
            }
          },
        ),
        { numRuns: 30, seed: 18 },
      )
    })

    test('picks by weight at random where there is no conversation', () => {
      const candidates: Candidates = [at('a', { weight: 3 }), at('b', { weight: 1 })]
      let seed = 7
      balancer = weighted({
        time: { now: () => now, wallClock: () => now },
        random: () => {
          seed = (seed * 48_271) % 2_147_483_647
          return seed / 2_147_483_647
        },
      })
      let first = 0
      for (let n = 0; n < 10_000; n += 1) if (pick(candidates) === candidates[0]) first += 1
      expect(first / 10_000).toBeCloseTo(0.75, 1)
    })

    test('agrees with any other instance', () => {
      const other = weighted({ time: { now: () => 0, wallClock: () => 0 }, random: () => 0 })
      for (let n = 0; n < 100; n += 1) {
        const copies: Candidates = [at('b', { weight: 2 }), at('a', { weight: 5 })]
        const picked = other.pick(copies, { attempts: [], sticky: `s${n}` }) as Balanced
        const own = pick([at('a', { weight: 5 }), at('b', { weight: 2 })], `s${n}`) as Balanced
        expect(own.target.id).toBe(picked.target.id)
      }
    })

    test('asks what has no weight where nothing else of its rank may be', () => {
      const spare = at('z', { weight: 0 })
      for (let n = 0; n < 100; n += 1) expect(pick([spare, a], `s${n}`)).toBe(a)
      report(a, busyFor(1_000))
      expect(pick([spare, a], 's')).toBe(spare)
    })
  })

  test('one that is left out moves its own conversations alone, and they come back', () => {
    fc.assert(
      fc.property(
        fc.array(fc.integer({ min: 1, max: 9 }), { minLength: 2, maxLength: 6 }),
        fc.nat(),
        (weights, which) => {
          const candidates = weights.map((weight, n) => at(`t${n}`, { weight })) as unknown as Candidates
          const out = candidates[which % candidates.length] as Balanced
          const sticky = Array.from({ length: 200 }, (_, n) => `s${n}`)
          const before = sticky.map((each) => pick(candidates, each))
          report(out, busyFor(1_000))
          for (const [n, each] of sticky.entries()) {
            const moved = pick(candidates, each)
            if (before[n] === out) expect(moved).not.toBe(out)
            else expect(moved).toBe(before[n])
          }
          now += 1_000
          expect(sticky.map((each) => pick(candidates, each))).toEqual(before)
        },
      ),
      { numRuns: 50 },
    )
  })

  describe('a target that is busy', () => {
    test('is not asked until the time that it said, and others are', () => {
      const candidates: Candidates = [a, at('b', { rank: 2 })]
      report(a, busyFor(5_000))
      expect(pick(candidates)).toBe(candidates[1])
      now += 4_999
      expect(pick(candidates)).toBe(candidates[1])
      now += 1
      expect(pick(candidates)).toBe(a)
    })

    test.each([
      ['says nothing', { status: 429 }, BLOCK_MS.untold],
      ['says a day', busyFor(86_400_000), BLOCK_MS.most],
      ['says at once', busyFor(0), BLOCK_MS.least],
      ['is overloaded, and says when to come back', { status: 503, retryAfterMs: 700, unspent: true }, 700],
    ] as const)('that %s', (_what, failure, expected) => {
      report(a, failure)
      expect(pick([a])).toBe(expected)
      now += expected
      expect(pick([a])).toBe(a)
    })

    test('where all are, the least of their waits is told', () => {
      report(a, busyFor(5_000))
      report(b, busyFor(3_000))
      expect(pick([a, b])).toBe(3_000)
      now += 1_000
      report(b, busyFor(500))
      expect(pick([a, b])).toBe(2_000)
      expect(balancer.waits?.([a, b], [])).toEqual({ elsewhereMs: 2_000, anywhereMs: 2_000 })
    })

    test('at one tier says nothing of another', () => {
      const [flex, usual] = [at('a', { tier: 'flex' }), at('a', { tier: 'default', rank: 2 })]
      expect(pick([flex, usual])).toBe(flex)
      report(flex, busyFor(9_000))
      const before = [ended(flex, busyFor(9_000))]
      expect(pick([flex, usual], undefined, before)).toBe(usual)
      expect(balancer.waits?.([flex, usual], before)).toEqual({ elsewhereMs: 0, anywhereMs: 0 })
      expect(balancer.states()).toEqual([
        { target: 'a', tier: 'flex', state: 'blocked', since: DATE + 1_000, until: DATE + 10_000 },
      ])
    })

    test('at its usual tier is so whether that is asked for by name or not', () => {
      report(a, busyFor(9_000))
      for (const tier of [undefined, 'default', 'auto']) expect(pick([at('a', { tier })])).toBe(9_000)
      expect(pick([at('a', { tier: 'flex' })])).toMatchObject({ tier: 'flex' })
    })

    test('is so for all tiers that callers make up, of which few are kept and none is told', () => {
      for (let n = 0; n < 1_000; n += 1) report(at('a', { tier: `made-up-${n}` }), busyFor(9_000))
      report(at('a', { tier: 'My card is 4111 1111 1111 1111' }), busyFor(9_000))
      for (const tier of ['another', 'x'.repeat(100_000), 'made-up-3']) expect(pick([at('a', { tier })])).toBe(9_000)
      expect(pick([a])).toBe(a)
      expect(balancer.states().length).toBeLessThan(20)
      expect(JSON.stringify(balancer.states())).not.toContain('card')

      now += 9_000
      report(at('a', { tier: 'flex' }), busyFor(1_000))
      expect(balancer.states()).toMatchObject([{ tier: 'flex' }])
    })

    test('is asked all the same by who insists, at the place whose wait is the least', () => {
      report(a, busyFor(5_000))
      report(b, busyFor(3_000))
      expect(balancer.pick([a, b], { attempts: [], sticky: undefined, insists: true })).toBe(b)
      now += 3_000
      expect(balancer.pick([a, b], { attempts: [], sticky: undefined, insists: true })).toBe(b)
    })

    test('never opens its breaker', () => {
      for (let times = 0; times < 50; times += 1) report(a, busyFor(100))
      now += 100
      expect(pick([a])).toBe(a)
      expect(balancer.states()).toEqual([])
    })
  })

  describe('a target that fails', () => {
    const pauseOf = (n: number) => Math.min(PAUSE_MS.most, PAUSE_MS.first * 2 ** n)

    test.each<[string, UpstreamFailure]>([
      ['a 500', { status: 500 }],
      ['a 503 that says nothing', { status: 503 }],
      ['a 408', { status: 408 }],
      ['a time-out', { code: 'timeout' }],
      ['a reset', { code: 'connection_failed' }],
      ['no connection', { code: 'connection_failed', unspent: true }],
      ['a 200 that is no answer', { status: 200, code: 'invalid_response' }],
      ['a cut stream', { code: 'stream_cut' }],
    ])('by %s again and again is left alone', (_what, failure) => {
      for (let times = 1; times < OPENS_AFTER; times += 1) report(a, failure)
      expect(pick([a])).toBe(a)
      report(a, failure)
      expect(pick([a])).toBeCloseTo(PAUSE_MS.first, 0)
      expect(balancer.states()).toMatchObject([{ target: 'a', state: 'open', since: DATE + now }])
      expect(lines).toEqual([{ event: 'target open', target: 'a', failures: OPENS_AFTER }])
    })

    test.each<[string, UpstreamFailure]>([
      ['a 400', { status: 400, unspent: true }],
      ['a filter', { status: 400, code: 'content_filter' }],
      ['a 413', { status: 413, unspent: true }],
      ['a client that left', { code: 'client_left' }],
      ['an end of ours', { code: 'shutting_down' }],
      ['a slot that was lost', { code: 'slot_lost' }],
      ['a bound of ours', { code: 'reservation_exceeded' }],
      ['a 429 for its size alone', { status: 429, code: 'request_too_large', unspent: true }],
      ['a 401', { status: 401, unspent: true }],
      ['a 404', { status: 404, unspent: true }],
    ])('is not one that was met with %s', (_what, failure) => {
      for (let times = 0; times < 50; times += 1) report(a, failure)
      expect(pick([a])).toBe(a)
      expect(balancer.states().filter(({ state }) => state === 'open')).toEqual([])
    })

    test('is one whose failures no success came between', () => {
      for (let times = 0; times < 50; times += 1) report(a, times % OPENS_AFTER === 0 ? undefined : FAILING)
      expect(pick([a])).toBe(a)
    })

    test('is asked by one probe after each pause, which grows', () => {
      failAgainAndAgain(a)
      for (let n = 0; n < 8; n += 1) {
        now += pauseOf(n) - 1
        expect(pick([a])).not.toBe(a)
        now += 1
        expect(pick([a])).toBe(a)
        for (let others = 0; others < 10; others += 1) expect(pick([a])).not.toBe(a)
        // However long the probe takes.
        now += 120_000
        expect(pick([a])).not.toBe(a)
        report(a, FAILING, 120_000)
      }
      expect(lines).toHaveLength(1)
    })

    test('is told of until its pause is over, and again while its probe is under way', () => {
      failAgainAndAgain(a)
      now += PAUSE_MS.first
      expect(balancer.states()).toEqual([])
      expect(pick([a])).toBe(a)
      expect(balancer.states()).toMatchObject([{ target: 'a', state: 'open' }])
    })

    test('draws half of each pause', () => {
      dice = 0
      failAgainAndAgain(a)
      expect(pick([a])).toBe(PAUSE_MS.first / 2)
    })

    test('is well again after a probe that was answered, or whose answer has begun', () => {
      for (const answer of [() => report(a), () => balancer.began?.(a)]) {
        failAgainAndAgain(a)
        now += PAUSE_MS.first
        expect(pick([a])).toBe(a)
        answer()
        for (let others = 0; others < 10; others += 1) expect(pick([a])).toBe(a)
        expect(balancer.states()).toEqual([])
      }
      expect(lines).toHaveLength(4)
      expect(lines[1]).toEqual({ event: 'target closed', target: 'a', failures: OPENS_AFTER, ms: PAUSE_MS.first })
    })

    test.each<[string, UpstreamFailure]>([
      ['left', { code: 'client_left' }],
      ['was at fault itself', { status: 400, unspent: true }],
    ])('is asked by the next one where the probe’s caller %s', (_what, failure) => {
      failAgainAndAgain(a)
      now += PAUSE_MS.first
      expect(pick([a])).toBe(a)
      report(a, failure)
      expect(pick([a])).toBe(a)
      expect(pick([a])).not.toBe(a)
    })

    test('hears nothing of what was sent before its probe', () => {
      failAgainAndAgain(a)
      now += PAUSE_MS.first
      expect(pick([a])).toBe(a)
      now += 10
      for (const failure of [undefined, FAILING, { code: 'client_left' }]) report(a, failure, 1_000)
      expect(pick([a])).not.toBe(a)
      report(a, undefined, 10)
      expect(pick([a])).toBe(a)
    })

    test('is asked again though nobody ever tells of its probe', () => {
      failAgainAndAgain(a)
      now += PAUSE_MS.first
      expect(pick([a])).toBe(a)
      now += 300_000
      expect(pick([a])).toBe(a)
      expect(pick([a])).not.toBe(a)
    })

    test('whatever comes, at most one asks what is open at a time', () => {
      const step = fc.oneof(
        fc.record({ kind: fc.constant('pick' as const) }),
        fc.record({ kind: fc.constant('end' as const), which: fc.nat(), how: fc.constantFrom('ok', 'fail', 'left') }),
        fc.record({ kind: fc.constant('wait' as const), ms: fc.integer({ min: 1, max: 5_000 }) }),
      )
      fc.assert(
        fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
          let isOpen = false
          balancer = weighted({
            time: { now: () => now, wallClock: () => now },
            random: () => dice,
            log: (_level, event) => {
              isOpen = event === 'target open'
            },
          })
          const asking: number[] = []
          let probes = 0
          for (const each of steps) {
            if (each.kind === 'wait') now += each.ms
            else if (each.kind === 'pick') {
              const wasOpen = isOpen
              if (pick([a]) !== a) continue
              asking.push(wasOpen ? -now : now)
              if (wasOpen) probes += 1
              expect(probes).toBeLessThanOrEqual(1)
            } else {
              const [sent] = asking.splice(each.which % Math.max(1, asking.length), 1)
              if (sent === undefined) continue
              if (sent < 0) probes -= 1
              const failure = each.how === 'ok' ? undefined : each.how === 'fail' ? FAILING : { code: 'client_left' }
              report(a, failure, now - Math.abs(sent))
            }
            now += 1
          }
        }),
        { numRuns: 300 },
      )
    })
  })

  describe('a target that turns everything away', () => {
    const wrongKey: UpstreamFailure = { status: 401, unspent: true }

    test('stands back behind all others, and is asked where nothing else may be', () => {
      const candidates: Candidates = [a, at('b', { rank: 2 })]
      report(a, wrongKey)
      expect(pick(candidates)).toBe(candidates[1])
      expect(pick([a])).toBe(a)
      report(candidates[1] as Balanced, busyFor(1_000))
      expect(pick(candidates)).toBe(a)
      now += STANDS_BACK_MS
      expect(pick(candidates)).toBe(a)
      expect(balancer.states()).toEqual([])
    })

    test('no longer once it has answered', () => {
      const candidates: Candidates = [a, at('b', { rank: 2 })]
      report(a, wrongKey)
      report(a)
      expect(pick(candidates)).toBe(a)
    })

    test.each<UpstreamFailure>([
      { status: 301 },
      { code: 'request_failed' },
      { code: 'address_not_allowed' },
      { status: 429, code: 'insufficient_quota' },
    ])('as by %o', (failure) => {
      report(a, { ...failure, unspent: true })
      expect(pick([a, at('b', { rank: 2 })])).not.toBe(a)
      expect(balancer.states()).toMatchObject([{ state: 'blocked', until: DATE + now + STANDS_BACK_MS }])
    })
  })

  describe('a request that has failed at a target', () => {
    test('asks another, also of a higher rank, and the same one where there is none', () => {
      const candidates: Candidates = [a, at('b', { rank: 2 })]
      const failed = [ended(a, FAILING)]
      report(a, FAILING)
      expect(pick(candidates, 's', failed)).toBe(candidates[1])
      expect(pick([a], 's', failed)).toBe(a)
      expect(balancer.waits?.([a], failed)).toEqual({ elsewhereMs: Number.POSITIVE_INFINITY, anywhereMs: 0 })
      // Others begin where they would.
      expect(pick(candidates, 's')).toBe(a)
    })

    test('rather that one than one that turns everything away', () => {
      report(b, { status: 404, unspent: true })
      expect(pick([a, b], 's', [ended(a, FAILING)])).toBe(a)
    })
  })

  test('forgets a target that was not asked for an hour', () => {
    report(a, busyFor(300_000))
    failAgainAndAgain(b)
    now += 3_600_001
    report(at('c'), FAILING)
    expect(balancer.states()).toEqual([])
    expect(pick([b])).toBe(b)
    expect(pick([b])).toBe(b)
  })
})
