import type { ServerResponse } from 'node:http'
import OpenAI, { APIError, AzureOpenAI } from 'openai'
import { zodTextFormat } from 'openai/helpers/zod'
import type { ResponseInput } from 'openai/resources/responses/responses'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import * as z from 'zod'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, type RunningHost, startHost } from '../support/host.ts'
import {
  functionItem,
  messageItem,
  RESPONSE_USAGE,
  responding,
  streamingResponse,
  thoughtItem,
} from '../support/responses-model.ts'
import { openAccount } from '../support/tables.ts'
import { type ReceivedCall, startUpstream, type Upstream } from '../support/upstream.ts'

/* Responses without state by the real clients, through the bundle on the local host, before a model's server. */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/operations.yaml',
      TOLLGATE_MAX_OUTPUT_TOKENS: '500',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
    },
    BARE_HOST,
  )
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})
beforeEach(() => {
  upstream.calls.length = 0
  upstream.reply = responding()
})

const keyFor = (plan = 'ample') => newKey(open, unique(plan), plan)
const clientOf = (apiKey: string) => new OpenAI({ baseURL: `${host.url}/api/v1`, apiKey, maxRetries: 0 })
const asked = (more: object = {}) => ({ model: 'chat', input: unique('Why?'), store: false, ...more })
const post = async (key: string, body: object, path = '/api/v1/responses') => {
  const headers = { authorization: `Bearer ${key}` }
  const response = await fetch(host.url + path, { method: 'POST', headers, body: JSON.stringify(body) })
  const text = await response.text().catch((error) => `cut: ${error.message}`)
  return { status: response.status, headers: response.headers, text }
}
const sent = (): ReceivedCall => {
  const [call] = upstream.calls
  if (call === undefined) throw new Error('The model was not asked')
  return call
}
/** The line that the host has logged of a request. */
const lineOf = async (requestId: string | null) => {
  const isIt = (line: string) => line.includes(requestId ?? 'none') && line.includes('"event":"request"')
  await expect.poll(() => host.output().split('\n').some(isIt)).toBe(true)
  const line = host.output().split('\n').find(isIt) ?? ''
  return JSON.parse(line.slice(line.indexOf('{')))
}

/** Breaks the connection once what was written is on its way. */
const dropping = (response: ServerResponse) => response.write(': gone\n\n', () => response.destroy())

describe('the clients', () => {
  test('of OpenAI are answered', async () => {
    const { data, response } = await clientOf(await keyFor())
      .responses.create(asked())
      .withResponse()
    expect([data.output_text, data.status, data.usage]).toEqual(['Hello', 'completed', RESPONSE_USAGE])
    expect(sent()).toMatchObject({ path: '/v1/responses', body: { model: 'gpt-test', max_output_tokens: 500 } })
    expect(await lineOf(response.headers.get('x-request-id'))).toMatchObject({
      usage: { input: 30, cachedInput: 10, output: 12 },
      // 20 at $2, 10 at $1 and 12 at $8 a million.
      costNanoUsd: 146_000,
    })
  })

  test('of OpenAI read a stream, event by event, to its end', async () => {
    upstream.reply = streamingResponse(['Hel', 'lo'])
    const stream = await clientOf(await keyFor()).responses.create({ ...asked(), stream: true })
    const types: string[] = []
    const numbers: number[] = []
    for await (const event of stream) {
      types.push(event.type)
      numbers.push(event.sequence_number)
      expect(event).not.toHaveProperty('obfuscation')
    }
    expect(types).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.output_item.done',
      'response.completed',
    ])
    expect(numbers).toEqual(types.map((_type, index) => index))
  })

  test('put a stream together', async () => {
    upstream.reply = streamingResponse(['Hel', 'lo'])
    const stream = clientOf(await keyFor()).responses.stream(asked())
    const { output_text, usage } = await stream.finalResponse()
    expect([output_text, usage]).toEqual(['Hello', RESPONSE_USAGE])
  })

  test('are given structured output', async () => {
    upstream.reply = responding([messageItem('{"city":"Bern"}')])
    const text = { format: zodTextFormat(z.object({ city: z.string() }), 'place') }
    const client = clientOf(await keyFor())
    const { output_parsed } = await client.responses.parse({ ...asked(), text })
    expect(output_parsed).toEqual({ city: 'Bern' })
    expect(sent().body.text).toMatchObject({ format: { type: 'json_schema', name: 'place' } })
  })

  test('are given calls of functions, and send what came of them, with what was thought', async () => {
    upstream.reply = responding([thoughtItem('It asks.'), functionItem('weather', { city: 'Bern' })])
    const client = clientOf(await keyFor())
    const parameters = { type: 'object', properties: { city: { type: 'string' } } }
    const tools = [{ type: 'function' as const, name: 'weather', parameters, strict: false }]
    const request = asked({ tools, include: ['reasoning.encrypted_content'] })
    const { output } = await client.responses.create({ ...request, store: false })
    expect(output[1]).toMatchObject({ type: 'function_call', name: 'weather', arguments: '{"city":"Bern"}' })
    upstream.reply = responding([messageItem('Rain')])
    const came = { type: 'function_call_output' as const, call_id: 'call_1', output: '{"rain":true}' }
    const turn = { role: 'user' as const, content: request.input }
    const input = [turn, ...output, came] as ResponseInput
    const { output_text } = await client.responses.create({ model: 'chat', store: false, input, tools })
    expect(output_text).toBe('Rain')
    expect(upstream.calls[1]?.body.input).toEqual(JSON.parse(JSON.stringify(input)))
  })

  test('of Azure OpenAI, dated and v1', async () => {
    const apiKey = await keyFor()
    const azure = { apiKey, apiVersion: '2025-04-01-preview', endpoint: `${host.url}/api`, maxRetries: 0 }
    expect((await new AzureOpenAI(azure).responses.create(asked())).output_text).toBe('Hello')
    const v1 = new OpenAI({ baseURL: `${host.url}/api/openai/v1`, apiKey, maxRetries: 0 })
    expect((await v1.responses.create(asked())).output_text).toBe('Hello')
    await expect(v1.responses.create(asked({ model: 'none' }))).rejects.toMatchObject({ status: 404 })
  })
})

