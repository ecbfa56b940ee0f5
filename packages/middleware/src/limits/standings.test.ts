import { describe, expect, test } from 'vitest'
import { systemTime } from '../pipeline/index.ts'
import type { Limit } from '../policy/index.ts'
import { outline } from '../policy/resolve.ts'
import { type Claim, limiter, memoryCounterStore, type Subject, standingsOf } from './index.ts'

/* Where limits stand, by their row alone, against what an instance that spends them says. */

const START = Date.UTC(2026, 10, 28, 12)
const { limits } = outline(
  {
    plans: {
      p: {
        limits: [
          { requests: 10, per: '1m', burst: 5 },
          { usd: 5, per: 'month' },
          { tokens: 1_000, per: 'day' },
          { concurrent: 3 },
        ],
      },
    },
    models: { default: { price: { input: 1, output: 2 } } },
  },
  'a test',
).plans.get('p') as { limits: readonly Limit[] }
const [REQUESTS, USD, TOKENS, SLOTS] = limits as [Limit, Limit, Limit, Limit]
const subject: Subject = { id: 'consumer:alice', limits }
const { signal } = new AbortController()

function opened() {
  let now = 1_000
  const time = { ...systemTime, now: () => now, wallClock: () => START + now }
  const store = memoryCounterStore({ wallClock: time.wallClock, now: time.now })
  const gate = limiter({ store, deadlineMs: 2_000, time })
  const claim = (limit: Limit, units: number): Claim => ({ subject, limit, units })
  return {
    store,
    gate,
    claim,
    advance: (ms: number) => {
      now += ms
    },
    standings: async () => standingsOf({ store, subject, signal }),
    standing: async (of: Limit) => {
      const { limits: all } = await standingsOf({ store, subject, signal })
      const found = all.find(({ limit }) => limit === of)
      if (found === undefined) throw new Error('No such limit')
      return found
    },
  }
}

describe('where limits stand', () => {
  test('before anything was counted all is left, and a budget has its window all the same', async () => {
    const { standings } = opened()
    const { limits: all, nonce } = await standings()
    expect(nonce).toBeUndefined()
    expect(all.map(({ used, held, left, moreAt, fullAt }) => [used, held, left, moreAt, fullAt])).toEqual([
      [0, 0, 15, undefined, undefined],
      [0, 0, 5e9, undefined, undefined],
      [0, 0, 1_000, undefined, undefined],
      [0, 0, 3, undefined, undefined],
    ])
    expect(all[1]?.window).toEqual({ start: Date.UTC(2026, 10, 1), end: Date.UTC(2026, 11, 1) })
  })

  test('what is reserved is held, and what was spent is used once it is settled', async () => {
    const { gate, claim, standing } = opened()
    const decision = await gate.admit([claim(USD, 2e9), claim(TOKENS, 400), claim(SLOTS, 1)])
    if (!decision.admitted) throw new Error('Not admitted')
    const reserved = await standing(USD)
    expect(reserved.used).toBe(0)
    expect(reserved.held).toBeGreaterThanOrEqual(2e9)
    expect(reserved.used + reserved.held + reserved.left).toBe(5e9)
    expect(reserved.fullAt).toBe(Date.UTC(2026, 11, 1))
    expect((await standing(SLOTS)).held).toBeGreaterThanOrEqual(1)
    expect((await standing(SLOTS)).used).toBe(0)

    decision.settle((limit) => (limit === USD ? 1_234_567_890 : 150))
    await gate.close()
    expect(await standing(USD)).toMatchObject({ used: 1_234_567_890, held: 0, left: 5e9 - 1_234_567_890 })
    expect(await standing(TOKENS)).toMatchObject({ used: 150, held: 0, left: 850, fullAt: Date.UTC(2026, 10, 29) })
    expect(await standing(SLOTS)).toMatchObject({ used: 0, held: 0, left: 3 })
  })

  test("a bucket tells when one more comes back, and when it's full", async () => {
    const { gate, claim, standing, advance, standings } = opened()
    for (let asked = 0; asked < 4; asked += 1) await gate.admit([claim(REQUESTS, 1)])
    await gate.close()
    const { at } = await standings()
    // Ten a minute: one each six seconds.
    const { used, held, left, moreAt = 0, fullAt = 0 } = await standing(REQUESTS)
    // What was spent last is held until it is written off.
    expect([used + held, left]).toEqual([4, 11])
    expect(moreAt - at).toBeGreaterThan(5_000)
    expect(moreAt - at).toBeLessThanOrEqual(6_010)
    expect(fullAt - moreAt).toBe(18_000)
    advance(fullAt - at)
    expect(await standing(REQUESTS)).toMatchObject({ used: 0, held: 0, left: 15, moreAt: undefined, fullAt: undefined })
  })

  test("the headers' remaining is what is left and what that instance holds itself", async () => {
    const { gate, claim, standings } = opened()
    for (let asked = 0; asked < 5; asked += 1) {
      const claims = [claim(REQUESTS, 1), claim(USD, 1e8), claim(TOKENS, 50), claim(SLOTS, 1)]
      const decision = await gate.admit(claims)
      const { limits: rows } = await standings()
      for (const { limit, remaining } of decision.standings) {
        const row = rows.find((each) => each.limit === limit)
        if (row === undefined) throw new Error('No such limit')
        expect(remaining).toBeGreaterThanOrEqual(row.left)
        expect(remaining).toBeLessThanOrEqual(row.left + row.held)
      }
      if (decision.admitted) decision.settle(() => 20)
    }
    await gate.close()
  })

  test('a row that is no row is told as such, and never as a figure', async () => {
    const { store, standings } = opened()
    await store.writeIfMatch(subject.id, '{"v":9}', undefined, signal)
    await expect(standings()).rejects.toMatchObject({ name: 'RowUnreadable' })
  })

  test('a budget that the policy made smaller than what was spent has nothing left', async () => {
    const { store, gate, claim } = opened()
    const decision = await gate.admit([claim(USD, 3e9)])
    if (decision.admitted) decision.settle(() => 3e9)
    await gate.close()
    const smaller = { ...USD, quota: 1e9 } as Limit
    const { limits: rows } = await standingsOf({ store, subject: { ...subject, limits: [smaller] }, signal })
    expect(rows.map(({ used, held, left }) => [used + held, left])).toEqual([[3e9, 0]])
  })
})
