import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Time } from '../pipeline/index.ts'
import type { GenerationStore } from './generation-store.ts'
import { type PurgeVersionsOptions, purgeVersions } from './purge-versions.ts'

/** A clock that runs only when a test lets it, and calls back on the way. */
function stoppedClock() {
  let now = 0
  let offset = Date.UTC(2026, 0, 1)
  let timers: { readonly at: number; readonly callback: () => void }[] = []
  const time: Pick<Time, 'now' | 'wallClock' | 'after'> = {
    now: () => now,
    wallClock: () => offset + now,
    after(ms, callback) {
      const timer = { at: now + ms, callback }
      timers.push(timer)
      return () => {
        timers = timers.filter((other) => other !== timer)
      }
    },
  }
  return {
    time,
    async run(ms: number) {
      const until = now + ms
      for (;;) {
        await settled()
        const next = timers.toSorted((a, b) => a.at - b.at)[0]
        if (next === undefined || next.at > until) break
        now = next.at
        timers = timers.filter((timer) => timer !== next)
        next.callback()
      }
      now = until
    },
    setWallClock(ms: number) {
      offset += ms
    },
  }
}

/** All promises that are due have been told. */
const settled = () => new Promise((resolve) => setImmediate(resolve))

type Reply = ReadonlyMap<string, string> | Error | 'never'

/** A store that replies what the test says, when it says, and purge versions over it. */
function fixture(options: Partial<PurgeVersionsOptions> = {}) {
  const { time, run, setWallClock } = stoppedClock()
  const seen = { reads: 0, latency: 0, reply: new Map() as Reply, logged: [] as unknown[] }
  const store: Pick<GenerationStore, 'list'> = {
    list: () => {
      seen.reads += 1
      const { reply, latency } = seen
      return new Promise((resolve, reject) => {
        if (reply === 'never') return
        const answer = () => (reply instanceof Error ? reject(reply) : resolve(reply))
        if (latency === 0) answer()
        else time.after(latency, answer)
      })
    },
  }
  const known = purgeVersions({
    store,
    deadlineMs: 50,
    time,
    log: (...line) => seen.logged.push(line),
    ...options,
  })
  return { seen, run, setWallClock, known }
}

const SUBJECTS = ['all', 'route:generate', 'consumer:alice']

