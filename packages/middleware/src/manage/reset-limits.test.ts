import { beforeEach, expect, test } from 'vitest'
import { memoryConsumerStore } from '../auth/index.ts'
import { groupSubject, memoryCounterStore } from '../limits/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { memoryTable } from '../storage/index.ts'
import { beginLimitsAnew, type Managed, perform } from './index.ts'

/* Whose limits begin anew that no row of the consumers tells of: callers by tokens, and groups. */

const NOW = Date.UTC(2026, 10, 28, 12)
const POLICY = resolvePolicy(
  {
    plans: { free: { limits: [{ requests: 10, per: '1m' }] }, pro: { limits: [{ requests: 99, per: 'day' }] } },
    groups: { 'cost-centre': { claim: 'c', limits: [{ requests: 5, per: 'month' }] }, team: { limits: [] } },
  },
  { source: 'a test', bounds: { env: {}, readable: [], hosts: [] }, defaultTarget: undefined },
)

let managed: Managed
beforeEach(() => {
  managed = {
    consumers: memoryConsumerStore(),
    counters: memoryCounterStore({ wallClock: () => NOW, now: () => 0 }),
    audit: memoryTable({ wallClock: () => NOW }),
    policy: POLICY,
    actor: 'a test',
    wallClock: () => NOW,
    signal: new AbortController().signal,
    log: () => {},
  } as Partial<Managed> as Managed
})
const rowOf = async (subject: string) => (await managed.counters.read(subject, managed.signal)).row

test('a group’s, by its name and a value, whatever that holds', async () => {
  const value = '47/11 = é:~'
  const output = await perform(beginLimitsAnew, { group: `cost-centre=${value}` }, managed)
  expect(output).toMatchObject({
    subject: 'group:cost-centre:47%2F11%20%3D%20%C3%A9%3A~',
    limits: ['group-cost-centre-requests'],
  })
  expect(await rowOf(groupSubject('cost-centre', value))).toBeDefined()
  expect(await rowOf(groupSubject('cost-centre', '4711'))).toBeUndefined()
})

test.each([
  ['cost-centre', /'group': a group of the policy and a value/],
  ['cost-centre=', /'group': a group of the policy and a value/],
  ['centre=1', /It has: cost-centre and team/],
  ['team=1', /has no limits/],
])('of no such group nothing is begun anew: %s', async (group, message) => {
  await expect(perform(beginLimitsAnew, { group }, managed)).rejects.toMatchObject({
    status: 422,
    message: expect.stringMatching(message),
  })
})

test('a token’s consumer’s, of whichever plan its roles give', async () => {
  const consumer = '~corp~t~o'
  const output = await perform(beginLimitsAnew, { consumer }, managed)
  expect(output).toMatchObject({ subject: 'consumer:~corp~t~o', limits: ['requests', 'requests'] })
  expect(await rowOf('consumer:~corp~t~o')).toBeDefined()
  await expect(perform(beginLimitsAnew, { consumer: 'alice' }, managed)).rejects.toMatchObject({ status: 404 })
})
