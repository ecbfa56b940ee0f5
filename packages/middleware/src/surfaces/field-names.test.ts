import { describe, expect, test } from 'vitest'
import { request } from '../../../../test/support/base-context.ts'
import { bodyOf, type Json } from '../operations/index.ts'
import { isRefusal } from '../pipeline/index.ts'
import { chatCompletions, openaiEmbeddings, openaiResponses, type Surface } from './index.ts'

const messages = [{ role: 'user', content: 'Why?' }]
const SURFACES = {
  chat: { surface: chatCompletions, body: { messages } },
  responses: { surface: openaiResponses, body: { input: 'Why?', store: false } },
  embeddings: { surface: openaiEmbeddings, body: { input: 'Why?' } },
} satisfies Record<string, { surface: Surface; body: Json }>

function refusalOf(on: keyof typeof SURFACES, fields: Json) {
  const { surface, body } = SURFACES[on]
  const decoded = surface.decode(bodyOf({ ...body, ...fields }), request, { maxOutputTokens: 100 })
  return isRefusal(decoded) ? decoded : undefined
}

describe('a field that a service could take for one that was checked is refused, with the one to write:', () => {
  test.each<[keyof typeof SURFACES, Json, string]>([
    ['chat', { Max_Tokens: 9 }, "Write 'max_tokens'."],
    ['chat', { MAX_COMPLETION_TOKENS: 9 }, "Write 'max_completion_tokens'."],
    ['chat', { maxTokens: 9 }, "Write 'max_tokens'."],
    ['chat', { 'max-tokens': 9 }, "Write 'max_tokens'."],
    // Go reads these two letters for `s` and `k`.
    ['chat', { max_to\u212aens: 9 }, "Write 'max_tokens'."],
    ['chat', { '\u017fervice_tier': 'priority' }, "Write 'service_tier'."],
    ['chat', { N: 100 }, "Write 'n'."],
    ['chat', { Model: 'dear' }, "Write 'model'."],
    ['chat', { Messages: messages }, "Write 'messages'."],
    ['chat', { Web_Search_Options: {} }, "Write 'web_search_options'."],
    ['chat', { Plugins: [{ id: 'web' }] }, "Write 'plugins'."],
    ['chat', { max_new_tokens: 9_999 }, "Send 'max_tokens' instead."],
    ['chat', { Max_New_Tokens: 9_999 }, "Send 'max_tokens' instead."],
    ['chat', { max_output_tokens: 9_999 }, "Send 'max_tokens' instead."],
    ['chat', { n_predict: -1 }, "Send 'max_tokens' instead."],
    ['chat', { best_of: 8 }, "Send 'n' instead."],
    ['chat', { num_generations: 8 }, "Send 'n' instead."],
    ['chat', { extra_body: { max_tokens: 9_999 } }, 'Write it outside of it.'],
    ['chat', { extra_body: { Plugins: [] } }, 'Write it outside of it.'],
    ['chat', { messages: [...messages, { ...messages[0], Content: [{ type: 'image_url' }] }] }, "Write 'content'."],
    ['responses', { input: [{ role: 'user', content: 'a', CONTENT: [] }] }, "Write 'content'."],
    ['responses', { Max_Output_Tokens: 9 }, "Write 'max_output_tokens'."],
    ['responses', { max_tokens: 9_999 }, "Send 'max_output_tokens' instead."],
    ['responses', { n: 3 }, 'Leave it out.'],
    ['responses', { Store: true }, "Write 'store'."],
    ['embeddings', { Service_Tier: 'priority' }, "Write 'service_tier'."],
  ])('%s with %o', (on, fields, fix) => {
    const refusal = refusalOf(on, fields)
    expect(refusal).toMatchObject({ status: 400, code: 'invalid_request', message: expect.stringContaining(fix) })
    const [field = ''] = Object.keys(fields)
    expect(refusal?.param?.startsWith(field)).toBe(true)
  })
})

test.each<[keyof typeof SURFACES, Json]>([
  ['chat', { max_tokens: 9, n: 2, top_k: 5, min_tokens: 1, chat_template_kwargs: { enable_thinking: false } }],
  ['chat', { max_new_tokens: null, best_of: null, Max_Tokens: null }],
  ['chat', { extra_body: { google: { thinking_config: { thinking_budget: 5 } } } }],
  ['chat', { best_of: 1, extra_body: { enable_thinking: false, max_tokens: null } }],
  ['responses', { max_output_tokens: 9, max_tool_calls: 1, n: 1 }],
  ['embeddings', { dimensions: 5, max_tokens: 9 }],
])('others pass: %s with %o', (on, fields) => {
  expect(refusalOf(on, fields)).toBeUndefined()
})
