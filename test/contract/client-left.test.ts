import { type ClientRequest, type IncomingMessage, request } from 'node:http'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { type StorageProxy, startStorageProxy } from '../support/storage-proxy.ts'
import { openAccount } from '../support/tables.ts'
import { startUpstream, streaming, type Upstream } from '../support/upstream.ts'

/* A client that closes its connection is no failure of the gateway's, wherever its request is at that moment. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let proxy: StorageProxy
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  proxy = await startStorageProxy(inject('azurite'))
  host = await startHost(
    {
      TOLLGATE_STORAGE: proxy.connectionString,
      TOLLGATE_POLICY: 'test/contract/limits.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await proxy?.close()
  await upstream?.close()
})
beforeEach(() => {
  proxy.heal()
  upstream.calls.length = 0
  // Never an answer.
  upstream.reply = () => {}
})

/** A POST that is under way, by a client that can leave. */
function send(id: string, key: string, body: string, more: Record<string, string> = {}): ClientRequest {
  const sent = request(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key, 'x-request-id': id, ...more },
  })
  sent.on('error', () => {})
  if (more['content-length'] === undefined) sent.end(body)
  else sent.write(body)
  return sent
}

const bodyOf = (prompt: string, stream = false) => JSON.stringify({ prompt, stream })
const linesOf = (id: string) => host.output().match(new RegExp(`^.*"requestId":"${id}".*$`, 'gm')) ?? []
/** For a busy machine. */
const PATIENT = { timeout: 10_000 }
const isLeft = { status: 499, refusal: 'client_left' }

/** The request's own line, once it is there; no line of the request may be an error. */
async function lineOf(id: string): Promise<Record<string, unknown>> {
  const ofRequest = () => linesOf(id).find((line) => line.includes('"event":"request"'))
  await expect.poll(ofRequest, PATIENT).toBeDefined()
  const errors = host.output().match(/^error .*$/gm) ?? []
  expect(errors).toEqual([])
  expect(ofRequest()).toMatch(/^information Function\.generate: /)
  return JSON.parse(ofRequest()?.replace(/^[^{]*/, '') ?? '')
}

describe('H1: a client that leaves is logged as 499, and as no error', () => {
  test('while it sends its body', async () => {
    const [id, key] = [unique('upload'), await newKey(open, unique('c'), 'plenty')]
    await generate(host, '{}', { 'x-api-key': key })
    const sent = send(id, key, '{"prompt":', { 'content-length': '100000' })
    await expect.poll(() => sent.socket?.bytesWritten ?? 0, PATIENT).toBeGreaterThan(100)
    await new Promise((resolve) => setTimeout(resolve, 100))
    sent.destroy()
    expect(await lineOf(id)).toMatchObject(isLeft)
  })

  test.each([
    ['while its key is looked up', 'tollgatekeys'],
    ['while its limits are checked', 'tollgatecounters'],
  ])('%s', async (_where, table) => {
    const [id, key] = [unique('waiting'), await newKey(open, unique('c'), 'slot')]
    const slow = proxy.inject({ kind: 'latency', ms: 1_000 }, { table })
    const sent = send(id, key, bodyOf(id))
    await expect.poll(() => slow.hits(), PATIENT).toBeGreaterThan(0)
    sent.destroy()
    expect(await lineOf(id)).toMatchObject(isLeft)
    expect(upstream.calls).toEqual([])
    slow.remove()
    // It took no slot along: the plan has one.
    upstream.reply = (call, response) => streaming(['a'])(call, response)
    await expect
      .poll(
        async () => (await generate(host, bodyOf(unique('p'), true), { 'x-api-key': key }).catch(() => null))?.status,
        {
          timeout: 10_000,
        },
      )
      .not.toBe(429)
  })

  test.each([
    ['a plain answer', false],
    ['the first byte of a stream', true],
  ])('before %s', async (_what, stream) => {
    const [id, key] = [unique('early'), await newKey(open, unique('c'), 'money')]
    const sent = send(id, key, bodyOf(id, stream))
    await expect.poll(() => upstream.calls.length, PATIENT).toBe(1)
    sent.destroy()
    // The model may have written all that was reserved for it.
    const line = await lineOf(id)
    expect(line).toMatchObject({ ...isLeft, uncertain: true, upstream: { code: 'client_left' } })
    expect(line.costNanoUsd).toBeGreaterThan(0)
  })

  test.each([false, true])('while it follows another’s call (streamed: %s)', async (stream) => {
    const [first, second, key] = [unique('leader'), unique('follower'), await newKey(open, unique('c'), 'plenty')]
    const prompt = unique('same')
    const leader = send(first, key, bodyOf(prompt, stream))
    await expect.poll(() => upstream.calls.length, PATIENT).toBe(1)
    const follower = send(second, key, bodyOf(prompt, stream))
    await new Promise((resolve) => setTimeout(resolve, 300))
    follower.destroy()
    expect(await lineOf(second)).toMatchObject(isLeft)
    leader.destroy()
    expect(await lineOf(first)).toMatchObject(isLeft)
    expect(upstream.calls).toHaveLength(1)
  })

  test('in the middle of a stream that others follow: what its call took is told once', async () => {
    const [first, second, key] = [unique('leader'), unique('follower'), await newKey(open, unique('c'), 'plenty')]
    const prompt = unique('same')
    const chunk = (choice: object, completion_tokens: number) =>
      `data: ${JSON.stringify({ choices: [{ index: 0, ...choice }], usage: { prompt_tokens: 11, completion_tokens } })}\n\n`
    const end = Promise.withResolvers<void>()
    upstream.reply = async (_call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(chunk({ delta: { content: 'a' } }, 1))
      await end.promise
      response.end(`${chunk({ delta: { content: 'b' }, finish_reason: 'stop' }, 7)}data: [DONE]\n\n`)
    }
    const [leader, follower] = [send(first, key, bodyOf(prompt, true)), send(second, key, bodyOf(prompt, true))]
    const follow = new Promise<IncomingMessage>((resolve) => follower.on('response', resolve))
    const response = await new Promise<IncomingMessage>((resolve) => leader.on('response', resolve))
    await new Promise((resolve) => response.on('error', () => {}).once('data', resolve))
    ;(await follow).resume()
    // Whichever came first asks the model.
    const costs = () =>
      [first, second].flatMap((id) =>
        linesOf(id).flatMap((line) => JSON.parse(line.replace(/^[^{]*/, '')).costNanoUsd ?? []),
      )
    leader.destroy()
    await lineOf(first)
    end.resolve()
    await lineOf(second)
    await expect.poll(costs, PATIENT).toHaveLength(1)
    expect(costs()).toEqual([11 * 2_000 + 7 * 8_000])
    expect(upstream.calls).toHaveLength(1)
  })

  test('in the middle of a stream: what was sent keeps its status', async () => {
    const [id, key] = [unique('middle'), await newKey(open, unique('c'), 'plenty')]
    upstream.reply = streaming(['a'], { end: () => {} })
    const sent = send(id, key, bodyOf(id, true))
    const response = await new Promise<IncomingMessage>((resolve) => sent.on('response', resolve))
    await new Promise((resolve) => response.on('error', () => {}).once('data', resolve))
    sent.destroy()
    expect(await lineOf(id)).toMatchObject({ status: 200, stream: 'client_left' })
    expect(linesOf(id)).toHaveLength(1)
  })
})
