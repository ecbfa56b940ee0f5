import { execFile } from 'node:child_process'
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { ledger, memoryTable, removeOld, rollUp, type Table, type Time } from '@tollgate/middleware'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { finishedRequest } from '../../../../test/support/finished-request.ts'
import { type Bill, total } from './bill.ts'
import { INPUTS, type Inputs, withDefaults } from './inputs.ts'
import { LIST_RATES, PRICES, type Rates } from './prices.ts'
import { apiManagement, apisix, bareFunction, tollgate } from './systems.ts'
import { tableTransactions, waitsForStores } from './transactions.ts'

const COMMAND = fileURLToPath(new URL('cost.ts', import.meta.url))
const ROOT = fileURLToPath(new URL('../../../..', import.meta.url))

const cost = (...args: string[]) => promisify(execFile)(process.execPath, [COMMAND, ...args])
const lineOf = ({ lines }: Bill, item: string) => lines.find((line) => line.item === item)?.usd
const rates: Rates = {
  ...LIST_RATES,
  modelInput: 1,
  modelOutput: 2,
  functionGbSecond: 0.00002,
  functionExecutions: 0.5,
  tableTransactions: 0.001,
  tableGbMonth: 0.05,
  logGb: 2,
}

/** A month small enough to be reckoned by hand: 1,000 requests, a quarter of them hits. */
const small = withDefaults({
  requests: 1_000,
  hitRatio: 0.25,
  inputTokens: 400,
  outputTokens: 100,
  modelSeconds: 7,
  memoryGb: 0.5,
  instances: 1,
  keys: 1,
  limitTransactions: 100,
  limitRows: 3,
  farHits: 0.5,
  claimedMisses: 0.2,
})

