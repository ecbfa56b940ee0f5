import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BARE_HOST, ROOT, type RunningHost, rawStatus, startHost } from '../support/host.ts'
import { rawConnection } from '../support/raw-connection.ts'

const start = (settings: Record<string, string> = {}) =>
  startHost({ APP_ROOT: join(ROOT, 'test/fixtures/app'), EVERY: '00:00:01', ...settings }, BARE_HOST)
const keysOf = (host: RunningHost) => ({
  function: /function key (\S+)/.exec(host.output())?.[1] ?? '',
  master: /master key (\S+)/.exec(host.output())?.[1] ?? '',
})

/* Whether answers are streamed or not, all of this is the same. */
describe.each([
  ['that streams', { STREAMED: 'yes' }],
  ['that doesn’t stream', {} as Record<string, string>],
])('the local host, with an app %s', (_which, settings) => {
  let host: RunningHost
  beforeAll(async () => {
    host = await start(settings)
  })
  afterAll(() => host?.stop())
  const get = (path: string, init: RequestInit = {}) => fetch(`${host.url}${path}`, init)

  test('gives a function its request as the worker does', async () => {
    const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
    const response = await get('/v1/echo/caf%C3%A9/7?a=1&b=%26', {
      method: 'POST',
      body: 'text',
      headers: { 'x-test': 'x', traceparent },
    })
    expect(response.headers.get('x-answer')).toBe('yes')
    expect(await response.json()).toEqual({
      method: 'POST',
      url: `${host.url}/v1/echo/caf%C3%A9/7?a=1&b=%26`,
      params: { word: 'café', count: '7' },
      query: { a: '1', b: '&' },
      header: 'x',
      forwardedFor: '127.0.0.1',
      traceparent,
      body: 'text',
      invocation: 36,
    })
  })

  test.each([
    ['an optional part that is there', '/v1/echo/a/1/c', 200],
    ['a constraint that is not met', '/v1/echo/a/one', 404],
    ['a part too many', '/v1/echo/a/1/c/d', 404],
    ['a part too few', '/v1/echo/a', 404],
    ['another case, as in the cloud', '/V1/Echo/a/1', 200],
    ['the name, where there is no route', '/v1/unrouted', 201],
    ['no prefix', '/unrouted', 404],
    ['a broken escape', '/v1/echo/%zz/1', 404],
  ])('routes %s', async (_what, path, status) => {
    expect((await get(path)).status).toBe(status)
  })

  test('prefers a literal route, and takes the rest of a path', async () => {
    expect(await (await get('/v1/echo/word/literal')).text()).toBe('the literal route')
    expect(await (await get('/v1/files/a/b%2Fc')).json()).toEqual({ path: 'a/b/c' })
  })

  test('answers 404 to a method that the function does not have, as the cloud does', async () => {
    expect((await get('/v1/unrouted', { method: 'POST' })).status).toBe(404)
  })

  test('returns bytes, web responses and nothing as they are', async () => {
    expect(new Uint8Array(await (await get('/v1/unrouted')).arrayBuffer())).toEqual(new Uint8Array([0, 255, 10]))
    const web = await get('/v1/webResponse')
    expect([web.status, web.headers.get('x-web'), await web.text()]).toEqual([202, '1', 'web'])
    expect(await (await get('/v1/nothing')).text()).toBe('')
  })

  test('answers an empty 500 for a function that throws, and stays up', async () => {
    const response = await get('/v1/throws')
    expect([response.status, await response.text()]).toEqual([500, ''])
    expect((await get('/v1/unrouted')).status).toBe(201)
  })

  test('lets nobody wait for a body that fails half-way', async () => {
    const response = await get('/v1/breaksHalfWay')
    if (settings.STREAMED) await expect(response.text()).rejects.toThrow()
    else expect([response.status, await response.text()]).toEqual([500, ''])
  })

  test.each([
    ['//evil.example/v1/unrouted', 404],
    ['http://evil.example/v1/unrouted', 400],
    ['http://localhost:1/v1/unrouted', 201],
    ['*', 400],
  ])('answers the request target %s with %i', async (path, status) => {
    expect(await rawStatus(host, { path })).toBe(status)
  })

  test.each([
    ['keyed', 'none', 401],
    ['keyed', 'wrong', 401],
    ['keyed', 'function', 200],
    ['keyed', 'master', 200],
    ['administered', 'none', 401],
    ['administered', 'function', 401],
    ['administered', 'master', 200],
  ])('answers the function %s, called with the key %s, with %i', async (name, which, status) => {
    const key = { none: '', wrong: 'x', ...keysOf(host) }[which] ?? ''
    const byHeader = await get(`/v1/${name}`, { headers: key === '' ? {} : { 'x-functions-key': key } })
    const byParameter = await get(`/v1/${name}?code=${encodeURIComponent(key)}`)
    expect([byHeader.status, byParameter.status]).toEqual([status, status])
  })

  test('sends cookies, each in a header of its own', async () => {
    const { headers } = await get('/v1/withCookies')
    expect(headers.getSetCookie()).toEqual([
      'a=1%202; Max-Age=60; Path=/; HttpOnly; SameSite=Strict',
      'b=2; Expires=Thu, 01 Jan 2026 00:00:00 GMT',
    ])
  })

  test.each(['HEAD', 'OPTIONS', 'PUT'])('takes %s where the function names it', async (method) => {
    const response = await get('/v1/anyMethod', { method })
    expect([response.status, response.headers.get('x-method')]).toEqual([200, method])
    expect((await get('/v1/unrouted', { method })).status).toBe(404)
  })

  test('takes a large body whole, and refuses one over the host’s bound', async () => {
    const mib = 1024 * 1024
    const response = await get('/v1/echo/a/1', { method: 'POST', body: 'x'.repeat(8 * mib) })
    expect(((await response.json()) as { body: string }).body).toHaveLength(8 * mib)
    const tooLarge = rawStatus(host, { path: '/v1/echo/a/1', method: 'POST' }, Array(101).fill('x'.repeat(mib)))
    // The connection may close before all of it could be sent.
    expect(await tooLarge.catch((error) => error.code)).toBeOneOf([413, 'ECONNRESET', 'EPIPE'])
    expect((await get('/v1/unrouted')).status).toBe(201)
  })

  describe('J1: a target that begins like a host', () => {
    test.each(['//v1/unread', '///v1/unread', '/\\\\v1/unread', 'http://localhost:1//v1/unread'])(
      '%s reaches our function, and no other machine',
      async (path) => {
        expect(await rawStatus(host, { path, method: 'POST' }, ['text'])).toBe(418)
      },
    )

    test.each(['127.0.0.1/v1/unread?', '127.0.0.1#', 'a@127.0.0.1', 'a:b@localhost', '127.0.0.1\\\\x'])(
      'Host: %s is no host',
      async (name) => {
        expect(await rawStatus(host, { path: '/v1/unrouted', headers: { host: name } })).toBe(421)
      },
    )
  })

  describe('J2: an answer that comes before the request’s body has', () => {
    const MIB = 1024 * 1024
    const head = (path: string, ...headers: string[]) =>
      [`POST ${path} HTTP/1.1`, 'host: 127.0.0.1', ...headers, '', ''].join('\r\n')
    const next = 'GET /v1/unrouted HTTP/1.1\r\nhost: 127.0.0.1\r\n\r\n'

    test.each<[string, number]>([
      ['/v1/none', 404],
      // Without streaming the host reads a body whole before it asks the function.
      ...(settings.STREAMED
        ? ([
            ['/v1/unread', 418],
            ['/v1/readsALittle', 418],
          ] satisfies [string, number][])
        : []),
    ])('to %s says that the connection closes, and it does', async (path, status) => {
      const connection = rawConnection(host.url)
      connection.write(head(path, `content-length: ${8 * MIB}`) + 'x'.repeat(2 * MIB))
      expect(await connection.head()).toMatch(
        new RegExp(`^HTTP/1.1 ${status} [\\s\\S]*\\r\\nconnection: close\\r\\n`, 'i'),
      )
      connection.write('x'.repeat(6 * MIB))
      expect(await connection.ended()).toMatch(/\r\n\r\n\S/)
    })

    test('to a client that stops sending ends the connection soon', async () => {
      const connection = rawConnection(host.url)
      const asked = performance.now()
      connection.write(`${head('/v1/none', 'transfer-encoding: chunked')}ffff\r\nx`)
      expect(await connection.head()).toMatch(/^HTTP\/1.1 404 [\s\S]*connection: close/i)
      await connection.ended()
      expect(performance.now() - asked).toBeLessThan(5_000)
    })

    test('leaves the connection as it was where the body has come', async () => {
      const connection = rawConnection(host.url)
      for (const path of ['/v1/unread', '/v1/none', '/v1/unread']) {
        connection.write(`${head(path, 'content-length: 4')}text`)
        expect(await connection.head()).toMatch(/^HTTP\/1.1 4\d\d [\s\S]*connection: keep-alive/i)
      }
      connection.write(next)
      expect(await connection.head()).toMatch(/^HTTP\/1.1 201 /)
      connection.close()
    })

    test('spoils no connection that another request is sent on', async () => {
      const length = 3 * MIB
      const body = `${length.toString(16)}\r\n${'x'.repeat(length)}\r\n0\r\n\r\n`
      for (let round = 0; round < 4; round += 1) {
        const connection = rawConnection(host.url)
        connection.write(head('/v1/readsALittle', 'transfer-encoding: chunked') + body)
        expect(await connection.head()).toMatch(/^HTTP\/1.1 418 /)
        const asked = performance.now()
        for (let other = 0; other < 4; other += 1) expect((await get('/v1/unrouted')).status).toBe(201)
        expect(performance.now() - asked).toBeLessThan(4_000)
        connection.close()
      }
    })
  })

  test('gives no page of another origin leave to read, unless told to', async () => {
    const response = await get('/v1/unrouted', { headers: { origin: 'https://page.example' } })
    expect([response.status, response.headers.get('access-control-allow-origin')]).toEqual([201, null])
  })

  test('runs the hooks around the function', async () => {
    await get('/v1/nothing')
    await expect
      .poll(() => host.output())
      .toMatch(/Function.nothing: before nothing[\s\S]*Function.nothing: after nothing/)
    expect(host.output()).toContain('started in a worker')
  })

  test.each([
    ['evil.example', 421],
    ['localhost.evil.example', 421],
    ['localhost', 201],
    ['[::1]:80', 201],
    ['127.0.0.1:9', 201],
  ])('answers Host: %s with %i, so that no page can reach it by another name', async (name, status) => {
    expect(await rawStatus(host, { path: '/v1/unrouted', headers: { host: name } })).toBe(status)
  })
})

