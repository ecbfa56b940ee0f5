import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/room.ts'
import { answering, failing, startUpstream, streaming, type Upstream } from '../../../../test/support/upstream.ts'
import { RequestEnded } from '../pipeline/index.ts'
import type { TargetSettings } from '../policy/index.ts'
import { connect, targetOf, upstream } from './index.ts'

const STREAM_BOUNDS = { idleMs: 100, streamTotalMs: 1_000, endGraceMs: 10 }

test.each([undefined, '2024-10-21'])(
  'a token that never comes ends at the deadline like any call (API %s)',
  async (apiVersion) => {
    const settings: TargetSettings = {
      kind: 'azure',
      endpoint: 'https://x.openai.azure.com',
      model: 'd',
      apiVersion,
      key: undefined,
    }
    const handler = upstream({
      connect: connect({ token: () => new Promise(() => {}) }),
      firstByteMs: 100,
      totalMs: 100,
      ...STREAM_BOUNDS,
    })
    const context = {
      ...baseContext(),
      routed: { route: 'generate', target: targetOf(settings), cache: undefined, body: { model: 'd', messages: [] } },
    }
    expect((await handler(request, context)).status).toBe(502)
    expect(context.record.upstream).toEqual({ code: 'timeout', unspent: true })
  },
)

test('a token that can’t be had is told to the operator, not to the caller', async () => {
  const settings: TargetSettings = {
    kind: 'azure',
    endpoint: 'https://x.openai.azure.com',
    model: 'd',
    apiVersion: undefined,
    key: undefined,
  }
  const token = () => Promise.reject(Object.assign(new Error('SECRET'), { name: 'CredentialUnavailableError' }))
  const lines: unknown[] = []
  const handler = upstream({ connect: connect({ token }), firstByteMs: 100, totalMs: 100, ...STREAM_BOUNDS })
  const context = {
    ...baseContext({
      refuse: (refusal) => Response.json(refusal, { status: refusal.status }),
      log: (_level, event, fields) => lines.push({ event, ...fields }),
    }),
    routed: { route: 'generate', target: targetOf(settings), cache: undefined, body: { model: 'd', messages: [] } },
  }
  const response = await handler(request, context)
  expect(await response.text()).not.toContain('SECRET')
  expect(JSON.stringify(lines)).toContain('CredentialUnavailableError')
  expect(JSON.stringify(lines)).not.toContain('SECRET')
})

