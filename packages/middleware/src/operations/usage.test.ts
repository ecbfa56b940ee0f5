import { expect, test } from 'vitest'
import { tokensRead, toldUsage } from '../pipeline/index.ts'
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

test('a kind of tokens has a plain name, and an answer names no more than a few', () => {
  const details = Object.fromEntries(Array.from({ length: 1_000 }, (_, index) => [`kind${index}_tokens`, 1]))
  const told = usageOf({ prompt_tokens: 2_000, completion_tokens: 7, prompt_tokens_details: details })
  expect(Object.keys(told?.tokens ?? {}).length).toBeLessThan(30)
  expect(tokensRead(told?.tokens ?? {})).toBe(2_000)
  const odd = { '\u001b[2J_tokens': 1, '=1+1_tokens': 1, [`${'k'.repeat(1_000)}_tokens`]: 1, audio_tokens: 3 }
  const { tokens } = usageOf({ prompt_tokens: 11, completion_tokens: 7, prompt_tokens_details: odd }) ?? {}
  expect(tokens).toMatchObject({ input: 8, audioInput: 3, output: 7 })
  expect(Object.keys(tokens ?? {}).sort()).toEqual(['audioInput', 'cachedInput', 'input', 'output'])
})