describe('by hand', () => {
  test('a bare function pays for each request: tokens, executions, time and telemetry', () => {
    const bill = bareFunction(small, rates)
    expect(lineOf(bill, 'tokens in')).toBeCloseTo(1_000 * 400 * 1e-6, 12)
    expect(lineOf(bill, 'tokens out')).toBeCloseTo(1_000 * 100 * 2e-6, 12)
    expect(lineOf(bill, 'executions')).toBeCloseTo(0.0005, 12)
    expect(lineOf(bill, 'time')).toBeCloseTo(1_000 * 7 * 0.5 * 0.00002, 12)
    expect(lineOf(bill, 'telemetry')).toBeCloseTo(0.002, 12)
    expect(total(bill)).toBeCloseTo(0.4 + 0.2 + 0.0005 + 0.07 + 0.002, 12)
    expect(total(bill, 'gateway')).toBe(0)
  })

  test('API Management adds its units, or its calls, and spares what its own cache answers', () => {
    expect(total(apiManagement(small, { ...rates, apimStandardV2: 700 }, 'standard-v2'), 'gateway')).toBe(700)
    expect(total(apiManagement({ ...small, apimUnits: 2 }, { ...rates, apimPremium: 10 }, 'premium'), 'gateway')).toBe(
      20,
    )
    expect(total(apiManagement(small, { ...rates, apimConsumption: 3 }, 'consumption'), 'gateway')).toBeCloseTo(
      0.003,
      12,
    )
    expect(total(apiManagement({ ...small, apimHitRatio: 0.5 }, rates, 'basic-v2'), 'model')).toBeCloseTo(0.3, 12)
  })

  test('APISIX adds a cluster', () => {
    const bill = apisix(
      { ...small, aksNodes: 3, operatorHours: 2, operatorRate: 50 },
      {
        ...rates,
        nodeHour: 0.1,
        nodeDiskMonth: 20,
        etcdDiskMonth: 5,
        aksHour: 0.1,
        balancerHour: 0.02,
        addressHour: 0.01,
      },
    )
    expect(total(bill, 'gateway')).toBeCloseTo(219 + 60 + 15 + 73 + 14.6 + 7.3 + 100, 9)
    expect(total(bill, 'model')).toBeCloseTo(0.45, 12)
  })

  test('Tollgate adds table calls, log lines, and the time of its own', () => {
    // 250 hits, 750 misses. 2 reads a lookup; 1,750 decisions on 3 rows at 0.1; hits 0.5, misses 2 + 0.2 × (2 + ⌊7 / 1.5⌋).
    expect(tableTransactions(small)).toEqual({
      keys: 2_000,
      limits: 525,
      cache: 125 + 750 * 3.2,
      purges: 1_000,
      sweep: 750 + 2 * 4_380,
      // Each request in a write and a row of its own; 10 calls a run, 5 an hour; pages of 250 twice, batches of 100.
      usage: 1_000 + 10 * 4_380 + 5 * 730 + 1_000 * 0.018,
    })
    // 1,000 keys; 1,750 times limits, 0.3 of them in the store; half of the hits; a look and a write of each miss.
    expect(waitsForStores(small)).toBe(1_000 + 525 + 125 + 1_500)
    const bill = tollgate(small, rates)
    expect(lineOf(bill, 'executions of hits')).toBeCloseTo(0.000125, 12)
    expect(lineOf(bill, 'time of hits')).toBeCloseTo(250 * 1 * 0.5 * 0.00002, 12)
    expect(lineOf(bill, 'time added to misses')).toBeCloseTo(750 * 0.03 * 0.5 * 0.00002, 12)
    expect(lineOf(bill, 'tables: cache')).toBeCloseTo(2_525 * 1e-7, 12)
    expect(lineOf(bill, 'tables: room')).toBeCloseTo((750 * 1e-6 * 0.05) / 730, 15)
    expect(lineOf(bill, 'telemetry of hits')).toBeCloseTo(0.0005, 12)
    expect(lineOf(bill, 'log lines')).toBeCloseTo(0.002, 12)
    expect(lineOf(bill, 'executions of the sweep')).toBeCloseTo(4_380 * 0.5e-6, 12)
    expect(lineOf(bill, 'time of the sweep')).toBeCloseTo(4_380 * 1 * 0.5 * 0.00002, 12)
    expect(lineOf(bill, 'time of what it removes')).toBeCloseTo(750 * 0.005 * 0.5 * 0.00002, 12)
    expect(lineOf(bill, 'telemetry of the sweep')).toBeCloseTo(4_380 * 2_000e-9 * 2, 12)
    expect(lineOf(bill, 'executions of the roll-up')).toBeCloseTo(4_380 * 0.5e-6, 12)
    expect(lineOf(bill, 'time of the roll-up')).toBeCloseTo(4_380 * 1 * 0.5 * 0.00002, 12)
    expect(lineOf(bill, 'telemetry of the roll-up')).toBeCloseTo(4_380 * 2_000e-9 * 2, 12)
    expect(lineOf(bill, 'tables: room of usage')).toBeCloseTo(1_000 * 1e-6 * (720 / 730) * 0.05, 12)
    expect(lineOf(bill, 'spans of hits')).toBeCloseTo(250 * 1_100e-9 * 2, 12)
    expect(lineOf(bill, 'spans of misses')).toBeCloseTo(750 * 2_300e-9 * 2, 12)
    expect(lineOf(bill, 'spans of waits')).toBeCloseTo(3_150 * 800e-9 * 2, 12)
    expect(lineOf(bill, 'metrics')).toBeCloseTo(1_000 * 5_000e-9 * 2, 12)
    expect(total(bill, 'model')).toBeCloseTo(0.45, 12)
  })

  test('without what the app sends to Application Insights, only that is spared; of a part, a part', () => {
    const sent = ['spans of hits', 'spans of misses', 'spans of waits', 'metrics']
    const [all, tenth, none] = [{}, { traced: 0.1 }, { traced: 0, metricBytes: 0 }].map((some) =>
      tollgate({ ...small, ...some }, rates),
    ) as [Bill, Bill, Bill]
    const sum = sent.reduce((usd, item) => usd + (lineOf(all, item) ?? Number.NaN), 0)
    expect(total(all) - total(none)).toBeCloseTo(sum, 12)
    expect(lineOf(tenth, 'spans of waits')).toBeCloseTo((lineOf(all, 'spans of waits') ?? Number.NaN) / 10, 12)
    expect(lineOf(tenth, 'metrics')).toBe(lineOf(all, 'metrics'))
  })

  test('while nobody calls, both timers run all the same, each by itself, however many requests share an instance', () => {
    const idle = tollgate({ ...small, requests: 0, concurrent: 10 }, rates)
    const paid = idle.lines.filter(({ usd }) => usd > 0).map(({ item }) => item)
    expect(paid).toEqual([
      ...['executions of the sweep', 'time of the sweep'],
      ...['executions of the roll-up', 'time of the roll-up'],
      ...['tables: sweep', 'tables: usage'],
      ...['telemetry of the sweep', 'telemetry of the roll-up'],
    ])
    for (const timer of ['sweep', 'roll-up']) {
      expect(lineOf(idle, `time of the ${timer}`)).toBeCloseTo(4_380 * 1 * 0.5 * 0.00002, 12)
    }
  })

  test('a claim is renewed, the timers run, and usage is written and read, as often as is reckoned', () => {
    const source = (file: string) => readFileSync(join(ROOT, file), 'utf8')
    expect(source('packages/middleware/src/cache/held-claim.ts')).toContain('const RENEW_MS = 1_500\n')
    for (const timer of ['sweep', 'usage']) {
      expect(source(`functions/timers/${timer}.ts`)).toContain("const SCHEDULE = '0 */10 * * * *'\n")
    }
    const usage = 'packages/middleware/src/usage'
    expect(source(`${usage}/ledger.ts`)).toContain('export const FLUSH_MS = 10_000\n')
    expect(source(`${usage}/segment.ts`)).toContain('const MAX_CELLS = 500\n')
    expect(source(`${usage}/retention.ts`)).toContain('const BATCH = 100\n')
    expect(source('packages/middleware/src/storage/table.ts')).toContain('const PAGE = 250\n')
  })

  test('the roll-up makes no more calls than is reckoned: ten a run, and five for an hour', async () => {
    const HOUR_MS = 3_600_000
    let now = Date.UTC(2026, 10, 26, 12)
    let calls = 0
    const time: Time = { now: () => now, wallClock: () => now, after: () => () => {}, every: () => () => {} }
    const inner = memoryTable(time)
    const table = new Proxy(inner, {
      get:
        (from, method: keyof Table) =>
        (...args: never[]) => {
          calls += 1
          return (from[method] as (...args: never[]) => unknown)(...args)
        },
    })
    const book = ledger({ table: inner, log: () => {}, time })
    const kept = { detailMs: 10 * HOUR_MS, hoursMs: 400 * 24 * HOUR_MS }
    const callsOfRun = async () => {
      const before = calls
      const { signal } = new AbortController()
      await rollUp({ table, now, signal })
      await removeOld({ table, kept, now, signal })
      return calls - before
    }
    const idle: number[] = []
    const whole: number[] = []
    for (let hour = 0; hour < 48; hour += 1) {
      book.record(finishedRequest({ startedAt: now }))
      await book.flush()
      now += HOUR_MS
      whole.push(await callsOfRun())
      idle.push(await callsOfRun())
    }
    // The first runs find several hours, since the ledger begins a day before its first row.
    expect(new Set(idle)).toEqual(new Set([10]))
    const added = whole.slice(24).map((each) => each - 10)
    expect(added.reduce((sum, each) => sum + each, 0)).toBeLessThanOrEqual(5 * added.length)
    expect(Math.min(...added)).toBeGreaterThanOrEqual(4)
  })

  test('keys, purges, usage and metrics cost no more than an instance asks for, however many requests there are', () => {
    const busy = tableTransactions({ ...small, requests: 1e9 })
    expect(busy.keys).toBe((2 * 730 * 3_600) / 30)
    expect(busy.purges).toBe((730 * 3_600) / 2)
    // Seven writes a minute, and one more for each row that is full.
    expect(busy.usage).toBe(43_800 * 7 + 2e6 + 10 * 4_380 + 5 * 730 + (43_800 + 2e6) * 0.018)
    expect(lineOf(tollgate({ ...small, requests: 1e9 }, rates), 'metrics')).toBeCloseTo(43_800 * 5_000e-9 * 2, 9)
  })
})

