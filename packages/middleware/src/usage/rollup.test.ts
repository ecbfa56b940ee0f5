import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { finishedRequest, miss } from '../../../../test/support/finished-request.ts'
import { KILLED, steppedTable } from '../../../../test/support/stepped-table.ts'
import type { FinishedRequest, Time } from '../pipeline/index.ts'
import { memoryTable, type Table } from '../storage/index.ts'
import { FLUSH_MS, type Ledger, ledger, removeOld, rollUp, usageReader } from './index.ts'

const START = Date.UTC(2026, 10, 29, 21, 30)
const HOUR_MS = 3_600_000
const DAY_MS = 24 * HOUR_MS
const signal = new AbortController().signal

/** Instances over one table whose clock stands still until a test moves it; nothing is written but by `flush`. */
class World {
  readonly table: Table = memoryTable({ wallClock: () => this.now })
  now = START
  readonly kept = { detailMs: 10 * DAY_MS, hoursMs: 400 * DAY_MS }
  /** What was recorded, and written. */
  readonly written: FinishedRequest[] = []
  readonly #instances = new Map<number, { readonly book: Ledger; waiting: FinishedRequest[] }>()
  /** By how much the clocks of instances are ahead. */
  readonly aheadMs = new Map<number, number>()

  #wallClock(index: number): number {
    return this.now + (this.aheadMs.get(index) ?? 0)
  }

  #time(index: number): Time {
    return {
      now: () => this.now,
      wallClock: () => this.#wallClock(index),
      after: () => () => {},
      every: () => () => {},
    }
  }

  instance(index: number) {
    let instance = this.#instances.get(index)
    if (instance === undefined) {
      const table = this.#failingTable(index)
      const book = ledger({ table, instance: `i${index}`, time: this.#time(index), log: () => {} })
      instance = { book, waiting: [] }
      this.#instances.set(index, instance)
    }
    return instance
  }

  async record(index: number, consumer: string, model: string, cost: number): Promise<void> {
    // It would do so by itself, and in the background.
    const [first] = this.instance(index).waiting
    if (first !== undefined && this.now > first.startedAt + FLUSH_MS) await this.flush(index)
    const facts = { ...miss(cost, { model, target: `${model}-1`, input: cost, output: 1 }), consumer }
    const end = finishedRequest({ facts, startedAt: this.#wallClock(index) - 5, ms: 5 })
    const { book, waiting } = this.instance(index)
    book.record(end)
    waiting.push(end)
  }

  /** Before a row is put by an instance. */
  onPut: ((row: Parameters<Table['put']>[0]) => Promise<void>) | undefined

  /** Instances of which nobody knows what of their last flush was written. */
  readonly unsure = new Set<number>()
  readonly #failing = new Map<number, 'before' | 'after'>()

  #failingTable(index: number): Table {
    const { table } = this
    return {
      ...table,
      put: async (...args: Parameters<Table['put']>) => {
        await this.onPut?.(args[0])
        const how = this.#failing.get(index)
        if (how === 'before') throw new Error('not sent')
        const put = await table.put(...args)
        if (how === 'after') throw new Error('no answer')
        return put
      },
    }
  }

  /** A flush whose writes fail: none is carried out, or each is, and its answer is lost. */
  async failToFlush(index: number, how: 'before' | 'after'): Promise<void> {
    this.#failing.set(index, how)
    await this.instance(index).book.flush()
    this.#failing.delete(index)
    this.unsure.add(index)
  }

  async flush(index: number): Promise<void> {
    this.unsure.delete(index)
    const instance = this.instance(index)
    const { waiting } = instance
    instance.waiting = []
    await instance.book.flush()
    this.written.push(...waiting)
  }

  rollUp(table = this.table, index = 0): Promise<number> {
    return rollUp({ table, now: this.#wallClock(index), signal })
  }

  /** Two reports and the totals, as one plain value. */
  async seen(table = this.table) {
    const reader = usageReader({ table, kept: () => this.kept, wallClock: () => this.now })
    const span = { since: START - 2 * DAY_MS, until: this.now + 60_000 }
    const consumers = await reader.report({ by: 'consumer', ...span }, signal)
    const targets = await reader.report({ by: 'target', ...span }, signal)
    const { models } = await reader.totals(signal)
    return {
      consumers: byName(
        consumers.rows.map(({ name, requests, costNanoUsd, tokens }) => [name, [requests, costNanoUsd, tokens.input]]),
      ),
      targets: byName(
        targets.rows.map(({ name, requests, costNanoUsd, tokens }) => [name, [requests, costNanoUsd, tokens.input]]),
      ),
      models: byName(
        models.map(({ model, sums, duration }) => [
          model,
          [sums.requests, sums.costNanoUsd, duration.counts.reduce((sum, count) => sum + count, 0)],
        ]),
      ),
    }
  }

  /** The same of what was written, added up plainly. */
  expected() {
    const [consumers, targets, models] = [
      new Map<string, number[]>(),
      new Map<string, number[]>(),
      new Map<string, number[]>(),
    ]
    const add = (to: Map<string, number[]>, name: string, figures: readonly number[]) => {
      to.set(
        name,
        figures.map((figure, index) => figure + (to.get(name)?.[index] ?? 0)),
      )
    }
    for (const { facts } of this.written) {
      const { consumer = '', model = '', costNanoUsd = 0, usage } = facts
      add(consumers, consumer, [1, costNanoUsd, usage?.input ?? 0])
      add(targets, `${model}-1`, [1, costNanoUsd, usage?.input ?? 0])
      add(models, model, [1, costNanoUsd, 1])
    }
    return { consumers: byName(consumers), targets: byName(targets), models: byName(models) }
  }
}

function byName(entries: Iterable<readonly [string, readonly number[]]>) {
  return Object.fromEntries([...entries].sort(([a], [b]) => (a < b ? -1 : 1)))
}

const command = fc.oneof(
  {
    weight: 6,
    arbitrary: fc.record({
      kind: fc.constant('record' as const),
      instance: fc.nat(2),
      consumer: fc.constantFrom('alice', 'bob', 'eve'),
      model: fc.constantFrom('small', 'large'),
      cost: fc.integer({ min: 1, max: 1_000 }),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('flush' as const), instance: fc.nat(2) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('flush, failing' as const),
      instance: fc.nat(2),
      how: fc.constantFrom('before' as const, 'after' as const),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({
      kind: fc.constant('pass' as const),
      ms: fc.constantFrom(1_000, 61_000, 20 * 60_000, HOUR_MS, 5 * HOUR_MS, 30 * HOUR_MS, 4 * DAY_MS),
    }),
  },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('roll' as const) }) },
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('roll, killed' as const), after: fc.nat(60) }) },
  {
    weight: 2,
    arbitrary: fc.record({
      kind: fc.constant('roll twice at once' as const),
      order: fc.array(fc.boolean(), { maxLength: 80 }),
    }),
  },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('remove old' as const) }) },
)

