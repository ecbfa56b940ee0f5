import { describe, expect, test } from 'vitest'
import { playedSource, replyText, request, streamBody } from '../../../../test/support/base-context.ts'
import {
  type ByteStream,
  type FinishedRequest,
  type GatewayRequest,
  type Handler,
  type HttpResponse,
  jsonResponse,
  type Refusal,
  RequestEnded,
} from '../pipeline/index.ts'
import { trace } from './index.ts'

interface Written {
  readonly level: string
  readonly event: string
  readonly status?: number
  readonly [field: string]: unknown
}

/** What a handler's answer comes to, and the lines that it leaves. */
async function run(handler: Handler, change: Partial<GatewayRequest> = {}) {
  const lines: Written[] = []
  const entry = trace({
    refuse: ({ status }) => ({ kind: 'response', status, headers: {}, body: null }),
    handler: () => handler,
  })
  const response = await entry({ ...request, ...change }, (level, line) => lines.push({ level, ...line } as Written))
  return { response, lines }
}

/** A client that leaves while the handler runs. */
function leaving() {
  const client = new AbortController()
  return { signal: client.signal, leave: () => client.abort(new DOMException('The client has left', 'AbortError')) }
}
/** A streamed answer that the test plays, whose parts settle when the test says so. */
function played(settled?: Promise<unknown>) {
  const { source, ...play } = playedSource<Uint8Array>()
  const body = streamBody(source, settled)
  const response: HttpResponse = {
    kind: 'response',
    status: 200,
    headers: { 'content-type': 'text/event-stream' },
    body,
  }
  return { response, ...play }
}

const streamOf = ({ body }: HttpResponse) => body as ByteStream
const turn = () => new Promise((resolve) => setImmediate(resolve))

describe('H1: a request whose client has left', () => {
  test.each<[string, Handler]>([
    ['that would have been answered', async () => jsonResponse(200, {})],
    ['whose wait was broken off by that', async ({ signal }) => Promise.reject(signal.reason)],
    ['whose wait was broken off by another signal', async () => Promise.reject(new DOMException('', 'AbortError'))],
    [
      'whose call to the model ended with it',
      async () => ({
        kind: 'refusal',
        code: 'upstream_failed',
        status: 502,
        message: '',
        upstream: { code: 'client_left' },
      }),
    ],
  ])('%s has status 499, and no error line', async (_what, handler) => {
    const { signal, leave } = leaving()
    const { response, lines } = await run(
      async (given, context) => {
        leave()
        return handler(given, context)
      },
      { signal },
    )
    expect([response.status, response.body]).toEqual([499, null])
    expect(lines).toEqual([
      expect.objectContaining({ level: 'info', event: 'request', status: 499, refusal: 'client_left' }),
    ])
  })

  test('keeps the refusal that was decided before', async () => {
    const { lines } = await run(() => ({ kind: 'refusal', code: 'rate_limit_exceeded', status: 429, message: '' }), {
      signal: AbortSignal.abort(),
    })
    expect(lines).toEqual([expect.objectContaining({ status: 499, refusal: 'rate_limit_exceeded' })])
  })

  test('hides no fault of ours', async () => {
    const fails = () => {
      throw new TypeError('x is not a function')
    }
    const { response, lines } = await run(fails, { signal: AbortSignal.abort() })
    expect(response.status).toBe(500)
    expect(lines.map(({ level, event, status }) => [level, event, status])).toEqual([
      ['error', 'fault', undefined],
      ['info', 'request', 500],
    ])
  })

  test('before the first byte of its stream has 499, and later the status that was sent', async () => {
    const unread = await run(async () => played().response)
    streamOf(unread.response).cancel()
    await turn()
    expect(unread.lines).toEqual([
      expect.objectContaining({ status: 499, stream: 'client_left', refusal: 'client_left' }),
    ])
    const { response, give } = played()
    give(Buffer.from('data: a\n\n'))
    const begun = await run(async () => response)
    await streamOf(begun.response).read()
    streamOf(begun.response).cancel()
    await turn()
    expect(begun.lines).toEqual([expect.objectContaining({ status: 200, stream: 'client_left' })])
    expect(begun.lines[0]).not.toHaveProperty('refusal')
  })
})

test('a refusal that can’t be rendered is a 500, with a line', async () => {
  const lines: Written[] = []
  const refuse = () => {
    throw new TypeError('x is not a function')
  }
  const entry = trace({
    refuse,
    handler: () => () => ({ kind: 'refusal', code: 'not_cached', status: 504, message: '' }),
  })
  const response = await entry(request, (level, line) => lines.push({ level, ...line } as Written))
  expect(response.status).toBe(500)
  expect(lines.map(({ event, status, refusal }) => [event, status, refusal])).toEqual([
    ['fault', undefined, undefined],
    ['request', 500, 'not_cached'],
  ])
})