describe('for any inputs', () => {
  const inputs: fc.Arbitrary<Inputs> = fc
    .record(
      Object.fromEntries(
        INPUTS.map(({ key, least = 0, most = 1e6 }) => [key, fc.double({ min: least, max: most, noNaN: true })]),
      ),
    )
    .map((given) => withDefaults(given as Partial<Inputs>))
  const systems = [
    bareFunction,
    apisix,
    tollgate,
    (some: Inputs, by: Rates) => apiManagement(some, by, 'standard-v2'),
    (some: Inputs, by: Rates) => apiManagement(some, by, 'consumption'),
  ]
  /** Sums of many amounts differ by their order in the last digits. */
  const most = (usd: number) => usd + 1e-9 * Math.abs(usd)

  test('no line is negative, and the lines add up by payee', () => {
    fc.assert(
      fc.property(inputs, fc.constantFrom(...systems), (some, system) => {
        const bill = system(some, LIST_RATES)
        for (const { usd } of bill.lines) expect(usd).toBeGreaterThanOrEqual(0)
        const parts = total(bill, 'model') + total(bill, 'function') + total(bill, 'gateway')
        expect(Math.abs(parts - total(bill))).toBeLessThanOrEqual(1e-9 * total(bill))
      }),
    )
  })

  test('more requests never cost less', () => {
    fc.assert(
      fc.property(
        inputs,
        fc.constantFrom(...systems),
        fc.double({ min: 1, max: 100, noNaN: true }),
        (some, system, by) => {
          const more = system({ ...some, requests: some.requests * by }, LIST_RATES)
          expect(total(system(some, LIST_RATES))).toBeLessThanOrEqual(most(total(more)))
        },
      ),
    )
  })

  test('a higher hit ratio never costs more at the model, and without hits Tollgate costs the function and what it adds', () => {
    fc.assert(
      fc.property(inputs, fc.double({ min: 0, max: 1, noNaN: true }), (some, ratio) => {
        const [low, high] = [Math.min(some.hitRatio, ratio), Math.max(some.hitRatio, ratio)]
        const model = (hitRatio: number) => total(tollgate({ ...some, hitRatio }, LIST_RATES), 'model')
        expect(model(high)).toBeLessThanOrEqual(most(model(low)))
        const [bare, none] = [bareFunction(some, LIST_RATES), tollgate({ ...some, hitRatio: 0 }, LIST_RATES)]
        const spent = total(none, 'model') + total(none, 'function')
        expect(Math.abs(spent - total(bare))).toBeLessThanOrEqual(1e-9 * total(bare))
      }),
    )
  })

  test('no price but the ones that are named changes a bill', () => {
    const names = Object.keys(PRICES) as (keyof Rates)[]
    const zero = Object.fromEntries(names.map((name) => [name, 0])) as Rates
    for (const system of systems) expect(total(system({ ...small, operatorRate: 0 }, zero))).toBe(0)
  })
})

