import { crc32 } from 'node:zlib'
import { beforeEach, describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import { localLimiter } from '../limits/index.ts'
import { pipeline, type Refusal } from '../pipeline/index.ts'
import { authenticate, type ConsumerStore, generateKey, issueKey, memoryConsumerStore } from './index.ts'

let time: number
let lookups: number
let store: ConsumerStore
let fail: boolean
let hold: Promise<void>
beforeEach(() => {
  time = 1_000
  lookups = 0
  fail = false
  hold = Promise.resolve()
  const inner = memoryConsumerStore()
  store = {
    ...inner,
    async findKey(id) {
      lookups += 1
      await hold
      if (fail) throw new Error('down')
      return inner.findKey(id)
    },
  }
})

function door() {
  const refusals: Refusal[] = []
  const base = baseContext({
    refuse: (refusal) => {
      refusals.push(refusal)
      return new Response(null, { status: refusal.status, headers: refusal.headers ?? {} })
    },
  })
  const guard = localLimiter({
    each: { capacity: 3, refill: 1, periodMs: 1_000 },
    total: { capacity: 5, refill: 1, periodMs: 1_000 },
    now: () => time,
  })
  const handler = pipeline()
    .use(authenticate({ store, guard, maxAgeMs: 30_000, deadlineMs: 200, now: () => time, wallClock: () => time }))
    .handle((_request, { consumer }) => new Response(consumer.id))
  const knock = async (key: string, clientAddress = '203.0.113.1') => {
    return handler({ ...request, headers: new Headers({ 'x-api-key': key }), clientAddress }, base)
  }
  return { knock, base, refusals }
}

const newKey = async (consumer = 'alice') =>
  (await issueKey(store, { consumer, plan: undefined, defaultPlan: 'free', plans: ['free'], now: 0 })).key

/** A secret of one key behind the public id of another, with a checksum that fits. */
function forge(key: string): string {
  const body = `${key.slice(0, 16)}${generateKey().slice(16, -6)}`
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz'
  let rest = crc32(body)
  let checksum = ''
  for (let digit = 0; digit < 6; digit += 1) {
    checksum = alphabet[rest % 62] + checksum
    rest = Math.floor(rest / 62)
  }
  return body + checksum
}

describe('authentication', () => {
  test('adds the consumer and notes it', async () => {
    const { knock, base } = door()
    expect(await (await knock(await newKey())).text()).toBe('alice')
    expect(base.record).toMatchObject({ consumer: 'alice', plan: 'free' })
  })

  test('looks a key up once in 30 seconds, and again after: so long may a revoked key work', async () => {
    const { knock } = door()
    const key = await newKey()
    for (const _ of [1, 2, 3]) await knock(key)
    expect(lookups).toBe(1)
    time += 29_999
    await knock(key)
    expect(lookups).toBe(1)
    time += 1
    await knock(key)
    expect(lookups).toBe(2)
  })

  test('shares one lookup among concurrent requests', async () => {
    const { knock } = door()
    const key = await newKey()
    await Promise.all(Array.from({ length: 20 }, () => knock(key)))
    expect(lookups).toBe(1)
  })

  test('is not let in by another key of the same public id', async () => {
    const { knock } = door()
    const key = await newKey()
    expect((await knock(forge(key))).status).toBe(401)
    expect(lookups).toBe(1)
    expect((await knock(key)).status).toBe(200)
  })

  test('answers 503 when the store is down, and lets nobody in', async () => {
    const { knock, refusals } = door()
    const key = await newKey()
    fail = true
    expect((await knock(key)).status).toBe(503)
    expect(refusals[0]).toMatchObject({ code: 'store_unavailable', headers: { 'retry-after': '1' } })
    fail = false
    expect((await knock(key)).status).toBe(200)
  })

  test('answers 503 when the store hangs', async () => {
    const { knock } = door()
    const key = await newKey()
    hold = new Promise(() => {})
    expect((await knock(key)).status).toBe(503)
  })

  test('does not use an answer that is too old just because the store is down', async () => {
    const { knock } = door()
    const key = await newKey()
    await knock(key)
    time += 30_000
    fail = true
    expect((await knock(key)).status).toBe(503)
  })
})

describe('a flood of made-up keys', () => {
  test('costs as many lookups as the guard grants, for each address and in all', async () => {
    const { knock } = door()
    const from = async (address: string, count: number) =>
      Promise.all(Array.from({ length: count }, async () => (await knock(generateKey(), address)).status))
    // What is under way when the guard closes is let through: 32 at the most.
    const first = await from('203.0.113.1', 500)
    expect(first.filter((status) => status === 401).length).toBeLessThanOrEqual(35)
    expect(first.filter((status) => status === 429).length).toBeGreaterThanOrEqual(465)
    const before = lookups
    expect(before).toBeLessThanOrEqual(35)
    await from('203.0.113.1', 500)
    expect(lookups).toBe(before)
  })

  test('is counted by address, and over all addresses', async () => {
    const { knock } = door()
    const from = async (address: string) => (await knock(generateKey(), address)).status
    const [one, two, three] = ['203.0.113.1', '203.0.113.2', '203.0.113.3'] as const
    expect([await from(one), await from(one), await from(one), await from(one)]).toEqual([401, 401, 401, 429])
    expect([await from(two), await from(two), await from(two)]).toEqual([401, 401, 429])
    // The total is spent, but it binds those who spent it; a newcomer's first lookup is its own.
    expect([await from(three), await from(three)]).toEqual([401, 429])
  })

  test('is one network’s, however many addresses of it the client uses', async () => {
    const { knock } = door()
    const from = async (host: number) => (await knock(generateKey(), `2001:db8:0:1::${host}`)).status
    expect([await from(1), await from(2), await from(3), await from(4)]).toEqual([401, 401, 401, 429])
  })

  test('from everywhere else shuts out no valid key that this instance has not seen yet', async () => {
    const { knock } = door()
    for (let i = 0; i < 100; i += 1) await knock(generateKey(), `203.0.113.${i}`)
    expect((await knock(await newKey(), '198.51.100.1')).status).toBe(200)
  })

  test('with a known key’s public id does not answer for its owner', async () => {
    const { knock } = door()
    const key = await newKey()
    for (const _ of [1, 2, 3]) await knock(generateKey())
    const forged = forge(key)
    const [attacker, owner] = await Promise.all([knock(forged), knock(key, '198.51.100.1')])
    expect([attacker.status, owner.status]).toEqual([429, 200])
  })

  test('is told when to come back', async () => {
    const { knock } = door()
    for (const _ of [1, 2, 3]) await knock(generateKey())
    const response = await knock(generateKey())
    expect(response.headers.get('retry-after')).toBe('1')
    time += 1_000
    expect((await knock(generateKey())).status).toBe(401)
  })

  test('does not shut out a key that this instance has seen valid, even past its 30 seconds', async () => {
    const { knock } = door()
    const key = await newKey()
    await knock(key)
    for (let i = 0; i < 10; i += 1) await knock(generateKey())
    expect((await knock(key)).status).toBe(200)
    time += 30_000
    for (let i = 0; i < 10; i += 1) await knock(generateKey())
    expect((await knock(key)).status).toBe(200)
  })

  test('is not what many valid keys from one address are, one after the other or at once', async () => {
    const { knock } = door()
    for (let i = 0; i < 20; i += 1) expect((await knock(await newKey(`c${i}`))).status).toBe(200)
    const keys = await Promise.all(Array.from({ length: 200 }, (_, i) => newKey(`d${i}`)))
    const statuses = await Promise.all(keys.map(async (key) => (await knock(key)).status))
    expect(new Set(statuses)).toEqual(new Set([200]))
  })

  test('is not what lookups are that failed: when the store is back, so are its callers', async () => {
    const { knock } = door()
    const keys = await Promise.all(Array.from({ length: 70 }, (_, i) => newKey(`e${i}`)))
    fail = true
    expect(new Set(await Promise.all(keys.map(async (key) => (await knock(key)).status)))).toEqual(new Set([503]))
    fail = false
    expect(new Set(await Promise.all(keys.map(async (key) => (await knock(key)).status)))).toEqual(new Set([200]))
  })

  test('while the store hangs blocks nobody once it is back', async () => {
    const { knock } = door()
    hold = new Promise(() => {})
    await Promise.all(Array.from({ length: 40 }, () => knock(generateKey())))
    hold = Promise.resolve()
    expect((await knock(await newKey())).status).toBe(200)
  })

  test('of one made-up key over and over costs one lookup', async () => {
    const { knock } = door()
    const key = generateKey()
    for (let i = 0; i < 20; i += 1) expect((await knock(key)).status).toBe(401)
    expect(lookups).toBe(1)
  })
})
