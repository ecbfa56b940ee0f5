import { startSimulatedModel } from '@tollgate/local-host'
import OpenAI, { AzureOpenAI } from 'openai'
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest'

let model: Awaited<ReturnType<typeof startSimulatedModel>>
let client: OpenAI
beforeAll(async () => {
  model = await startSimulatedModel()
  client = new OpenAI({ baseURL: model.url, apiKey: 'any', maxRetries: 0 })
})
afterAll(() => model?.close())

const stats = async (method = 'GET') => (await fetch(`${model.azureEndpoint}/stats`, { method })).json()
beforeEach(() => stats('DELETE'))

const ask = (prompt: string) => ({ model: 'm', messages: [{ role: 'user' as const, content: prompt }] })
const simulate = (words: string) => ({ headers: { 'x-simulate': words } })
const post = (words: string, body: object = ask('Why?'), init: RequestInit = {}) =>
  fetch(`${model.url}/chat/completions`, { method: 'POST', body: JSON.stringify(body), ...simulate(words), ...init })

/** What a stream brought, and whether it ended as it should. */
async function streamed(words: string): Promise<{ readonly text: string; readonly broke: boolean }> {
  const response = await post(words, { ...ask('Why?'), stream: true, stream_options: { include_usage: true } })
  let text = ''
  try {
    for await (const piece of (response.body ?? []) as AsyncIterable<Uint8Array>) text += Buffer.from(piece).toString()
    return { text, broke: false }
  } catch {
    return { text, broke: true }
  }
}
const pieces = (text: string) => [...text.matchAll(/"content":"([^"]+)"/g)].map(([, piece]) => piece)

describe('responses', () => {
  const asked = { model: 'm', input: 'Why?', store: false, metadata: { a: 'b' } }

  test('are answered whole and as a stream, alike', async () => {
    const whole = await client.responses.create(asked)
    expect(whole).toMatchObject({
      output_text: 'This is a simulated answer to: Why?',
      status: 'completed',
      store: false,
      metadata: { a: 'b' },
    })
    const streamed = await client.responses.stream(asked).finalResponse()
    expect(streamed).toMatchObject({ id: whole.id, output: whole.output, usage: whole.usage })
    const messages = [{ role: 'user' as const, content: 'Why?' }]
    expect((await client.responses.create({ ...asked, input: messages })).output_text).toBe(whole.output_text)
    const azure = new AzureOpenAI({ endpoint: model.azureEndpoint, apiKey: 'any', apiVersion: '2025-04-01-preview' })
    expect((await azure.responses.create(asked)).output_text).toBe(whole.output_text)
  })

  test('end at their length, and fail as they are told to', async () => {
    const short = await client.responses.create({ ...asked, max_output_tokens: 3 })
    expect([short.status, short.incomplete_details]).toEqual(['incomplete', { reason: 'max_output_tokens' }])
    const read = async (words: string) => {
      const types: string[] = []
      const stream = await client.responses.create({ ...asked, stream: true }, simulate(words))
      for await (const { type } of stream) types.push(type)
      return types
    }
    await expect(read('error-event=2')).rejects.toMatchObject({ code: 'server_error' })
    await expect(read('cut')).rejects.toThrow()
    expect((await read('no-done')).at(-1)).toBe('response.output_item.done')
    await expect(client.responses.create(asked, simulate('status=429'))).rejects.toMatchObject({ status: 429 })
  })
})

