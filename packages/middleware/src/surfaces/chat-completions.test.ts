import { expect, test } from 'vitest'
import { request } from '../../../../test/support/base-context.ts'
import { type Body, bodyFrom, bodyOf, eventOf, eventsIn, type Json, type StreamEvent } from '../operations/index.ts'
import { azureChatCompletions, chatCompletions, generate } from './index.ts'
import type { Decoded, Surface } from './surface.ts'

const messages = [{ role: 'user', content: 'Why?' }]

function decoded(surface: Surface, json: Json, url = 'http://x/api/v1/chat/completions'): Decoded {
  const body = bodyFrom(Buffer.from(JSON.stringify(json))) as Body
  const told = surface.decode(body, { ...request, url: new URL(url) }, { maxOutputTokens: 100 })
  if ('kind' in told) throw new Error(told.message)
  return told
}

test.each([
  ['a bound above the gateway’s', { max_tokens: 101 }, { max_tokens: 100 }, ['max_tokens']],
  ['the newer name of it', { max_completion_tokens: 999 }, { max_completion_tokens: 100 }, ['max_completion_tokens']],
  ['a bound within it', { max_tokens: 100 }, { max_tokens: 100 }, []],
  ['none', {}, {}, []],
  ['null, which is none', { max_tokens: null, n: null, stream: null }, { max_tokens: null, n: null, stream: null }, []],
])('%s', (_what, asked, sent, changed) => {
  const { body, model, streamed } = decoded(chatCompletions, { messages, ...asked })
  expect([body.json, body.changed, model, streamed]).toEqual([{ messages, ...sent }, changed, undefined, false])
})

test.each([
  ['/openai/deployments/small/chat/completions', 'small'],
  ['/api/openai/deployments/gpt%2D4/chat/completions/', 'gpt-4'],
  ['/api/openai/Deployments/%E0/chat/completions', '%E0'],
])('the deployment of %s is %s, whatever the body says', (path, model) => {
  const told = decoded(azureChatCompletions, { model: 7, messages } as Json, `http://x${path}`)
  expect([told.model, told.body.json]).toEqual([model, { messages }])
})

const call = (stream_options?: object) => ({ body: bodyOf({ messages, stream_options }) }) as never
const written = (event: StreamEvent, options?: object) => {
  const bytes = chatCompletions.events(call(options)).write(event)
  return bytes === undefined ? undefined : Buffer.from(bytes).toString()
}
/** An event as the model's stream gives it, and as the cache does. */
const both = (data: string) => {
  const bytes = Buffer.from(`data: ${data}\n\n`)
  return [eventOf(JSON.parse(data), bytes), ...eventsIn(bytes)]
}

test.each([
  ['said', '{"choices":[{"index":0,"delta":{"content":"\\"usage\\":{}"}}],"usage":null}'],
  ['a first chunk of filters', '{"id":"","choices":[],"prompt_filter_results":[]}'],
  ['usage beside a choice', '{"choices":[{"index":0,"delta":{}}],"usage":{"prompt_tokens":1}}'],
  ['usage that is none', '{"choices":[], "usage" : null}'],
])('an event goes out as it came: %s', (_what, data) => {
  for (const event of both(data)) expect(written(event)).toBe(`data: ${data}\n\n`)
})

test.each([
  '{"choices":[],"usage":{"total_tokens":1}}',
  '{"usage" : {"total_tokens":1} , "choices" : [ ]}',
  '{"x":{"usage":null},"choices":[],"usage":{"total_tokens":1}}',
])('the usage goes to who asks for it: %s', (data) => {
  for (const event of both(data)) {
    expect(written(event)).toBeUndefined()
    expect(written(event, { include_usage: true })).toBe(`data: ${data}\n\n`)
  }
})

test.each([
  ['{"choices":[1],"obfuscation":"aB3"}', '{"choices":[1]}'],
  ['{"obfuscation":"aB3","choices":[1], "x" : 1.0}', '{"choices":[1], "x" : 1.0}'],
  ['{"choices":[1] , "obfuscation" : "\\"" ,"x":1.0}', '{"choices":[1] ,"x":1.0}'],
  ['{"choices":[{"obfuscation":"kept"}],"obfuscation":""}', '{"choices":[{"obfuscation":"kept"}]}'],
  ['{"choices":[{"obfuscation":"kept"}]}', '{"choices":[{"obfuscation":"kept"}]}'],
])('padding goes to who asks for it: %s', (data, without) => {
  for (const event of both(data)) {
    expect(written(event)).toBe(`data: ${without}\n\n`)
    expect(written(event, { include_obfuscation: true })).toBe(`data: ${data}\n\n`)
  }
})

test('[DONE] is written at the end alone, once', () => {
  const writer = chatCompletions.events(call())
  for (const end of ['[DONE]', ' [DONE] ']) {
    const bytes = Buffer.from(`data: ${end}\n\n`)
    for (const event of [{ bytes, name: undefined, json: undefined }, ...eventsIn(bytes)]) {
      expect(writer.write(event)).toBeUndefined()
    }
  }
  expect(writer.end()).toBe('data: [DONE]\n\n')
  expect(writer.failed({ code: 'stream_cut' })).toMatch(/^data: \{"error":\{.*"code":"stream_cut"\}\}\n\n$/)
  expect(writer.heartbeat).toBe(': keep-alive\n')
})

test('generate words its body for models that think', () => {
  const { body, fit } = decoded(generate, { prompt: 'Why?', max_tokens: 7, temperature: 1 })
  expect(fit?.(body, { outputField: 'max_tokens', temperature: true }).json).toEqual(body.json)
  const { max_tokens, temperature, ...rest } = body.json
  const thinking = fit?.(body, { outputField: 'max_completion_tokens', temperature: false })
  expect(thinking?.json).toEqual({ ...rest, max_completion_tokens: 7 })
  const other = fit?.(body, { outputField: 'max_completion_tokens', temperature: true })
  expect(other?.json).toEqual({ ...rest, temperature: 1, max_completion_tokens: 7 })
})
