import { once } from 'node:events'
import { createServer, type ServerResponse } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { setImmediate as turn } from 'node:timers/promises'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { replyText, request } from '../../../../test/support/base-context.ts'
import { unique } from '../../../../test/support/consumers.ts'
import { gatewayOver } from '../../../../test/support/gateway.ts'
import { issueKey } from '../auth/index.ts'
import { type FinishedRequest, fromIterable } from '../pipeline/index.ts'
import { resolvePolicy } from '../policy/index.ts'
import { generate } from '../surfaces/index.ts'
import { trace } from '../telemetry/index.ts'
import type { Gateway } from './index.ts'

/* The whole way before three real servers that serve one model, of which some are sick. */

type Answer = (response: ServerResponse, body: Record<string, unknown>) => void
const well: Answer = (response) =>
  void response.writeHead(200, { 'content-type': 'application/json' }).end(
    JSON.stringify({
      choices: [{ index: 0, message: { role: 'assistant', content: 'x' }, finish_reason: 'stop' }],
      usage: { prompt_tokens: 10, completion_tokens: 5, total_tokens: 15 },
    }),
  )
const failing =
  (status: number, headers: Record<string, string> = {}): Answer =>
  (response) =>
    void response.writeHead(status, { 'content-type': 'application/json', ...headers }).end('{"error":{"code":"sick"}}')

interface Place {
  readonly baseUrl: string
  answer: Answer
  asked: number
  readonly sockets: Set<Socket>
  close(): Promise<void>
}

async function startPlace(): Promise<Place> {
  const server = createServer(async (incoming, response) => {
    let text = ''
    for await (const piece of incoming) text += piece
    place.asked += 1
    place.answer(response, JSON.parse(text))
  })
  server.listen(0, '127.0.0.1')
  await once(server, 'listening')
  const place: Place = {
    baseUrl: `http://127.0.0.1:${(server.address() as AddressInfo).port}/v1`,
    answer: well,
    asked: 0,
    sockets: new Set(),
    async close() {
      const closed = once(server, 'close')
      server.close()
      server.closeAllConnections()
      await closed
    },
  }
  server.on('connection', (socket) => place.sockets.add(socket))
  return place
}

/** Nano-dollars: 10 tokens read at 1,000 and 5 written at 2,000. */
const ANSWER_NANO_USD = 20_000

let places: readonly [Place, Place, Place]
let gateway: Gateway
let key: string
let finished: FinishedRequest[]
let lines: Record<string, unknown>[]
beforeEach(async () => {
  places = [await startPlace(), await startPlace(), await startPlace()]
  finished = []
  lines = []
})
afterEach(async () => {
  await gateway.close()
  for (const place of places) await place.close()
})

async function open(model: object = {}) {
  const targets = places.map(({ baseUrl }) => ({ openai: { baseUrl, model: 'm', key: { env: 'KEY' } } }))
  const policy = resolvePolicy(
    {
      plans: { all: { limits: [{ usd: 100, per: 'month' }] } },
      models: { default: { targets, price: { input: 1, output: 2 }, ...model } },
    },
    {
      source: 'a test',
      bounds: { env: { KEY: 'k' }, hosts: ['127.0.0.1'], readable: ['KEY'] },
      defaultTarget: undefined,
    },
  )
  gateway = gatewayOver(policy, {
    firstByteMs: 2_000,
    idleMs: 2_000,
    log: (_level, event, fields) => lines.push({ event, ...fields }),
  })
  const plan = { plan: 'all', defaultPlan: 'all', plans: ['all'], now: Date.now() }
  key = (await issueKey(gateway.consumers, { consumer: 'a', ...plan })).key
}

async function ask(prompt = unique('Why?'), { dry = 'false' } = {}) {
  const entry = trace({
    refuse: generate.refuse,
    handler: () => gateway.handler(generate),
    finished: (each) => finished.push(each),
  })
  const headers = new Headers({ 'x-api-key': key, 'x-tollgate-dry-run': dry })
  const body = fromIterable([Buffer.from(JSON.stringify({ prompt, max_tokens: 50 }))])
  const written: object[] = []
  const response = await entry({ ...request, headers, body }, (_level, line) => void written.push(line))
  const text = await replyText(response)
  // As a request that comes over the network is: a turn later, in which the connection comes free.
  await turn()
  return { status: response.status, headers: response.headers, text, line: written.at(-1) as Record<string, unknown> }
}
const askedOf = () => places.map(({ asked }) => asked)
/** Of the budget, in nano-dollars. */
async function chargedOf(): Promise<number> {
  const { limits } = JSON.parse((await ask(unique('dry'), { dry: 'true' })).text)
  return 100e9 - limits[0].left
}

