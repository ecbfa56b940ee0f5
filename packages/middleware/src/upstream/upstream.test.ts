import { once } from 'node:events'
import { type AddressInfo, createServer } from 'node:net'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { baseContext, request } from '../../../../test/support/base-context.ts'
import { calledAt, failureTold, modelCall, statusOf, targetAt } from '../../../../test/support/model-call.ts'
import { textOf } from '../../../../test/support/replies.ts'
import {
  answering,
  failing,
  sending,
  startUpstream,
  streaming,
  type Upstream,
} from '../../../../test/support/upstream.ts'
import { attemptsBefore, bodyFrom, bodyOf, type Json, type Reply } from '../operations/index.ts'
import { type Attempt, NOTHING_SPENT, PROMPT_SPENT, type Price, RequestEnded, systemTime } from '../pipeline/index.ts'
import type { RetryRule, Target } from '../policy/index.ts'
import type { AzureSettings } from '../targets/index.ts'
import { OPENS_AFTER } from './balancers/weighted.ts'
import {
  type Balancer,
  connect,
  type RetryPolicy,
  type Routed,
  retryWithinBudget,
  type Transport,
  type UpstreamOptions,
  upstream,
  weighted,
} from './index.ts'

const STREAM_BOUNDS = { idleMs: 100, streamTotalMs: 1_000, endGraceMs: 10 }

test.each([undefined, '2024-10-21'])(
  'a token that never comes ends at the deadline like any call (API %s)',
  async (apiVersion) => {
    const settings: AzureSettings = {
      kind: 'azure',
      endpoint: 'https://x.openai.azure.com',
      model: 'd',
      apiVersion,
      key: undefined,
    }
    const handler = upstream({
      transport: connect({ token: () => new Promise(() => {}) }),
      firstByteMs: 100,
      totalMs: 100,
      ...STREAM_BOUNDS,
    })
    const [call, context] = [modelCall(), baseContext()]
    const reply = await handler(call, { ...context, ...calledAt(call, targetAt(settings)) })
    expect(statusOf(reply)).toBe(502)
    expect(failureTold(reply, context)).toEqual({ code: 'timeout', unspent: true })
  },
)

