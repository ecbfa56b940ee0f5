import { randomBytes } from 'node:crypto'
import type { OpenTable } from '@tollgate/middleware'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type Azurite, startAzurite } from '../support/azurite.ts'
import { type Completion, complete, type Question } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import { type CountedModel, faulty, filtered, startCountedModel, whole } from '../support/counted-model.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { type Fault, type Operation, type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount, tableClient } from '../support/tables.ts'

/*
 * The completion cache over a table that fails, and over rows that were damaged. What fails, fails for the first host
 * alone; the others see what it has left in the table. Each has a memory of its own.
 */

const TABLE = 'tollgatecache'
const DEADLINE_MS = 400
/** So long is a copy of the generations used. */
const COPY_MS = 4_000
/** So long does a claim hold that nobody gives back; and what a busy machine may take beside. */
const CLAIM_MS = 5_000
const LATE_MS = 5_000

const FAULTS: readonly [string, Fault][] = [
  ['loses the request', { kind: 'lost request' }],
  ['loses the reply', { kind: 'lost reply' }],
  ['hangs', { kind: 'hang' }],
  ['is busy (503)', { kind: 'answer', status: 503, code: 'ServerBusy' }],
  ['fails (500)', { kind: 'answer', status: 500, code: 'InternalError' }],
  ['refuses a condition (412)', { kind: 'answer', status: 412, code: 'UpdateConditionNotSatisfied' }],
  ['answers nonsense', { kind: 'corrupt' }],
  ['is slow', { kind: 'latency', ms: 2 * DEADLINE_MS + 200 }],
]

/** Its own, so that what a question has left in it can be told. */
let azurite: Azurite
let open: OpenTable
let proxy: StorageProxy
let model: CountedModel
let first: RunningHost
let second: RunningHost
let third: RunningHost
let key: string
beforeAll(async () => {
  ;[azurite, model] = await Promise.all([startAzurite(), startCountedModel()])
  open = openAccount(azurite.connectionString)
  proxy = await startStorageProxy(azurite.connectionString)
  const settings = (storage: string, deadlineMs: number) => ({
    TOLLGATE_STORAGE: storage,
    TOLLGATE_POLICY: 'test/faults/cache.yaml',
    TOLLGATE_CACHE_DEADLINE_MS: String(deadlineMs),
    OPENAI_BASE_URL: model.baseUrl,
    OPENAI_API_KEY: 'sk-upstream',
  })
  // The default deadline would make a slow moment of a busy test machine look like a fault.
  const healthy = settings(azurite.connectionString, 10_000)
  ;[first, second, third] = await Promise.all([
    startHost(settings(proxy.connectionString, DEADLINE_MS), BARE_HOST),
    startHost(healthy, BARE_HOST),
    startHost(healthy, BARE_HOST),
  ])
  key = await newKey(open, unique('faulty'), 'ample')
  await Promise.all([first, second, third].map((host) => ask(host, unique('warm'))))
})
afterEach(() => proxy.heal())
afterAll(async () => {
  await Promise.all([first, second, third].map((host) => host?.stop()))
  await proxy?.close()
  await model?.close()
  await azurite?.close()
})

const ask = (host: RunningHost, prompt: string, more: Partial<Question> = {}) =>
  complete(host, { prompt, key, ...more })

/** Whole, and what the model has said to this and nothing else. */
function expectWhole(completion: Completion, prompt: string): void {
  expect(completion).toMatchObject({ status: 200, whole: true })
  expect(model.given(prompt).includes(completion.text)).toBe(true)
}

/** Found, or got from a call that is about to end. */
const SERVED = /hit|collapsed/

/** Whether the first host asks the table: after some failures it leaves it alone for a moment. */
async function looks(): Promise<string> {
  const prompt = unique('known elsewhere')
  await ask(second, prompt)
  return (await ask(first, prompt)).cacheStatus
}

/** Asks the first host, while an operation on the table fails for it. */
async function askFailing(
  fault: Fault,
  operation: Operation,
  prompt: string,
  { times, ...more }: Partial<Question> & { readonly times?: number } = {},
): Promise<Completion> {
  await expect.poll(looks, { interval: 20 }).toContain('hit')
  const injected = proxy.inject(fault, { table: TABLE, operation, ...(times === undefined ? {} : { times }) })
  const began = performance.now()
  const completion = await ask(first, prompt, more)
  // A claim is a look and a write; the entry's own write may be waited for too.
  expect(performance.now() - began).toBeLessThan(4 * DEADLINE_MS + LATE_MS)
  await expect.poll(injected.hits).toBeGreaterThan(0)
  injected.remove()
  return completion
}