describe('purge versions', () => {
  test('are told apart by subject, and by order', async () => {
    const { seen, known } = fixture()
    seen.reply = new Map([
      ['all', 'a'],
      ['consumer:alice', 'b'],
    ])
    expect(await known.tag(SUBJECTS)).toBe('a..b.')
    expect(known.tag(['consumer:bob'])).toBe('.')
    expect(known.tag(['all', 'consumer:bob'])).not.toEqual(known.tag(['consumer:bob', 'all']))
  })

  test('are told at once while the copy is young, without a promise or a read', async () => {
    const { seen, run, known } = fixture()
    await known.tag(SUBJECTS)
    await run(1_999)
    expect(known.tag(SUBJECTS)).toBe('...')
    expect(seen.reads).toBe(1)
  })

  test('are read anew in the background from 2 seconds on, once for all that ask', async () => {
    const { seen, run, known } = fixture()
    await known.tag(SUBJECTS)
    seen.reply = new Map([['all', 'new']])
    seen.latency = 100
    await run(2_000)
    expect([known.tag(SUBJECTS), known.tag(SUBJECTS)]).toEqual(['...', '...'])
    await run(100)
    expect(known.tag(SUBJECTS)).toBe('new...')
    expect(seen.reads).toBe(2)
  })

  test('are waited for where the copy is too old, but no longer than the deadline', async () => {
    const { seen, run, known } = fixture()
    await known.tag(SUBJECTS)
    await run(4_000)
    seen.reply = new Map([['all', 'new']])
    seen.latency = 49
    const inTime = known.tag(SUBJECTS)
    await run(49)
    expect(await inTime).toBe('new...')

    await run(4_000)
    seen.latency = 100
    const tooLate = known.tag(SUBJECTS)
    await run(50)
    expect(await tooLate).toBeUndefined()
    // The read went on, for those who come later.
    const later = known.tag(SUBJECTS)
    await run(49)
    await run(1)
    expect(await later).toBe('new...')
    expect(known.tag(SUBJECTS)).toBe('new...')
    expect(seen.reads).toBe(3)
  })

  test('are as old as the sending of the read', async () => {
    const { seen, run, known } = fixture({ deadlineMs: 2_000 })
    seen.latency = 1_900
    const first = known.tag(SUBJECTS)
    await run(1_900)
    expect(await first).toBe('...')
    seen.reply = 'never'
    await run(2_099)
    expect(known.tag(SUBJECTS)).toBe('...')
    await run(1)
    expect(known.tag(SUBJECTS)).toBeInstanceOf(Promise)
  })

  test('are not told from a reply that took until it was too old', async () => {
    const { seen, run, known } = fixture({ deadlineMs: 5_000, refreshMs: 100, maxAgeMs: 1_000 })
    seen.latency = 1_500
    const tag = known.tag(SUBJECTS)
    await run(1_500)
    expect(await tag).toBeUndefined()
  })

  test('are not told when the machine has slept, which the monotonic clock does not notice', async () => {
    const { seen, setWallClock, known } = fixture()
    await known.tag(SUBJECTS)
    seen.reply = new Map([['all', 'new']])
    setWallClock(3_600_000)
    expect(await known.tag(SUBJECTS)).toBe('new...')
    setWallClock(-7_200_000)
    expect(known.tag(SUBJECTS)).toBe('new...')
  })

  test('are not told while the store hangs, and a read is given up after 2 seconds', async () => {
    const { seen, run, known } = fixture()
    await known.tag(SUBJECTS)
    seen.reply = 'never'
    await run(2_500)
    expect(known.tag(SUBJECTS)).toBe('...')
    await run(1_500)
    const waiting = known.tag(SUBJECTS)
    await run(50)
    expect(await waiting).toBeUndefined()
    expect(seen.reads).toBe(2)
    // 2 seconds after it was sent.
    await run(450)
    seen.reply = new Map([['all', 'new']])
    expect(await known.tag(SUBJECTS)).toBe('new...')
    expect(seen.reads).toBe(3)
  })

  test('are not told while the store fails, which is tried by whoever asks, 5 times a second at most', async () => {
    const { seen, run, known } = fixture()
    seen.reply = new Error('SECRET')
    expect(await known.tag(SUBJECTS)).toBeUndefined()
    for (let ms = 1; ms < 1_000; ms += 1) {
      await run(1)
      expect(await known.tag(SUBJECTS)).toBeUndefined()
    }
    expect(seen.reads).toBe(5)
    await run(10_000)
    expect(seen.reads).toBe(5)
    seen.reply = new Map()
    expect(await known.tag(SUBJECTS)).toBe('...')
    expect(seen.logged).toEqual([
      ['warn', 'cache generations failed', expect.objectContaining({ fault: 'Error' })],
      ['warn', 'cache generations recovered', { failedMs: 10_999, failures: 5 }],
    ])
    expect(JSON.stringify(seen.logged)).not.toContain('SECRET')
  })

  test('B1: a programming fault in reading them is logged as one, and not as a store that fails', async () => {
    const { seen, run, known } = fixture()
    seen.reply = new TypeError('rows.map is not a function')
    for (let ms = 0; ms < 2_000; ms += 1) {
      expect(await known.tag(SUBJECTS)).toBeUndefined()
      await run(1)
    }
    const fault = (times: number) =>
      expect.objectContaining({
        in: 'cache generations',
        fault: 'TypeError',
        message: 'rows.map is not a function',
        times,
      })
    expect(seen.logged).toEqual([
      ['error', 'fault', fault(1)],
      ['error', 'fault', fault(5)],
    ])
  })

  test('are told at once from a copy that is young enough while the store fails', async () => {
    const { seen, run, known } = fixture()
    await known.tag(SUBJECTS)
    seen.reply = new Error('down')
    await run(3_999)
    expect(known.tag(SUBJECTS)).toBe('...')
    await run(1)
    // The read of just now has failed.
    expect(known.tag(SUBJECTS)).toBeUndefined()
  })

  test('can be read before anyone asks, and are not read when they are young', async () => {
    const { seen, run, known } = fixture()
    known.warm()
    known.warm()
    await run(1)
    expect(known.tag(SUBJECTS)).toBe('...')
    known.warm()
    expect(seen.reads).toBe(1)
    await run(2_000)
    known.warm()
    expect(seen.reads).toBe(2)
  })

  /*
   * Purges, requests and a store whose every read takes effect at some moment, and replies at some later one, or fails,
   * or never replies.
   */
  const event = fc.record({
    waitMs: fc.oneof(
      fc.integer({ min: 0, max: 40 }),
      fc.integer({ min: 0, max: 500 }),
      fc.integer({ min: 0, max: 2_500 }),
    ),
    what: fc.constantFrom('ask', 'ask', 'ask', 'purge'),
  })
  const read = fc.record({
    appliedMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2_500 })),
    replyMs: fc.oneof(fc.constant(0), fc.integer({ min: 0, max: 2_500 }), fc.integer({ min: 1_500, max: 2_000 })),
    outcome: fc.constantFrom('ok', 'ok', 'fails', 'hangs'),
  })

  test('whatever the store does: nothing of before a purge 4 seconds after it, no wait beyond the deadline, one read at a time', async () => {
    await fc.assert(
      fc.asyncProperty(
        fc.array(event, { minLength: 1, maxLength: 60 }),
        fc.infiniteStream(read),
        async (events, reads) => {
          const { time, run } = stoppedClock()
          const purges: number[] = []
          const underWay = new Set<symbol>()
          let mostAtOnce = 0
          const store: Pick<GenerationStore, 'list'> = {
            async list(signal) {
              const { appliedMs, replyMs, outcome } = reads.next().value
              const id = Symbol()
              underWay.add(id)
              mostAtOnce = Math.max(mostAtOnce, underWay.size)
              const over = () => underWay.delete(id)
              signal.addEventListener('abort', over)
              await new Promise<void>((resolve) => time.after(appliedMs, resolve))
              const list = new Map(purges.length === 0 ? [] : [['all', String(purges.length)]])
              if (outcome === 'hangs') return new Promise(() => {})
              await new Promise<void>((resolve) => time.after(replyMs, resolve))
              over()
              if (outcome === 'fails') throw new Error('down')
              return list
            },
          }
          const { tag } = purgeVersions({ store, deadlineMs: 50, time })
          const told: Promise<void>[] = []
          const check = (askedAt: number, answer: string | undefined) => {
            expect(time.now() - askedAt).toBeLessThanOrEqual(50)
            const due = purges.filter((at) => at <= time.now() - 4_000).length
            if (answer !== undefined) expect(Number(answer.slice(0, -1))).toBeGreaterThanOrEqual(due)
          }
          for (const { waitMs, what } of events) {
            await run(waitMs)
            if (what === 'purge') purges.push(time.now())
            else {
              const askedAt = time.now()
              const answer = tag(['all'])
              if (answer instanceof Promise) told.push(answer.then((late) => check(askedAt, late)))
              else check(askedAt, answer)
            }
          }
          await run(5_000)
          await Promise.all(told)
          expect(mostAtOnce).toBeLessThanOrEqual(1)
        },
      ),
      { numRuns: 500 },
    )
  })

  test('a store that replies in time is never in a request’s way', async () => {
    await fc.assert(
      fc.asyncProperty(fc.array(fc.integer({ min: 0, max: 6_000 }), { maxLength: 40 }), async (waits) => {
        const { seen, run, known } = fixture()
        seen.latency = 40
        for (const wait of waits) {
          const tag = known.tag(SUBJECTS)
          await run(50)
          expect(await tag).toBe('...')
          await run(wait)
        }
      }),
    )
  })
})
