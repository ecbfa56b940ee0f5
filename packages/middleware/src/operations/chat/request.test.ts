import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ModelRules } from '../../pipeline/index.ts'
import { bodyFrom, bodyOf } from '../body.ts'
import { bounded, bounds, type ChatBody, withOutput } from './request.ts'

const UNKNOWN = { contextWindow: undefined }
/** The bounds of a request whose answer is bounded. */
const RULES: ModelRules = { ...UNKNOWN, outputField: 'max_tokens', temperature: true, tools: [], tiers: [] }
const bound = (body: object) => bounds(bodyOf({ max_tokens: 1, ...body }), UNKNOWN)
const inputBound = (body: object) => bound(body)?.input
const unboundedField = (body: object) => bound(body)?.unboundedField

const text = fc.string({ unit: 'grapheme', maxLength: 60 })
const message = fc.record({ role: fc.constantFrom('system', 'user', 'assistant', 'tool'), content: text })
const parts = fc.record({
  role: fc.constant('user'),
  content: fc.array(fc.record({ type: fc.constant('text'), text }), { maxLength: 4 }),
})
const tool = fc.record({
  type: fc.constant('function'),
  function: fc.record({ name: text, description: text, parameters: fc.object({ maxDepth: 2 }) }),
})
const body: fc.Arbitrary<ChatBody> = fc.record(
  {
    messages: fc.array(fc.oneof(message, parts), { minLength: 1, maxLength: 6 }),
    tools: fc.array(tool, { maxLength: 3 }),
    stop: fc.array(text, { maxLength: 2 }),
  },
  { requiredKeys: ['messages'] },
)

/** Every text in a value, with the names of its fields. */
function textsIn(value: unknown): string[] {
  if (typeof value === 'string') return [value]
  if (typeof value !== 'object' || value === null) return [String(value)]
  return Object.entries(value).flatMap(([name, held]) => [...(Array.isArray(value) ? [] : [name]), ...textsIn(held)])
}
const bytes = (value: unknown) => textsIn(value).reduce((sum, each) => sum + Buffer.byteLength(each), 0)

describe('the bound of an input', () => {
  test('is enough for a vocabulary of single bytes, and a template around each message', () => {
    fc.assert(
      fc.property(body, (body) => {
        const template = body.messages.length * 8 + 64
        expect(unboundedField(body)).toBeUndefined()
        expect(inputBound(body)).toBeGreaterThanOrEqual(bytes(body.messages) + bytes(body.tools ?? []) + template)
      }),
    )
  })

  test('is enough for text that has no UTF-8 of its own', () => {
    const content = '\ud800'.repeat(100)
    // A lone surrogate goes out as an escape, and would come in as a replacement character of three bytes.
    expect(inputBound({ messages: [{ role: 'user', content }] })).toBeGreaterThan(300)
  })
})

describe('an input that bytes don’t bound', () => {
  const user = (content: unknown) => ({
    messages: [
      { role: 'system', content: 'a' },
      { role: 'user', content },
    ],
  })

  test.each<[string, Partial<ChatBody> | object, string]>([
    ['an image', user([{ type: 'image_url', image_url: { url: 'https://x' } }]), 'messages[1].content[0]'],
    ['sound', user([{ type: 'text', text: 'a' }, { type: 'input_audio' }]), 'messages[1].content[1]'],
    ['a file', user([{ type: 'file', file: { file_id: 'f' } }]), 'messages[1].content[0]'],
    ['a part that is none', user([null]), 'messages[1].content[0]'],
    ['content in another shape', user({ type: 'image_url' }), 'messages[1].content'],
    [
      'sound from before',
      { messages: [{ role: 'assistant', content: null, audio: { id: 'a' } }] },
      'messages[0].audio',
    ],
    ['a hosted tool', { tools: [{ type: 'function' }, { type: 'web_search' }] }, 'tools[1]'],
    ['a search of the web', { web_search_options: {} }, 'web_search_options'],
    ['a search of documents', { data_sources: [{}] }, 'data_sources'],
    ['an answer as sound', { modalities: ['text', 'audio'] }, 'modalities'],
    ['a reference', { previous_response_id: 'r' }, 'previous_response_id'],
  ])('%s is named', (_what, change, field) => {
    expect(unboundedField({ messages: [{ role: 'user', content: 'a' }], ...change })).toBe(field)
  })

  test.each<[string, object]>([
    [
      'parts of text',
      user([
        { type: 'text', text: 'a' },
        { type: 'refusal', refusal: 'a' },
      ]),
    ],
    ['no content', { messages: [{ role: 'assistant', content: null, tool_calls: [], audio: null }] }],
    ['tools of the caller', { tools: [{ type: 'function' }, { type: 'custom' }], tool_choice: 'auto' }],
    ['a form for the answer', { response_format: { type: 'json_schema', json_schema: {} } }],
    ['text alone', { modalities: ['text'] }],
    ['a number that we don’t know', { top_k: 5, min_p: 0.1, ignore_eos: true, seed: null }],
  ])('%s is none', (_what, change) => {
    expect(unboundedField({ messages: [{ role: 'user', content: 'a' }], ...change })).toBeUndefined()
  })
})