describe.each(FAULTS)('a table that %s', (_how, fault) => {
  test.each([false, true])('at a look is a miss (streamed: %s)', async (stream) => {
    const prompt = unique('look')
    expect((await ask(second, prompt)).cacheStatus).toContain('stored')
    const failed = await askFailing(fault, 'get', prompt, { stream })
    expectWhole(failed, prompt)
    expect(failed.cacheStatus).toContain('fwd=miss')
    for (const host of [first, third]) {
      const again = await ask(host, prompt, { stream })
      expectWhole(again, prompt)
      expect(again.cacheStatus).toMatch(SERVED)
    }
    expect(model.asked(prompt)).toBe(2)
  })

  test('at the first write of an entry costs one more call, on another host', async () => {
    const prompt = unique('insert')
    expectWhole(await askFailing(fault, 'insert', prompt), prompt)
    expect((await ask(first, prompt)).cacheStatus).toMatch(SERVED)
    expectWhole(await ask(second, prompt), prompt)
    const found = await ask(third, prompt)
    expectWhole(found, prompt)
    expect(found.cacheStatus).toContain('hit')
    expect(model.asked(prompt)).toBeLessThanOrEqual(2)
  })

  test('at the write of a part of a large entry leaves nothing of it to be found', async () => {
    const prompt = unique('part')
    model.next(prompt, whole({ more: longText() }))
    expectWhole(await askFailing(fault, 'insert', prompt, { times: 1 }), prompt)
    for (const host of [second, third]) expectWhole(await ask(host, prompt), prompt)
    expect(model.asked(prompt)).toBeLessThanOrEqual(2)
  })

  test('when an entry is replaced leaves the old one or the new one', async () => {
    const prompt = unique('replace')
    expect((await ask(second, prompt)).cacheStatus).toContain('stored')
    const failed = await askFailing(fault, 'replace', prompt, { headers: { 'cache-control': 'no-cache' } })
    expectWhole(failed, prompt)
    expect((await ask(first, prompt)).text).toBe(failed.text)
    const found = await ask(third, prompt)
    expectWhole(found, prompt)
    expect(found.cacheStatus).toContain('hit')
    expect(model.asked(prompt)).toBe(2)
  })
})

interface Overdue {
  readonly prompt: string
  readonly completion: Completion
  readonly ms: number
}
/** Asked while the tests between go on, since a claim holds for long. */
let overdue: Promise<readonly Overdue[]> = Promise.resolve([])

describe('a claim that the table keeps, though nobody holds it any more', () => {
  test('is no concern of the one who made it', async () => {
    const left: string[] = []
    for (const operation of ['insert', 'update', 'delete'] as const) {
      for (const [how, fault] of FAULTS) {
        const prompt = unique(`claimed, ${operation} ${how}`)
        // What was missed before is claimed; what the filter cuts is not stored, and its claim given back.
        model.next(prompt, filtered(), ...(operation === 'update' ? [] : [filtered()]))
        expect((await ask(first, prompt)).status).toBe(200)
        expect((await askFailing(fault, operation, prompt)).status).toBe(200)
        expect(model.asked(prompt)).toBe(2)
        left.push(prompt)
      }
    }
    const began = performance.now()
    const askAt = async (prompt: string) => {
      const completion = await ask(second, prompt)
      return { prompt, completion, ms: performance.now() - began }
    }
    // By another host, for which nothing fails.
    overdue = Promise.all(left.map(askAt))
  })
})

describe('when nobody can tell what was purged', () => {
  test('nothing is found and nothing stored, every caller is answered, and it passes', async () => {
    const known = unique('known')
    expect((await ask(first, known)).cacheStatus).toContain('stored')
    proxy.inject({ kind: 'answer', status: 503, code: 'ServerBusy' }, { table: TABLE, operation: 'query' })
    const isHit = async () => (await ask(first, known)).cacheStatus.includes('hit')
    expect(await isHit()).toBe(true)
    await expect.poll(isHit, { timeout: COPY_MS + LATE_MS, interval: 250 }).toBe(false)
    for (const [, fault] of FAULTS) {
      const prompt = unique('unknown')
      // No moment without a fault: the one that is tried first covers the one before.
      const injected = proxy.inject(fault, { table: TABLE, operation: 'query' })
      await expect
        .poll(
          async () => {
            const completion = await ask(first, prompt, { stream: injected.hits() % 2 === 1 })
            expectWhole(completion, prompt)
            // The slow one comes through at last.
            if (fault.kind !== 'latency') expect(completion.cacheStatus).toBe('tollgate; fwd=miss')
            return injected.hits()
          },
          { timeout: LATE_MS, interval: 50 },
        )
        .toBeGreaterThan(0)
    }
    proxy.heal()
    await expect.poll(isHit, { timeout: LATE_MS }).toBe(true)
  })
})