describe('the prices', () => {
  test.each(Object.entries(PRICES))('%s names its page', (_name, { usd, source }) => {
    expect(usd).toBeGreaterThan(0)
    expect(URL.parse(source)?.protocol).toBe('https:')
  })

  test('no figure that the limits were measured at is above what is reckoned with', () => {
    const page = readFileSync(join(ROOT, 'docs/limits-benchmark.md'), 'utf8')
    const section = /## What it costs\n(.*?)\n## /s.exec(page)?.[1] ?? ''
    const rows = [
      ...section.matchAll(/^\| [^|]+ \| Tollgate, tables \| \d+ \| ([\d.,]+) \| ([\d.,]+) \| [\d.]+ % \|/gm),
    ]
    const figures = rows.flatMap(([, steady = '', warmUp = '']) =>
      [steady, warmUp].map((text) => Number(text.replace(',', ''))),
    )
    expect(figures.length).toBeGreaterThanOrEqual(8)
    expect(Math.max(...figures)).toBeLessThanOrEqual(withDefaults({}).limitTransactions)
  })
})

describe('npm run cost', () => {
  test('tells the same as text and as JSON', async () => {
    const args = [
      '--requests',
      '2000000',
      '--hit-ratio',
      '0.5',
      '--apim-tier',
      'basic-v2',
      '--price',
      'apimBasicV2=111',
    ]
    const [{ stdout: text }, { stdout: json }] = [await cost(...args, '--lines'), await cost(...args, '--json')]
    const { bills, inputs, prices } = JSON.parse(json)
    expect(inputs).toMatchObject({ requests: 2e6, hitRatio: 0.5, apisixHitRatio: 0.5, apimTier: 'basic-v2' })
    expect(prices).toContainEqual(expect.objectContaining({ name: 'apimBasicV2', usd: 111 }))
    expect(bills).toHaveLength(4)
    for (const { system, usd } of bills) {
      const shown = usd.toLocaleString('en-US', { minimumFractionDigits: 2, maximumFractionDigits: 2 })
      expect(text).toMatch(new RegExp(`^${system} .*${shown}$`, 'm'))
    }
  })

  test('--prices says which were not checked, and which are yours', async () => {
    const { stdout } = await cost('--prices', '--price', 'nodeHour=0.2')
    expect(stdout).toMatch(/^nodeHour +0\.2 .* yours /m)
    expect(stdout).toMatch(/^aksHour .*techmarmot/m)
    expect(stdout).toMatch(/^addressHour .* not checked /m)
  })

  test.each([
    [['--hit-ratio', '1.1'], 'from 0 to 1'],
    [['--requests', 'many'], 'A number from 0'],
    [['--price', 'gold=1'], 'no such price'],
    [['--price', 'logGb='], 'The price of logGb'],
    [['--apim-tier', 'gold'], 'standard-v2'],
    [['--hits', '1'], 'unknown option'],
  ])('%s is refused', async (args, why) => {
    await expect(cost(...args)).rejects.toMatchObject({ code: 1, stderr: expect.stringContaining(why) })
  })
})
