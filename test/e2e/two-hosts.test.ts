import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { type Answer, generate, type RunningHost, startHost } from '../support/host.ts'
import { noRedis, startRedis } from '../support/redis.ts'
import { openAccount } from '../support/tables.ts'
import { sending, startUpstream, type Upstream } from '../support/upstream.ts'

const open = openAccount(inject('azurite'))
let upstream: Upstream
let hosts: [RunningHost, RunningHost]
beforeAll(async () => {
  upstream = await startUpstream()
  // The default deadline would make a slow moment of a busy test machine look like a miss.
  const settings = {
    TOLLGATE_STORAGE: inject('azurite'),
    OPENAI_BASE_URL: upstream.baseUrl,
    TOLLGATE_CACHE_DEADLINE_MS: '5000',
  }
  hosts = await Promise.all([startHost(settings), startHost(settings)])
})
afterAll(async () => {
  await Promise.all((hosts ?? []).map((host) => host.stop()))
  await upstream?.close()
})

describe('two hosts over the same tables', () => {
  test('admit together what one may: of 120 at once on 10 a minute and a burst of 5, 15 and the refill', async () => {
    const key = await newKey(open, unique('crowd'))
    const started = performance.now()
    const answers = await Promise.all(
      Array.from({ length: 120 }, (_, i) =>
        generate(hosts[i % 2] ?? hosts[0], JSON.stringify({ prompt: `${i}` }), { 'x-api-key': key }),
      ),
    )
    const seconds = (performance.now() - started) / 1000
    const count = (status: number) => answers.filter((answer) => answer.status === status).length
    expect(count(200)).toBeGreaterThanOrEqual(15)
    expect(count(200)).toBeLessThanOrEqual(15 + Math.floor(seconds / 6))
    expect(count(200) + count(429)).toBe(120)
  })

  test('keep the limit when the requests come one after the other, to either', async () => {
    const key = await newKey(open, unique('steady'))
    const started = performance.now()
    const answers: Answer[] = []
    for (let i = 0; i < 24; i += 1)
      answers.push(await generate(hosts[i % 2] ?? hosts[0], '{"prompt":"a"}', { 'x-api-key': key }))
    const admitted = answers.filter(({ status }) => status === 200).length
    const seconds = (performance.now() - started) / 1000
    expect(admitted).toBeGreaterThanOrEqual(15)
    expect(admitted).toBeLessThanOrEqual(15 + Math.floor(seconds / 6))
  })

  test('share completions: what one has stored is a hit on the other', async () => {
    const key = await newKey(open, unique('reader'))
    const ask = (host: RunningHost) => generate(host, '{"prompt":"Shared?"}', { 'x-api-key': key })
    const first = await ask(hosts[0])
    const second = await ask(hosts[1])
    expect(first.headers.get('cache-status')).toBe('tollgate; fwd=miss; stored')
    expect(second.headers.get('cache-status')).toContain('tollgate; hit')
    expect(second.body).toEqual(first.body)
  })

  test('and never another consumer’s, on either', async () => {
    const [alice, bob] = [await newKey(open, unique('alice')), await newKey(open, unique('bob'))]
    await generate(hosts[0], '{"prompt":"Private?"}', { 'x-api-key': alice })
    for (const host of hosts) {
      const answer = await generate(host, '{"prompt":"Private?"}', { 'x-api-key': bob })
      if (host === hosts[0]) expect(answer.headers.get('cache-status')).toContain('fwd=miss')
    }
    expect(upstream.calls.filter(({ body }) => JSON.stringify(body).includes('Private?'))).toHaveLength(2)
  })
})

describe('two hosts over the same Redis', () => {
  test.skipIf(noRedis !== undefined)(
    `keep their limits there, and nobody is admitted when it is gone${noRedis === undefined ? '' : ` (${noRedis})`}`,
    async () => {
      const redis = await startRedis({ password: 'p@ss' })
      const settings = {
        TOLLGATE_STORAGE: inject('azurite'),
        TOLLGATE_REDIS: redis.url,
        OPENAI_BASE_URL: upstream.baseUrl,
      }
      const over = await Promise.all([startHost(settings), startHost(settings)])
      try {
        const key = await newKey(open, unique('redis'))
        const ask = (i: number) =>
          generate(over[i % 2] ?? over[0], JSON.stringify({ prompt: `${i}` }), { 'x-api-key': key })
        const started = performance.now()
        const answers = await Promise.all(Array.from({ length: 60 }, (_, i) => ask(i)))
        const seconds = (performance.now() - started) / 1000
        const admitted = answers.filter(({ status }) => status === 200).length
        expect(admitted).toBeGreaterThanOrEqual(15)
        expect(admitted).toBeLessThanOrEqual(15 + seconds / 6)
        // The same consumer has all of its limit still where the counters are in the tables.
        expect((await generate(hosts[0], '{"prompt":"a"}', { 'x-api-key': key })).status).toBe(200)

        const ready = async () => (await fetch(`${over[0].url}/api/health?ready`)).json()
        upstream.reply = sending(200, '{"data":[]}', { 'content-type': 'application/json' })
        await redis.kill()
        const other = await newKey(open, unique('late'))
        expect((await generate(over[0], '{"prompt":"a"}', { 'x-api-key': other })).status).toBe(503)
        expect(await ready()).toMatchObject({ checks: { tables: 'ok', limits: 'failed' } })
      } finally {
        await Promise.all(over.map((host) => host.stop('SIGKILL')))
        await redis.close()
      }
    },
  )
})