describe('a table that fails now and then, in every way', () => {
  test('never spoils an answer, nor is one lost', async () => {
    const injected = FAULTS.map(([, fault]) => proxy.inject(fault, { table: TABLE, chance: 0.04 }))
    const prompts = Array.from({ length: 10 }, () => unique('chance'))
    for (const [index, prompt] of prompts.entries()) if (index % 2 === 0) model.next(prompt, filtered(), cut())
    const asked = Array.from({ length: 200 }, async (_, index) => {
      const prompt = prompts[index % prompts.length] ?? ''
      const host = index % 3 === 0 ? second : first
      const headers: Record<string, string> = index % 7 === 0 ? { 'cache-control': 'no-cache' } : {}
      const completion = await ask(host, prompt, { stream: index % 4 === 1, headers })
      return { prompt, completion }
    })
    for (const { prompt, completion } of await Promise.all(asked)) {
      // What the model itself spoiled is an error that names it, or the filter's own words.
      if (completion.whole) expect([...model.given(prompt), `answer 1 to ${prompt}.`]).toContain(completion.text)
      else expect(completion).toMatchObject({ error: expect.stringContaining('LLM service failed') })
    }
    proxy.heal()
    expect(injected.filter(({ hits }) => hits() > 0).length).toBeGreaterThan(4)
    for (const prompt of prompts) {
      for (const host of [third, first, second]) expectWhole(await ask(host, prompt), prompt)
      expect((await ask(first, prompt)).cacheStatus).toContain('hit')
    }
  })
})

/** A call that breaks off in the middle of its answer. */
function cut() {
  return faulty((text, call, response) =>
    whole({ end: (stream) => stream.destroy() }).reply(
      text,
      { ...call, body: { ...call.body, stream: true } },
      response,
    ),
  )
}

type Row = Record<string, unknown> & { readonly partitionKey: string; readonly rowKey: string }