describe('a streamed answer', () => {
  test('passes through piece by piece, and is read no faster than it is asked for', async () => {
    const play = played()
    for (const text of ['a', 'b']) play.give(Buffer.from(text))
    play.end()
    const { response, lines } = await run(async () => play.response)
    expect(Buffer.from((await streamOf(response).read()) ?? []).toString()).toBe('a')
    expect([play.reads(), lines]).toEqual([1, []])
    expect(await replyText(response)).toBe('b')
    expect(lines).toEqual([expect.objectContaining({ event: 'request', status: 200, stream: 'complete' })])
  })

  test('has its line when all that it held is settled and told, and its reader the end after that', async () => {
    const settled = Promise.withResolvers<void>()
    const play = played(settled.promise)
    play.end()
    let tell = () => {}
    const { response, lines } = await run(async (_request, context) => {
      tell = () => context.tell({ costNanoUsd: 7 })
      return play.response
    })
    const reading = streamOf(response).read()
    await turn()
    expect(lines).toEqual([])
    tell()
    settled.resolve()
    // What it cost, with one line feed: no event.
    expect(String(await reading)).toBe(': x-tollgate-cost: 0.000000007\n')
    expect(await streamOf(response).read()).toBeUndefined()
    expect(lines).toEqual([expect.objectContaining({ costNanoUsd: 7, stream: 'complete' })])
  })

  test('that breaks says so, and breaks', async () => {
    const play = played()
    play.fail(new Error('broken'))
    const { response, lines } = await run(async () => play.response)
    await expect(streamOf(response).read()).rejects.toThrow('broken')
    expect(lines).toEqual([expect.objectContaining({ status: 200, stream: 'broken' })])
  })

  test('is cancelled at once, even while it is waited for', async () => {
    const play = played()
    const cancelled: unknown[] = []
    play.onCancel((reason) => cancelled.push(reason))
    const { response, lines } = await run(async () => play.response)
    const waiting = streamOf(response).read()
    streamOf(response).cancel('why')
    expect(cancelled).toEqual(['why'])
    expect(await waiting).toBeUndefined()
    await turn()
    expect(lines).toEqual([expect.objectContaining({ stream: 'client_left' })])
  })
})

describe('H2: a request that the gateway has ended', () => {
  const ended = new RequestEnded('shutting_down', { kind: 'refusal', code: 'shutting_down', status: 503, message: '' })

  test('before it came is refused, and no middleware sees it', async () => {
    const { response, lines } = await run(() => Promise.reject(new Error('it was run')), {
      signal: AbortSignal.abort(ended),
    })
    expect(response.status).toBe(503)
    expect(lines).toEqual([expect.objectContaining({ level: 'info', status: 503, refusal: 'shutting_down' })])
  })

  test('while it was read by no client is broken, and not left', async () => {
    const { response, lines } = await run(async () => played().response)
    streamOf(response).cancel(ended)
    await turn()
    expect(lines).toEqual([expect.objectContaining({ status: 200, stream: 'broken' })])
  })
})

