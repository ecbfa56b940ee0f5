import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test, vi } from 'vitest'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { issueKey } from '../auth/index.ts'
import { type ByteStream, type FinishedRequest, fromIterable, type HttpResponse } from '../pipeline/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { generate } from '../surfaces/index.ts'
import type { OpenAISettings } from '../targets/index.ts'
import { type Entry, trace } from '../telemetry/index.ts'
import type { Gateway } from './index.ts'

/* The whole way, as every server goes it: both onions over stores in memory, before a model's server. */

/** What no request holds, so that it is known which texts are a model's. */
const MARK = 'said-by-the-model'
const USAGE = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }
const PLAIN = JSON.stringify({
  choices: [{ index: 0, message: { role: 'assistant', content: MARK }, finish_reason: 'stop' }],
  usage: USAGE,
})
const PIECES = 20
const chunk = (change: object) => `data: ${JSON.stringify({ id: MARK, ...change })}\n\n`
const said = chunk({ choices: [{ index: 0, delta: { content: 'x' }, finish_reason: null }] })
const STREAM = [
  said.repeat(PIECES),
  chunk({ choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }),
  chunk({ choices: [], usage: USAGE }),
  'data: [DONE]\n\n',
].join('')
/** The last is `[DONE]`, which is no JSON. */
const EVENTS = PIECES + 2

type Answer = (response: ServerResponse, streamed: boolean, socket: Socket) => void
const whole: Answer = (response, streamed) =>
  void (streamed
    ? response.writeHead(200, { 'content-type': 'text/event-stream' }).end(STREAM)
    : response.writeHead(200, { 'content-type': 'application/json' }).end(PLAIN))

let answer: Answer
const model = createServer(async (incoming, response) => {
  let body = ''
  for await (const piece of incoming) body += piece
  answer(response, body.includes('"stream":true'), incoming.socket)
})
/** Whose end was told. */
const finished: FinishedRequest[] = []
let gateway: Gateway
let entry: Entry
let key: string
beforeAll(async () => {
  model.listen(0, '127.0.0.1')
  await once(model, 'listening')
  const baseUrl = `http://127.0.0.1:${(model.address() as AddressInfo).port}/v1`
  const limits = [
    { requests: 1_000, per: '1m' },
    { requests: 1_000, per: '1m', model: 'default' },
    { usd: 100, per: 'day' },
  ]
  const defaultTarget: OpenAISettings = { kind: 'openai', baseUrl, model: 'm', key: 'k' }
  const policy = resolvePolicy(
    { plans: { all: { limits } }, models: { default: { price: { input: 1, output: 2 } } } },
    {
      source: 'a test',
      bounds: { env: {}, hosts: [], readable: [] },
      defaultTarget,
    },
  )
  gateway = gatewayOver(policy)
  entry = trace({
    refuse: generate.refuse,
    handler: () => gateway.handler(generate),
    finished: (each) => finished.push(each),
  })
  const plan = { plan: 'all', defaultPlan: 'all', plans: ['all'], now: Date.now() }
  key = (await issueKey(gateway.consumers, { consumer: 'a', ...plan })).key
})
afterAll(async () => {
  await gateway.close()
  model.closeAllConnections()
  model.close()
})
beforeEach(() => {
  answer = whole
  finished.length = 0
})
afterEach(() => void vi.restoreAllMocks())

/** Sends a request, and gives the lines that it leaves. */
async function ask(prompt: string, stream = false): Promise<{ response: HttpResponse; lines: object[] }> {
  const lines: object[] = []
  const headers = new Headers({ 'x-api-key': key })
  const body = fromIterable([Buffer.from(JSON.stringify({ prompt, stream }))])
  const response = await entry({ ...request, headers, body }, (_level, line) => lines.push(line))
  return { response, lines }
}

const statusOf = ({ headers }: HttpResponse) => headers['cache-status']

/** How often a text of the model's is parsed while this is asked and read to its end. */
async function parsesOf(prompt: string, stream = false) {
  const parse = vi.spyOn(JSON, 'parse')
  const { response, lines } = await ask(prompt, stream)
  const text = await replyText(response)
  const parses = parse.mock.calls.filter(([json]) => String(json).includes(MARK)).length
  vi.restoreAllMocks()
  return { parses, text, lines, status: statusOf(response) }
}

describe('what a model says is parsed once', () => {
  test('a plain answer that is stored, and not again by those that it answers later', async () => {
    const prompt = unique('plain')
    const missed = await parsesOf(prompt)
    expect([missed.parses, missed.status]).toEqual([1, 'tollgate; fwd=miss; stored'])
    const hit = await parsesOf(prompt)
    expect([hit.parses, hit.text]).toEqual([0, missed.text])
    expect(hit.status).toContain('hit')
  })

  test('each event of a stream that is stored', async () => {
    const prompt = unique('stream')
    const missed = await parsesOf(prompt, true)
    expect([missed.parses, missed.status]).toEqual([EVENTS, 'tollgate; fwd=miss'])
    expect(missed.lines).toEqual([
      expect.objectContaining({ event: 'request', stream: 'complete', usage: expect.objectContaining({ output: 20 }) }),
    ])
    expect((await parsesOf(prompt, true)).status).toContain('hit')
  })

  test('each event of a stream that two read', async () => {
    const prompt = unique('two')
    const parse = vi.spyOn(JSON, 'parse')
    const readers = await Promise.all([ask(prompt, true), ask(prompt, true)])
    const texts = await Promise.all(readers.map(({ response }) => replyText(response)))
    // What it cost, the leader alone is told.
    const [one, other] = texts.map((text) => text.replace(/^:.*\n/gm, ''))
    expect(one).toBe(other)
    expect(readers.map(({ response }) => statusOf(response)).toSorted()).toEqual([
      'tollgate; fwd=miss',
      'tollgate; fwd=miss; collapsed',
    ])
    expect(parse.mock.calls.filter(([json]) => String(json).includes(MARK))).toHaveLength(EVENTS)
  })
})