test('the body goes on byte for byte but for the model and the bound', async () => {
  const body = `{ "model":"chat","input":"${unique('a')} \\u00e9","store":false, "top_p": 1.0,"metadata":{"a":"1"},"max_output_tokens":9 }`
  const key = await keyFor('free')
  const headers = { 'api-key': key }
  const response = await fetch(`${host.url}/api/v1/responses`, { method: 'POST', headers, body })
  expect(response.status).toBe(200)
  expect(sent().text).toBe(body.replace('"chat"', '"gpt-test"'))
  await post(key, asked({ max_output_tokens: 9_000 }))
  expect(upstream.calls[1]?.body.max_output_tokens).toBe(500)
})

test.each([
  ['no store', { store: undefined }, 'store', 'Send'],
  ['store', { store: true }, 'store', 'Send'],
  ['a response before', { previous_response_id: 'resp_1' }, 'previous_response_id', 'whole conversation'],
  ['a conversation', { conversation: 'conv_1' }, 'conversation', 'whole conversation'],
  ['background', { background: true }, 'background', 'Leave it out'],
  ['a stored prompt', { prompt: { id: 'pmpt_1' } }, 'prompt', 'instructions'],
  ['a reference', { input: [{ type: 'item_reference', id: 'rs_1' }] }, 'input[0]', 'Send the item'],
  ['a thought by its id', { input: [{ type: 'reasoning', id: 'rs_1', summary: [] }] }, 'input[0]', 'encrypted_content'],
  ['no input', { input: undefined }, 'input', 'a text'],
  ['an item that is none', { input: ['Hi'] }, 'input[0]', 'an object'],
  ['a tool that makes images', { tools: [{ type: 'image_generation' }] }, 'tools[0]', 'metered'],
  ['no bound', { max_output_tokens: '9' }, 'max_output_tokens', 'integer'],
])('%s is refused by name, with the reason, and the model is not asked', async (_what, change, param, reason) => {
  const { status, text, headers } = await post(await keyFor(), asked(change))
  const { error } = JSON.parse(text)
  expect([status, error.param, headers.get('x-should-retry')]).toEqual([400, param, 'false'])
  expect(error.message).toContain(reason)
  expect(upstream.calls).toEqual([])
})

