import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type CacheAnswer,
  type CacheRoom,
  cacheRoom,
  completionOf,
  HOUR,
  type Model,
  memoryShared,
  refusedByModel,
  START,
  streamOf,
  textIn,
} from '../../../../test/support/cache-room.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { tableAccounts } from '../../../../test/support/tables.ts'
import { describeWithRedis } from '../../../../test/support/with-redis.ts'
import { BrokenStream } from '../operations/index.ts'
import { systemTime } from '../pipeline/index.ts'
import type { GenerationStore, PurgeSubject } from './generation-store.ts'
import { purgeVersions } from './purge-versions.ts'
import type { CacheStore } from './store.ts'
import { memoryGenerationStore } from './stores/generations-memory.ts'
import { tableGenerationStore } from './stores/generations-table.ts'
import { redisCacheStore } from './stores/redis.ts'
import { tableCacheStore } from './stores/table.ts'

/*
 * Whatever several consumers ask at once, of several instances, and whatever fails, expires or is purged meanwhile: an
 * answer is one that the model gave whole to that very question, for one of the same scope.
 */

const INSTANCES = 3
/** A purge takes effect so late at most. */
const MAX_AGE_MS = 4_000
/** Consumers' plans: two of them share one. */
const PLANS = [0, 0, 1] as const
/** Each route has a scope of its own. */
const SCOPES = ['consumer', 'plan'] as const
const TTL_MS = HOUR
/** An entry's life is spread by a tenth. */
const LONGEST_LIFE_MS = 1.1 * TTL_MS

interface Ask {
  readonly kind: 'ask'
  readonly instance: number
  readonly consumer: number
  readonly route: number
  readonly prompt: number
  readonly stream: boolean
  readonly directive: string
  /** Leaves after so many turns of the event loop; never if `undefined`. */
  readonly leavesAfter: number | undefined
}
interface Purge {
  readonly kind: 'purge'
  readonly what: 'route' | 'consumer' | 'plan'
  readonly which: number
}
/** What the model comes to, after so many turns of the event loop (before each word). */
interface Turn {
  readonly end: 'whole' | 'filtered' | 'refused' | 'thrown' | 'cut'
  readonly turns: number
}
/** What happens at the same time; and how much later, in milliseconds, all that came of it is over. */
interface Wave {
  readonly actions: readonly (Ask | Purge)[]
  readonly thenMs: number
}

const index = (count: number) => fc.nat({ max: count - 1 })
const ask: fc.Arbitrary<Ask> = fc.record({
  kind: fc.constant('ask'),
  instance: index(INSTANCES),
  consumer: index(PLANS.length),
  route: index(SCOPES.length),
  prompt: index(2),
  stream: fc.boolean(),
  directive: fc.oneof(
    { weight: 6, arbitrary: fc.constant('') },
    { weight: 1, arbitrary: fc.constantFrom('no-cache', 'no-store', 'max-age=0', 'max-age=60', 'only-if-cached') },
  ),
  leavesAfter: fc.option(fc.nat({ max: 40 }), { freq: 5, nil: undefined }),
})
const purge: fc.Arbitrary<Purge> = fc.record({
  kind: fc.constant('purge'),
  what: fc.constantFrom('route', 'consumer', 'plan'),
  which: index(3),
})
const wave: fc.Arbitrary<Wave> = fc.record({
  actions: fc.array(fc.oneof({ weight: 12, arbitrary: ask }, { weight: 1, arbitrary: purge }), {
    minLength: 4,
    maxLength: 16,
  }),
  thenMs: fc.constantFrom(0, 0, 1_000, MAX_AGE_MS, 30_000, 1.2 * HOUR),
})
const turn: fc.Arbitrary<Turn> = fc.record({
  end: fc.oneof(
    { weight: 5, arbitrary: fc.constant('whole' as const) },
    { weight: 2, arbitrary: fc.constantFrom('filtered', 'refused', 'thrown', 'cut') },
  ),
  turns: fc.nat({ max: 12 }),
})
const waves = fc.array(wave, { minLength: 3, maxLength: 8 })
const turns = fc.array(turn, { minLength: 1, maxLength: 12 })

