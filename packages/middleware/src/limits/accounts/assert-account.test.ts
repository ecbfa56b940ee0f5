import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Account } from './account.ts'
import { assertAccount, repaired } from './assert-account.ts'
import { mergeAccounts } from './merge-accounts.ts'

const rate = { kind: 'rate', capacity: 10, refill: 10, periodMs: 1_000, at: 0 } as const
const budget = { kind: 'budget', per: 'day', epoch: 0 } as const

const broken: readonly [string, Account][] = [
  ['a bucket that holds and leases more than its capacity', { ...rate, level: 6_000, out: { 5: 5 } }],
  ['a level below zero', { ...rate, level: -1, out: {} }],
  ['a slot below zero', { kind: 'concurrency', out: { 5: -1 } }],
  ['more granted back than was ever granted', { ...budget, granted: -34_137, lost: 0, out: {} }],
  ['more lost than granted', { ...budget, granted: 5, lost: 6, out: {} }],
  ['fewer lost than none', { ...budget, granted: 5, lost: -1, out: {} }],
  ['more leased than granted', { ...budget, granted: 5, lost: 2, out: { 5: 4 } }],
  ['a part of a unit', { ...budget, granted: 1.5, lost: 0, out: {} }],
]
const sound: readonly [string, Account][] = [
  ['a bucket', { ...rate, level: 5_000, out: { 5: 5 } }],
  ['a bucket that was made smaller than what it leases', { ...rate, level: 0, out: { 5: 15 } }],
  ['a budget that is spent', { ...budget, granted: 9, lost: 3, out: { 5: 6 } }],
]

describe('an account', () => {
  test.each(broken)('with %s is refused, and repaired when it is read', (_what, account) => {
    expect(() => assertAccount(account, 'limit')).toThrow("The account of 'limit'")
    expect(() => assertAccount(repaired(account), 'limit')).not.toThrow()
  })

  test.each(sound)('is let be where it is sound: %s', (_what, account) => {
    expect(() => assertAccount(account, 'limit')).not.toThrow()
    expect(repaired(account)).toBe(account)
  })

  const slots = fc.dictionary(fc.constantFrom('5', '6', '7'), fc.integer({ min: 1, max: 12 }))
  const anyBudget = fc.record({ granted: fc.nat(30), lost: fc.nat(20), out: slots }).map((counts) => {
    return repaired({ ...budget, ...counts })
  })
  const anyRate = fc.record({ level: fc.nat(10_000), at: fc.nat(9), out: slots }).map((counts) => {
    return repaired({ ...rate, ...counts })
  })

  test('that two are merged into is sound, and hands out no more than either', () => {
    for (const any of [anyBudget, anyRate]) {
      fc.assert(
        fc.property(any, any, fc.constantFrom('overlapping' as const, 'separate' as const), (known, found, overlap) => {
          const merged = mergeAccounts(known, found, overlap)
          assertAccount(merged, 'limit')
          for (const each of [known, found]) {
            if (merged.kind === 'budget' && each.kind === 'budget') {
              expect(merged.granted).toBeGreaterThanOrEqual(each.granted)
            }
            if (merged.kind === 'rate' && each.kind === 'rate') expect(merged.level).toBeLessThanOrEqual(each.level)
          }
        }),
      )
    }
  })
})
