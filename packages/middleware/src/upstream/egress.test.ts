import { once } from 'node:events'
import { createServer } from 'node:http'
import type { AddressInfo, LookupFunction } from 'node:net'
import { afterEach, describe, expect, test, vi } from 'vitest'
import { baseContext } from '../../../../test/support/base-context.ts'
import { calledAt, failureTold, modelCall, statusOf, targetAt } from '../../../../test/support/model-call.ts'
import { startUpstream, type Upstream } from '../../../../test/support/upstream.ts'
import { NOTHING_SPENT, systemTime } from '../pipeline/index.ts'
import { connectionCheck } from '../policy/index.ts'
import { type Candidate, connect, retryWithinBudget, upstream, weighted } from './index.ts'

/* The address of each connection, checked where it is made: over real sockets. */

const closing: (() => unknown)[] = []
afterEach(async () => {
  vi.unstubAllEnvs()
  for (const close of closing.splice(0)) await close()
})

async function newUpstream(): Promise<Upstream & { readonly port: number }> {
  const server = await startUpstream()
  closing.push(() => server.close())
  return Object.assign(server, { port: Number(new URL(server.origin).port) })
}

/** Names that stand for one address after the other; the last one for good. */
function standingFor(...addresses: readonly string[]) {
  const asked: string[] = []
  const lookup = ((hostname: string, options: { readonly all?: boolean }, callback: (...found: unknown[]) => void) => {
    const address = addresses[Math.min(asked.length, addresses.length - 1)] ?? ''
    asked.push(hostname)
    const family = address.includes(':') ? 6 : 4
    if (options.all) callback(null, [{ address, family }])
    else callback(null, address, family)
  }) as unknown as LookupFunction
  return { lookup, asked }
}

function newHandler(hosts: readonly string[], lookup?: LookupFunction, firstByteMs = 2_000) {
  const check = connectionCheck({ hosts: () => hosts, ...(lookup && { lookup }) })
  const transport = connect({ token: () => Promise.reject(new Error('no token is needed')), check })
  return upstream({ transport, firstByteMs, totalMs: 5_000, idleMs: 2_000, streamTotalMs: 5_000 })
}

async function ask(baseUrl: string, handler: ReturnType<typeof upstream>, streamed = false) {
  const lines: Record<string, unknown>[] = []
  const context = baseContext({ log: (level, event, fields) => lines.push({ level, event, ...fields }) })
  const call = modelCall({ streamed })
  const target = targetAt({ kind: 'openai', baseUrl, model: 'm', key: 'sk' })
  const reply = await handler(call, { ...context, ...calledAt(call, target) })
  return { reply, status: statusOf(reply), failure: failureTold(reply, context), lines }
}