class ModelFault extends Error {}

/** What the model has said, or begun to say. */
interface Given {
  readonly consumer: string
  readonly plan: string
  readonly question: string
  readonly end: Turn['end']
  readonly wave: number
  readonly now: number
}

/** One world: instances over the same stores, the model, and what both have done. */
function world(shared: CacheStore, purges: GenerationStore, turns: readonly Turn[]) {
  const name = unique('world')
  const given: Given[] = []
  const purged: { readonly subject: PurgeSubject; readonly wave: number; readonly now: number }[] = []
  const served = { answers: 0, hits: 0, others: 0 }
  let now = START
  let wave = 0

  const consumerOf = (at: number) => ({ id: `${name}-c${at}`, plan: `${name}-p${PLANS[at] ?? 0}` })
  const routeOf = (at: number) => `${name}-r${at}`
  const questionOf = ({ route, prompt }: Pick<Ask, 'route' | 'prompt'>) => `${routeOf(route)} question ${prompt}`

  const model: Model = async ({ body, streamed, consumer }) => {
    const { end, turns: count } = turns[given.length % turns.length] ?? { end: 'whole', turns: 0 }
    const question = String((body.messages as readonly { readonly content: unknown }[]).at(-1)?.content)
    const number = given.push({ consumer: consumer.id, plan: consumer.plan, question, end, wave, now }) - 1
    const text = `#${number} is what ${consumer.id} was told.`
    await later(count)
    if (end === 'thrown') throw new ModelFault()
    if (end === 'refused') return refusedByModel({ status: 500 })
    const finish = end === 'filtered' ? 'content_filter' : 'stop'
    if (!streamed) return end === 'cut' ? refusedByModel({ code: 'connection_failed' }) : completionOf(text, finish)
    const words = text.split(/(?<= )/)
    return streamOf(words, {
      finish,
      async before(at) {
        await later(Math.ceil(count / words.length))
        if (end === 'cut' && at === words.length - 1) throw new BrokenStream({ code: 'stream_cut' })
      },
    })
  }

  const rooms: readonly CacheRoom[] = Array.from({ length: INSTANCES }, () =>
    cacheRoom({
      shared,
      model,
      purgeVersions: purgeVersions({
        store: purges,
        deadlineMs: 5_000,
        maxAgeMs: MAX_AGE_MS,
        time: { now: () => now, wallClock: () => now, after: systemTime.after },
      }),
      deadlineMs: 5_000,
      wallClock: () => now,
      // Whoever waits for another instance looks more often than is usual; deadlines stay as they are.
      after: (ms, callback) => systemTime.after(ms <= 250 ? ms / 25 : ms, callback),
      random: Math.random,
    }),
  )

  async function doAsk(asked: Ask): Promise<void> {
    const { instance, consumer: at, route, stream, directive, leavesAfter } = asked
    const { id, plan } = consumerOf(at)
    const leaving = new AbortController()
    if (leavesAfter !== undefined) void later(leavesAfter).then(() => leaving.abort())
    const room = rooms[instance]
    const prompt = questionOf(asked)
    const cache = { ttlMs: TTL_MS, sampled: true, scope: SCOPES[route] ?? 'consumer', tools: false }
    let answer: CacheAnswer | undefined
    let body: string | undefined
    try {
      const routed = { route: routeOf(route), cache }
      const headers: Record<string, string> = directive === '' ? {} : { 'cache-control': directive }
      answer = await room?.ask({ consumer: id, plan, prompt, routed, headers, signal: leaving.signal, stream })
      body = await answer?.text()
    } catch (fault) {
      // The model's own, and no other.
      if (fault instanceof ModelFault || fault instanceof BrokenStream) return
      throw fault
    }
    if (answer === undefined || body === undefined) throw new Error('No such instance')
    const { code } = answer
    if (code !== 200) return expect([502, 504]).toContain(code)
    if (stream) expect(body.endsWith('data: [DONE]\n\n')).toBe(true)
    const text = stream ? textIn(body) : JSON.parse(body).choices[0].message.content
    check(asked, text, answer.record.cache)
  }

  /** That this text, and all of it, was given whole to this question, for one who shares with this consumer. */
  function check({ route, prompt, consumer: at }: Ask, text: string, cache: string | undefined): void {
    const { id, plan } = consumerOf(at)
    const source = given[Number(/^#(\d+) /.exec(text)?.[1])]
    if (source === undefined) throw new Error(`Nobody said this: ${text}`)
    expect(text).toBe(`#${given.indexOf(source)} is what ${source.consumer} was told.`)
    expect(source.question).toBe(questionOf({ route, prompt }))
    if (SCOPES[route] === 'consumer') expect(source.consumer).toBe(id)
    else expect(source.plan).toBe(plan)
    // What a filter cut is passed on to whoever waits for it.
    expect(source.end === 'whole' || (source.end === 'filtered' && cache !== 'hit')).toBe(true)
    served.answers += 1
    if (source.consumer !== id) served.others += 1
    if (cache !== 'hit') return
    served.hits += 1
    expect(now - source.now).toBeLessThan(LONGEST_LIFE_MS)
    const scope = SCOPES[route] === 'consumer' ? `consumer:${id}` : `plan:${plan}`
    const since = purged.filter(
      (each) =>
        (each.subject === scope || each.subject === `route:${routeOf(route)}`) &&
        each.wave > source.wave &&
        each.wave < wave &&
        now - each.now >= MAX_AGE_MS,
    )
    expect(since).toEqual([])
  }

  async function doPurge({ what, which }: Purge): Promise<void> {
    const subject: PurgeSubject =
      what === 'route'
        ? `route:${routeOf(which % SCOPES.length)}`
        : what === 'consumer'
          ? `consumer:${consumerOf(which).id}`
          : `plan:${consumerOf(which).plan}`
    await purges.renew(subject, new AbortController().signal)
    purged.push({ subject, wave, now })
  }

  return {
    served,
    async run(waves: readonly Wave[]): Promise<void> {
      for (const { actions, thenMs } of waves) {
        wave += 1
        await Promise.all(actions.map((action) => (action.kind === 'ask' ? doAsk(action) : doPurge(action))))
        now += thenMs
      }
    },
  }
}

/** So many turns of the event loop later. */
async function later(turns: number): Promise<void> {
  for (let i = 0; i < turns; i += 1) await new Promise((resolve) => setImmediate(resolve))
}

async function expectIsolated(
  open: () => { readonly shared: CacheStore; readonly purges: GenerationStore },
  numRuns: number,
): Promise<void> {
  const served = { answers: 0, hits: 0, others: 0 }
  await fc.assert(
    fc.asyncProperty(waves, turns, async (waves, turns) => {
      const { shared, purges } = open()
      const run = world(shared, purges, turns)
      await run.run(waves)
      for (const kind of ['answers', 'hits', 'others'] as const) served[kind] += run.served[kind]
    }),
    { numRuns },
  )
  // It would hold for a cache that finds nothing, too, and for one that nobody shares.
  expect(served.hits).toBeGreaterThan(numRuns)
  expect(served.others).toBeGreaterThan(0)
}

const inMemory = () => memoryGenerationStore({ wallClock: () => START })

describe('nobody gets another’s answer, or half of one', () => {
  test(
    'over stores in memory',
    () => expectIsolated(() => ({ shared: memoryShared(), purges: inMemory() }), 150),
    60_000,
  )

  test.each(tableAccounts())(
    'over tables in $name',
    ({ open }) => expectIsolated(() => ({ shared: tableCacheStore(open), purges: tableGenerationStore(open) }), 25),
    60_000,
  )

  describeWithRedis('over Redis', (redis) => {
    test('with generations in memory', async () => {
      const shared = redisCacheStore({ redis, wallClock: () => START })
      await expectIsolated(() => ({ shared, purges: inMemory() }), 60)
    }, 60_000)
  })
})