describe('the simulated model', () => {
  test('answers the SDK, the same for the same prompt, and says what it is', async () => {
    const [one, again, other] = [
      await client.chat.completions.create(ask('Why?')),
      await client.chat.completions.create(ask('Why?')),
      await client.chat.completions.create(ask('Why not?')),
    ]
    expect(again).toEqual(one)
    expect(other.id).not.toBe(one.id)
    expect(one.choices[0]?.message.content).toBe('This is a simulated answer to: Why?')
    expect(one.usage?.total_tokens).toBe((one.usage?.prompt_tokens ?? 0) + (one.usage?.completion_tokens ?? 0))
  })

  test('streams the same text, with usage where it is asked for', async () => {
    const plain = await client.chat.completions.create(ask('Why?'))
    let text = ''
    let usage: unknown
    for await (const chunk of await client.chat.completions.create({
      ...ask('Why?'),
      stream: true,
      stream_options: { include_usage: true },
    })) {
      text += chunk.choices[0]?.delta.content ?? ''
      usage = chunk.usage ?? usage
    }
    expect(text).toBe(plain.choices[0]?.message.content)
    expect(usage).toEqual(plain.usage)
  })

  test('keeps to max_tokens, and gives as many choices as are asked for', async () => {
    const answer = await client.chat.completions.create({ ...ask('Why?'), max_tokens: 3, n: 2 })
    expect(answer.choices.map(({ message, finish_reason }) => [message.content, finish_reason])).toEqual([
      ['This is a ', 'length'],
      ['This is a ', 'length'],
    ])
    expect(answer.usage?.completion_tokens).toBe(6)
  })

  test('embeds: vectors of length 1, the same for the same text, in the SDK’s two encodings', async () => {
    const create = (encoding_format: 'float' | 'base64', dimensions = 20) =>
      client.embeddings.create({ model: 'e', input: ['a', 'b'], encoding_format, dimensions })
    const { data, usage } = await create('float')
    expect(data.map(({ embedding }) => embedding.length)).toEqual([20, 20])
    expect(Math.hypot(...(data[0]?.embedding ?? []))).toBeCloseTo(1, 5)
    expect(data[0]?.embedding).not.toEqual(data[1]?.embedding)
    expect(usage).toEqual({ prompt_tokens: 2, total_tokens: 2 })
    // Without a format the SDK asks for base64, and decodes it.
    const decoded = await client.embeddings.create({ model: 'e', input: ['a', 'b'], dimensions: 20 })
    expect(decoded.data).toEqual(data)
    expect((await client.embeddings.create({ model: 'e', input: 'a' })).data[0]?.embedding).toHaveLength(1536)
    await expect(client.embeddings.create({ model: 'e', input: [] })).rejects.toMatchObject({ status: 400 })
  })

  test('lists its models, and answers what it does not know in OpenAI’s error shape', async () => {
    expect((await client.models.list()).data.map(({ id }) => id)).toEqual(['simulated', 'simulated-embedding'])
    expect((await client.models.retrieve('simulated')).id).toBe('simulated')
    await expect(client.models.retrieve('none')).rejects.toMatchObject({ status: 404, code: 'model_not_found' })
    await expect(client.images.generate({ prompt: 'x' })).rejects.toMatchObject({ status: 404, code: 'not_found' })
    for (const body of ['{', 'null', '[1]', '{"messages":5}', '{"messages":[null]}']) {
      const sent = await fetch(`${model.url}/chat/completions`, { method: 'POST', body })
      expect([body, sent.status]).toEqual([body, 400])
    }
  })

  test('answers Azure’s SDK by its paths, where the deployment names the model', async () => {
    const azure = new AzureOpenAI({
      endpoint: model.azureEndpoint,
      apiKey: 'any',
      apiVersion: '2024-10-21',
      maxRetries: 0,
      deployment: 'gpt+finish=length',
    })
    const { model: name, choices } = await azure.chat.completions.create(ask('Why?'))
    expect([name, choices[0]?.finish_reason]).toEqual(['gpt', 'length'])
  })

  test('counts what it was asked, and what became of it', async () => {
    await post('')
    await post('status=500')
    await streamed('cut')
    await expect.poll(() => stats()).toEqual({ requests: 3, byModel: { m: 3 }, answered: 2, unfinished: 1, open: 0 })
    await stats('DELETE')
    expect(await stats()).toMatchObject({ requests: 0, byModel: {} })
  })
})

