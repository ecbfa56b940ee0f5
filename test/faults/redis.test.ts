import { once } from 'node:events'
import { type AddressInfo, createServer, type Server } from 'node:net'
import { inspect } from 'node:util'
import {
  type CounterStore,
  isOutage,
  openRedis,
  type Redis,
  RedisUnreachable,
  redisCounterStore,
  systemTime,
} from '@tollgate/middleware'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { unique } from '../support/consumers.ts'
import { noRedis, type RedisServer, startRedis } from '../support/redis.ts'
import { startTcpProxy, type TcpProxy } from '../support/tcp-proxy.ts'

const DEADLINE_MS = 1_500
/** How much later than the deadline a busy machine may be. */
const LATE_MS = 1_000

const now = () => performance.now()
const soon = () => AbortSignal.timeout(DEADLINE_MS)

const closing: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closing.splice(0).reverse()) await close()
})

async function server(options?: { readonly password: string }): Promise<RedisServer> {
  const started = await startRedis(options)
  closing.push(started.close)
  return started
}

async function proxy(to: number): Promise<TcpProxy> {
  const started = await startTcpProxy(to)
  closing.push(started.close)
  return started
}

function redisAt(url: string): Redis {
  const redis = openRedis(url)
  closing.push(redis.close)
  return redis
}

const storeAt = (url: string): CounterStore => redisCounterStore({ redis: redisAt(url), now })

/** What a call came to, and how long it took, in milliseconds. */
async function outcome(call: Promise<unknown>): Promise<{ readonly failed: unknown; readonly ms: number }> {
  const began = now()
  const failed = await call.then(
    () => undefined,
    (error: unknown) => error,
  )
  return { failed, ms: now() - began }
}

