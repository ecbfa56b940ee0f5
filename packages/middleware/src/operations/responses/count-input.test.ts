import { expect, test } from 'vitest'
import { bodyOf, type Json } from '../body.ts'
import { countTokens } from '../o200k-base.ts'
import { responses } from './responses.ts'

const RULES = { contextWindow: undefined, tokenizer: 'o200k_base' } as const
const { signal } = new AbortController()
const PROSE = 'The gateway reserves the most that an answer could cost, and gives back what it did not take. '.repeat(
  200,
)
const user = (content: unknown) => ({ role: 'user', content })
const counted = (json: Json, rules: object = RULES) =>
  responses.countInput?.(bodyOf({ max_output_tokens: 5, ...json }), { contextWindow: undefined, ...rules }, signal)
const byBytes = (json: Json) => responses.bounds(bodyOf({ max_output_tokens: 5, ...json }), RULES)?.input ?? Number.NaN

test.each<[string, Json]>([
  ['a text', { input: PROSE }],
  ['a message', { input: [user(PROSE)] }],
  ['its one part', { input: [user([{ type: 'input_text', text: PROSE }])] }],
])('%s is counted exactly, and all around it by its bytes', async (_what, json) => {
  const around = byBytes(json) - Buffer.byteLength(PROSE)
  expect((await counted(json)) ?? Number.NaN).toBe(around + countTokens(PROSE))
})

test.each<[string, Json, object]>([
  [
    'several parts',
    {
      input: [
        user([
          { type: 'input_text', text: PROSE },
          { type: 'input_text', text: 'b' },
        ]),
      ],
    },
    RULES,
  ],
  ['what a function gave', { input: [{ type: 'function_call_output', output: PROSE }] }, RULES],
  ['instructions', { input: 'Hi', instructions: PROSE }, RULES],
  ['a short text', { input: 'Hi' }, RULES],
  ['an image', { input: [user(PROSE), user([{ type: 'input_image' }])] }, RULES],
  ['another vocabulary', { input: PROSE }, { tokenizer: undefined }],
])('%s stays counted by its bytes, or by nothing', async (_what, json, rules) => {
  expect(await counted(json, rules)).toBeUndefined()
})
