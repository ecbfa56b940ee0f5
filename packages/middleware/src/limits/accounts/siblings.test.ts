import { describe, expect, test } from 'vitest'
import type { BudgetLimit, RateLimit } from '../../policy/index.ts'
import { memoryCounterStore, resetLimits } from '../index.ts'
import { type Account, free, leasedIn, type Transfer } from './account.ts'
import { assertAccount } from './assert-account.ts'
import { bookBeside, rollAccounts } from './siblings.ts'

/* Limits that count the same over other periods, as instances of several revisions of a policy have them in one row. */

const NOW = Date.UTC(2026, 10, 28, 12)
const at = (ms: number) => ({ earliest: NOW + ms, latest: NOW + ms })
const slotAt = (ms: number) => (NOW + ms) / 1_000

const bucket = (capacity: number, periodMs: number): RateLimit => ({
  kind: 'rate',
  key: `requests:${periodMs}`,
  name: `requests-${periodMs}`,
  measure: 'requests',
  model: undefined,
  quota: capacity,
  burst: 0,
  capacity,
  refill: capacity,
  periodMs,
})
const budget = (quota: number, per: BudgetLimit['per']): BudgetLimit => ({
  kind: 'budget',
  key: `requests:${per}`,
  name: `requests-${per}`,
  measure: 'requests',
  model: undefined,
  quota,
  per,
})
const TEN_A_MINUTE = bucket(10, 60_000)
const HUNDRED_AN_HOUR = bucket(100, 3_600_000)
const FIFTY_IN_TWO = bucket(50, 120_000)

type Accounts = Readonly<Record<string, Account>>
const roll = (stored: Accounts, limits: readonly (RateLimit | BudgetLimit)[], ms = 0) =>
  rollAccounts(stored, limits, at(ms), false)
const accountIn = (accounts: Accounts, { key }: { readonly key: string }) => accounts[key] as Account

/** A bucket of which this many are left, and these leased. */
function used({ capacity, refill, periodMs }: RateLimit, left: number, out: Readonly<Record<string, number>>): Account {
  return { kind: 'rate', capacity, refill, periodMs, level: left * periodMs, at: NOW, out }
}

const move = (change: Partial<Transfer>): Transfer => ({
  from: undefined,
  booked: 0,
  returned: 0,
  carried: 0,
  granted: 0,
  to: slotAt(40_000),
  ...change,
})

describe('an account that opens beside others', () => {
  test('has no more, once all that is leased has come back, than each of them leaves', () => {
    const slot = slotAt(40_000)
    // Ten were spent of both; of the hour thirty are leased, which the minute lets nobody spend.
    const stored = {
      [TEN_A_MINUTE.key]: used(TEN_A_MINUTE, 0, {}),
      [HUNDRED_AN_HOUR.key]: used(HUNDRED_AN_HOUR, 60, { [slot]: 30 }),
    }
    const opened = accountIn(roll(stored, [FIFTY_IN_TWO]), FIFTY_IN_TWO)
    expect(free(opened, FIFTY_IN_TWO, at(0))).toBe(10)
    expect(leasedIn(opened)).toBe(30)
    const returned = move({ from: slot, booked: 30, returned: 30 })
    const accounts = bookBeside({ ...stored, [FIFTY_IN_TWO.key]: opened }, [TEN_A_MINUTE, HUNDRED_AN_HOUR], (limit) =>
      limit.key === HUNDRED_AN_HOUR.key ? returned : move({}),
    )
    expect(free(accountIn(accounts, FIFTY_IN_TWO), FIFTY_IN_TWO, at(0))).toBe(40)
    expect(leasedIn(accountIn(accounts, FIFTY_IN_TWO))).toBe(0)
  })

  test('counts what was spent by a limit that stays, and not of limits that are gone alone', () => {
    const stored = { [FIFTY_IN_TWO.key]: used(FIFTY_IN_TWO, 5, {}) }
    const accounts = roll(stored, [FIFTY_IN_TWO, TEN_A_MINUTE])
    expect(free(accountIn(accounts, TEN_A_MINUTE), TEN_A_MINUTE, at(0))).toBe(5)
  })

  test('has what the larger of both leaves: a day is not used up by what was spent of a month', () => {
    const month: Account = {
      kind: 'budget',
      per: 'month',
      epoch: Date.UTC(2026, 10, 1),
      granted: 60,
      lost: 0,
      out: {},
      quota: 100,
    }
    const small = budget(5, 'day')
    const accounts = roll({ 'requests:month': month }, [small])
    expect(free(accountIn(accounts, small), small, at(0))).toBe(5)
    // But for no more than the month leaves, where its quota grows.
    const large = budget(50, 'day')
    expect(free(accountIn(roll(accounts, [large]), large), large, at(0))).toBe(40)
  })
})