describe('a model of three targets', () => {
  test('is served though one fails, which is soon left alone, and each call that may have cost is charged', async () => {
    await open()
    places[0].answer = failing(500)
    for (let n = 0; n < 60; n += 1) expect((await ask()).status).toBe(200)
    const [sick, ...well] = askedOf()
    // Five, and a probe now and then.
    expect(sick).toBeGreaterThanOrEqual(5)
    expect(sick).toBeLessThanOrEqual(10)
    expect(well.reduce((sum, asked) => sum + asked, 0)).toBe(60)
    expect(Math.min(...well)).toBeGreaterThan(10)
    expect(lines.map(({ event }) => event)).toEqual(['target open'])

    const attempts = finished.flatMap(({ facts }) => facts.attempts ?? [])
    expect(attempts).toHaveLength(60 + (sick ?? 0))
    const charged = finished.reduce((sum, { facts }) => sum + (facts.costNanoUsd ?? 0), 0)
    expect(attempts.reduce((sum, { costNanoUsd = 0 }) => sum + costNanoUsd, 0)).toBe(charged)
    expect(charged).toBeGreaterThan(60 * ANSWER_NANO_USD)
    expect(await chargedOf()).toBe(charged)
  })

  test('is served though one is busy, which costs nothing', async () => {
    await open()
    places[0].answer = failing(429, { 'retry-after': '60' })
    const answers = []
    for (let n = 0; n < 30; n += 1) answers.push(await ask())
    expect(new Set(answers.map(({ status }) => status))).toEqual(new Set([200]))
    expect(new Set(answers.map(({ headers }) => headers['x-tollgate-target'])).size).toBe(2)
    expect(askedOf()[0]).toBe(1)
    expect(answers.filter(({ line }) => line.attempts !== undefined).map(({ line }) => line.attempts)).toEqual([2])
    expect(await chargedOf()).toBe(30 * ANSWER_NANO_USD)
  })

  test('says when to come back where all are busy, and asks nothing until then', async () => {
    await open()
    for (const [n, place] of places.entries()) place.answer = failing(429, { 'retry-after': String(20 + n) })
    const failed = await ask()
    expect([failed.status, failed.headers['retry-after']]).toEqual([502, '20'])
    const turnedAway = await ask()
    expect([turnedAway.status, turnedAway.headers['retry-after']]).toEqual([503, '20'])
    expect(turnedAway.line).toMatchObject({ refusal: 'upstream_unavailable' })
    expect(askedOf()).toEqual([1, 1, 1])
    expect(await chargedOf()).toBe(0)
  })

  test('is ready while one of them answers', async () => {
    await open()
    for (const place of places) place.answer = failing(404)
    places[1].answer = failing(400)
    await gateway.checks.model(request.signal)
    places[1].answer = failing(401)
    await expect(gateway.checks.model(request.signal)).rejects.toThrow(/answers 40[14] at/)
  })

  test('is asked over one connection to each, by requests one after the other', async () => {
    await open()
    for (let n = 0; n < 30; n += 1) await ask()
    expect(places.map(({ sockets }) => sockets.size)).toEqual([1, 1, 1])
  })
})

test('a target is asked again over the same connection, and over a new one where it closes that', async () => {
  await open({
    targets: [{ openai: { baseUrl: places[0].baseUrl, model: 'm', key: { env: 'KEY' } } }],
    retry: { attempts: 3, budget: '100%' },
  })
  let calls = 0
  const everyOther =
    (other: Answer): Answer =>
    (response, body) =>
      (calls++ % 2 === 0 ? other : well)(response, body)
  places[0].answer = everyOther(failing(500))
  for (let n = 0; n < 10; n += 1) expect((await ask()).status).toBe(200)
  expect([places[0].asked, places[0].sockets.size]).toEqual([20, 1])
  places[0].answer = everyOther(failing(500, { connection: 'close' }))
  for (let n = 0; n < 5; n += 1) expect((await ask()).status).toBe(200)
  expect([places[0].asked, places[0].sockets.size]).toEqual([30, 6])
})
