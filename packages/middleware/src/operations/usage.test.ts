import { expect, test } from 'vitest'
import { toldUsage } from '../pipeline/index.ts'
import { type ChatUsage, usageOf } from './usage.ts'

test.each<[string, object | null | undefined, object | undefined]>([
  ['plain', { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }, { input: 11, cachedInput: 0, output: 7 }],
  [
    'with cached input, which is a part of the input',
    { prompt_tokens: 11, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 8 } },
    { input: 11, cachedInput: 8, output: 7 },
  ],
  [
    'with thoughts that only the total counts',
    { prompt_tokens: 11, completion_tokens: 7, total_tokens: 118 },
    { input: 11, cachedInput: 0, output: 107 },
  ],
  [
    'with thoughts that the completion counts already',
    { prompt_tokens: 1, completion_tokens: 9, total_tokens: 10, completion_tokens_details: { reasoning_tokens: 8 } },
    { input: 1, cachedInput: 0, output: 9, reasoning: 8 },
  ],
  [
    'with more cached than there was',
    { prompt_tokens: 11, completion_tokens: 7, prompt_tokens_details: { cached_tokens: 99 } },
    { input: 11, cachedInput: 11, output: 7 },
  ],
  [
    'with nonsense beside it',
    { prompt_tokens: 11, completion_tokens: 7, total_tokens: -1, prompt_tokens_details: { cached_tokens: '8' } },
    { input: 11, cachedInput: 0, output: 7 },
  ],
  ['of nothing', undefined, undefined],
  ['of null', null, undefined],
  ['of half', { prompt_tokens: 11 }, undefined],
  ['below nothing', { prompt_tokens: 11, completion_tokens: -7 }, undefined],
  ['in halves', { prompt_tokens: 1.5, completion_tokens: 7 }, undefined],
  ['as text', { prompt_tokens: '11', completion_tokens: '7' }, undefined],
])('a usage %s', (_what, told, usage) => {
  const given = usageOf(told as ChatUsage | null | undefined)
  expect(given && toldUsage(given)).toEqual(usage)
})
