import { randomBytes } from 'node:crypto'
import { request } from 'node:http'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/*
 * Under which invocation a line stands in the log. The local host, as the real one, names the function of a line that comes
 * by its invocation's own log, and drops a line of an invocation that is over.
 */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      // Without a limit on all together, which 20 requests at once can meet.
      TOLLGATE_POLICY: 'test/contract/operations.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk',
      TOLLGATE_CACHE_DEADLINE_MS: '5000',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})

const post = (key: string, prompt: string, headers: Readonly<Record<string, string>> = {}) =>
  fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key, ...headers },
    body: JSON.stringify({ prompt, stream: true }),
  })

describe('H5: the line of a streamed request', () => {
  test('is its invocation’s, of 200 requests 200 times, though its function has returned', async () => {
    const key = await newKey(open, unique('c'), 'ample')
    const run = unique('run')
    upstream.reply = streaming(['a', 'b'])
    for (let batch = 0; batch < 10; batch += 1) {
      const prompts = Array.from({ length: 20 }, () => unique('p'))
      const answers = await Promise.all(
        prompts.map((prompt) => post(key, prompt, { 'x-request-id': `${run}-${prompt}` })),
      )
      for (const answer of answers) expect(await answer.text()).toContain('"success"')
    }
    const lines = () =>
      host
        .output()
        .split('\n')
        .filter((line) => line.includes(run) && line.includes('"event":"request"'))
    await expect.poll(() => lines().length, { timeout: 10_000 }).toBe(200)
    const itsOwn = /^information Function\.generate: \{"event":"request".*"stream":"complete"/
    expect(lines().filter((line) => !itsOwn.test(line))).toEqual([])
    expect(host.output()).not.toContain('Unexpected call to')
  })

  test('and so is each other line of a stream that breaks half-way; all name its trace', async () => {
    const key = await newKey(open, unique('c'), 'ample')
    const [id, traceId] = [unique('id'), randomBytes(16).toString('hex')]
    upstream.reply = streaming(['a', 'b'], { end: (response) => response.destroy() })
    const answer = await post(key, unique('p'), {
      'x-request-id': id,
      traceparent: `00-${traceId}-b7ad6b7169203331-01`,
    })
    await answer.text().catch(() => '')
    const lines = () =>
      host
        .output()
        .split('\n')
        .filter((line) => line.includes(id))
    await expect.poll(() => lines().some((line) => line.includes('"event":"request"')), { timeout: 10_000 }).toBe(true)
    expect(lines().length).toBeGreaterThan(1)
    const itsOwn =
      /^(?:information|warning|error) Function\.generate: \{"event":"[^"]+","requestId":"[^"]+","traceId":"([\da-f]+)"/
    expect(lines().map((line) => itsOwn.exec(line)?.[1])).toEqual(lines().map(() => traceId))
  })

  test('and one that comes after its invocation’s end goes to the console, and names the invocation', async () => {
    const key = await newKey(open, unique('c'), 'money')
    const [prompt, told] = [unique('same'), Promise.withResolvers<void>()]
    upstream.calls.length = 0
    upstream.reply = streaming(['a', 'b'], { before: (index) => (index === 1 ? told.promise : undefined) })
    const leader = request(`${host.url}/api/generate`, { method: 'POST', headers: { 'x-api-key': key } })
    leader.on('error', () => {})
    const begun = new Promise<void>((resolve) =>
      leader.on('response', (response) => response.on('error', () => {}).once('data', () => resolve())),
    )
    leader.end(JSON.stringify({ prompt, stream: true }))
    await begun
    const follower = await post(key, prompt)
    leader.destroy()
    await expect.poll(() => host.output(), { timeout: 10_000 }).toContain('"stream":"client_left"')
    told.resolve()
    await follower.text()
    expect(upstream.calls).toHaveLength(1)
    const late = /^\{"event":"call of a request that had left".*"invocationId":"[0-9a-f-]{36}"\}$/m
    await expect.poll(() => host.output(), { timeout: 10_000 }).toMatch(late)
  })
})