describe.skipIf(noRedis)(noRedis ?? 'counters on a failing Redis', () => {
  test('a killed server: calls reject in time, and after its restart the same store works', async () => {
    const redis = await server()
    const store = storeAt(redis.url)
    const subject = unique('subject')
    await store.read(subject, soon())
    const calls: ReturnType<typeof outcome>[] = []
    let killed: Promise<void> | undefined
    for (let i = 0; i < 400; i += 1) {
      const call = i % 2 === 0 ? store.read(subject, soon()) : store.writeIfMatch(subject, `${i}`, undefined, soon())
      calls.push(outcome(call))
      if (i === 200) killed = redis.kill()
      if (i % 10 === 0) await new Promise(setImmediate)
    }
    const outcomes = await Promise.all(calls)
    await killed
    expect(outcomes[0]?.failed).toBeUndefined()
    expect(outcomes.at(-1)?.failed).toBeInstanceOf(Error)
    expect(Math.max(...outcomes.map(({ ms }) => ms))).toBeLessThan(DEADLINE_MS + LATE_MS)

    await redis.restart()
    await vi.waitFor(() => store.read(subject, soon()), { timeout: 5_000 })
    expect(await store.writeIfMatch(subject, 'again', undefined, soon())).toMatchObject({ etag: expect.any(String) })
  })

  test('a server that was not there at first is found when it is', async () => {
    const redis = await server()
    await redis.kill()
    const store = storeAt(redis.url)
    const { failed } = await outcome(store.read('any', soon()))
    expect(failed).toBeInstanceOf(RedisUnreachable)
    expect(failed).toMatchObject({ code: 'ECONNREFUSED', message: expect.stringContaining(`127.0.0.1:${redis.port}`) })
    await redis.restart()
    await vi.waitFor(() => store.read('any', soon()), { timeout: 5_000 })
  })

  test('a server that is down is not stormed', async () => {
    const nobody = await fake((_text, reply) => reply(''))
    let connections = 0
    nobody.on('connection', (socket) => {
      connections += 1
      socket.destroy()
    })
    const store = storeAt(urlOf(nobody))
    for (let i = 0; i < 50; i += 1) expect((await outcome(store.read('any', soon()))).failed).toBeInstanceOf(Error)
    expect(connections).toBeGreaterThan(0)
    expect(connections).toBeLessThan(10)
  })

  test('a frozen server: calls reject at their deadline, and work again when it has thawed', async () => {
    const redis = await server()
    const store = storeAt(redis.url)
    await store.read('any', soon())
    redis.freeze()
    const calls = await Promise.all(Array.from({ length: 5 }, () => outcome(store.read('any', soon()))))
    for (const { failed, ms } of calls) {
      expect(failed).toBeInstanceOf(Error)
      expect(ms).toBeLessThan(DEADLINE_MS + LATE_MS)
    }
    redis.thaw()
    await vi.waitFor(() => store.read('any', soon()), { timeout: 5_000 })
  })

  test('a connection that fell silent is replaced by the next call', async () => {
    const redis = await server()
    const between = await proxy(redis.port)
    const store = storeAt(`redis://127.0.0.1:${between.port}`)
    await store.read('any', soon())
    between.silence()
    const { failed, ms } = await outcome(store.read('any', soon()))
    expect(failed).toMatchObject({ name: 'TimeoutError' })
    expect(ms).toBeLessThan(DEADLINE_MS + LATE_MS)
    expect((await outcome(store.read('any', soon()))).failed).toBeUndefined()
  })

  test('a connection that is never answered at all does not keep everyone waiting', async () => {
    const redis = await server()
    const between = await proxy(redis.port)
    // Its deadline is too long for a test.
    const hasty = { ...systemTime, after: (ms: number, callback: () => void) => systemTime.after(ms / 25, callback) }
    const opened = openRedis(`redis://127.0.0.1:${between.port}`, hasty)
    closing.push(opened.close)
    const store = redisCounterStore({ redis: opened, now })
    between.muteNext()
    const { failed } = await outcome(store.read('any', soon()))
    expect(failed).toMatchObject({ name: 'RedisUnreachable', code: 'TimeoutError' })
    await vi.waitFor(() => store.read('any', soon()), { timeout: 5_000 })
  })

  test('a row that was removed and made again has none of its old ETags', async () => {
    const { url } = await server()
    const store = storeAt(url)
    const { etag: old } = await store.writeIfMatch('ann', 'one', undefined, soon())
    expect(await redisAt(url).send(['DEL', 'tollgate:counters:{ann}'], soon())).toBe(1)
    const { etag } = await store.writeIfMatch('ann', 'one', undefined, soon())
    expect(etag).not.toBe(old)
    expect(await store.writeIfMatch('ann', 'two', old, soon())).toMatchObject({ etag: undefined })
    expect(await redisAt(url).send(['TTL', 'tollgate:counters:{ann}'], soon())).toBe(-1)
  })

  test('a forgotten script is sent again in full', async () => {
    const redis = await server()
    const store = storeAt(redis.url)
    const subject = unique('subject')
    const { etag } = await store.writeIfMatch(subject, 'one', undefined, soon())
    await redisAt(redis.url).send(['SCRIPT', 'FLUSH'], soon())
    expect(await store.writeIfMatch(subject, 'two', etag, soon())).toMatchObject({ etag: expect.any(String) })
    await redisAt(redis.url).send(['SCRIPT', 'FLUSH'], soon())
    expect((await store.read(subject, soon())).row?.text).toBe('two')
  })

  test('a write whose reply was lost rejects, has happened, and is not sent again', async () => {
    const redis = await server()
    const between = await proxy(redis.port)
    const store = storeAt(`redis://127.0.0.1:${between.port}`)
    const subject = unique('subject')
    const { etag } = await store.writeIfMatch(subject, 'before', undefined, soon())
    between.loseNextReply()
    const { failed, ms } = await outcome(store.writeIfMatch(subject, 'the lost one', etag, soon()))
    expect(failed).toBeInstanceOf(Error)
    expect(ms).toBeLessThan(DEADLINE_MS + LATE_MS)
    // A repetition would have come before this, on the new connection.
    await vi.waitFor(async () => {
      expect((await store.read(subject, soon())).row?.text).toBe('the lost one')
    })
    expect(between.sent().split('the lost one')).toHaveLength(2)
  })

  test('a call that is given up rejects at once, with the caller’s reason, and spares the others', async () => {
    const redis = await server()
    const store = storeAt(redis.url)
    await store.read('any', soon())
    const controller = new AbortController()
    const given = outcome(store.read('any', controller.signal))
    const other = outcome(store.read('any', soon()))
    const reason = new Error('no longer wanted')
    controller.abort(reason)
    expect((await given).failed).toBe(reason)
    expect((await other).failed).toBeUndefined()
  })

  test('the right password opens, and the wrong one is not repeated', async () => {
    const redis = await server({ password: 'p@ss/word' })
    await storeAt(redis.url).read('any', soon())
    const { failed } = await outcome(storeAt(redis.url.replace('p%40ss', 'SECRET')).read('any', soon()))
    expect(failed).toMatchObject({ name: 'RedisUnreachable', code: 'WRONGPASS' })
    expect(inspect(failed, { depth: null })).not.toContain('SECRET')
  })

  test('B1: what Redis itself answers is an outage with its code, and a command that is none is a fault', async () => {
    const { url } = await server()
    const redis = redisAt(url)
    const store = storeAt(url)
    await redis.send(['SET', 'tollgate:counters:{ann}', 'text'], soon())
    const { failed: wrong } = await outcome(store.read('ann', soon()))
    await redis.send(['CONFIG', 'SET', 'maxmemory', '1'], soon())
    const { failed: full } = await outcome(store.writeIfMatch('bob', 'one', undefined, soon()))
    expect([wrong, full]).toMatchObject([{ code: 'WRONGTYPE' }, { code: 'OOM' }])
    expect([wrong, full].map(isOutage)).toEqual([true, true])
    const { failed: fault } = await outcome(redis.send([1 as never], soon()))
    expect([fault, isOutage(fault)]).toEqual([expect.any(TypeError), false])
  })

  test('a closed store rejects', async () => {
    const redis = redisAt((await server()).url)
    const store = redisCounterStore({ redis, now })
    await store.read('any', soon())
    redis.close()
    expect((await outcome(store.read('any', soon()))).failed).toBeInstanceOf(Error)
  })
})