describe('a damaged row', () => {
  const client = () => tableClient(azurite.connectionString, TABLE)
  const list = async (queryOptions: object) => (await Array.fromAsync(client().listEntities({ queryOptions }))) as Row[]
  const keys = async () => (await list({ select: ['RowKey'] })).map(({ rowKey }) => rowKey)
  const merge = async (row: Row, change: object) =>
    client().updateEntity({ partitionKey: row.partitionKey, rowKey: row.rowKey, ...change }, 'Merge')
  const replace = async (row: Row, change: object) => client().updateEntity({ ...row, ...change }, 'Replace')
  const remove = async ({ partitionKey, rowKey }: Row) => client().deleteEntity(partitionKey, rowKey)
  const chunkOf = ({ chunk0 }: Row) => Buffer.from(chunk0 as Uint8Array)
  const withByte = (chunk: Buffer, at: number, value: number) => chunk.fill(value, at, at + 1)

  interface Stored {
    readonly entry: Row
    readonly parts: readonly Row[]
  }

  /** The rows that a question has left, by the second host. */
  async function store(prompt: string, isLarge: boolean): Promise<Stored> {
    if (isLarge) model.next(prompt, whole({ more: longText() }))
    const before = new Set(await keys())
    expect((await ask(second, prompt)).cacheStatus).toContain('stored')
    const own = (await keys()).filter((rowKey) => !before.has(rowKey))
    const left = await list({ filter: own.map((rowKey) => `RowKey eq '${rowKey}'`).join(' or ') })
    const entry = left.find(({ kind }) => kind === 'entry')
    if (entry === undefined) throw new Error('Nothing was stored')
    return { entry, parts: left.filter(({ kind }) => kind === 'part') }
  }

  const DAMAGE: readonly [string, (stored: Stored) => Promise<unknown>][] = [
    ['a changed first byte', ({ entry }) => merge(entry, { chunk0: withByte(chunkOf(entry), 0, 99) })],
    ['a changed byte', ({ entry }) => merge(entry, { chunk0: withByte(chunkOf(entry), 70, 1) })],
    ['a chunk cut short', ({ entry }) => merge(entry, { chunk0: chunkOf(entry).subarray(0, -1) })],
    ['a chunk too long', ({ entry }) => merge(entry, { chunk0: Buffer.concat([chunkOf(entry), Buffer.alloc(1)]) })],
    ['an empty chunk', ({ entry }) => merge(entry, { chunk0: Buffer.alloc(0) })],
    ['random bytes', ({ entry }) => merge(entry, { chunk0: randomBytes(500) })],
    ['a chunk of text', ({ entry }) => merge(entry, { chunk0: 'text' })],
    ['an unknown kind', ({ entry }) => merge(entry, { kind: 'other' })],
    ['a kind that is a number', ({ entry }) => merge(entry, { kind: 7 })],
    ['no kind', ({ entry: { kind: _kind, ...rest } }) => replace(rest as Row, {})],
    ['nothing in it', ({ entry }) => replace({ partitionKey: entry.partitionKey, rowKey: entry.rowKey }, {})],
    ['parts without number', ({ entry }) => merge(entry, { parts: 'many' })],
    ['too many parts', ({ entry }) => merge(entry, { parts: 1e9 })],
  ]
  const TORN: readonly [string, (stored: Stored) => Promise<unknown>][] = [
    ['a missing part', ({ parts }) => remove(parts[0] as Row)],
    ['no part left', ({ parts }) => Promise.all(parts.map(remove))],
    ['the parts of another write', ({ entry }) => merge(entry, { writeId: 'other' })],
    ['a changed part', ({ parts }) => merge(parts[0] as Row, { chunk0: withByte(chunkOf(parts[0] as Row), 9, 1) })],
    ['a part too few', ({ entry }) => merge(entry, { parts: 0 })],
  ]

  test.each([
    ...DAMAGE.map(([what, damage]) => [what, damage, false] as const),
    ...TORN.map(([what, damage]) => [what, damage, true] as const),
  ])('with %s is a miss, and replaced', async (_what, damage, isLarge) => {
    const prompt = unique('damaged')
    const stored = await store(prompt, isLarge)
    expect(stored.parts.length > 0).toBe(isLarge)
    await damage(stored)
    const missed = await ask(third, prompt, { stream: isLarge })
    expectWhole(missed, prompt)
    expect(missed.cacheStatus).toContain('fwd=miss')
    await expect.poll(async () => (await ask(first, prompt)).cacheStatus).toContain('hit')
    // Its deadline is short: on a slow machine it may have asked by itself.
    expectWhole(await ask(first, prompt), prompt)
    expect(model.asked(prompt)).toBeLessThanOrEqual(isLarge ? 4 : 3)
    // The host that stored it has a copy of its own.
    expectWhole(await ask(second, prompt), prompt)
  })

  test('that claims the key for ever is taken over', async () => {
    const prompt = unique('claimed')
    const { entry } = await store(prompt, false)
    const place = { partitionKey: entry.partitionKey, rowKey: entry.rowKey }
    await replace(place, { kind: 'claim', nonce: 7, expiresAt: 'never' })
    expectWhole(await ask(third, prompt), prompt)
    await expect.poll(async () => (await ask(first, prompt)).cacheStatus).toContain('hit')
    expect(model.asked(prompt)).toBe(2)
  })
})

describe('a claim that the table kept', () => {
  test('keeps others waiting no longer than it holds', async () => {
    const waited = await overdue
    expect(waited.length).toBe(3 * FAULTS.length)
    for (const { prompt, completion, ms } of waited) {
      expectWhole(completion, prompt)
      expect(ms).toBeLessThan(CLAIM_MS + LATE_MS)
      const found = await ask(third, prompt)
      expectWhole(found, prompt)
      expect(found.cacheStatus).toContain('hit')
      expect(model.asked(prompt)).toBeLessThanOrEqual(3)
    }
  })

  test('is given back by a host that has its answer, or never learned that it holds it', async () => {
    // A write that hangs is given up when the claim has run out by itself.
    const avoidable = (await overdue).filter(({ prompt }) => /^claimed, (?:insert|update(?! hangs)) /.test(prompt))
    expect(Math.max(...avoidable.map(({ ms }) => ms))).toBeLessThan(CLAIM_MS / 2)
  })
})

/** About 1.5 MiB that hardly compress: more than a row holds. */
function longText(): string {
  return randomBytes(1_150_000).toString('base64')
}