describe('timers', () => {
  let host: RunningHost
  beforeAll(async () => {
    host = await start()
  })
  afterAll(() => host?.stop())
  const runs = async () => (await fetch(`${host.url}/v1/runs`)).json() as Promise<Record<string, number>>
  const post = (name: string, headers: Record<string, string> = {}) =>
    fetch(`${host.url}/admin/functions/${name}`, { method: 'POST', headers, body: '{"input":""}' })

  test('run on their schedules, from a setting too, and at start where that is asked for', async () => {
    expect((await runs()).startup).toBe(1)
    await expect.poll(async () => (await runs()).tick, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
    await expect.poll(async () => (await runs()).bySetting, { timeout: 10_000 }).toBeGreaterThanOrEqual(2)
  })

  test('don’t overlap', async () => {
    await expect.poll(async () => (await runs()).slow, { timeout: 15_000 }).toBeGreaterThanOrEqual(2)
    expect((await runs()).mostAtOnce).toBe(1)
  })

  test('run on demand, and are told when they are due', async () => {
    expect((await post('startup')).status).toBe(202)
    await expect.poll(async () => (await runs()).startup).toBe(2)
    const { info } = (await runs()) as unknown as { info: { isPastDue: boolean; scheduleStatus: { next: string } } }
    expect([info.isPastDue, Date.parse(info.scheduleStatus.next) > Date.now() - 1_000]).toEqual([false, true])
  })

  test('that fail are logged, and hurt nothing', async () => {
    expect((await post('fails')).status).toBe(202)
    await expect.poll(() => host.output()).toContain('the timer failed')
    expect((await runs()).startup).toBeGreaterThan(0)
  })

  test.each([
    ['unknown', 404],
    ['unrouted', 400],
    ['%zz', 404],
  ])('%s is no timer: %i', async (name, status) => {
    expect((await post(name)).status).toBe(status)
  })

  test('are not run by a web page', async () => {
    expect((await post('startup', { origin: 'https://page.example' })).status).toBe(403)
    expect((await post('startup', { origin: 'null' })).status).toBe(403)
  })

  test('without the setting that holds their schedule stop the start, and say which', async () => {
    await expect(start({ EVERY: 'nonsense' })).rejects.toThrow("bySetting: the schedule 'nonsense'")
  })
})

describe('the admin API', () => {
  test('tells the state and the functions', async () => {
    const host = await start()
    const get = async (path: string) => (await fetch(`${host.url}/admin/${path}`)).json()
    expect(await get('host/status')).toMatchObject({ state: 'Running' })
    const functions = (await get('functions')) as { name: string; config: { bindings: { type: string }[] } }[]
    expect(functions.map(({ name }) => name)).toEqual(expect.arrayContaining(['echo', 'tick', 'queued']))
    expect(await get('functions/echo')).toMatchObject({
      invoke_url_template: `${host.url}/v1/echo/{word}/{count:int}/{rest?}`,
    })
    await host.stop()
  })

  test('asks for the master key when it can be reached from other machines', async () => {
    const host = await start({ HOST: '0.0.0.0' })
    const url = `http://127.0.0.1:${new URL(host.url).port}/admin/host/status`
    const { master, function: functionKey } = keysOf(host)
    const status = async (key: string) => (await fetch(url, { headers: { 'x-functions-key': key } })).status
    expect([await status(''), await status(functionKey), await status(master)]).toEqual([401, 401, 200])
    await host.stop()
  })
})

describe('CORS', () => {
  const PAGE = 'https://page.example'
  const preflight = {
    method: 'OPTIONS',
    headers: { origin: PAGE, 'access-control-request-method': 'POST', 'access-control-request-headers': 'x-api-key' },
  }

  test.each([{ STREAMED: 'yes' }, {}] as Record<string, string>[])(
    'lets the allowed origin read, with %j',
    async (settings) => {
      const host = await start({ CORS: PAGE, CORS_CREDENTIALS: 'true', ...settings })
      const asked = await fetch(`${host.url}/v1/echo/a/1`, preflight)
      expect([asked.status, Object.fromEntries(asked.headers)]).toEqual([
        204,
        expect.objectContaining({
          'access-control-allow-origin': PAGE,
          'access-control-allow-methods': 'POST',
          'access-control-allow-headers': 'x-api-key',
          'access-control-allow-credentials': 'true',
          vary: 'Origin',
        }),
      ])
      const read = await fetch(`${host.url}/v1/unrouted`, { headers: { origin: PAGE } })
      expect([read.status, read.headers.get('access-control-allow-origin')]).toEqual([201, PAGE])
      const varying = await fetch(`${host.url}/v1/webResponse`, { headers: { origin: PAGE } })
      expect(varying.headers.get('vary')).toBe('Origin, accept')
      const other = await fetch(`${host.url}/v1/unrouted`, { headers: { origin: 'https://other.example' } })
      expect([other.status, other.headers.get('access-control-allow-origin')]).toEqual([201, null])
      await host.stop()
    },
  )

  test('with * lets any', async () => {
    const host = await start({ CORS: '*' })
    const read = await fetch(`${host.url}/v1/unrouted`, { headers: { origin: PAGE } })
    expect(read.headers.get('access-control-allow-origin')).toBe('*')
    expect((await fetch(`${host.url}/admin/functions/tick`, { ...preflight })).status).toBe(403)
    await host.stop()
  })
})

describe('the end', () => {
  test.each(['SIGTERM', 'SIGINT'] as const)(
    '%s: the app is told, and what is under way is answered while its hook waits',
    async (signal) => {
      const host = await start({ STREAMED: 'yes', TERMINATE_MS: '1500' })
      const under = fetch(`${host.url}/v1/takesLong`)
      await expect.poll(() => host.output()).toContain('before takesLong')
      const gone = host.stop(signal)
      expect(await (await under).text()).toBe('whole')
      await gone
      expect(host.output()).toContain('the app was told to end')
      expect(host.process.exitCode).toBe(0)
    },
  )

  test('cuts what is under way when the hook is over, as the Functions worker does', async () => {
    const host = await start({ STREAMED: 'yes' })
    const under = fetch(`${host.url}/v1/takesLong`).then(
      () => 'answered',
      () => 'broken',
    )
    await expect.poll(() => host.output()).toContain('before takesLong')
    await host.stop()
    expect([await under, host.process.exitCode]).toEqual(['broken', 0])
    expect(host.output()).toContain('the app was told to end')
    expect(host.output()).not.toContain('after takesLong')
  })

  test('comes at once by a second signal', async () => {
    const host = await start({ TERMINATE_MS: '3000' })
    const under = fetch(`${host.url}/v1/endless`).catch(() => 'broken')
    await expect.poll(() => host.output()).toContain('before endless')
    host.process.kill('SIGTERM')
    await expect.poll(() => fetch(host.url).catch(() => 'closed')).toBe('closed')
    await host.stop('SIGTERM')
    expect([await under, host.process.exitCode]).toEqual(['broken', 1])
  })
})
