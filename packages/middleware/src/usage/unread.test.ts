import { deflateRawSync } from 'node:zlib'
import { expect, test } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import type { Time } from '../pipeline/index.ts'
import { memoryTable, type NewEntity } from '../storage/index.ts'
import { forgetConsumer, ledger, removeOld, rollUp, usageReader } from './index.ts'

const NOON = Date.UTC(2026, 10, 27, 12)
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const signal = new AbortController().signal
const kept = { detailMs: 2 * DAY_MS, hoursMs: 400 * DAY_MS }

type Row = NewEntity & Readonly<Record<string, unknown>>

/** Two instances' segments of one hour, of 10 and 20 nano-dollars, and what a test does to one of them. */
async function world() {
  let now = NOON
  const wallClock = () => now
  const table = memoryTable({ wallClock })
  const time: Time = { now: wallClock, wallClock, after: () => () => {}, every: () => () => {} }
  const lines: unknown[] = []
  for (const [instance, cost] of [
    ['a', 10],
    ['b', 20],
  ] as const) {
    const book = ledger({ table, instance, time, log: () => {} })
    book.record(finishedRequest({ requestId: instance, facts: miss(cost) }))
    await book.flush()
  }
  const segment = { partitionKey: 's-2026112712', rowKey: '00-b-000000' }
  const reader = usageReader({ table, kept: () => kept, wallClock })
  return {
    table,
    lines,
    reader,
    segment,
    pass: (ms: number) => (now += ms),
    now: wallClock,
    rowOf: async (place: { readonly partitionKey: string; readonly rowKey: string }) => {
      const { entity } = await table.read<Row>(place)
      const { etag: _, timestamp: __, ...row } = entity as Row
      return { ...place, ...row } as Row
    },
    costOf: async () => {
      const { total, unreadable } = await reader.report({ by: 'model', since: NOON - DAY_MS, until: now + 1 }, signal)
      return [total.costNanoUsd, unreadable]
    },
    rollUp: () => rollUp({ table, now, signal, log: (level, event, fields) => lines.push([level, event, fields]) }),
  }
}

const NONSENSE = {
  'no deflated text': Buffer.from('nonsense'),
  'no JSON': deflateRawSync('{'),
  'of a later version': deflateRawSync('{"v":2,"rows":1}'),
  'of no known form': deflateRawSync('{"v":1}'),
}

test.each(Object.entries(NONSENSE))(
  'a segment whose sums are %s is left out, told, and counted once it can be read',
  async (_what, bytes) => {
    const { table, segment, rowOf, costOf, rollUp, reader, lines, pass, now } = await world()
    const whole = await rowOf(segment)
    const place = 's-2026112712/00-b-000000'
    await table.put({ ...whole, sums0: bytes, models0: bytes }, 'any')

    expect(await costOf()).toEqual([10, [place]])
    const { models, unreadable } = await reader.totals(signal)
    expect([models[0]?.sums.costNanoUsd, unreadable]).toEqual([10, [place]])

    // The hour is rolled up, which hides nothing, and is logged once.
    pass(2 * HOUR_MS)
    await rollUp()
    await rollUp()
    expect(lines).toEqual([['error', 'usage unreadable', { place }]])
    expect(await costOf()).toEqual([10, [place]])

    // Nor is it removed with the detail.
    pass(4 * DAY_MS)
    await rollUp()
    await removeOld({ table, kept, now: now(), signal })
    expect((await reader.report({ by: 'model', since: NOON - DAY_MS, until: now() }, signal)).unreadable).toEqual([
      place,
    ])

    // By a version that can read it.
    await table.put(whole, 'any')
    await rollUp()
    const report = await reader.report({ by: 'model', since: NOON - DAY_MS, until: now() }, signal)
    expect([report.total.costNanoUsd, report.unreadable]).toEqual([30, []])
    await removeOld({ table, kept, now: now(), signal })
    expect((await table.read(segment)).entity).toBeUndefined()
    expect((await reader.totals(signal)).models[0]?.sums.costNanoUsd).toBe(30)
    expect(lines).toHaveLength(1)
  },
)