describe('a call that was made', () => {
  let model: Upstream
  beforeAll(async () => {
    model = await startUpstream()
  })
  afterAll(() => model.close())
  beforeEach(() => {
    model.reply = answering()
  })

  const handler = upstream({
    connect: connect({ token: () => Promise.reject(new Error('no token is needed')) }),
    firstByteMs: 300,
    totalMs: 300,
    ...STREAM_BOUNDS,
  })
  async function call({ baseUrl = model.baseUrl, signal = request.signal, stream = false } = {}) {
    const target = targetOf({ kind: 'openai', baseUrl, model: 'd', key: 'sk' })
    const context = baseContext({
      refuse: (refusal) => Response.json(refusal, { status: refusal.status }),
    })
    const body = { model: 'd', messages: [{ role: 'user', content: 'Why?' }], stream }
    const response = await handler({ ...request, signal }, { ...context, routed: { target, body } })
    return { response, record: context.record }
  }

  test('notes what it took', async () => {
    model.reply = answering((answer) => ({
      ...answer,
      usage: { prompt_tokens: 11, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 5 } },
    }))
    expect((await call()).record).toEqual({ requestId: 'r', usage: { input: 11, cachedInput: 5, output: 7 } })
  })

  const answeredBy = (status: number, unspent: boolean): [string, Upstream['reply'], boolean] => [
    `${status}`,
    failing(status),
    unspent,
  ]
  const half: Upstream['reply'] = (_call, response) => {
    response.writeHead(200, { 'content-type': 'application/json' })
    response.write('{"choices":', () => response.destroy())
  }
  test.each<[string, Upstream['reply'], boolean]>([
    ...[400, 401, 402, 403, 404, 409, 413, 422, 429].map((status) => answeredBy(status, true)),
    ...[408, 500, 502, 503].map((status) => answeredBy(status, false)),
    ['a cut connection', (_call, response) => response.destroy(), false],
    ['half an answer', half, false],
    ['silence', () => {}, false],
    ['no completion', answering((answer) => ({ ...answer, choices: [] })), false],
  ])('and was answered by %s: whether it has cost nothing for certain', async (_what, reply, unspent) => {
    model.reply = reply
    for (const stream of [false, true]) {
      const { response, record } = await call({ stream })
      expect(response.status).toBe(502)
      expect(record.upstream?.unspent ?? false).toBe(unspent)
    }
  })

  test('B1: and met a programming fault is no failure of the model, and costs nothing if it was never sent', async () => {
    const defect = () => Promise.reject(new TypeError('x is not a function'))
    const handler = upstream({ connect: defect, firstByteMs: 100, totalMs: 100, ...STREAM_BOUNDS })
    for (const stream of [false, true]) {
      const refused: unknown[] = []
      const base = baseContext({
        refuse: (refusal) => {
          refused.push(refusal)
          return new Response()
        },
      })
      const target = targetOf({ kind: 'openai', baseUrl: model.baseUrl, model: 'd', key: 'sk' })
      const body = { model: 'd', messages: [{ role: 'user', content: 'Why?' }], stream }
      await expect(handler(request, { ...base, routed: { target, body } })).rejects.toBeInstanceOf(TypeError)
      expect(base.record.upstream).toMatchObject({ unspent: true })
      expect(refused).toEqual([])
    }
  })

  test('and reached nobody has cost nothing', async () => {
    const gone = await startUpstream()
    await gone.close()
    for (const baseUrl of [gone.baseUrl, 'http://nowhere.invalid/v1']) {
      expect((await call({ baseUrl })).record.upstream).toEqual({ code: 'connection_failed', unspent: true })
    }
  })

  test('and whose client left has cost nothing only if it was not sent yet', async () => {
    const early = await call({ signal: AbortSignal.abort() })
    expect(early.record.upstream).toEqual({ code: 'client_left', unspent: true })
    const client = new AbortController()
    model.reply = () => client.abort()
    const late = await call({ signal: client.signal })
    expect(late.record.upstream).toEqual({ code: 'client_left' })
  })

  const sse = (...events: unknown[]) =>
    events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')
  const said = { choices: [{ index: 0, delta: { content: 'a' }, finish_reason: null }] }
  const stop = { choices: [{ index: 0, delta: {}, finish_reason: 'stop' }] }
  const took = { choices: [], usage: { prompt_tokens: 11, completion_tokens: 7 } }
  const open =
    (text: string): Upstream['reply'] =>
    (_call, response) =>
      response.writeHead(200, { 'content-type': 'text/event-stream' }).write(text)

  test('E4: a stream that has told all and stays open is whole after its grace', async () => {
    model.reply = open(sse(said, stop, took))
    expect(await (await call({ stream: true })).response.text()).toBe(sse(said, stop, took))
    const { response, record } = await call()
    expect(await response.json()).toMatchObject({ choices: [{ message: { content: 'a' }, finish_reason: 'stop' }] })
    expect(record).toMatchObject({ usage: { input: 11, output: 7 } })
  })

  test('E4: and so it is without its usage, but not without its end', async () => {
    model.reply = open(sse(said, stop))
    expect(await (await call({ stream: true })).response.text()).toBe(sse(said, stop))
    model.reply = open(sse(said))
    await expect((await call({ stream: true })).response.text()).rejects.toMatchObject({ failure: { code: 'timeout' } })
  })

  test('is passed on as its events alone, with their data as it came', async () => {
    const odd = '{"choices": [ {"index":0,"delta":{"content":"\\u00e9"}} ],\r\ndata: "n": 1e2}'
    const text = `: hello\r\n\r\nevent: ping\r\ndata: {}\r\n\r\nid: 1\r\ndata: ${odd}\r\n\r\n${sse(stop)}`
    model.reply = (_call, response) => response.end(text)
    const passed = `data: ${odd.replaceAll('\r', '')}\n\n${sse(stop)}`
    expect(await (await call({ stream: true })).response.text()).toBe(passed)
  })

  test('E6: comes whole though a stream was asked for, and is one', async () => {
    model.reply = answering()
    const { response } = await call({ stream: true })
    const text = await response.text()
    expect(text).toContain('"content":"echo: Why?"')
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  const lost = new RequestEnded('slot_lost', { code: 'slot_lost', status: 503, message: 'no place' })

  test('and is ended by the gateway itself is answered as that says', async () => {
    const slot = new AbortController()
    let closed = false
    model.reply = (_call, response) => {
      response.on('close', () => {
        closed = true
      })
      slot.abort(lost)
    }
    const { response, record } = await call({ signal: slot.signal })
    expect([response.status, await response.json()]).toEqual([503, lost.refusal])
    expect(record.upstream).toEqual({ code: 'slot_lost' })
    await expect.poll(() => closed).toBe(true)
  })

  test('and is ended so in the middle of a stream breaks it', async () => {
    const slot = new AbortController()
    model.reply = streaming(['a'], { end: () => {} })
    const { response } = await call({ signal: slot.signal, stream: true })
    slot.abort(lost)
    await expect(response.text()).rejects.toMatchObject({ name: 'BrokenStream', failure: { code: 'slot_lost' } })
  })
})
