import { expect, test } from 'vitest'
import { baseContext, replyText, request } from '../../../../test/support/base-context.ts'
import { memoryCounterStore } from '../limits/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import { me } from './me.ts'

const AT = Date.UTC(2026, 10, 28, 12)

test('callers of whom nothing was counted yet cost one look at the ledger for all of them', async () => {
  const table = memoryTable({ wallClock: () => AT })
  let scans = 0
  const counted: Table = {
    ...table,
    scan(...asked) {
      scans += 1
      return table.scan(...asked)
    },
  }
  const policy = resolvePolicy(
    { plans: { pro: { limits: [{ usd: 5, per: 'month' }] } }, models: { default: { price: { input: 1, output: 1 } } } },
    { source: 'test', bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined },
  )
  const handler = me({
    counters: memoryCounterStore({ wallClock: () => AT, now: () => 0 }),
    table: counted,
    usage: {
      daysOf: async ({ since }) => ({ since, days: [], unreadable: [] }),
      unattributedOf: async () => [],
    },
    models: () => [],
    wallClock: () => AT,
  })
  const ask = async (id: string) => {
    const context = { ...baseContext(), policy, consumer: { id, plan: 'pro' }, scope: 'call' as const }
    return JSON.parse(await replyText(await handler({ ...request, method: 'GET' }, context)))
  }
  expect((await ask('first')).limits).toMatchObject([{ limit: 'usd', state: 'uncounted', left: 5e9 }])
  const once = scans
  expect(once).toBeGreaterThan(0)
  await Promise.all(Array.from({ length: 200 }, (_, index) => ask(`caller-${index}`)))
  expect(scans).toBe(once)
})