describe('what another revision leases', () => {
  const granted = move({ granted: 8, to: slotAt(30_000) })
  const book = (stored: Accounts) => bookBeside(stored, [TEN_A_MINUTE], () => granted)

  test('leaves no room for refill until it ends', () => {
    const stored = book(roll({}, [TEN_A_MINUTE, FIFTY_IN_TWO]))
    const later = accountIn(roll(stored, [FIFTY_IN_TWO], 29_000), FIFTY_IN_TWO)
    expect(free(later, FIFTY_IN_TWO, at(29_000))).toBe(42)
    expect(() => assertAccount(later, 'limit')).not.toThrow()
    const ended = accountIn(roll(stored, [FIFTY_IN_TWO], 42_000), FIFTY_IN_TWO)
    expect(free(ended, FIFTY_IN_TWO, at(42_000))).toBe(47)
  })

  test('counts in the window that begins while it may be spent', () => {
    const minute = budget(20, 'minute')
    const stored = bookBeside(roll({}, [minute]), [TEN_A_MINUTE], () => move({ granted: 8, to: slotAt(80_000) }))
    // Its own account is there too, as in each row that such a lease was written to.
    const both = bookBeside(roll({}, [minute, TEN_A_MINUTE]), [TEN_A_MINUTE], () =>
      move({ granted: 8, to: slotAt(80_000) }),
    )
    expect(stored[minute.key]).toEqual(accountIn(roll({}, [minute]), minute))
    const next = accountIn(roll(both, [minute], 60_000), minute)
    expect(free(next, minute, at(60_000))).toBe(12)
  })

  test('takes an account below zero, and is forgiven but for what may come back', () => {
    const small = bucket(2, 1_000)
    const stored = book(roll({}, [small, TEN_A_MINUTE]))
    const owing = accountIn(roll(stored, [small], 100), small)
    expect(owing).toMatchObject({ level: 0, owed: 5_800 })
    const over = accountIn(roll(stored, [small], 31_000), small)
    expect(free(over, small, at(31_000))).toBeLessThanOrEqual(2)
  })
})

test('a limit that is begun anew is whole, though another one of the same measure has counted', async () => {
  const [day, month] = [budget(50, 'day'), budget(100, 'month')]
  const store = memoryCounterStore({ wallClock: () => NOW, now: () => 0 })
  const { signal } = new AbortController()
  const account = { kind: 'budget', epoch: Date.UTC(2026, 10, 1), granted: 30, lost: 0, out: {} } as const
  const accounts: Accounts = {
    [day.key]: { ...account, per: 'day', epoch: NOW - 12 * 3_600_000, quota: 50 },
    [month.key]: { ...account, per: 'month', quota: 100 },
  }
  const row = { v: 2, id: 'a', seq: 1, replaces: {}, nonce: 'a', holders: {}, accounts }
  await store.writeIfMatch('alice', JSON.stringify(row), undefined, signal)
  await resetLimits({ store, subject: 'alice', limit: month, signal })
  const read = await store.read('alice', signal)
  const rolled = roll(JSON.parse(read.row?.text ?? '').accounts, [day, month])
  expect(free(accountIn(rolled, month), month, at(0))).toBe(100)
  expect(free(accountIn(rolled, day), day, at(0))).toBe(20)
})