describe('what is no Redis', () => {
  test('a server that repeats what it was sent does not bring the password into the error', async () => {
    const echo = await fake((text, reply) =>
      reply(`-ERR unknown command, with args: ${text.replaceAll('\r\n', ' ')}\r\n`),
    )
    const { failed } = await outcome(storeAt(urlOf(echo, ':SECRET@')).read('any', soon()))
    expect(failed).toMatchObject({ name: 'RedisUnreachable', code: 'ERR' })
    expect(inspect(failed, { depth: null })).not.toContain('SECRET')
  })

  test('a server that says nothing, or nonsense, costs a call its deadline at most', async () => {
    for (const answer of ['', 'HTTP/1.1 400 Bad Request\r\n\r\n']) {
      const nonsense = await fake((_text, reply) => reply(answer))
      const { failed, ms } = await outcome(storeAt(urlOf(nonsense)).read('any', soon()))
      expect(failed).toBeInstanceOf(Error)
      expect(ms).toBeLessThan(DEADLINE_MS + LATE_MS)
    }
  })

  test('another protocol is refused without repeating the URL', () => {
    expect(() => openRedis('https://:SECRET@cache.example')).toThrow(/^(?!.*SECRET)/)
    expect(() => openRedis('SECRET')).toThrow(/^(?!.*SECRET)/)
  })
})

async function fake(answer: (text: string, reply: (text: string) => void) => void): Promise<Server> {
  const listening = createServer((socket) => {
    socket.on('error', () => socket.destroy())
    socket.on('data', (chunk) => answer(chunk.toString(), (text) => socket.write(text)))
    closing.push(() => socket.destroy())
  }).listen(0, '127.0.0.1')
  await once(listening, 'listening')
  closing.unshift(() => listening.close())
  return listening
}

function urlOf(listening: Server, credentials = ''): string {
  return `redis://${credentials}127.0.0.1:${(listening.address() as AddressInfo).port}`
}