describe('whatever is written and rolled up, in whatever order', () => {
  test('a report is the plain sum of what was written, and so are the totals', { timeout: 120_000 }, async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(command, { minLength: 5, maxLength: 25 }), async (commands) => {
        const world = new World()
        for (const each of commands) {
          switch (each.kind) {
            case 'record':
              await world.record(each.instance, each.consumer, each.model, each.cost)
              break
            case 'flush':
              await world.flush(each.instance)
              break
            case 'flush, failing':
              await world.failToFlush(each.instance, each.how)
              break
            case 'pass':
              world.now += each.ms
              break
            case 'roll':
              await world.rollUp()
              break
            case 'roll, killed':
              await killedAfter(each.after, (table) => world.rollUp(table), world.table)
              break
            case 'roll twice at once':
              await atOnce(world, each.order)
              break
            case 'remove old':
              if (world.unsure.size === 0)
                await removeOld({ table: world.table, kept: world.kept, now: world.now, signal })
              break
          }
          if (world.unsure.size === 0) expect(await world.seen()).toEqual(world.expected())
        }
      }),
      { numRuns: Number(process.env.TOLLGATE_RUNS ?? 60) },
    )
  })
})

async function killedAfter(uses: number, work: (table: Table) => Promise<unknown>, table: Table): Promise<void> {
  let left = uses
  const killed = steppedTable(table, () => {
    left -= 1
    if (left < 0) throw KILLED
  })
  await work(killed).catch((error) => {
    if (error !== KILLED) throw error
  })
}