describe('the cache', () => {
  const told = ({ headers }: { readonly headers: Headers }) => headers.get('cache-status') ?? ''

  test('streams what came whole: every client accepts it, and adds it up to the same', async () => {
    upstream.reply = responding([
      thoughtItem('It is a greeting, and so it wants a greeting in return, of about the same length.'),
      messageItem('Hello there, and welcome. '.repeat(20)),
    ])
    const client = clientOf(await keyFor())
    const request = asked()
    const whole = await client.responses.create(request)
    const stream = client.responses.stream(request)
    const types = new Set<string>()
    stream.on('event', ({ type }) => void types.add(type))
    const again = await stream.finalResponse()
    expect(upstream.calls).toHaveLength(1)
    expect(again).toMatchObject({ output: whole.output, output_text: whole.output_text, usage: whole.usage })
    expect([...types]).toEqual([
      'response.created',
      'response.in_progress',
      'response.output_item.added',
      'response.reasoning_summary_part.added',
      'response.reasoning_summary_text.delta',
      'response.reasoning_summary_text.done',
      'response.reasoning_summary_part.done',
      'response.output_item.done',
      'response.content_part.added',
      'response.output_text.delta',
      'response.output_text.done',
      'response.content_part.done',
      'response.completed',
    ])
  })

  test('answers whole what came as a stream, and streams it again', async () => {
    upstream.reply = streamingResponse(['Hel', 'lo'])
    const key = await keyFor()
    const request = asked()
    const first = await post(key, { ...request, stream: true })
    const again = await post(key, { ...request, stream: true })
    expect(told(again)).toContain('hit')
    const events = ({ text }: { readonly text: string }) => text.replace(/^: x-tollgate-cost: .*\n/m, '')
    expect(events(again)).toBe(events(first))
    expect(events(first)).toMatch(/\nevent: response\.completed\ndata: .*\n\n$/)
    const { data, response } = await clientOf(key).responses.create(request).withResponse()
    expect([data.output_text, told(response)]).toEqual(['Hello', expect.stringContaining('hit')])
    expect(upstream.calls).toHaveLength(1)
  })

  test('keeps no answer that calls a tool, was filtered, or is asked for by other words', async () => {
    const key = await keyFor()
    const twice = async (request: object) => [told(await post(key, request)), told(await post(key, request))]
    upstream.reply = responding([functionItem('f', {})])
    expect((await twice(asked()))[1]).not.toContain('hit')
    upstream.reply = responding(undefined, { status: 'incomplete', incomplete_details: { reason: 'content_filter' } })
    expect((await twice(asked()))[1]).not.toContain('hit')
    upstream.reply = responding(undefined, {
      status: 'incomplete',
      incomplete_details: { reason: 'max_output_tokens' },
    })
    const request = asked()
    expect((await twice(request))[1]).toContain('hit')
    expect(told(await post(key, { ...request, metadata: { a: 'b' } }))).not.toContain('hit')
  })

  test('lets streamed and plain requests at once share a call', async () => {
    const released = Promise.withResolvers<void>()
    upstream.reply = streamingResponse(['Hel', 'lo'], { before: () => released.promise })
    const client = clientOf(await keyFor())
    const request = asked()
    const streams = [1, 2, 3].map(() => client.responses.stream(request).finalResponse())
    await expect.poll(() => upstream.calls.length).toBe(1)
    const plain = client.responses.create(request)
    // Those that follow show in no call; they have time to come.
    await new Promise((resolve) => setTimeout(resolve, 300))
    released.resolve()
    const all = await Promise.all([...streams, plain])
    expect(all.map(({ output_text }) => output_text)).toEqual(['Hello', 'Hello', 'Hello', 'Hello'])
    expect(upstream.calls).toHaveLength(1)
  })
})

describe('a stream that breaks off', () => {
  test.each<[string, Parameters<typeof streamingResponse>[1], string]>([
    ['by its connection', { end: dropping }, 'stream_cut'],
    ['without an end', { end: (response) => response.end() }, 'stream_cut'],
    [
      'by an error',
      {
        end: (response, sequence_number) => {
          const error = { type: 'error', code: 'server_error', message: 'SECRET', param: null, sequence_number }
          response.end(`event: error\ndata: ${JSON.stringify(error)}\n\n`)
        },
      },
      'server_error',
    ],
    [
      'by a failure',
      {
        end: (response, sequence_number) => {
          const failed = {
            id: 'resp_1',
            status: 'failed',
            output: [],
            error: { code: 'rate_limit_exceeded', message: 'SECRET' },
          }
          const event = { type: 'response.failed', sequence_number, response: failed }
          response.end(`event: response.failed\ndata: ${JSON.stringify(event)}\n\n`)
        },
      },
      'rate_limit_exceeded',
    ],
  ])('%s ends with an error that every client sees, and is asked for again', async (_what, how, code) => {
    upstream.reply = streamingResponse(['Hel', 'lo'], how)
    const key = await keyFor()
    const request = asked()
    let text = ''
    const reading = async () => {
      for await (const event of await clientOf(key).responses.create({ ...request, stream: true })) {
        if (event.type === 'response.output_text.delta') text += event.delta
      }
    }
    await expect(reading()).rejects.toMatchObject({ code })
    await expect(reading()).rejects.toBeInstanceOf(APIError)
    expect([text, upstream.calls.length]).toEqual(['HelloHello', 2])
    const raw = await fetch(`${host.url}/api/v1/responses`, {
      method: 'POST',
      headers: { 'api-key': key },
      body: JSON.stringify({ ...request, stream: true }),
    })
    const read: string[] = []
    const decoder = new TextDecoder()
    await expect(
      (async () => {
        for await (const piece of raw.body ?? []) read.push(decoder.decode(piece, { stream: true }))
      })(),
    ).rejects.toThrow()
    const last = read.join('').trimEnd().split('\n\n').at(-1) ?? ''
    const { sequence_number, ...error } = JSON.parse(last.replace('event: error\ndata: ', ''))
    expect(error).toMatchObject({ type: 'error', code, param: null })
    expect(sequence_number).toBe(6)
    expect(read.join('')).not.toContain('SECRET')
  })

  test('before its first word is refused with a status', async () => {
    upstream.reply = (_call, response) => {
      response.writeHead(200, { 'content-type': 'text/event-stream' })
      response.end('event: error\ndata: {"type":"error","code":"server_error","message":"SECRET"}\n\n')
    }
    const { status, text } = await post(await keyFor(), { ...asked(), stream: true })
    expect([status, JSON.parse(text).error.code]).toEqual([502, 'upstream_failed'])
  })
})

