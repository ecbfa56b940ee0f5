import { randomBytes } from 'node:crypto'
import { openRedis, type Redis } from '@tollgate/middleware'
import { afterAll, beforeAll, describe, expect, inject, test, vi } from 'vitest'
import { type Completion, complete, type Question } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import { type CountedModel, filtered, startCountedModel, whole } from '../support/counted-model.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts'
import { openAccount } from '../support/tables.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

/*
 * The completion cache over a Redis that fails, and over values that were damaged. The first host reaches it by a proxy,
 * the second directly. The limits' counters fail with it, and the policy says that this refuses nobody.
 */

const DEADLINE_MS = 400
/** What a busy machine may take beside. */
const LATE_MS = 5_000
const signal = new AbortController().signal

describe.skipIf(noRedis)(noRedis ?? 'completions in a failing Redis', () => {
  let server: RedisServer
  let proxy: TcpProxy
  let redis: Redis
  let model: CountedModel
  let first: RunningHost
  let second: RunningHost
  let key: string
  beforeAll(async () => {
    ;[server, model] = await Promise.all([startRedis(), startCountedModel()])
    proxy = await startTcpProxy(server.port)
    redis = openRedis(server.url)
    const settings = (url: string, deadlineMs: number) => ({
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_REDIS: url,
      TOLLGATE_POLICY: 'test/faults/cache.yaml',
      TOLLGATE_CACHE_DEADLINE_MS: String(deadlineMs),
      TOLLGATE_STORE_DEADLINE_MS: String(deadlineMs),
      OPENAI_BASE_URL: model.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
    })
    ;[first, second] = await Promise.all([
      startHost(settings(`redis://127.0.0.1:${proxy.port}`, DEADLINE_MS), BARE_HOST),
      // The default deadline would make a slow moment of a busy test machine look like a fault.
      startHost(settings(server.url, 5_000), BARE_HOST),
    ])
    key = await newKey(openAccount(inject('azurite')), unique('faulty'), 'ample')
    await recovered()
  })
  afterAll(async () => {
    await Promise.all([first, second].map((host) => host?.stop('SIGKILL')))
    redis?.close()
    await proxy?.close()
    await server?.close()
    await model?.close()
  })

  const ask = (host: RunningHost, prompt: string, more: Partial<Question> = {}) =>
    complete(host, { prompt, key, ...more })

  /** Whole, and what the model has said to this and nothing else. */
  function expectWhole(completion: Completion, prompt: string): void {
    expect(completion).toMatchObject({ status: 200, whole: true })
    expect(model.given(prompt).includes(completion.text)).toBe(true)
  }

  /** Asks one host something new until the other finds that: both ways. */
  async function recovered(): Promise<void> {
    for (const [from, to] of [
      [first, second],
      [second, first],
    ] as const) {
      const isShared = async () => {
        const prompt = unique('shared')
        await ask(from, prompt)
        return (await ask(to, prompt)).cacheStatus.includes('hit')
      }
      await vi.waitUntil(isShared, { timeout: 10_000, interval: 100 })
    }
  }

  type Asked = Partial<Question> & { readonly prompt: string }

  /** Everything that a request does with the store: look, write, replace, claim, fulfil a claim and give it back. */
  async function questions(): Promise<readonly Asked[]> {
    const [known, missed, abandoned] = [unique('known'), unique('missed'), unique('abandoned')]
    expect((await ask(second, known)).cacheStatus).toContain('stored')
    model.next(missed, filtered())
    model.next(abandoned, filtered(), filtered())
    await Promise.all([ask(first, missed), ask(first, abandoned)])
    return [
      { prompt: known },
      { prompt: known, headers: { 'cache-control': 'no-cache' }, stream: true },
      { prompt: unique('new'), stream: true },
      { prompt: missed },
      { prompt: abandoned },
      { prompt: unique('new') },
    ]
  }

  /** One after the other: each is answered in time, by one call at most, with what the model says to it. */
  async function expectAnswered(asked: readonly Asked[]): Promise<void> {
    for (const { prompt, ...more } of asked) {
      const before = model.asked(prompt)
      const began = performance.now()
      const completion = await ask(first, prompt, more)
      expect(performance.now() - began).toBeLessThan(6 * DEADLINE_MS + LATE_MS)
      expect(model.asked(prompt)).toBeLessThanOrEqual(before + 1)
      expect(completion).toMatchObject({ status: 200, whole: true })
      failed.add(prompt)
      expect([...model.given(prompt), `answer ${before + 1} to ${prompt}.`]).toContain(completion.text)
    }
  }

  /** What was asked while it failed. */
  const failed = new Set<string>()

  test('that stands still: a miss at the deadline, and hits once it goes on', async () => {
    const asked = await questions()
    server.freeze()
    try {
      await expectAnswered(asked)
    } finally {
      server.thaw()
    }
    await recovered()
  })

  test('that is killed: a miss, and hits once it is there again, though it has lost everything', async () => {
    const asked = await questions()
    await server.kill()
    await expectAnswered(asked)
    await server.restart()
    await recovered()
  })

  test('whose connections fall silent, and the next one too', async () => {
    const asked = await questions()
    proxy.silence()
    proxy.muteNext()
    await expectAnswered(asked)
    await recovered()
  })

  test('that loses a reply, to whatever it was asked', async () => {
    for (const each of await questions()) {
      proxy.loseNextReply()
      await expectAnswered([each])
      await recovered()
    }
  })

  describe('a damaged value', () => {
    const keys = async () =>
      ((await redis.send(['KEYS', 'tollgate:cache:*'], signal)) as readonly Buffer[]).map((name) => name.toString())
    const set = (name: string, value: Buffer | string) => redis.send(['SET', name, value], signal)
    const withByte = (value: Buffer, at: number, byte: number) => Buffer.from(value).fill(byte, at, at + 1)

    const HEAD = 37
    const DAMAGE: readonly [string, (name: string, value: Buffer) => Promise<unknown>][] = [
      ['a changed byte', (name, value) => set(name, withByte(value, HEAD + 60, 1))],
      ['an unknown version', (name, value) => set(name, withByte(value, HEAD, 99))],
      ['an unknown kind', (name, value) => set(name, withByte(value, 0, 120))],
      ['its end cut off', (name, value) => set(name, value.subarray(0, -1))],
      ['its head alone', (name, value) => set(name, value.subarray(0, HEAD))],
      ['a byte too many', (name, value) => set(name, Buffer.concat([value, Buffer.alloc(1)]))],
      ['nothing in it', (name) => set(name, '')],
      ['random bytes', (name) => set(name, randomBytes(300))],
      ['a claim without a time', (name, value) => set(name, withByte(value.subarray(0, HEAD), 0, 99))],
      ['a claim until a time that is none', (name, value) => set(name, `c${value.toString('latin1', 1, HEAD)}never`)],
      [
        'another type',
        async (name) => {
          await redis.send(['DEL', name], signal)
          await redis.send(['RPUSH', name, 'a', 'b'], signal)
        },
      ],
    ]

    test.each(DAMAGE.flatMap(([what, damage]) => [false, true].map((isLarge) => [what, isLarge, damage] as const)))(
      'with %s is a miss, and replaced (large: %s)',
      async (_what, isLarge, damage) => {
        const prompt = unique('damaged')
        if (isLarge) model.next(prompt, whole({ more: randomBytes(1_150_000).toString('base64') }))
        const before = new Set(await keys())
        expect((await ask(second, prompt)).cacheStatus).toContain('stored')
        const [name = ''] = (await keys()).filter((each) => !before.has(each))
        await damage(name, (await redis.send(['GET', name], signal)) as Buffer)

        const missed = await ask(first, prompt, { stream: isLarge })
        expectWhole(missed, prompt)
        expect(missed.cacheStatus).toContain('fwd=miss')
        const value = () => redis.send(['GETRANGE', name, '0', '0'], signal)
        await expect.poll(async () => String(await value().catch(() => ''))).toBe('e')
        expectWhole(await ask(second, prompt), prompt)
        expect(model.asked(prompt)).toBe(2)
      },
    )
  })

  test('leaves nothing that is wrong, and what was lost is asked for once', async () => {
    expect(failed.size).toBe(20)
    const sound = async (prompt: string) => {
      const before = model.asked(prompt)
      for (const host of [second, first]) expectWhole(await ask(host, prompt), prompt)
      expect((await ask(second, prompt)).cacheStatus).toContain('hit')
      expect(model.asked(prompt)).toBeLessThanOrEqual(before + 1)
    }
    // All at once: a claim that could not be given back is waited for until it is over.
    await Promise.all([...failed].map(sound))
  })
})