/** Two runs whose uses of the table follow each other in this order. */
async function atOnce(world: World, order: readonly boolean[]): Promise<void> {
  const turns: [(() => void)[], (() => void)[]] = [[], []]
  const runs = [0, 1].map((which) => {
    const stepped = steppedTable(world.table, () => new Promise((resolve) => turns[which === 0 ? 0 : 1].push(resolve)))
    return world.rollUp(stepped)
  })
  let over = 0
  for (const run of runs) run.finally(() => (over += 1)).catch(() => {})
  for (let step = 0; over < 2; step += 1) {
    const preferred = order.length > 0 && order[step % order.length] ? 0 : 1
    const turn = turns[preferred].shift() ?? turns[1 - preferred]?.shift()
    turn?.()
    await new Promise((resolve) => setImmediate(resolve))
  }
  await Promise.all(runs)
}

/** A world with a month's end, segments that are written late, one of them not yet, and some hours that are still to be rolled up. */
async function busyWorld(): Promise<World> {
  const world = new World()
  for (const instance of [2, 3]) {
    await world.record(instance, `late ${instance}`, 'large', 999)
    await world.failToFlush(instance, 'before')
  }
  for (let hour = 0; hour < 33; hour += 3) {
    for (const consumer of ['alice', 'bob']) await world.record(hour % 2, consumer, 'small', hour + 1)
    await world.flush(hour % 2)
    world.now += 3 * HOUR_MS
    if (hour === 27) await world.rollUp()
  }
  await world.flush(2)
  await world.record(0, 'eve', 'small', 5)
  await world.flush(0)
  return world
}

/** Lets a piece of work go so many uses of the table far, does something else, and lets it go on. */
async function interrupted<T>(
  table: Table,
  uses: number,
  work: (table: Table) => Promise<T>,
  meanwhile: () => Promise<void>,
): Promise<{ readonly result: T; readonly wasInterrupted: boolean }> {
  let left = uses
  let wasInterrupted = false
  const stepped = steppedTable(table, async () => {
    left -= 1
    if (left !== -1) return
    wasInterrupted = true
    await meanwhile()
  })
  return { result: await work(stepped), wasInterrupted }
}