test('a client that leaves while its stream is waited for has closed the model’s connection within 10 ms', async () => {
  const tries: number[] = []
  for (let attempt = 0; attempt < 5; attempt += 1) {
    const closed = Promise.withResolvers<number>()
    answer = (response, _streamed, socket) => {
      socket.once('close', () => closed.resolve(performance.now()))
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(said)
    }
    const { response, lines } = await ask(unique('leaves'), true)
    const body = response.body as ByteStream
    await body.read()
    const waiting = body.read()
    const left = performance.now()
    body.cancel(new DOMException('The client has left', 'AbortError'))
    expect(await waiting).toBeUndefined()
    tries.push((await closed.promise) - left)
    await body.ended
    expect(lines).toEqual([expect.objectContaining({ stream: 'client_left', uncertain: true })])
  }
  // The best of five: a busy machine can hold any single one up.
  expect(Math.min(...tries)).toBeLessThan(10)
})

describe('the story of a request', () => {
  const stepsOf = ({ story }: FinishedRequest) => story.steps.map(({ name, decision }) => `${name}: ${decision}`)
  const WAY = ['key: known', 'limits: admitted', 'body: decoded', 'route: default', 'limits: admitted']

  test('of a miss has each step, what was reserved, where limits stood, and what its attempt took', async () => {
    const prompt = unique('story')
    await ask(prompt)
    const [told] = finished
    if (told === undefined) throw new Error('nothing was told')
    expect(stepsOf(told)).toEqual([
      ...WAY,
      'cache: miss',
      'budget: reserved',
      'attempts: answered',
      'settle: certain',
      'store: stored',
    ])
    const sum = told.story.steps.reduce((total, { ms }) => total + ms, 0)
    expect(sum).toBeGreaterThan(0)
    expect(sum).toBeLessThanOrEqual(told.ms)
    const { facts, story } = told
    expect(told).toMatchObject({ call: 0, status: 200, firstTokenMs: undefined })
    expect(story).toMatchObject({ surface: 'generate', operation: 'chat', streamed: false, route: 'generate' })
    expect(story.standings?.map(({ limit, remaining }) => [limit.measure, remaining < limit.quota])).toEqual([
      ['requests', true],
      ['requests', true],
      ['money', true],
    ])
    expect(story.reserved?.costNanoUsd).toBeGreaterThanOrEqual(facts.costNanoUsd ?? Number.NaN)
    expect(facts.attempts).toMatchObject([
      { model: 'default', usage: { input: 11, output: 7 }, costNanoUsd: facts.costNanoUsd, price: { rates: {} } },
    ])
    expect(JSON.stringify(told)).not.toContain(prompt)

    await ask(prompt)
    expect(stepsOf(finished[1] as FinishedRequest)).toEqual([...WAY, 'cache: hit'])
  })

  test('of a stream tells when its first byte went out, and is told at its end', async () => {
    const { response } = await ask(unique('story'), true)
    expect(finished).toEqual([])
    await replyText(response)
    const [told] = finished
    expect(told?.stream).toBe('complete')
    expect(told?.firstTokenMs).toBeLessThanOrEqual(told?.ms ?? 0)
    expect(told?.facts.attempts?.[0]?.firstTokenMs).toBeGreaterThan(0)
    // It is stored after its end was sent, and told all the same.
    await vi.waitFor(() =>
      expect(stepsOf(told as FinishedRequest).slice(-3)).toEqual([
        'attempts: streaming',
        'settle: certain',
        'store: stored',
      ]),
    )
  })

  test('ends where it is refused, and says why', async () => {
    const headers = new Headers({ 'x-api-key': 'tg_wrong' })
    await entry({ ...request, headers, body: fromIterable([Buffer.from('{}')]) }, () => {})
    expect(finished.map(stepsOf)).toEqual([['key: invalid_api_key']])
    finished.length = 0
    const known = new Headers({ 'x-api-key': key })
    await entry({ ...request, headers: known, body: fromIterable([Buffer.from('{')]) }, () => {})
    expect(finished.map(stepsOf)).toEqual([['key: known', 'limits: admitted', 'body: invalid_json']])
    expect(finished[0]).toMatchObject({ status: 400, refusal: 'invalid_json', facts: { consumer: 'a' } })
  })

  test('of a call that goes on for others when its caller has left is told by itself, and once', async () => {
    const begun = Promise.withResolvers<ServerResponse>()
    answer = (response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(said)
      begun.resolve(response)
    }
    const prompt = unique('outlives')
    const leader = await ask(prompt, true)
    const follower = await ask(prompt, true)
    await (leader.response.body as ByteStream).read()
    ;(leader.response.body as ByteStream).cancel(new DOMException('The client has left', 'AbortError'))
    await (leader.response.body as ByteStream).ended
    ;(await begun.promise).end(STREAM)
    await replyText(follower.response)
    await vi.waitFor(() => expect(finished).toHaveLength(3))
    const took = finished.map(({ call, stream, facts }) => [call, stream, facts.cache, facts.attempts?.length])
    expect(took.toSorted()).toEqual([
      [0, 'client_left', 'miss', undefined],
      [0, 'complete', 'collapsed', undefined],
      [1, undefined, undefined, 1],
    ])
    const [outlived] = finished.filter(({ call }) => call === 1)
    expect(outlived?.facts).toMatchObject({ consumer: 'a', model: 'default', costNanoUsd: expect.any(Number) })
  })
})
