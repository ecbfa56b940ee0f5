import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { BARE_HOST, ROOT, type RunningHost, rawStatus, startHost } from '../support/host.ts'

let host: RunningHost
beforeAll(async () => {
  host = await startHost({ APP_ROOT: join(ROOT, 'test/fixtures/app') }, BARE_HOST)
})
afterAll(() => host?.stop())

const get = (path: string, init: RequestInit = {}) => fetch(`${host.url}${path}`, init)

describe('the local host', () => {
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

  test.each([
    ['//evil.example/v1/unrouted', 404],
    ['http://evil.example/v1/unrouted', 400],
    ['http://localhost:1/v1/unrouted', 201],
    ['*', 400],
  ])('answers the request target %s with %i', async (path, status) => {
    expect(await rawStatus(host, { path })).toBe(status)
  })

  test('says plainly what it does not serve yet', async () => {
    const response = await get('/v1/keyed')
    expect(response.status).toBe(501)
    expect(await response.text()).toContain("'keyed' has authLevel 'function'")
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
