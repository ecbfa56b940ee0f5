import { memoryCounterStore, redisCounterStore, SHADOW_LIFE_MS, tableCounterStore } from '@tollgate/middleware'
import { expect, test } from 'vitest'
import { unique } from '../support/consumers.ts'
import { tableAccounts } from '../support/tables.ts'
import { describeWithRedis } from '../support/with-redis.ts'
import { counterStoreConforms } from './counter-store.ts'

const now = () => performance.now()

counterStoreConforms('memory', () => memoryCounterStore({ wallClock: Date.now, now }))
for (const { name, open } of tableAccounts()) counterStoreConforms(name, () => tableCounterStore({ open, now }))

const { signal } = new AbortController()

test.each(tableAccounts())(
  '$name: of a shadow revision, and of nothing else, what nobody changes any more is swept',
  async ({ open }) => {
    let at = Date.now() - SHADOW_LIFE_MS - 60_000
    const store = tableCounterStore({ open, now, wallClock: () => at })
    const [old, judged, counted] = [
      `shadow:${unique('r')}:global`,
      `shadow:${unique('r')}:global`,
      unique('consumer:shadow'),
    ]
    for (const subject of [old, counted]) await store.writeIfMatch(subject, '{}', undefined, signal)
    at += 120_000
    await store.writeIfMatch(judged, '{}', undefined, signal)
    const rows = async () =>
      Promise.all([old, judged, counted].map(async (subject) => (await store.read(subject, signal)).row !== undefined))
    expect(await rows()).toEqual([true, true, true])
    expect(await store.sweepShadows(Date.now(), signal)).toBeGreaterThanOrEqual(1)
    expect(await rows()).toEqual([false, true, true])
  },
)

describeWithRedis('on Redis', (redis) => {
  counterStoreConforms('Redis', () => redisCounterStore({ redis, now }))

  test('of a shadow revision, and of nothing else, what nobody changes any more expires', async () => {
    const prefix = `${unique('counters')}:`
    const store = redisCounterStore({ redis, now, prefix })
    const life = async (subject: string) => {
      await store.writeIfMatch(subject, '{}', undefined, signal)
      return Number(await redis.send(['PTTL', `${prefix}{${subject}}`], signal))
    }
    const left = await life('shadow:r:global')
    expect(left).toBeGreaterThan(SHADOW_LIFE_MS - 60_000)
    expect(left).toBeLessThanOrEqual(SHADOW_LIFE_MS)
    expect(await life('global')).toBe(-1)
  })
})