test('a token that can’t be had is told to the operator, not to the caller', async () => {
  const settings: AzureSettings = {
    kind: 'azure',
    endpoint: 'https://x.openai.azure.com',
    model: 'd',
    apiVersion: undefined,
    key: undefined,
  }
  const token = () => Promise.reject(Object.assign(new Error('SECRET'), { name: 'CredentialUnavailableError' }))
  const lines: unknown[] = []
  const handler = upstream({ transport: connect({ token }), firstByteMs: 100, totalMs: 100, ...STREAM_BOUNDS })
  const call = modelCall()
  const context = baseContext({ log: (_level, event, fields) => lines.push({ event, ...fields }) })
  const reply = await handler(call, { ...context, ...calledAt(call, targetAt(settings)) })
  expect(await textOf(reply)).not.toContain('SECRET')
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
    transport: connect({ token: () => Promise.reject(new Error('no token is needed')) }),
    firstByteMs: 300,
    totalMs: 300,
    ...STREAM_BOUNDS,
  })
  async function call({
    baseUrl = model.baseUrl,
    signal = request.signal,
    stream = false,
    at = {} as Partial<Target>,
  } = {}) {
    const target = targetAt({ kind: 'openai', baseUrl, model: 'd', key: 'sk' }, at)
    const context = baseContext()
    const body = bodyOf({ messages: [{ role: 'user', content: 'Why?' }], stream })
    const call = modelCall({ signal, body, streamed: stream })
    const reply = await handler(call, { ...context, ...calledAt(call, target) })
    return { reply, status: statusOf(reply), failure: failureTold(reply, context), told: context.told }
  }

  const FREE: Price = { rates: { input: 0, output: 0 } }
  const DEAR: Price = { rates: { input: 1, output: 8 } }
  test.each<[string, Record<string, string>, string | undefined]>([
    ['as Azure says it', { 'x-ms-spillover-from-deployment': 'ptu', 'x-ms-deployment-name': 'standard' }, 'standard'],
    ['as its page spells it', { 'x-ms-spillover-from-ptu': 'true' }, 'unknown'],
    ['by another deployment’s name', { 'x-ms-deployment-name': 'standard' }, 'standard'],
    ['by its own name, which is none', { 'x-ms-deployment-name': 'D' }, undefined],
    ['by an error of it, which is none', { 'x-ms-spillover-error': 'busy', 'x-ms-region': 'x' }, undefined],
    ['not', {}, undefined],
  ])(
    'from a provisioned target costs the model’s price where it spilled over: %s',
    async (_what, headers, spillover) => {
      const at = { price: FREE, spilloverPrice: DEAR }
      model.reply = (called, response) => {
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
        return answering()(called, response)
      }
      const { reply } = await call({ at })
      const price = spillover === undefined ? FREE : DEAR
      expect(reply).toMatchObject({ attempts: [{ price, ...(spillover === undefined ? {} : { spillover }) }] })
      model.reply = (called, response) => {
        for (const [name, value] of Object.entries(headers)) response.setHeader(name, value)
        return streaming(['a'])(called, response)
      }
      const streamed = await call({ at, stream: true })
      await textOf(streamed.reply)
      if (streamed.reply.kind !== 'stream') throw new Error('It is no stream')
      expect(await streamed.reply.ended).toMatchObject({ attempts: [{ price }] })
      // One that is not provisioned has one price, whatever is told.
      expect((await call({ at: { price: DEAR } })).reply).toMatchObject({ attempts: [{ price: DEAR }] })
    },
  )

  test('F3: is billed for its prompt where a filter refused that', async () => {
    model.reply = failing(400, { code: 'content_filter' })
    const { reply, failure } = await call()
    expect(reply).toMatchObject({ attempts: [{ spend: PROMPT_SPENT }] })
    expect(failure).toEqual({ status: 400, code: 'content_filter' })
  })

  test('tells the tier that served, and which model', async () => {
    model.reply = answering((answer) => ({ ...answer, service_tier: 'flex' }))
    expect((await call()).reply).toMatchObject({ attempts: [{ spend: { usage: { tier: 'flex' } } }] })
  })

  test('notes what it took', async () => {
    model.reply = answering((answer) => ({
      ...answer,
      usage: { prompt_tokens: 11, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 5 } },
    }))
    const { reply, told } = await call()
    expect(reply).toMatchObject({
      attempts: [
        {
          model: 'default',
          target: 't',
          spend: { usage: { tokens: { input: 6, cachedInput: 5, output: 7 } }, isCertain: true },
        },
      ],
      source: 'call',
      storable: true,
    })
    expect(told).toEqual({})
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
      const { reply, status, failure } = await call({ stream })
      expect(status).toBe(502)
      expect(failure?.unspent ?? false).toBe(unspent)
      expect(reply).toMatchObject({ shared: true, attempts: [{ failure }] })
    }
  })

  test('B1: and met a programming fault is no failure of the model, and costs nothing if it was never sent', async () => {
    const transport: Transport = { send: () => Promise.reject(new TypeError('x is not a function')) }
    const handler = upstream({ transport, firstByteMs: 100, totalMs: 100, ...STREAM_BOUNDS })
    for (const streamed of [false, true]) {
      const context = baseContext()
      const call = modelCall({ streamed })
      const target = targetAt({ kind: 'openai', baseUrl: model.baseUrl, model: 'd', key: 'sk' })
      const fault: unknown = await Promise.resolve(handler(call, { ...context, ...calledAt(call, target) })).catch(
        (thrown: unknown) => thrown,
      )
      expect(fault).toBeInstanceOf(TypeError)
      expect(context.told.upstream).toMatchObject({ unspent: true })
      expect(attemptsBefore(fault)).toMatchObject([{ target: 't', spend: NOTHING_SPENT }])
    }
  })

  test('and reached nobody has cost nothing', async () => {
    const gone = await startUpstream()
    await gone.close()
    for (const baseUrl of [gone.baseUrl, 'http://nowhere.invalid/v1']) {
      expect((await call({ baseUrl })).failure).toEqual({ code: 'connection_failed', unspent: true })
    }
  })

  test('and whose client left has cost nothing only if it was not sent yet', async () => {
    const early = await call({ signal: AbortSignal.abort() })
    expect(early.failure).toEqual({ code: 'client_left', unspent: true })
    const client = new AbortController()
    model.reply = () => client.abort()
    const late = await call({ signal: client.signal })
    expect(late.failure).toEqual({ code: 'client_left' })
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
    expect(await textOf((await call({ stream: true })).reply)).toBe(sse(said, stop, took))
    const { reply } = await call()
    expect(JSON.parse(await textOf(reply))).toMatchObject({
      choices: [{ message: { content: 'a' }, finish_reason: 'stop' }],
    })
    expect(reply).toMatchObject({
      attempts: [{ spend: { usage: { tokens: { input: 11, output: 7 } }, isCertain: true } }],
    })
  })

  test('E4: and so it is without its usage, but not without its end', async () => {
    model.reply = open(sse(said, stop))
    expect(await textOf((await call({ stream: true })).reply)).toBe(sse(said, stop))
    model.reply = open(sse(said))
    await expect(textOf((await call({ stream: true })).reply)).rejects.toMatchObject({ failure: { code: 'timeout' } })
  })

  test('is passed on as its events alone, with their data as it came', async () => {
    const odd = '{"choices": [ {"index":0,"delta":{"content":"\\u00e9"}} ],\r\ndata: "n": 1e2}'
    const text = `: hello\r\n\r\nevent: ping\r\ndata: {}\r\n\r\nid: 1\r\ndata: ${odd}\r\n\r\n${sse(stop)}`
    model.reply = (_call, response) => response.end(text)
    const passed = `data: ${odd.replaceAll('\r', '')}\n\n${sse(stop)}`
    expect(await textOf((await call({ stream: true })).reply)).toBe(passed)
  })

  test('E6: comes whole though a stream was asked for, and is one', async () => {
    model.reply = answering()
    const text = await textOf((await call({ stream: true })).reply)
    expect(text).toContain('"content":"echo: Why?"')
    expect(text.endsWith('data: [DONE]\n\n')).toBe(true)
  })

  const lost = new RequestEnded('slot_lost', {
    kind: 'refusal',
    code: 'slot_lost',
    status: 503,
    message: 'no place',
  })

  test('and is ended by the gateway itself is answered as that says', async () => {
    const slot = new AbortController()
    let closed = false
    model.reply = (_call, response) => {
      response.on('close', () => {
        closed = true
      })
      slot.abort(lost)
    }
    const { reply, failure } = await call({ signal: slot.signal })
    expect(reply).toMatchObject({ kind: 'refused', refusal: lost.refusal, shared: false, fallible: false })
    expect(failure).toEqual({ code: 'slot_lost' })
    await expect.poll(() => closed).toBe(true)
  })

  test('and is ended so in the middle of a stream breaks it', async () => {
    const slot = new AbortController()
    model.reply = streaming(['a'], { end: () => {} })
    const { reply } = await call({ signal: slot.signal, stream: true })
    slot.abort(lost)
    await expect(textOf(reply)).rejects.toMatchObject({ name: 'BrokenStream', failure: { code: 'slot_lost' } })
  })
})

