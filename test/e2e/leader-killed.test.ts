import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { complete, type Question } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import { type CountedModel, filtered, startCountedModel, whole } from '../support/counted-model.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'

/* The host that asks the model for all of them dies, or stands still for longer than its claim holds. */

const open = openAccount(inject('azurite'))
/** So long does a claim hold that nobody renews; and what a busy machine may take beside. */
const CLAIM_MS = 10_000
const LATE_MS = 5_000
let model: CountedModel
let killed: RunningHost
let stopped: RunningHost
let follower: RunningHost
let witness: RunningHost
let key: string
beforeAll(async () => {
  model = await startCountedModel()
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    TOLLGATE_POLICY: 'test/faults/cache.yaml',
    // The default deadline would make a slow moment of a busy test machine look like a miss.
    TOLLGATE_CACHE_DEADLINE_MS: '10000',
    OPENAI_BASE_URL: model.baseUrl,
    OPENAI_API_KEY: 'sk-upstream',
  }
  const start = () => startHost(settings, BARE_HOST)
  ;[killed, stopped, follower, witness] = await Promise.all([start(), start(), start(), start()])
  key = await newKey(open, unique('led'), 'ample')
})
afterAll(async () => {
  await Promise.all([killed, stopped, follower, witness].map((host) => host?.stop('SIGKILL')))
  await model?.close()
})

const ask = (host: RunningHost, prompt: string, more: Partial<Question> = {}) =>
  complete(host, { prompt, key, ...more })

/** A question that both have missed is one that is asked again and again: it is claimed. */
async function missByBoth(leader: RunningHost, prompt: string): Promise<void> {
  model.next(prompt, filtered(), filtered())
  for (const host of [leader, follower]) await ask(host, prompt)
  expect(model.asked(prompt)).toBe(2)
}

const answer = (number: number, prompt: string) => `answer ${number} to ${prompt}.`

describe.concurrent('the host that asks', () => {
  test('is killed half-way: another takes over when its claim is over, and all who wait get a whole answer', async () => {
    const prompt = unique('killed')
    await missByBoth(killed, prompt)
    model.next(prompt, whole({ before: (index) => (index === 2 ? new Promise(() => {}) : undefined) }))
    const half = Promise.withResolvers<void>()
    const led = ask(killed, prompt, { stream: true, onText: () => half.resolve() })
    await half.promise
    const waiting = Array.from({ length: 20 }, (_, index) => ask(follower, prompt, { stream: index % 2 === 0 }))
    const began = performance.now()
    await killed.stop('SIGKILL')

    const { whole: isWhole, text } = await led
    expect([isWhole, answer(3, prompt).startsWith(text)]).toEqual([false, true])
    for (const completion of await Promise.all(waiting)) {
      expect(completion).toMatchObject({ status: 200, whole: true, text: answer(4, prompt) })
    }
    expect(performance.now() - began).toBeLessThan(CLAIM_MS + LATE_MS)
    expect(model.asked(prompt)).toBe(4)
    await expect.poll(async () => (await ask(witness, prompt)).cacheStatus).toContain('hit')
    expect((await ask(witness, prompt)).text).toBe(answer(4, prompt))
    expect(model.asked(prompt)).toBe(4)
  })

  test('stands still for longer than its claim: what it says late is its own caller’s, and replaces nothing', async () => {
    const prompt = unique('stopped')
    await missByBoth(stopped, prompt)
    const [late, next] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
    model.next(prompt, whole({ before: () => late.promise }), whole({ before: () => next.promise }))
    const led = ask(stopped, prompt)
    await expect.poll(() => model.asked(prompt), { interval: 5 }).toBe(3)
    stopped.process.kill('SIGSTOP')
    const waiting = Array.from({ length: 10 }, () => ask(follower, prompt))
    await expect.poll(() => model.asked(prompt), { interval: 50, timeout: CLAIM_MS + LATE_MS }).toBe(4)

    late.resolve()
    stopped.process.kill('SIGCONT')
    expect(await led).toMatchObject({ status: 200, whole: true, text: answer(3, prompt) })
    // The claim is the other's: whoever looks, waits for that.
    const looked = ask(witness, prompt)
    next.resolve()
    for (const completion of await Promise.all([looked, ...waiting])) {
      expect(completion).toMatchObject({ status: 200, whole: true, text: answer(4, prompt) })
    }
    expect(model.asked(prompt)).toBe(4)
    expect(await ask(stopped, prompt)).toMatchObject({ whole: true, text: answer(3, prompt) })
  })
})
