import { crc32 } from 'node:zlib'
import { beforeEach, describe, expect, test } from 'vitest'
import { baseContext, replyText, request, textReply } from '../../../../test/support/base-context.ts'
import { localLimiter } from '../limits/index.ts'
import { type Log, pipeline, type Refusal, StoreUnavailable } from '../pipeline/index.ts'
import {
  authenticate,
  type ConsumerStore,
  generateKey,
  issueKey,
  keyDirectory,
  memoryConsumerStore,
  parseKey,
  type Scope,
} from './index.ts'

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

function door(log: Log = () => {}, scope: Scope = 'call') {
  const refusals: Refusal[] = []
  const base = { ...baseContext({ log }), policy: {} }
  const guard = localLimiter({
    each: { capacity: 3, refill: 1, periodMs: 1_000 },
    total: { capacity: 5, refill: 1, periodMs: 1_000 },
    now: () => time,
  })
  const keys = keyDirectory({ store, guard, maxAgeMs: 30_000, deadlineMs: 200, now: () => time })
  const handler = pipeline<{ policy: object }>()
    .use(authenticate({ keys, scope, wallClock: () => time }))
    .handle((_request, { consumer }) => textReply(consumer.id))
  const knock = async (key: string | Record<string, string>, clientAddress = '203.0.113.1') => {
    const headers = new Headers(typeof key === 'string' ? { 'x-api-key': key } : key)
    const reply = await handler({ ...request, headers, clientAddress }, base)
    if (reply.kind === 'refusal') refusals.push(reply)
    return reply
  }
  return { knock, base, refusals }
}