describe('a failure', () => {
  const fallible = [401, 403, 404, 408, 429, 500, 502, 503].map((status) => [status, true] as const)
  const callers = [400, 413, 414, 415, 422, 431, 451].map((status) => [status, false] as const)
  test.each([...fallible, ...callers])('with %i may be another model’s chance: %s', async (status, expected) => {
    const model = await startUpstream()
    model.reply = failing(status)
    const reply = await askAll([model], {})
    await model.close()
    expect(reply).toMatchObject({ kind: 'refused', shared: true, fallible: expected, attempts: [{ target: '0' }] })
  })

  test('is made good by a retry policy and a balancer that say so, and never by itself', async () => {
    const [busy, free] = [await startUpstream(), await startUpstream()]
    busy.reply = failing(429, { code: 'busy' })
    expect((await askAll([busy, free], {})).kind).toBe('refused')
    expect(free.calls).toHaveLength(0)

    const reported: unknown[] = []
    const balancer: Balancer = {
      pick: (candidates, { attempts }) => candidates[attempts.length] ?? candidates[0],
      report: (_candidate, { target, spend }) => reported.push([target, spend]),
      states: () => [],
    }
    const covered: number[] = []
    const retry: RetryPolicy = {
      next(attempts, { coveredAttempts }) {
        covered.push(coveredAttempts)
        return attempts.length < 2 ? { afterMs: 0 } : undefined
      },
    }
    const reply = await askAll([busy, free], { balancer, retry })
    expect(reply).toMatchObject({
      kind: 'answer',
      attempts: [
        { target: '0', spend: NOTHING_SPENT, failure: { status: 429, code: 'busy', unspent: true } },
        { target: '1', spend: { isCertain: true } },
      ],
    })
    expect(reported).toMatchObject([
      ['0', NOTHING_SPENT],
      ['1', { isCertain: true }],
    ])
    expect(covered).toEqual([1])
    for (const model of [busy, free]) await model.close()
  })

  test('of a balancer is a line in the log, and what the call took is told all the same', async () => {
    const model = await startUpstream()
    const report = () => {
      throw new RangeError('no such candidate')
    }
    const reply = await askAll([model], { balancer: { pick: ([candidate]) => candidate, report, states: () => [] } })
    expect(reply).toMatchObject({ kind: 'answer', attempts: [{ spend: { isCertain: true } }] })
    await model.close()
  })

  test('of what chooses a target is thrown on, and has cost what was tried before it', async () => {
    const model = await startUpstream()
    model.reply = failing(429)
    const failingAfter = (calls: number): Balancer => ({
      pick([candidate], { attempts }) {
        if (attempts.length === calls) throw new RangeError('no candidate')
        return candidate
      },
      report: () => {},
      states: () => [],
    })
    const again: RetryPolicy = { next: () => ({ afterMs: 0 }) }
    const none: RetryPolicy = {
      next() {
        throw new RangeError('no retry')
      },
    }
    for (const [retry, balancer, attempts] of [
      [again, failingAfter(0), []],
      [again, failingAfter(1), [{ spend: NOTHING_SPENT }]],
      [none, failingAfter(1), [{ spend: NOTHING_SPENT }]],
    ] as const) {
      const fault = await askAll([model], { retry, balancer }).catch((fault: unknown) => fault)
      expect(fault).toBeInstanceOf(RangeError)
      expect(attemptsBefore(fault)).toMatchObject(attempts)
    }
    await model.close()
  })

  test('each target is asked by its own name for the model, and is sent nothing of the SDK’s own calls', async () => {
    const model = await startUpstream()
    await askAll([model], {})
    expect(model.calls[0]?.body).toMatchObject({ model: 'model-0', messages: [{ role: 'user', content: 'Why?' }] })
    expect(model.calls[0]?.headers).toMatchObject({
      authorization: 'Bearer sk',
      'content-type': 'application/json',
      'x-request-id': 'r',
    })
    expect(model.calls[0]?.headers).not.toHaveProperty('x-stainless-retry-count')
    expect(model.calls[0]?.headers).not.toHaveProperty('x-stainless-timeout')
    await model.close()
  })

  async function askAll(models: readonly Upstream[], options: Pick<UpstreamOptions, 'balancer' | 'retry'>) {
    const transport = connect({ token: () => Promise.reject(new Error('no token is needed')) })
    const handler = upstream({ transport, firstByteMs: 2_000, totalMs: 2_000, ...STREAM_BOUNDS, ...options })
    const [first, ...others] = models.map(({ baseUrl }, index) =>
      targetAt({ kind: 'openai', baseUrl, model: `model-${index}`, key: 'sk' }, { id: String(index) }),
    )
    if (first === undefined) throw new Error('no model to ask')
    const call = modelCall()
    return handler(call, { ...baseContext(), ...calledAt(call, first, ...others) })
  }
})