test('what could never be read goes with its hours, and no figure falls meanwhile', async () => {
  const { table, segment, rowOf, rollUp, reader, pass, now } = await world()
  const nonsense = Buffer.from('nonsense')
  await table.put({ ...(await rowOf(segment)), sums0: nonsense, models0: nonsense }, 'any')
  const removing = { table, kept: { ...kept, hoursMs: 40 * DAY_MS }, signal }
  const costs = new Set<number | undefined>()
  const told = async () => costs.add((await reader.totals(signal)).models[0]?.sums.costNanoUsd)
  for (let day = 0; day < 60; day += 1) {
    pass(DAY_MS)
    await rollUp()
    await told()
    await removeOld({ ...removing, now: now() })
    await told()
  }
  expect([...costs]).toEqual([10])
  const left = await Array.fromAsync(table.scan({ partition: { from: '', before: '~' } }, signal))
  // Of its month, the row that stands in for all of it; the rest is of the months after.
  expect(
    left.filter(({ rowKey, partitionKey }) => rowKey.includes('202611') || partitionKey.includes('202611')),
  ).toEqual([expect.objectContaining({ partitionKey: 'months', rowKey: '202611' })])
})

test.each([
  ['hour', { partitionKey: 'hours-202611', rowKey: '2026112712' }, NOON, NOON + HOUR_MS],
  ['day', { partitionKey: 'days-2026', rowKey: '20261127' }, Date.UTC(2026, 10, 27), Date.UTC(2026, 10, 28)],
  ['month', { partitionKey: 'months', rowKey: '202611' }, Date.UTC(2026, 10), Date.UTC(2026, 11)],
])(
  'the sums of a %s that can’t be read are taken from what they were made of',
  async (_period, place, since, until) => {
    const { table, rowOf, rollUp, reader, pass, now } = await world()
    pass(5 * DAY_MS)
    await rollUp()
    const whole = await rowOf(place)
    const [sums0, models0] = [Buffer.from('nonsense'), Buffer.from('nonsense')]
    await table.put({ ...whole, sums0, models0 }, 'any')
    const { total, unreadable } = await reader.report({ by: 'model', since, until }, signal)
    expect([total.costNanoUsd, unreadable]).toEqual([30, [`${place.partitionKey}/${place.rowKey}`]])
    expect((await reader.totals(signal)).models[0]?.sums.costNanoUsd).toBe(30)
    // What a month that can't be read was made of is not removed.
    await removeOld({ table, kept: { ...kept, hoursMs: 0 }, now: now() + 60 * DAY_MS, signal })
    const day = await table.read({ partitionKey: 'days-2026', rowKey: '20261127' })
    expect(day.entity === undefined).toBe(place.partitionKey !== 'months')
  },
)

test('no day is made of an hour that can’t be read, until it can', async () => {
  const { table, rowOf, rollUp, pass, lines } = await world()
  pass(2 * HOUR_MS)
  await rollUp()
  const place = { partitionKey: 'hours-202611', rowKey: '2026112712' }
  const whole = await rowOf(place)
  await table.put({ ...whole, sums0: Buffer.from('nonsense') }, 'any')
  pass(DAY_MS)
  await rollUp()
  await rollUp()
  const day = { partitionKey: 'days-2026', rowKey: '20261127' }
  expect((await table.read(day)).entity).toBeUndefined()
  expect(lines).toEqual([['error', 'usage unreadable', { place: 'hours-202611/2026112712' }]])
  await table.put(whole, 'any')
  await rollUp()
  expect((await table.read(day)).entity).toBeDefined()
})

test('a consumer is forgotten wherever it can be, and what can’t be read is told', async () => {
  const { table, segment, rowOf, now } = await world()
  const whole = await rowOf(segment)
  await table.put({ ...whole, sums0: Buffer.from('nonsense') }, 'any')
  const forgotten = await forgetConsumer({ table, consumer: 'alice', now: now() + HOUR_MS, signal })
  expect(forgotten).toMatchObject({ rows: 1, unreadable: ['s-2026112712/00-b-000000'] })
  // Its sums can be read, and its rows can't.
  await table.put({ ...whole, d0: Buffer.from('nonsense, and long enough') }, 'any')
  expect(await forgetConsumer({ table, consumer: 'alice', now: now() + HOUR_MS, signal })).toMatchObject({
    rows: 0,
    unreadable: ['s-2026112712/00-b-000000'],
  })
})

test('a request that may be in what can’t be read is not told to be unknown', async () => {
  const { table, segment, rowOf, reader } = await world()
  const whole = await rowOf(segment)
  await table.put({ ...whole, d0: Buffer.from('nonsense, and long enough') }, 'any')
  const span = { since: NOON - HOUR_MS, until: NOON + HOUR_MS }
  await expect(reader.why('b', span, signal)).rejects.toThrow('s-2026112712/00-b-000000')
  expect(await reader.why('a', span, signal)).toHaveLength(1)
})