describe('a reader beside a roll-up', () => {
  test('sees each request once, at whichever moment of a run it reads', { timeout: 120_000 }, async () => {
    let uses = 0
    for (let goesOn = true; goesOn; uses += 1) {
      const world = await busyWorld()
      const { wasInterrupted } = await interrupted(
        world.table,
        uses,
        (table) => world.rollUp(table),
        async () => {
          expect(await world.seen()).toEqual(world.expected())
        },
      )
      expect(await world.seen()).toEqual(world.expected())
      goesOn = wasInterrupted
    }
    expect(uses).toBeGreaterThan(50)
  })

  test('sees each request once, at whichever moment of its reading a run comes', { timeout: 120_000 }, async () => {
    let uses = 0
    for (let goesOn = true; goesOn; uses += 1) {
      const world = await busyWorld()
      const { result, wasInterrupted } = await interrupted(
        world.table,
        uses,
        (table) => world.seen(table),
        async () => {
          await world.rollUp()
          await removeOld({ table: world.table, kept: world.kept, now: world.now, signal })
        },
      )
      expect(result).toEqual(world.expected())
      goesOn = wasInterrupted
    }
    expect(uses).toBeGreaterThan(20)
  })

  test('two runs at once, and a late segment between them, change no figure', { timeout: 120_000 }, async () => {
    let uses = 0
    for (let goesOn = true; goesOn; uses += 1) {
      const world = await busyWorld()
      const { wasInterrupted } = await interrupted(
        world.table,
        uses,
        (table) => world.rollUp(table),
        async () => {
          await world.flush(3)
          await world.rollUp()
        },
      )
      if (!wasInterrupted) await world.flush(3)
      expect(await world.seen()).toEqual(world.expected())
      await world.rollUp()
      expect(await world.seen()).toEqual(world.expected())
      goesOn = wasInterrupted
    }
  })
  test('a segment whose hour is marked as late while a run reads, and which comes after that, is not lost', async () => {
    let uses = 0
    for (let goesOn = true; goesOn; uses += 1) {
      const world = await busyWorld()
      await world.rollUp()
      // The mark is there, and what it was set for is on its way.
      const sent = Promise.withResolvers<void>()
      const arrives = Promise.withResolvers<void>()
      world.onPut = async ({ partitionKey }) => {
        if (!partitionKey.startsWith('s-')) return
        sent.resolve()
        await arrives.promise
      }
      const writing = world.flush(3)
      await sent.promise
      const land = async () => {
        arrives.resolve()
        await writing
      }
      const { wasInterrupted } = await interrupted(world.table, uses, (table) => world.rollUp(table), land)
      if (!wasInterrupted) await land()
      expect(await world.seen()).toEqual(world.expected())
      world.now += HOUR_MS
      await world.rollUp()
      expect(await world.seen()).toEqual(world.expected())
      goesOn = wasInterrupted
    }
  })

  test('a run that is ended early has come further than the one before', async () => {
    const world = new World()
    await world.record(0, 'alice', 'small', 1)
    await world.flush(0)
    world.now += 5 * DAY_MS
    let runs = 0
    for (let isOver = false; !isOver && runs < 30; runs += 1) {
      let uses = 0
      const ended = steppedTable(world.table, () => {
        uses += 1
        if (uses > 150) throw KILLED
      })
      isOver = await world.rollUp(ended).then(
        () => true,
        () => false,
      )
    }
    expect(runs).toBeGreaterThan(1)
    expect(runs).toBeLessThan(30)
    expect(await world.seen()).toEqual(world.expected())
  })
})

describe('clocks that differ', () => {
  const MINUTES = 5 * 60_000

  test('an hour is not over for one whose clock is ahead', async () => {
    const world = new World()
    world.now = Date.UTC(2026, 10, 29, 21, 58)
    world.aheadMs.set(1, MINUTES)
    await world.record(0, 'alice', 'small', 1)
    await world.flush(0)
    await world.rollUp(world.table, 1)
    world.now += 60_000
    await world.record(0, 'alice', 'small', 2)
    await world.flush(0)
    world.now += HOUR_MS
    await world.rollUp()
    expect(await world.seen()).toEqual(world.expected())
  })

  test('what one whose clock is behind writes into an hour that is rolled up is late', async () => {
    const world = new World()
    world.now = Date.UTC(2026, 10, 29, 21, 58)
    world.aheadMs.set(1, -MINUTES)
    await world.record(0, 'alice', 'small', 1)
    await world.flush(0)
    world.now += MINUTES
    await world.rollUp()
    await world.record(1, 'alice', 'small', 2)
    await world.flush(1)
    expect(await world.seen()).toEqual(world.expected())
    world.now += HOUR_MS
    await world.rollUp()
    expect(await world.seen()).toEqual(world.expected())
  })
})

test('a run that was overtaken takes nothing back of how far the other has come', async () => {
  const world = new World()
  await world.record(0, 'alice', 'small', 1)
  await world.flush(0)
  const { table } = world
  const progress = async () => (await table.read<{ next: Date }>({ partitionKey: 'progress', rowKey: 'rolled' })).entity
  let other: Promise<number> | undefined
  // The slower one is held before it notes how far it has come.
  const held: Table = {
    ...table,
    async put(...args) {
      if (args[0].partitionKey === 'progress' && other === undefined) {
        world.now += 50 * HOUR_MS
        other = world.rollUp()
        await other
      }
      return table.put(...args)
    },
  }
  world.now += 5 * HOUR_MS
  await world.rollUp(held)
  expect(other).toBeDefined()
  // 55 hours after half past nine.
  expect((await progress())?.next).toEqual(new Date(Date.UTC(2026, 11, 2, 4)))
})