test('what a first call loads counts toward no deadline', async () => {
  const loading = Promise.withResolvers<void>()
  let isLoaded = false
  const transport: Transport = {
    prepare: () => (isLoaded ? undefined : loading.promise),
    send: async (_target, _operation, _body, { signal }) => {
      expect([isLoaded, signal.aborted]).toEqual([true, false])
      throw new DOMException('Not done in time', 'TimeoutError')
    },
  }
  const handler = upstream({ transport, firstByteMs: 50, totalMs: 1_000, ...STREAM_BOUNDS })
  const call = modelCall()
  const target = targetAt({ kind: 'openai', baseUrl: 'http://127.0.0.1:1/v1', model: 'd', key: 'sk' })
  const replying = handler(call, { ...baseContext(), ...calledAt(call, target) })
  setTimeout(() => {
    isLoaded = true
    loading.resolve()
  }, 200)
  expect(await replying).toMatchObject({ refusal: { upstream: { code: 'timeout', unspent: true } } })
})

describe('another call', () => {
  const retry = retryWithinBudget({ time: systemTime, random: () => 0 })
  let models: readonly [Upstream, Upstream, Upstream]
  beforeEach(async () => {
    models = [await startUpstream(), await startUpstream(), await startUpstream()]
  })
  afterEach(async () => {
    for (const model of models) await model.close()
  })

  interface Asking extends Partial<UpstreamOptions> {
    /** Which of the models, each its own rank; a tier by its name. */
    readonly at?: readonly (readonly [index: 0 | 1 | 2, tier?: string])[]
    readonly body?: Json
    readonly signal?: AbortSignal
    readonly cover?: () => Promise<boolean>
    readonly rule?: RetryRule
    /** When a model before this one was asked. */
    readonly startedAt?: number
  }
  const newBalancer = () => weighted({ time: systemTime, random: () => 0 })
  async function ask({
    at = [[0], [1], [2]],
    body = {},
    signal = request.signal,
    cover,
    rule,
    startedAt,
    ...options
  }: Asking = {}) {
    const json: Json = { messages: [{ role: 'user', content: 'Why?' }], ...body }
    const came = bodyFrom(Buffer.from(JSON.stringify(json)))
    if (typeof came === 'string') throw new Error(came)
    const call = modelCall({ signal, body: came, streamed: json.stream === true })
    const context = baseContext()
    const steps: string[] = []
    const step = (_name: string, decision: string) => void steps.push(decision)
    const [first, ...others] = at.map(([index, tier], rank) => ({
      target: targetAt({ kind: 'openai', baseUrl: models[index].baseUrl, model: 'm', key: 'k' }, { id: `t${index}` }),
      tier,
      rank,
    }))
    if (first === undefined) throw new Error('nothing to ask')
    const transport = connect({ token: () => Promise.reject(new Error('no token is needed')) })
    const balancer = newBalancer()
    const defaults = { transport, balancer, retry, firstByteMs: 2_000, totalMs: 2_000, ...STREAM_BOUNDS }
    const reply = await upstream({ ...defaults, ...options })(call, {
      ...context,
      step,
      routed: { model: { name: 'm', retry: rule }, body: call.body, candidates: [first, ...others], startedAt },
      reserved: { attempts: 1, output: undefined, ...(cover && { cover }) },
    })
    return { reply, steps, told: context.told, asked: models.map(({ calls }) => calls.length) }
  }
  const attemptsOf = (reply: Reply) => (reply.kind === 'stream' ? [] : reply.attempts)
  const waitOf = (reply: Reply) => (reply.kind === 'refused' ? reply.refusal.headers?.['retry-after-ms'] : 'none')

  test.each([
    ['is busy', failing(429, {}, { 'retry-after': '60' })],
    ['is overloaded, and says so', failing(503, {}, { 'retry-after-ms': '500' })],
    ['fails', failing(500)],
    ['cuts the connection', ((_call, response) => response.destroy()) as Upstream['reply']],
    ['does not know its key', failing(401)],
    ['has no such deployment', failing(404)],
  ])('goes to the next target where one %s, plain or streamed', async (_what, reply) => {
    models[0].reply = reply
    const plain = await ask()
    expect([plain.reply.kind, plain.asked]).toEqual(['answer', [1, 1, 0]])
    expect(plain.reply.headers).toEqual({ 'x-tollgate-target': 't1' })
    expect(attemptsOf(plain.reply).map(({ target }) => target)).toEqual(['t0', 't1'])
    models[1].reply = streaming(['a'])
    const streamed = await ask({ body: { stream: true } })
    expect([streamed.reply.kind, streamed.asked]).toEqual(['stream', [2, 2, 0]])
    expect(streamed.reply.headers).toEqual({ 'x-tollgate-target': 't1' })
    expect(await textOf(streamed.reply)).toContain('[DONE]')
    if (streamed.reply.kind === 'stream') expect((await streamed.reply.ended).attempts).toHaveLength(2)
  })

  test('is made at the same target where there is no other', async () => {
    let failures = 2
    models[0].reply = (call, response) => (failures-- > 0 ? failing(500) : answering())(call, response)
    expect(await ask({ at: [[0]] })).toMatchObject({ reply: { kind: 'answer' }, asked: [3, 0, 0] })
  })

  test('is none where the request itself is at fault', async () => {
    models[0].reply = failing(400)
    expect(await ask()).toMatchObject({ reply: { kind: 'refused', fallible: false }, asked: [1, 0, 0] })
  })

  test('is none once an answer has begun: it broke off, or is none', async () => {
    const half: Upstream['reply'] = (_call, response) => {
      response.writeHead(200, { 'content-type': 'application/json' })
      response.write('{"choices":', () => response.destroy())
    }
    for (const reply of [half, sending(200, '<html>'), sending(200, 'data: {"error":{"code":"server_error"}}\n\n')]) {
      models[0].reply = reply
      const { reply: refused, asked } = await ask()
      expect([refused.kind, asked.slice(1)]).toEqual(['refused', [0, 0]])
      expect(attemptsOf(refused)).toMatchObject([{ begun: true }])
    }
  })

  test('is none beyond three, and the last failure is told', async () => {
    for (const model of models) model.reply = failing(500)
    models[2].reply = failing(502, { code: 'last' })
    const { reply, asked } = await ask()
    expect(reply).toMatchObject({ kind: 'refused', refusal: { status: 502, upstream: { status: 502, code: 'last' } } })
    expect(asked).toEqual([1, 1, 1])
    expect(waitOf(reply)).toBeUndefined()
  })

  test('that fails too tells the least of the waits', async () => {
    models[0].reply = failing(429, {}, { 'retry-after': '60' })
    models[1].reply = failing(429, {}, { 'retry-after': '20' })
    models[2].reply = failing(429, {}, { 'retry-after': '40' })
    const balancer = newBalancer()
    const { reply } = await ask({ balancer })
    expect(reply).toMatchObject({ kind: 'refused', refusal: { status: 502 } })
    expect(Number(waitOf(reply)) / 1_000).toBeCloseTo(20, 0)
    const next = await ask({ balancer })
    expect(next).toMatchObject({
      reply: { kind: 'refused', refusal: { code: 'upstream_unavailable', status: 503 }, attempts: [], fallible: true },
      asked: [1, 1, 1],
      steps: ['blocked'],
    })
    expect(Number(waitOf(next.reply)) / 1_000).toBeCloseTo(20, 0)
  })

  test('of a request that is too large for one target goes to the next, and keeps nobody else from either', async () => {
    const tooLarge: Upstream['reply'] = (_call, response) => {
      const message =
        'Request too large for gpt-5 in organization org-1 on tokens per min (TPM): Limit 30000, Requested 36278.'
      const error = { message, type: 'tokens', param: null, code: 'rate_limit_exceeded' }
      response.writeHead(429, { 'content-type': 'application/json' }).end(JSON.stringify({ error }))
    }
    const balancer = newBalancer()
    models[0].reply = tooLarge
    expect(await ask({ balancer })).toMatchObject({ reply: { kind: 'answer' }, asked: [1, 1, 0] })
    const { reply, asked } = await ask({ balancer, at: [[0]] })
    expect(reply).toMatchObject({
      kind: 'refused',
      refusal: { upstream: { code: 'request_too_large' } },
      fallible: true,
    })
    expect(waitOf(reply)).toBeUndefined()
    expect(asked).toEqual([2, 1, 0])
    expect(balancer.states()).toEqual([])
  })

  test('waits for a busy service that says how shortly, where there is nowhere else', async () => {
    let asked = 0
    models[0].reply = (call, response) =>
      (asked++ === 0 ? failing(429, {}, { 'retry-after-ms': '150' }) : answering())(call, response)
    const started = performance.now()
    expect((await ask({ at: [[0]] })).reply.kind).toBe('answer')
    expect(performance.now() - started).toBeGreaterThanOrEqual(149)
    models[0].reply = failing(429, {}, { 'retry-after': '30' })
    expect((await ask({ at: [[0]] })).reply.kind).toBe('refused')
  })

  test('comes to what the client that left, or the gateway that ends it, makes of it', async () => {
    const pausing = retryWithinBudget({ time: systemTime, random: () => 1 })
    const shutting = new RequestEnded('shutting_down', {
      kind: 'refusal',
      code: 'shutting_down',
      status: 503,
      message: '',
    })
    for (const [reason, code] of [
      [undefined, 'client_left'],
      [shutting, 'shutting_down'],
    ] as const) {
      const leaving = new AbortController()
      models[0].reply = (call, response) => {
        response.once('finish', () => setTimeout(() => leaving.abort(reason), 50))
        return failing(500)(call, response)
      }
      const { reply, asked } = await ask({ at: [[0]], signal: leaving.signal, retry: pausing })
      expect(reply).toMatchObject({ kind: 'refused', refusal: { code }, shared: false, fallible: false })
      expect(attemptsOf(reply)).toMatchObject([{ failure: { status: 500 } }])
      expect(asked[0]).toBe(code === 'client_left' ? 1 : 2)
    }
  })

  test('is within the deadline of all of them together', async () => {
    for (const model of models) model.reply = () => {}
    for (const stream of [false, true]) {
      const started = performance.now()
      const { reply } = await ask({ body: { stream }, firstByteMs: 300, totalMs: 750 })
      const ms = performance.now() - started
      expect(reply).toMatchObject({ kind: 'refused', refusal: { upstream: { code: 'timeout' } } })
      const [first, second, third] = attemptsOf(reply).map(({ ms }) => ms)
      expect(Math.min(first ?? 0, second ?? 0)).toBeGreaterThan(290)
      expect(third).toBeLessThan(200)
      expect(ms).toBeGreaterThan(740)
      expect(ms).toBeLessThan(1_000)
    }
  })

  test('and those of a model before are within one deadline, and a target is not blamed for it', async () => {
    const balancer = newBalancer()
    models[0].reply = () => {}
    for (let times = 0; times < OPENS_AFTER; times += 1) {
      const startedAt = performance.now() - 700
      const { reply } = await ask({ at: [[0]], balancer, startedAt, firstByteMs: 500, totalMs: 750 })
      expect(attemptsOf(reply)).toMatchObject([{ failure: { code: 'timeout' } }])
      expect(performance.now() - startedAt).toBeLessThan(1_000)
    }
    expect(balancer.states()).toEqual([])
  })

  test('is none where reserving for it takes until the deadline', async () => {
    let now = 0
    models[0].reply = failing(500)
    const cover = async () => {
      now = 2_000
      return true
    }
    const { reply, asked } = await ask({ cover, time: { now: () => now, after: systemTime.after } })
    expect([reply.kind, asked, attemptsOf(reply).length]).toEqual(['refused', [1, 0, 0], 1])
  })

  test('that has less than its time, since others took it, says nothing of its target', async () => {
    const reported: unknown[] = []
    const own = newBalancer()
    const balancer = { ...own, report: (_at: unknown, { failure }: Attempt) => void reported.push(failure?.code) }
    for (const model of models) model.reply = () => {}
    await ask({ balancer, firstByteMs: 300, totalMs: 750 })
    expect(reported).toEqual(['timeout', 'timeout', 'request_timeout'])
  })

  test('is reserved for where the one before may have cost something, and is none where it can’t be', async () => {
    const covering = (...answers: boolean[]) => {
      let asked = 0
      return { cover: async () => answers[asked++] ?? false, asked: () => asked }
    }
    models[0].reply = failing(429)
    models[1].reply = failing(404)
    const unspent = covering()
    expect((await ask(unspent)).asked).toEqual([1, 1, 1])
    expect(unspent.asked()).toBe(0)

    models[0].reply = failing(500)
    models[1].reply = failing(500)
    const twice = covering(true, true)
    expect((await ask(twice)).reply.kind).toBe('answer')
    expect(twice.asked()).toBe(2)

    const once = covering(true, false)
    const { reply, asked } = await ask(once)
    expect([reply.kind, asked]).toEqual(['refused', [3, 3, 2]])

    // What took nothing leaves its reservation to the next.
    models[1].reply = failing(429)
    const one = covering(true)
    expect((await ask(one)).reply.kind).toBe('answer')
    expect(one.asked()).toBe(1)
  })

  test('that can’t be reserved for by a defect has cost what was tried before it', async () => {
    models[0].reply = failing(500)
    const cover = () => Promise.reject(new RangeError('no such limit'))
    const fault = await ask({ cover }).catch((fault: unknown) => fault)
    expect(fault).toBeInstanceOf(RangeError)
    expect(attemptsBefore(fault)).toMatchObject([{ target: 't0' }])
  })

  test('is soon made where no connection comes about, and costs nothing', async () => {
    const silent = createServer(() => {})
    silent.listen(0, '127.0.0.1')
    await once(silent, 'listening')
    const { port } = silent.address() as AddressInfo
    const transport = connect({ token: () => Promise.reject(new Error('no token is needed')), connectMs: 200 })
    const at = [`https://127.0.0.1:${port}/v1`, models[0].baseUrl].map((baseUrl, rank) => {
      const target = targetAt({ kind: 'openai', baseUrl, model: 'm', key: 'k' }, { id: `t${rank}` })
      return { target, tier: undefined, rank }
    }) as unknown as Routed['routed']['candidates']
    const call = modelCall()
    const bounds = { firstByteMs: 5_000, totalMs: 5_000, ...STREAM_BOUNDS }
    const reply = await upstream({ transport, balancer: newBalancer(), retry, ...bounds })(call, {
      ...baseContext(),
      routed: { model: { name: 'm' }, body: call.body, candidates: at },
      reserved: { attempts: 1, output: undefined, cover: () => Promise.reject(new Error('nothing was spent')) },
    })
    silent.close()
    expect(attemptsOf(reply)).toMatchObject([{ failure: { code: 'timeout', unspent: true } }, { target: 't1' }])
    expect(attemptsOf(reply)[0]?.ms).toBeLessThan(1_500)
  })

  test('says nothing of a target where a defect of ours broke it off', async () => {
    const balancer = newBalancer()
    const transport: Transport = {
      async send(_target, _operation, _body, { progress }) {
        progress.sent = true
        throw new TypeError('x is not a function')
      },
    }
    for (let times = 0; times < 10; times += 1) await expect(ask({ balancer, transport })).rejects.toThrow(TypeError)
    expect(balancer.states()).toEqual([])
  })

  describe('of a model with tiers', () => {
    const TIERS = [
      [0, 'flex'],
      [0, 'default'],
    ] as const

    test('asks each by its name, the next where one has no room, and is told what served', async () => {
      models[0].reply = (call, response) =>
        call.body.service_tier === 'flex'
          ? failing(429, { code: 'resource_unavailable' })(call, response)
          : answering((answer) => ({ ...answer, service_tier: 'default' }))(call, response)
      const { reply, told } = await ask({ at: TIERS })
      expect(models[0].calls.map(({ body }) => body.service_tier)).toEqual(['flex', 'default'])
      expect(told.changed).toEqual(['service_tier'])
      expect(attemptsOf(reply)).toMatchObject([
        { tier: 'flex', spend: NOTHING_SPENT },
        { tier: 'default', spend: { usage: { tier: 'default' } } },
      ])
    })

    test('leaves to the body what a caller names: it may be another name of a tier', async () => {
      const { reply } = await ask({ at: [[0]], body: { service_tier: 'fast' } })
      expect(models[0].calls.map(({ body }) => body.service_tier)).toEqual(['fast'])
      expect(attemptsOf(reply)[0]).not.toHaveProperty('tier')
    })

    test('leaves one that its caller names, and blocks that one alone', async () => {
      const balancer = newBalancer()
      models[0].reply = failing(429, {}, { 'retry-after': '60' })
      const { told } = await ask({ balancer, at: [[0]], body: { service_tier: 'flex' } })
      expect(told).not.toHaveProperty('changed')
      expect(balancer.states()).toMatchObject([{ target: 't0', tier: 'flex' }])
      models[0].reply = answering()
      expect((await ask({ balancer, at: [[0]] })).reply.kind).toBe('answer')
      expect((await ask({ balancer, at: [[0]], body: { service_tier: 'flex' } })).reply.kind).toBe('refused')
    })
  })

  test('is left to its callers by a model that is asked once, whatever came before', async () => {
    const rule = { attempts: 1, budget: 0.1 }
    const balancer = newBalancer()
    models[0].reply = failing(429, {}, { 'retry-after': '60' })
    expect(waitOf((await ask({ balancer, rule, at: [[0]] })).reply)).toBe('60000')
    models[0].reply = failing(429, {}, { 'retry-after': '2' })
    const { reply, asked } = await ask({ balancer, rule, at: [[0]] })
    expect([waitOf(reply), asked]).toEqual(['2000', [2, 0, 0]])
  })
})
