import { expect, test } from 'vitest'
import { finishedRequest } from '../../../../test/support/finished-request.ts'
import { handClock } from '../../../../test/support/hand-clock.ts'
import type { TargetState } from '../pipeline/index.ts'
import { memoryTable } from '../storage/index.ts'
import { FLUSH_MS, forgetConsumer, type Ledger, ledger, rollUp, usageReader } from './index.ts'

const NOON = Date.UTC(2026, 10, 27, 12)
const signal = new AbortController().signal
const kept = () => ({ detailMs: 30 * 86_400_000, hoursMs: 400 * 86_400_000 })
const blocked: TargetState = { target: 'azure:a', state: 'blocked', since: NOON, until: NOON + 300_000 }
const open: TargetState = { target: 'azure:b', tier: 'priority', state: 'open', since: NOON, until: NOON + 30_000 }

function opened() {
  const clock = handClock(NOON)
  const table = memoryTable({ wallClock: clock.time.wallClock })
  const puts: string[] = []
  const watched = {
    ...table,
    put: async (...args: Parameters<typeof table.put>) => {
      puts.push(args[0].rowKey)
      return table.put(...args)
    },
  }
  const reader = usageReader({ table, kept, wallClock: clock.time.wallClock })
  const instance = (name: string, targets: () => readonly TargetState[]) =>
    ledger({ table: watched, instance: name, time: clock.time, log: () => {}, targets })
  /** Ten seconds, and all that is written in them. */
  const pass = async (book: Ledger) => {
    clock.pass(FLUSH_MS)
    await book.flush()
  }
  return { clock, table, puts, reader, instance, pass }
}

test('what each instance does not ask is told with what it records', async () => {
  const { reader, instance } = opened()
  const [a, b] = [instance('a', () => [blocked, open]), instance('b', () => [blocked])]
  for (const book of [a, b, instance('c', () => [])]) {
    book.record(finishedRequest())
    await book.flush()
  }
  const expected = [
    { instance: 'a', ...blocked },
    { instance: 'a', ...open },
    { instance: 'b', ...blocked },
  ]
  expect(await reader.targets(signal)).toEqual(expected)
  expect((await reader.totals(signal)).targets).toEqual(expected)
})

test('a change is told where no request comes, at most each ten seconds, and again while it lasts', async () => {
  let states: TargetState[] = []
  const { reader, instance, puts, pass } = opened()
  const book = instance('a', () => states)
  await pass(book)
  expect(puts).toEqual([])

  states = [blocked]
  await pass(book)
  expect(await reader.targets(signal)).toEqual([{ instance: 'a', ...blocked }])
  expect(puts).toHaveLength(1)
  await pass(book)
  expect(puts).toHaveLength(1)
  for (let count = 0; count < 10; count += 1) {
    await pass(book)
    expect(await reader.targets(signal)).toHaveLength(1)
  }
  // Once each 30 s.
  expect(puts).toHaveLength(4)

  states = []
  await pass(book)
  expect(await reader.targets(signal)).toEqual([])
  expect(puts).toHaveLength(5)
  for (let count = 0; count < 10; count += 1) await pass(book)
  expect(puts).toHaveLength(5)
  await book.close()
})

test('what is over, and what an instance told that has ended since, is told no more', async () => {
  const { reader, instance, clock } = opened()
  const book = instance('a', () => [blocked, open])
  book.record(finishedRequest())
  await book.close()
  clock.pass(29_000)
  expect(await reader.targets(signal)).toHaveLength(2)
  clock.pass(2_000)
  expect(await reader.targets(signal)).toEqual([{ instance: 'a', ...blocked }])
  clock.pass(30_000)
  expect(await reader.targets(signal)).toEqual([])
})

test('of very many targets 64 are told, and a row never grows too large', async () => {
  const { reader, instance } = opened()
  const many = (length: number) =>
    Array.from({ length: 200 }, (_, index) => ({ ...blocked, target: `${index}-${'x'.repeat(length)}` }))
  for (const [name, length, told] of [
    ['a', 10, 64],
    ['b', 1_000, 16],
  ] as const) {
    const book = instance(name, () => many(length))
    book.record(finishedRequest())
    await book.flush()
    const own = (await reader.targets(signal)).filter((each) => each.instance === name)
    expect(own.length).toBeGreaterThanOrEqual(told)
    expect(own.length).toBeLessThanOrEqual(64)
  }
})

test('a segment without rows changes no figure', async () => {
  const { reader, instance, clock, table, pass } = opened()
  const book = instance('a', () => [blocked])
  await pass(book)
  const report = () =>
    reader.report({ by: 'consumer', since: NOON - 60_000, until: clock.time.wallClock() + 1 }, signal)
  expect(await report()).toMatchObject({ rows: [], unreadable: [], total: { requests: 0 } })
  book.record(finishedRequest())
  await book.close()
  clock.pass(2 * 3_600_000)
  await rollUp({ table, now: clock.time.wallClock(), signal })
  expect((await report()).total.requests).toBe(1)
  const forgotten = await forgetConsumer({ table, consumer: 'alice', now: clock.time.wallClock(), signal })
  expect(forgotten).toMatchObject({ rows: 1, unreadable: [] })
})
