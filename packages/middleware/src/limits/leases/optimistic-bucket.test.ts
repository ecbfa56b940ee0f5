import { beforeEach, describe, expect, test } from 'vitest'
import type { RateLimit } from '../../policy/index.ts'
import { type OptimisticBucket, optimisticBucket } from './optimistic-bucket.ts'

const LIMIT: RateLimit = {
  kind: 'rate',
  key: 'requests:1000',
  name: 'requests',
  measure: 'requests',
  model: undefined,
  quota: 1_000,
  burst: 0,
  capacity: 100,
  refill: 900,
  periodMs: 1_000,
}
const own = { others: 0, isOwn: true }

describe('an optimistic bucket', () => {
  let bucket: OptimisticBucket
  beforeEach(() => {
    bucket = optimisticBucket(LIMIT, 0)
    bucket.saw({ ...own, units: 100 }, 0)
  })
  const waitMs = (units: number, now: number) => {
    bucket.await(units, now)
    const ms = bucket.waitMs(now)
    bucket.await(-units, now)
    return ms
  }

  test('counts refill that the row does not, while no other instance has taken any', () => {
    bucket.use(90, 0)
    expect(waitMs(19, 0)).toBe(10)
    bucket.saw({ ...own, units: 10 }, 50)
    expect(waitMs(55, 50)).toBe(0)
    expect(waitMs(100, 50)).toBe(50)
  })

  test('goes by the row where another instance has taken some, and leaves no room for what that one holds', () => {
    bucket.saw({ units: 10, others: 40, isOwn: false }, 0)
    expect(waitMs(10, 0)).toBe(0)
    expect(waitMs(19, 0)).toBe(10)
    bucket.use(60, 5_000)
    expect(waitMs(9, 5_000)).toBe(10)
  })

  test('takes back what came back unused, and never holds more than its capacity', () => {
    bucket.use(9, 0)
    bucket.use(-9, 0)
    expect(waitMs(100, 0)).toBe(0)
    bucket.use(-9, 10)
    bucket.use(9, 20)
    expect(waitMs(100, 20)).toBe(10)
  })

  test('is refilled as if those that wait had been served', () => {
    bucket.await(100, 0)
    expect(bucket.waitMs(0)).toBe(0)
    bucket.await(90, 100)
    expect(bucket.waitMs(100)).toBe(0)
    bucket.await(9, 100)
    expect(bucket.waitMs(100)).toBe(10)
    // Served at last, they leave it as it would be if they had been served at once.
    bucket.use(190, 100)
    bucket.await(-199, 100)
    expect(waitMs(9, 100)).toBe(10)
    expect(waitMs(100, 5_000)).toBe(0)
    expect(waitMs(109, 5_000)).toBe(10)
  })
})
