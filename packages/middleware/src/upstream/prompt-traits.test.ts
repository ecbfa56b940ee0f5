import fc from 'fast-check'
import { expect, test } from 'vitest'
import { modelCall } from '../../../../test/support/model-call.ts'
import { bodyOf, chat, embeddings, type Json, type Operation, responses } from '../operations/index.ts'
import { conversationKey } from './conversation-key.ts'
import { promptTraits } from './prompt-traits.ts'

const traitsOf = (operation: Operation, json: Json, headers: Record<string, string> = {}) => {
  const traits = promptTraits(modelCall({ operation, body: bodyOf(json), headers: new Headers(headers) }))
  return [traits.tokens(), traits.turns(), traits.hasCode(), traits.offersTools(), traits.asksForSchema()]
}
const said = (content: unknown, role = 'user') => ({ role, content })
const TOOL = { type: 'function', function: { name: 'look_up', parameters: { type: 'object' } } }
const FENCE = 'Why?\n```ts\nlet a\n```'

test.each<[string, Operation, Json, readonly unknown[]]>([
  ['a chat', chat, { messages: [said('Be brief', 'system'), said('a'.repeat(392))] }, [100, 2, false, false, false]],
  [
    'parts, of which an image is none',
    chat,
    {
      messages: [
        said([
          { type: 'text', text: 'abcd' },
          { type: 'image_url', image_url: { url: `data:${'x'.repeat(9_999)}` } },
        ]),
      ],
    },
    [1, 1, false, false, false],
  ],
  ['bytes, not letters', chat, { messages: [said('日本語で')] }, [3, 1, false, false, false]],
  ['code in what a tool said', chat, { messages: [said('run'), said(FENCE, 'tool')] }, [6, 2, true, false, false]],
  [
    'a call’s arguments',
    chat,
    { messages: [{ role: 'assistant', content: null, tool_calls: [{ function: { arguments: 'abcdefgh' } }] }] },
    [2, 1, false, false, false],
  ],
  ['tools', chat, { messages: [said('')], tools: [TOOL] }, [13, 1, false, true, false]],
  ['no tools', chat, { messages: [said('')], tools: [] }, [0, 1, false, false, false]],
  ['functions', chat, { messages: [said('')], functions: [{ name: 'abcd' }] }, [2, 1, false, true, false]],
  [
    'a schema',
    chat,
    { messages: [said('')], response_format: { type: 'json_schema', json_schema: {} } },
    [0, 1, false, false, true],
  ],
  [
    'JSON without a schema',
    chat,
    { messages: [said('')], response_format: { type: 'json_object' } },
    [0, 1, false, false, false],
  ],
  ['what is no message', chat, { messages: [null, 7, 'x', { content: [null, 3] }] }, [0, 4, false, false, false]],
  ['a response to a text', responses, { instructions: 'abcd', input: FENCE }, [6, 1, true, false, false]],
  [
    'a response to items',
    responses,
    {
      input: [
        said([{ type: 'input_text', text: 'abcd' }]),
        { type: 'function_call', arguments: 'abcd' },
        { type: 'function_call_output', output: 'abcd' },
      ],
      text: { format: { type: 'json_schema' } },
      tools: [{ type: 'web_search' }],
    },
    [7, 3, false, true, true],
  ],
  ['texts to embed', embeddings, { input: ['abcd', FENCE] }, [6, 0, false, false, false]],
  ['a text to embed', embeddings, { input: 'abcde' }, [2, 0, false, false, false]],
  ['tokens to embed', embeddings, { input: [[1, 2, 3], [4]] }, [4, 0, false, false, false]],
])('%s', (_what, operation, json, expected) => {
  expect(traitsOf(operation, json)).toEqual(expected)
})

test.each([
  ['```', true],
  ['a\n```', true],
  ['a\r\n   ```js', true],
  ['a ``` b', false],
  ['    ```', false],
  ['``', false],
  ['say ``` and\n```', true],
])('a fence of code begins a line: %j is one: %s', (text, expected) => {
  expect(traitsOf(chat, { messages: [said(text)] })[2]).toBe(expected)
})

test('a header is compared in lower case, without what stands around it', () => {
  const traits = promptTraits(modelCall({ headers: new Headers({ 'X-Tier': ' Gold ' }) }))
  expect([traits.header('x-tier'), traits.header('x-other')]).toEqual(['gold', undefined])
})

test('whatever a body holds, its traits and its conversation are found', () => {
  const json = fc.dictionary(
    fc.constantFrom(
      'messages',
      'input',
      'tools',
      'functions',
      'instructions',
      'response_format',
      'text',
      'prompt_cache_key',
    ),
    fc.jsonValue({ maxDepth: 5 }),
  )
  fc.assert(
    fc.property(json, fc.constantFrom(chat, responses, embeddings), (body, operation) => {
      const [tokens, turns, ...others] = traitsOf(operation, body)
      for (const count of [tokens, turns]) expect(count).toBeGreaterThanOrEqual(0)
      for (const each of others) expect(each).toBeTypeOf('boolean')
      const call = modelCall({ operation, body: bodyOf(body), headers: new Headers() })
      expect(conversationKey(call, { consumer: 'alice', model: 'chat' })()).toMatch(/^[\w-]{43}$/)
    }),
  )
})

/** Milliseconds, the least of several tries. */
function took(work: () => void): number {
  let least = Number.POSITIVE_INFINITY
  for (let turn = 0; turn < 5; turn += 1) {
    const started = performance.now()
    work()
    least = Math.min(least, performance.now() - started)
  }
  return least
}

test.each<[string, (length: number) => Json]>([
  ['one long text', (length) => ({ messages: [said('a'.repeat(length))] })],
  ['backticks that are no fence', (length) => ({ messages: [said(`x${'`'.repeat(length)}`)] })],
  ['spaces before what is no fence', (length) => ({ messages: [said(`x${'    ```'.repeat(length / 7)}`)] })],
  ['many messages', (length) => ({ messages: Array.from({ length: length / 40 }, () => said('abc')) })],
  [
    'deep tools',
    (length) => ({ messages: [], tools: [JSON.parse(`${'['.repeat(5_000)}${']'.repeat(5_000)}`), 'x'.repeat(length)] }),
  ],
  [
    'many parts',
    (length) => ({ messages: [said(Array.from({ length: length / 30 }, () => ({ type: 'text', text: 'a' })))] }),
  ],
])('what rules look at is found in linear time: %s', (_what, json) => {
  const large = json(4_000_000)
  // A quadratic search would take many times as long.
  expect(took(() => traitsOf(chat, large))).toBeLessThan(1_000)
})
