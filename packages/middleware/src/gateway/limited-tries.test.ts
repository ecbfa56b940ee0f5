import { expect, test } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import type { Authenticated } from '../auth/index.ts'
import { localLimiter } from '../limits/index.ts'
import { type GatewayRequest, jsonResponse, type Middleware, pipeline } from '../pipeline/index.ts'
import { limitedTries } from './limited-tries.ts'

let now = 0

/** A network may fail three times, and once more a second. */
function gate() {
  now = 0
  const size = { capacity: 3, refill: 1, periodMs: 1_000 }
  const guard = localLimiter({ each: size, total: { ...size, capacity: 1_000 }, now: () => now })
  const authenticate: Middleware<{}, Authenticated<'admin'>> = async ({ headers }, _context, next) => {
    const key = headers.get('x-api-key')
    if (key === null) {
      const challenge = headers.get('authorization') === null ? 'Bearer error="invalid_token"' : 'Bearer'
      const told = { 'www-authenticate': challenge }
      return { kind: 'refusal', code: 'invalid_api_key', status: 401, message: '', headers: told }
    }
    return next({ consumer: { id: 'operator', plan: 'p', key }, scope: 'admin' })
  }
  const handler = pipeline()
    .use(limitedTries(authenticate, guard))
    .handle(() => jsonResponse(200, {}))
  return async (clientAddress: string, key?: string, nothing = false) => {
    const headers = new Headers(key === undefined ? (nothing ? { authorization: '' } : {}) : { 'x-api-key': key })
    const request = { method: 'GET', url: new URL('http://h/'), headers, body: null, clientAddress }
    const signal = new AbortController().signal
    return (await handler({ ...request, signal } as GatewayRequest, baseContext())).status
  }
}

test('a network’s failed tries are bounded, and come back with time', async () => {
  const ask = gate()
  const tries = []
  for (let at = 0; at < 5; at += 1) tries.push(await ask('192.0.2.1'))
  expect(tries).toEqual([401, 401, 401, 429, 429])
  expect(await ask('192.0.2.2')).toBe(401)
  now += 1_000
  expect([await ask('192.0.2.1'), await ask('192.0.2.1')]).toEqual([401, 429])
})

test('an address within one IPv6 network is no other network', async () => {
  const ask = gate()
  for (let at = 0; at < 3; at += 1) await ask(`2001:db8::${at}`)
  expect(await ask('2001:db8::ffff')).toBe(429)
})

test('who is let in is let in, whatever others of its network have tried, and were it the first request here', async () => {
  const ask = gate()
  for (let at = 0; at < 4; at += 1) await ask('192.0.2.1')
  expect([await ask('192.0.2.1'), await ask('192.0.2.1', 'good')]).toEqual([429, 200])
  // It gave nothing back that others had used up.
  expect(await ask('192.0.2.1')).toBe(429)
})

test('who sends no credential has tried none', async () => {
  const ask = gate()
  for (let at = 0; at < 20; at += 1) expect(await ask('192.0.2.1', undefined, true)).toBe(401)
})

test('what is let in costs no try', async () => {
  const ask = gate()
  for (let at = 0; at < 20; at += 1) expect(await ask('192.0.2.1', `key ${at}`)).toBe(200)
})