const newKey = async (consumer = 'alice', scopes?: readonly Scope[]) => {
  const scoped = scopes === undefined ? {} : { scopes }
  const options = { consumer, plan: undefined, defaultPlan: 'free', plans: ['free'], now: 0, ...scoped }
  return (await issueKey(store, options)).key
}

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
    expect(await replyText(await knock(await newKey()))).toBe('alice')
    expect(base.told).toMatchObject({ consumer: 'alice', plan: 'free' })
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

  test.each<[string, (key: string) => Record<string, string>]>([
    ['X-API-KEY', (key) => ({ 'x-api-key': key })],
    ['api-key', (key) => ({ 'api-key': key })],
    ['Ocp-Apim-Subscription-Key', (key) => ({ 'Ocp-Apim-Subscription-Key': key })],
    ['Authorization', (key) => ({ authorization: `Bearer ${key}` })],
    ['Authorization, in any case', (key) => ({ authorization: `bearer  ${key}` })],
    ['several headers', (key) => ({ authorization: `Bearer ${key}`, 'api-key': key, 'x-api-key': key })],
    ['one header twice', (key) => ({ 'api-key': `${key}, ${key}` })],
    ['a header beside a proxy’s own', (key) => ({ authorization: 'Bearer eyJ0.e30.x', 'api-key': key })],
    ['a header beside another gateway’s own', (key) => ({ 'ocp-apim-subscription-key': '0af1', 'x-api-key': key })],
  ])('takes a key from %s, for one lookup', async (_where, headers) => {
    const { knock } = door()
    expect(await replyText(await knock(headers(await newKey())))).toBe('alice')
    expect(lookups).toBe(1)
  })

  test('takes two keys of one consumer, and refuses those of two, and a wrong one beside a right one', async () => {
    const { knock, refusals } = door()
    const [one, two, other] = [await newKey(), await newKey(), await newKey('bob')]
    expect(await replyText(await knock({ 'api-key': one, authorization: `Bearer ${two}` }))).toBe('alice')
    for (const [first, second] of [
      [one, other],
      [other, one],
      [one, generateKey()],
      [one, `${two.slice(0, -1)}!`],
    ] as const) {
      expect((await knock({ 'api-key': first, authorization: `Bearer ${second}` })).status).toBe(401)
    }
    expect(refusals.map(({ message }) => message)).toEqual([
      'The request carries keys of different consumers. Send one.',
      'The request carries keys of different consumers. Send one.',
      'Invalid API key.',
      'Invalid API key.',
    ])
  })

  test.each([
    ['call', 'read', 'made without --scope'],
    ['read', 'call', 'made with --scope read'],
  ] as const)(
    'where %s is needed, a key of scope %s is a 403 that names both and the fix',
    async (needed, other, fix) => {
      const { knock, base, refusals } = door(undefined, needed)
      expect(await replyText(await knock(await newKey('alice', [needed])))).toBe('alice')
      expect((await knock(await newKey('bob', [other]))).status).toBe(403)
      expect((await knock(await newKey('carol', []))).status).toBe(403)
      expect(refusals[0]).toMatchObject({
        code: 'insufficient_scope',
        message: expect.stringContaining(`not of scope '${needed}'`),
        headers: { 'www-authenticate': `Bearer realm="tollgate", error="insufficient_scope", scope="${needed}"` },
      })
      expect(refusals[0]?.message).toContain(fix)
      // Who was refused is known.
      expect(base.told).toMatchObject({ consumer: 'carol', plan: 'free' })
    },
  )

  test('a key has scope call unless it is told otherwise, and a word that nobody knows gives no right', async () => {
    const [plain, odd] = [await newKey(), generateKey()]
    expect(await replyText(await door().knock(plain))).toBe('alice')
    expect((await door(undefined, 'read').knock(plain)).status).toBe(403)
    const { publicId, digest } = parseKey(odd) ?? expect.fail('It did not parse')
    const scopes = ['admin', 'Call', 'call,read']
    await store.addKey({ publicId, digest, scopes, consumer: 'alice', disabled: false, createdAt: 0 })
    for (const scope of ['call', 'read'] as const) expect((await door(undefined, scope).knock(odd)).status).toBe(403)
  })

  test('of two keys of one consumer one must be of the scope; what else is wrong with a key is told first', async () => {
    const { knock } = door(undefined, 'read')
    const [calls, reads] = [await newKey(), await newKey('alice', ['read'])]
    expect((await knock({ 'api-key': calls, authorization: `Bearer ${reads}` })).status).toBe(200)
    expect((await knock({ 'api-key': reads, authorization: `Bearer ${calls}` })).status).toBe(200)
    await store.updateKey(parseKey(calls)?.publicId ?? '', { disabled: true })
    expect((await door(undefined, 'read').knock(calls)).status).toBe(401)
  })

  test('refuses more keys than there are headers, unread', async () => {
    const { knock } = door()
    const keys = Array.from({ length: 5 }, () => generateKey())
    expect((await knock({ 'x-api-key': keys.join(',') })).status).toBe(401)
    expect(lookups).toBe(0)
  })

  test('reads no more parts of a header than a request may carry, and refuses what it did not read', async () => {
    const { knock, refusals } = door()
    const key = await newKey()
    const parts = (count: number) => Array.from({ length: count }, (_, index) => `part${index}`).join(',')
    expect((await knock({ 'x-api-key': `${parts(15)},${key}` })).status).toBe(200)
    for (const name of ['x-api-key', 'api-key', 'ocp-apim-subscription-key', 'authorization']) {
      expect((await knock({ [name]: `${parts(17)},Bearer ${key}` })).status).toBe(401)
      // A good key in another header doesn't make up for it.
      expect((await knock({ 'x-api-key': key, [name]: `${','.repeat(16)}${key}` })).status).toBe(401)
    }
    expect(new Set(refusals.map(({ message }) => message))).toEqual(
      new Set(['The request carries more credentials than are read. Send one.']),
    )
  })

  test('takes no longer for a header that is full of other words', async () => {
    const { knock } = door()
    const full = Array.from({ length: 9_000 }, (_, index) => index.toString(36)).join(',')
    const began = process.cpuUsage()
    for (let i = 0; i < 20; i += 1) expect((await knock({ 'x-api-key': full })).status).toBe(401)
    // 40,000,000 comparisons of words each, where each word is held against those before it: seconds.
    expect(process.cpuUsage(began).user / 1_000).toBeLessThan(500)
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
    expect(response.headers?.['retry-after']).toBe('1')
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

/** What a flood of made-up keys costs a store whose lookups take so long by a simulated clock. */
async function flood({
  networks,
  seconds,
  perSecond,
  everyMs = 50,
  lookupMs = 0,
}: {
  readonly networks: number
  readonly seconds: number
  /** Of each network. */
  readonly perSecond: number
  /** From one burst of a network to its next. */
  readonly everyMs?: number
  readonly lookupMs?: number
}) {
  const TICK_MS = 50
  let clock = 1_000
  let made = 0
  const answers: { readonly at: number; answer(): void }[] = []
  const inner = memoryConsumerStore()
  const slow: ConsumerStore = {
    ...inner,
    async findKey(id) {
      made += 1
      if (lookupMs > 0) await new Promise<void>((answer) => answers.push({ at: clock + lookupMs, answer }))
      return inner.findKey(id)
    },
  }
  const handler = pipeline<{ policy: object }>()
    .use(
      authenticate({
        keys: keyDirectory({
          store: slow,
          guard: localLimiter({
            each: { capacity: 60, refill: 1, periodMs: 1_000 },
            total: { capacity: 600, refill: 20, periodMs: 1_000 },
            now: () => clock,
          }),
          maxAgeMs: 30_000,
          deadlineMs: 20_000,
          now: () => clock,
        }),
        scope: 'call',
        wallClock: () => clock,
      }),
    )
    .handle(() => textReply(''))
  const statuses = new Set<number>()
  const settled = () => new Promise((resolve) => setImmediate(resolve))
  const advance = async () => {
    clock += TICK_MS
    while (answers[0] !== undefined && answers[0].at <= clock) answers.shift()?.answer()
    await settled()
  }
  for (let tick = 0; tick < (seconds * 1_000) / TICK_MS; tick += 1) {
    for (let network = 0; network < networks; network += 1) {
      if ((tick * TICK_MS) % everyMs > 0) continue
      for (let count = 0; count < (perSecond * everyMs) / 1_000; count += 1) {
        const headers = new Headers({ 'x-api-key': generateKey() })
        const clientAddress = `203.0.${network >> 8}.${network & 255}`
        const answered = Promise.resolve(
          handler({ ...request, headers, clientAddress }, { ...baseContext(), policy: {} }),
        )
        void answered.then(({ status }) => statuses.add(status))
      }
    }
    await settled()
    await advance()
  }
  const lookups = made
  for (const { answer } of answers.splice(0)) answer()
  return { lookups, statuses: [...statuses].sort() }
}

describe('D1: a flood of made-up keys costs no more lookups than SECURITY.md says', () => {
  // 60 a network and one a second; 600 and 20 a second for all, and one a minute for each network that had none lately.
  test.each([
    ['one network', { networks: 1, seconds: 20, perSecond: 200 }, 60 + 20],
    ['one network, with lookups that take a second', { networks: 1, seconds: 20, perSecond: 200, lookupMs: 1_000 }, 80],
    ['50 networks', { networks: 50, seconds: 20, perSecond: 20 }, 600 + 20 * 20 + 50],
    ['50 networks, with slow lookups', { networks: 50, seconds: 20, perSecond: 20, lookupMs: 300 }, 1_050],
    [
      '50 networks that ask once a second each',
      { networks: 50, seconds: 90, perSecond: 1, everyMs: 1_000 },
      600 + 90 * 20 + 100,
    ],
    ['1,000 networks', { networks: 1_000, seconds: 2, perSecond: 20 }, 600 + 40 + 1_000],
  ])('%s', async (_what, attack, promised) => {
    const { lookups, statuses } = await flood(attack)
    expect(lookups).toBeLessThanOrEqual(promised)
    expect(statuses).toEqual([401, 429])
  })
})

describe('B1: a programming fault in a lookup', () => {
  const faulty = (change: Partial<ConsumerStore>, log?: Log) => {
    store = { ...memoryConsumerStore(), ...change }
    return door(log)
  }

  test.each<[string, Partial<ConsumerStore>]>([
    ['of keys', { findKey: async () => (undefined as never as { key: never }).key }],
    ['of keys, at once', { findKey: undefined as never }],
    [
      'of consumers',
      { findKey: async () => ({ consumer: 'x' }) as never, findConsumer: async () => new Array(-1) as never },
    ],
  ])('%s is thrown, and not told as a store that is down', async (_what, change) => {
    const { knock, refusals } = faulty(change)
    await expect(knock(generateKey())).rejects.toThrow(/TypeError|RangeError|undefined|not a function|Invalid array/)
    expect(refusals).toEqual([])
    // Nor is the network charged for it.
    for (const _ of [1, 2, 3, 4]) await expect(knock(generateKey())).rejects.toThrow()
  })

  test.each([
    ['a system’s error', Object.assign(new Error('x'), { code: 'ECONNREFUSED' })],
    ['missing rights', Object.assign(new Error('x'), { statusCode: 403, code: 'AuthorizationFailure' })],
    ['what a store calls one', new StoreUnavailable()],
  ])('is not %s: that is a 503, and the log says what it was', async (_what, error) => {
    const logged: unknown[] = []
    const { knock } = faulty({ findKey: () => Promise.reject(error) }, (...line) => logged.push(line))
    expect((await knock(generateKey())).status).toBe(503)
    expect(logged).toEqual([['error', 'key lookup failed', expect.objectContaining({ fault: error.name })]])
  })
})