describe('a budget', () => {
  test('cuts an answer to what it has left, and holds', async () => {
    const key = await keyFor('money')
    // $0.01 buys 1,250 tokens of output at $8 a million: 500 twice, less what their input is held for, and then fewer.
    const bounds: unknown[] = []
    upstream.reply = (call, response) => {
      bounds.push(call.body.max_output_tokens)
      const output_tokens = Number(call.body.max_output_tokens)
      const usage = { input_tokens: 20, output_tokens, total_tokens: 20 + output_tokens }
      return responding(undefined, { usage })(call, response)
    }
    const statuses: number[] = []
    for (let i = 0; i < 5; i += 1) statuses.push((await post(key, asked())).status)
    expect(bounds.slice(0, 2)).toEqual([500, 500])
    expect(bounds).toHaveLength(3)
    expect(Number(bounds[2])).toBeLessThan(500)
    expect(statuses).toEqual([200, 200, 200, 429, 429])
    const spent = bounds.reduce<number>((sum, output) => sum + 20 * 2 + Number(output) * 8, 0)
    expect(spent).toBeLessThanOrEqual(10_000)
  })

  test('is charged what a stream’s last event tells', async () => {
    upstream.reply = streamingResponse(['Hel', 'lo'])
    const { headers } = await post(await keyFor('money'), { ...asked(), stream: true })
    expect(await lineOf(headers.get('x-request-id'))).toMatchObject({
      usage: { input: 30, cachedInput: 10, output: 12 },
      costNanoUsd: 146_000,
    })
  })

  test('is charged all that was held where a stream broke before it told', async () => {
    upstream.reply = streamingResponse(['Hel', 'lo'], { end: dropping })
    const { headers } = await post(await keyFor('money'), { ...asked(), stream: true })
    expect(await lineOf(headers.get('x-request-id'))).toMatchObject({ uncertain: true, usage: { output: 500 } })
  })

  test('pays for each call of a hosted tool that is priced, allowed and bounded', async () => {
    const search = { id: 'ws_1', type: 'web_search_call', status: 'completed', action: { type: 'search', query: 'x' } }
    upstream.reply = responding([search, { ...search, id: 'ws_2' }, messageItem('Found')])
    const searching = (more: object = {}) =>
      asked({ model: 'searcher', tools: [{ type: 'web_search' }], max_tool_calls: 2, ...more })
    const { status, headers } = await post(await keyFor('searching'), searching())
    expect(status).toBe(200)
    expect(await lineOf(headers.get('x-request-id'))).toMatchObject({
      toolCalls: { web_search: 2 },
      // 30 at $2 and 12 at $8 a million, and 2 at $0.01.
      costNanoUsd: 60_000 + 96_000 + 20_000_000,
    })
    for (const [plan, more] of [
      ['searching', { max_tool_calls: undefined }],
      ['searching', { tools: [{ type: 'file_search' }] }],
      ['quiet', {}],
    ] as const) {
      const refused = await post(await keyFor(plan), searching(more))
      expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([403, 'tool_not_allowed'])
    }
    expect(upstream.calls).toHaveLength(1)
  })

  test('can’t be passed by a hosted tool, an image, or a field that we have never heard of', async () => {
    const key = await keyFor('money')
    const image = [{ role: 'user', content: [{ type: 'input_image', image_url: 'https://host/a.png' }] }]
    for (const change of [{ tools: [{ type: 'web_search' }] }, { input: image }, { never_heard_of: { id: 'x' } }]) {
      const { status } = await post(key, asked(change))
      expect([400, 403]).toContain(status)
    }
    expect(upstream.calls).toEqual([])
  })
})