describe('faults on demand', () => {
  test.each([
    [401, 'invalid_api_key'],
    [429, 'rate_limit_exceeded'],
    [500, 'server_error'],
    [503, 'server_error'],
  ])('status=%i is an error in OpenAI’s shape', async (status, code) => {
    const asked = client.chat.completions.create(ask('Why?'), simulate(`status=${status}`))
    await expect(asked).rejects.toMatchObject({ status, code })
  })

  test.each([
    ['', [null, null, null]],
    [',retry-after=seconds:3', ['3', null, null]],
    [',retry-after=ms:1500', [null, '1500', null]],
    [',retry-after=garbage', ['soon', null, null]],
    [',retry-after=never', [null, null, 'false']],
  ])('status=429%s says when to come back in that form', async (words, expected) => {
    const { status, headers } = await post(`status=429${words}`)
    expect(status).toBe(429)
    expect(['retry-after', 'retry-after-ms', 'x-should-retry'].map((name) => headers.get(name))).toEqual(expected)
  })

  test('retry-after=date:N is an HTTP date that many seconds ahead', async () => {
    const { headers } = await post('status=503,retry-after=date:60')
    const ahead = Date.parse(headers.get('retry-after') ?? '') - Date.now()
    expect(ahead).toBeGreaterThan(50_000)
    expect(ahead).toBeLessThanOrEqual(60_000)
  })

  test('html is a page, 502 where no status is given', async () => {
    const page = await post('html')
    expect([page.status, page.headers.get('content-type')]).toEqual([502, 'text/html'])
    expect(await page.text()).toContain('<html>')
    expect((await post('html,status=504')).status).toBe(504)
  })

  test('invalid-json is a 200 that is none', async () => {
    const response = await post('invalid-json')
    expect(response.status).toBe(200)
    await expect(response.json()).rejects.toThrow(SyntaxError)
  })

  test('latency waits before the answer, pace before each piece', async () => {
    const started = performance.now()
    await post('latency=120')
    const waited = performance.now() - started
    await streamed('pace=40')
    // Timers count whole milliseconds, and may fire within the last one.
    expect(waited).toBeGreaterThanOrEqual(119)
    expect(performance.now() - started - waited).toBeGreaterThanOrEqual(7 * 39)
  })

  test.each([
    ['hang, before the answer', 'hang', false],
    ['hang=0, within it', 'hang=0', true],
  ])('%s: silence, until the client leaves', async (_what, words, headed) => {
    const leaving = new AbortController()
    const asked = post(words, { ...ask('Why?'), stream: headed }, { signal: leaving.signal })
    await expect.poll(() => stats()).toMatchObject({ open: 1 })
    const response = headed ? await asked : undefined
    leaving.abort()
    await expect(response?.text() ?? asked).rejects.toThrow('abort')
    await expect.poll(() => stats()).toMatchObject({ open: 0, unfinished: 1 })
  })

  test('hang=N and cut stop a plain answer half-way', async () => {
    const response = await post('cut')
    expect(response.status).toBe(200)
    await expect(response.text()).rejects.toThrow()
    const half = await post('hang=1')
    expect(Buffer.from((await half.body?.getReader().read())?.value ?? []).toString()).toMatch(/^\{"id"/)
  })

  test('cut=N breaks a stream after N pieces', async () => {
    const { text, broke } = await streamed('cut=2')
    expect([pieces(text), broke]).toEqual([['This ', 'is '], true])
    expect(pieces((await streamed('cut=0')).text)).toEqual([])
  })

  test('error-event=N sends an error after N pieces, and no more', async () => {
    const { text, broke } = await streamed('error-event=2')
    expect([pieces(text), broke, text.includes('[DONE]')]).toEqual([['This ', 'is '], false, false])
    expect(text).toContain('{"error":{"message":"A simulated error event."')
  })

  test('no-done and no-usage leave out what they say', async () => {
    const { text } = await streamed('')
    expect([text.includes('[DONE]'), text.includes('"usage"')]).toEqual([true, true])
    const less = await streamed('no-done,no-usage')
    expect([less.text.includes('[DONE]'), less.text.includes('"usage"'), less.broke]).toEqual([false, false, false])
    expect(await (await post('no-usage')).json()).not.toHaveProperty('usage')
  })

  test('words=N is the answer’s length, finish its reason', async () => {
    const answer = await (await post('words=1000,finish=content_filter')).json()
    const [{ message, finish_reason }] = (answer as OpenAI.ChatCompletion).choices as [OpenAI.ChatCompletion.Choice]
    expect([message.content?.trim().split(' ').length, finish_reason]).toEqual([1000, 'content_filter'])
  })

  test('fail=N lets the first N fail, and the next succeed', async () => {
    const statuses = []
    for (let i = 0; i < 4; i += 1) statuses.push((await post('status=500,fail=2')).status)
    expect(statuses).toEqual([500, 500, 200, 200])
    // A retry of the SDK's own gets through.
    const retrying = new OpenAI({ baseURL: model.url, apiKey: 'any', maxRetries: 2 })
    const words = 'status=429,retry-after=ms:1,fail=2'
    expect((await retrying.chat.completions.create(ask('Why?'), simulate(words))).object).toBe('chat.completion')
  })

  test('can be told by the model’s name; the header counts before it', async () => {
    expect((await post('', { ...ask('Why?'), model: 'm+status=429' })).status).toBe(200)
    const byName = await fetch(`${model.url}/chat/completions`, {
      method: 'POST',
      body: JSON.stringify({ ...ask('Why?'), model: 'm+status=429' }),
    })
    expect(byName.status).toBe(429)
  })

  test.each([
    ['nonsense', "knows no 'nonsense'. It knows: latency=MS"],
    ['constructor', "knows no 'constructor'"],
    ['latency', "'latency' can't be read. Its form is latency=MS."],
    ['latency=-1', "'latency=-1' can't be read"],
    ['status=200', "'status=200' can't be read. Its form is status=400…599."],
    ['html=1', "'html=1' can't be read"],
    ['retry-after=tomorrow', "'retry-after=tomorrow' can't be read"],
    ['pace=5', '\'pace\' needs a request with "stream": true'],
  ])('%s is a 400 that says what to correct', async (words, message) => {
    const response = await post(words)
    expect(response.status).toBe(400)
    expect(await response.json()).toMatchObject({
      error: { code: 'invalid_fault', message: expect.stringContaining(message) },
    })
  })
})
