import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ChatBody, inputBound, unboundedField } from '../index.ts'

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
    model: fc.constant('m'),
    messages: fc.array(fc.oneof(message, parts), { minLength: 1, maxLength: 6 }),
    tools: fc.array(tool, { maxLength: 3 }),
    stop: fc.array(text, { maxLength: 2 }),
  },
  { requiredKeys: ['model', 'messages'] },
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
    expect(inputBound({ model: 'm', messages: [{ role: 'user', content }] })).toBeGreaterThan(300)
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
    expect(unboundedField({ model: 'm', messages: [{ role: 'user', content: 'a' }], ...change })).toBe(field)
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
    expect(unboundedField({ model: 'm', messages: [{ role: 'user', content: 'a' }], ...change })).toBeUndefined()
  })
})