const asked = (change: object) => bodyOf({ messages: [], ...change })

test.each<[object, { readonly each: number; readonly choices: number } | undefined]>([
  [{ max_tokens: 5 }, { each: 5, choices: 1 }],
  [
    { max_completion_tokens: 5, n: 3 },
    { each: 5, choices: 3 },
  ],
  [
    { max_completion_tokens: 5, max_tokens: 9 },
    { each: 9, choices: 1 },
  ],
  [
    { max_completion_tokens: null, max_tokens: 9, n: null },
    { each: 9, choices: 1 },
  ],
  [{}, undefined],
  [{ max_tokens: 5, n: 0 }, undefined],
  [{ max_tokens: 5, n: '3' }, undefined],
  [{ max_tokens: '5' }, undefined],
  [{ max_completion_tokens: 5, max_tokens: 0.5 }, undefined],
  [{ max_tokens: Number.MAX_SAFE_INTEGER, n: 2 }, undefined],
])('the bound that %o states', (change, bound) => {
  const stated = bounds(asked(change), UNKNOWN)
  expect(stated && { each: stated.output, choices: stated.choices }).toEqual(bound)
})

describe('a bound goes out in the word that the model is known to go by:', () => {
  test.each<[ModelRules['outputField'], object, object]>([
    ['max_completion_tokens', { max_tokens: 5 }, { max_completion_tokens: 5 }],
    ['max_completion_tokens', { max_tokens: 5, max_completion_tokens: 9 }, { max_completion_tokens: 9 }],
    ['max_completion_tokens', { max_tokens: 5, max_completion_tokens: null }, { max_completion_tokens: 5 }],
    ['max_completion_tokens', { max_tokens: null }, { max_completion_tokens: 7 }],
    ['max_completion_tokens', {}, { max_completion_tokens: 7 }],
    ['max_tokens', { max_completion_tokens: 5 }, { max_tokens: 5 }],
    ['max_tokens', { max_tokens: 5 }, { max_tokens: 5 }],
  ])('%s of %o', (outputField, change, expected) => {
    const rules: ModelRules = { ...RULES, outputField, isOutputFieldKnown: true }
    const body = bodyFrom(Buffer.from(JSON.stringify({ messages: [], ...change })))
    if (typeof body === 'string') throw new Error(body)
    const sent = bounded(body, 7, rules)
    expect(sent.json).toEqual({ messages: [], ...expected })
    expect(JSON.parse(Buffer.from(sent.bytes).toString())).toEqual(sent.json)
    const moved = Object.keys({ ...change, ...expected }).filter(
      (field) => Object(change)[field] !== Object(expected)[field],
    )
    expect([...sent.changed].sort()).toEqual(moved.sort())
  })

  test('and as it came where nobody knows', () => {
    const body = asked({ max_completion_tokens: 5 })
    expect(bounded(body, 7, RULES)).toBe(body)
  })
})

test.each([
  [{}, { max_tokens: 7 }],
  [{ max_completion_tokens: null }, { max_completion_tokens: 7 }],
  [
    { max_completion_tokens: 9, max_tokens: 8 },
    { max_completion_tokens: 7, max_tokens: 7 },
  ],
])('another bound goes where %o has one', (change, expected) => {
  expect(withOutput(asked(change), 7).json).toEqual(asked(expected).json)
})

test('a bound of null is none', () => {
  const sent = (change: object) => bounded(asked(change), 7, RULES).json.max_tokens
  expect([sent({}), sent({ max_tokens: null }), sent({ max_tokens: 1 })]).toEqual([7, 7, 1])
})