describe('a host on an address that is not public', () => {
  test.each([false, true])('is not connected to, and costs nothing (streamed: %s)', async (streamed) => {
    const server = await newUpstream()
    let connections = 0
    const { lookup, asked } = standingFor('127.0.0.1')
    const watched = ((...found: Parameters<LookupFunction>) => {
      connections += 1
      lookup(...found)
    }) as LookupFunction
    const baseUrl = `http://llm.example:${server.port}/v1`
    const { reply, status, failure, lines } = await ask(baseUrl, newHandler([], watched), streamed)
    expect(status).toBe(502)
    expect(failure).toEqual({ code: 'address_not_allowed', unspent: true })
    expect(reply.kind === 'refused' && reply.attempts[0]?.spend).toBe(NOTHING_SPENT)
    expect(lines).toMatchObject([
      {
        level: 'error',
        event: 'upstream failed',
        fault: 'ConnectionFailed',
        message: expect.stringMatching(
          /^No connection to llm\.example:\d+: 'llm\.example' is .*TOLLGATE_TARGET_HOSTS\.$/,
        ),
        url: `http://llm.example:${server.port}/v1/chat/completions`,
      },
    ])
    expect([server.calls.length, asked.length, connections]).toEqual([0, 1, 1])
  })

  test('is asked where the operator listed it', async () => {
    const server = await newUpstream()
    const { lookup, asked } = standingFor('127.0.0.1')
    const handler = newHandler(['*.example'], lookup)
    const baseUrl = `http://llm.example:${server.port}/v1`
    for (let at = 0; at < 20; at += 1) expect((await ask(baseUrl, handler)).status).toBe(200)
    expect(server.calls[0]?.headers.host).toBe(`llm.example:${server.port}`)
    // One look-up, for the one connection that all of them went over.
    expect(asked).toEqual(['llm.example'])
  })

  test('is refused as an address in the URL, which no name is looked up for', async () => {
    const server = await newUpstream()
    const { lookup, asked } = standingFor('1.1.1.1')
    for (const host of ['127.0.0.1', '[::ffff:127.0.0.1]', '0', '2130706433']) {
      const { failure } = await ask(`http://${host}:${server.port}/v1`, newHandler([], lookup))
      expect(failure).toEqual({ code: 'address_not_allowed', unspent: true })
    }
    expect([server.calls.length, asked.length]).toEqual([0, 0])
    expect((await ask(server.baseUrl, newHandler(['127.0.0.1'], lookup))).status).toBe(200)
  })

  test('leaves requests to the model’s other target, without a try again', async () => {
    const server = await newUpstream()
    const { lookup, asked } = standingFor('127.0.0.1')
    const check = connectionCheck({ hosts: () => ['near.example'], lookup })
    const transport = connect({ token: () => Promise.reject(new Error('no token is needed')), check })
    const balancer = weighted({ time: systemTime, random: () => 0, log: () => {} })
    const retry = retryWithinBudget({ time: systemTime, random: () => 0 })
    const bounds = { firstByteMs: 2_000, totalMs: 5_000, idleMs: 2_000, streamTotalMs: 5_000 }
    const handler = upstream({ transport, balancer, retry, ...bounds })
    const at = (host: string, priority: number) =>
      targetAt(
        { kind: 'openai', baseUrl: `http://${host}:${server.port}/v1`, model: 'm', key: 'sk' },
        { id: host, priority },
      )
    const call = modelCall()
    const called = calledAt(call, at('far.example', 1), at('near.example', 2))
    const [first, ...others] = called.routed.candidates
    const ranked = (candidate: Candidate): Candidate => ({ ...candidate, rank: candidate.target.priority })
    const context = { ...baseContext(), ...called, reserved: { attempts: 1, output: undefined } }
    const candidates: [Candidate, ...Candidate[]] = [ranked(first), ...others.map(ranked)]
    const routed = { ...called.routed, candidates }
    const reply = await handler(call, { ...context, routed })
    expect(statusOf(reply)).toBe(200)
    expect(reply.kind === 'answer' && reply.attempts.map(({ target, failure }) => [target, failure?.code])).toEqual([
      ['far.example', 'address_not_allowed'],
      ['near.example', undefined],
    ])
    expect(asked).toEqual(['far.example', 'near.example'])
    expect(server.calls).toHaveLength(1)
  })

  test('is refused by the system’s own names, too', async () => {
    const server = await newUpstream()
    const { failure } = await ask(server.baseUrl.replace('127.0.0.1', 'localhost'), newHandler([]))
    expect(failure).toMatchObject({ code: 'address_not_allowed' })
    const { status } = await ask(server.baseUrl.replace('127.0.0.1', 'localhost'), newHandler(['localhost']))
    expect(status).toBe(200)
  })
})

test('a name that changes its address between two connections reaches no other than the one that was checked', async () => {
  const server = await newUpstream()
  // The first answer is public, and nothing is there: the connection waits for it, and is not let go to the second one.
  const { lookup, asked } = standingFor('192.0.1.1', '127.0.0.1')
  const handler = newHandler([], lookup, 300)
  const baseUrl = `http://rebound.example:${server.port}/v1`
  const first = await ask(baseUrl, handler)
  expect(['timeout', 'connection_failed']).toContain(first.failure?.code)
  expect(asked).toHaveLength(1)
  const second = await ask(baseUrl, newHandler([], lookup))
  expect(second.failure).toMatchObject({ code: 'address_not_allowed' })
  expect(server.calls).toHaveLength(0)
})

describe('with a proxy', () => {
  async function newProxy(): Promise<{ readonly url: string; readonly asked: string[] }> {
    const asked: string[] = []
    const server = createServer((_request, response) => response.writeHead(502).end())
    server.on('connect', ({ url }, socket) => {
      asked.push(String(url))
      socket.end('HTTP/1.1 502 Bad Gateway\r\n\r\n')
    })
    await once(server.listen(0, '127.0.0.1'), 'listening')
    closing.push(() => server.close().closeAllConnections())
    return { url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`, asked }
  }

  test('the proxy looks names up, and a host that NO_PROXY lists is checked as ever', async () => {
    const proxy = await newProxy()
    vi.stubEnv('HTTPS_PROXY', proxy.url)
    vi.stubEnv('NO_PROXY', 'near.example')
    const { lookup, asked } = standingFor('10.0.0.5')
    const far = await ask('https://llm.example/v1', newHandler([], lookup))
    expect(far.failure).toMatchObject({ code: 'connection_failed' })
    expect([proxy.asked, asked]).toEqual([['llm.example:443'], []])
    const near = await ask('https://near.example/v1', newHandler([], lookup))
    expect(near.failure).toMatchObject({ code: 'address_not_allowed' })
    expect([proxy.asked.length, asked]).toEqual([1, ['near.example']])
    // An address that is written out needs no look-up to be seen.
    expect((await ask('https://169.254.169.254/v1', newHandler([], lookup))).failure?.code).toBe('address_not_allowed')
    expect(proxy.asked).toHaveLength(1)
  })
})