describe('what calls took', () => {
  const usage = (input: number, output: number) => ({ input, cachedInput: 0, output })

  test('adds up, whoever tells it, and all else is replaced', async () => {
    const { lines } = await run(async (_request, { tell }) => {
      tell({ model: 'large', usage: usage(10, 3), costNanoUsd: 7, toolCalls: { web_search: 1 }, tier: 'flex' })
      tell({ model: 'small', usage: { ...usage(20, 4), cacheWrite: 5 }, costNanoUsd: 2, toolCalls: { web_search: 2 } })
      tell({ cache: 'miss' })
      return jsonResponse(200, {})
    })
    expect(lines).toMatchObject([
      {
        model: 'small',
        tier: 'flex',
        usage: { input: 30, cachedInput: 0, output: 7, cacheWrite: 5 },
        costNanoUsd: 9,
        toolCalls: { web_search: 3 },
        cache: 'miss',
      },
    ])
  })

  test.each<[string, Parameters<Parameters<Handler>[1]['tell']>[0], string | undefined]>([
    ['in dollars', { costNanoUsd: 1_234_500_000 }, '1.2345'],
    ['of whole dollars', { costNanoUsd: 12_000_000_000 }, '12'],
    ['to the nano-dollar', { costNanoUsd: 1 }, '0.000000001'],
    ['of nothing', { costNanoUsd: 0 }, '0'],
    ['of a hit', { cache: 'hit', sparedNanoUsd: 9 }, '0'],
    ['of a hit whose model has no price', { cache: 'hit' }, undefined],
    ['of another’s call', { cache: 'collapsed', sparedNanoUsd: 9 }, '0'],
    ['that nobody knows', { cache: 'miss', usage: usage(1, 1) }, undefined],
  ])('stands in the answer’s header, and after a stream: a cost %s', async (_what, facts, expected) => {
    const plain = await run(async (_request, { tell }) => {
      tell(facts)
      return jsonResponse(200, {})
    })
    expect(plain.response.headers['x-tollgate-cost']).toBe(expected)
    const { response, give, end } = played()
    const { response: streamed } = await run(async (_request, { tell }) => {
      tell(facts)
      return response
    })
    give(Buffer.from('data: [DONE]\n\n'))
    end()
    const text = await replyText(streamed)
    expect(text).toBe(`data: [DONE]\n\n${expected === undefined ? '' : `: x-tollgate-cost: ${expected}\n`}`)
  })

  test('has the target that was asked last, and how many calls there were beside one', async () => {
    const called = (...targets: string[]): Handler => {
      const attempts = targets.map((target) => ({ model: 'm', target, ms: 1 }))
      return async (_request, { tell }) => {
        for (const attempt of attempts) tell({ attempts: [attempt] })
        return jsonResponse(200, {})
      }
    }
    const lineOf = async (handler: Handler) => (await run(handler)).lines[0]
    expect(await lineOf(called('azure:a', 'openai:b'))).toMatchObject({ target: 'openai:b', attempts: 2 })
    expect(await lineOf(called('azure:a'))).toMatchObject({ target: 'azure:a', attempts: undefined })
    expect((await lineOf(called()))?.target).toBeUndefined()
  })

  test('of a stream is told when it is settled, and not after one that broke', async () => {
    const { response, give, end } = played()
    let tellLate: () => void = () => {}
    const { response: streamed, lines } = await run(async (_request, { tell }) => {
      tellLate = () => tell({ costNanoUsd: 5_000 })
      return response
    })
    give(Buffer.from('a'))
    tellLate()
    end()
    expect(await replyText(streamed)).toBe('a: x-tollgate-cost: 0.000005\n')
    expect(lines).toMatchObject([{ costNanoUsd: 5_000, stream: 'complete' }])

    const broken = played()
    const { response: cut } = await run(async (_request, { tell }) => {
      tell({ costNanoUsd: 5_000 })
      return broken.response
    })
    broken.give(Buffer.from('a'))
    broken.fail(new Error('cut'))
    const { body } = cut
    const read = () => (body as ByteStream).read()
    expect(String(await read())).toBe('a')
    await expect(read()).rejects.toThrow('cut')
  })
})

describe('what a caller was told to do about a refusal', () => {
  const told = async (refusal: Partial<Refusal>) => {
    const finished: FinishedRequest[] = []
    const lines: object[] = []
    const entry = trace({
      refuse: ({ status }) => ({ kind: 'response', status, headers: {}, body: null }),
      handler: () => async () => ({ kind: 'refusal', code: 'invalid_request', status: 400, message: '', ...refusal }),
      finished: (each) => finished.push(each),
    })
    await entry(request, (_level, line) => lines.push(line))
    expect(Object.keys(lines[0] ?? {})).not.toContain('param')
    const [{ param, retryAfterMs } = {}] = finished as Partial<FinishedRequest>[]
    return { param, retryAfterMs }
  }

  test.each([
    ['a field', { param: 'messages[0].content' }, { param: 'messages[0].content', retryAfterMs: undefined }],
    ['what is no field’s name', { param: 'my secret, and more' }, { param: undefined, retryAfterMs: undefined }],
    ['a name that is too long', { param: 'a'.repeat(65) }, { param: undefined, retryAfterMs: undefined }],
    ['seconds', { headers: { 'retry-after': '7' } }, { param: undefined, retryAfterMs: 7_000 }],
    [
      'milliseconds',
      { headers: { 'retry-after': '2', 'retry-after-ms': '1500' } },
      { param: undefined, retryAfterMs: 1_500 },
    ],
    ['nothing', {}, { param: undefined, retryAfterMs: undefined }],
  ])('is in its story: %s', async (_what, refusal, expected) => {
    expect(await told(refusal)).toEqual(expected)
  })
})
