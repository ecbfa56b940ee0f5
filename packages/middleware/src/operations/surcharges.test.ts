import { describe, expect, test } from 'vitest'
import { bodyOf, chat, embeddings, type Json, type Operation, responses } from './index.ts'
import { usageOf } from './usage.ts'

const asked = (operation: Operation, fields: Json) => operation.surcharges(bodyOf(fields))

describe('what a request asks for of its price', () => {
  test.each([
    ['auto', undefined],
    [undefined, undefined],
    ['flex', 'flex'],
    ['fast', 'priority'],
    ['priority', 'priority'],
  ])('the tier %s is %s', (service_tier, tier) => {
    for (const operation of [chat, responses, embeddings]) expect(asked(operation, { service_tier }).tier).toBe(tier)
  })

  const part = (more: Json) => [{ type: 'text', text: 'Why?', ...more }]
  test.each<[string, Json, boolean]>([
    ['by default', {}, false],
    ['for OpenAI’s 30 minutes', { prompt_cache_options: { ttl: '30m' } }, false],
    ['for twelve hours', { prompt_cache_options: { ttl: '12h' } }, true],
    ['for five minutes of a part', { content: part({ cache_control: { type: 'ephemeral', ttl: '5m' } }) }, false],
    ['for an hour of a part', { content: part({ cache_control: { type: 'ephemeral', ttl: '1h' } }) }, true],
    [
      'up to a mark, for twelve hours',
      { content: part({ prompt_cache_breakpoint: { mode: 'explicit', ttl: '12h' } }) },
      true,
    ],
    ['up to a mark', { content: part({ prompt_cache_breakpoint: { mode: 'explicit' } }) }, false],
  ])('what is written to the prompt cache %s', (_how, { content = 'Why?', ...fields }, isLong) => {
    const messages = [{ role: 'user', content }]
    expect(asked(chat, { messages, ...fields }).kinds.includes('cacheWriteLong')).toBe(isLong)
    expect(asked(responses, { input: messages, ...fields }).kinds.includes('cacheWriteLong')).toBe(isLong)
  })

  test('and which of its writes, where it has both lives', () => {
    const content = [
      ...part({ cache_control: { type: 'ephemeral' } }),
      ...part({ cache_control: { type: 'ephemeral', ttl: '1h' } }),
    ]
    expect(asked(chat, { messages: [{ role: 'user', content }] }).kinds).toEqual(['cacheWrite', 'cacheWriteLong'])
    expect(asked(chat, { messages: [{ role: 'user', content: part({}) }] }).kinds).toEqual([])
  })

  test('a life of the prompt cache is no input, so that bytes bound the request', () => {
    const body = bodyOf({
      messages: [{ role: 'user', content: 'Why?' }],
      max_tokens: 5,
      prompt_cache_options: { ttl: '30m' },
    })
    const rules = {
      contextWindow: undefined,
      outputField: 'max_tokens',
      temperature: true,
      tools: [],
      tiers: [],
    } as const
    expect(chat.bounds(body, rules)?.unboundedField).toBeUndefined()
  })
})

test('an answer tells which of its writes are kept for long', () => {
  const usage = (lives: Json) =>
    usageOf({
      prompt_tokens: 100,
      completion_tokens: 1,
      prompt_tokens_details: { cached_tokens: 10, cache_write_tokens: 50, cache_write_tokens_details: lives },
    })?.tokens
  expect(usage({ ttl_30m_tokens: 20, ttl_12h_tokens: 30 })).toMatchObject({
    input: 40,
    cacheWrite: 20,
    cacheWriteLong: 30,
  })
  expect(usage({ ttl_30m_tokens: 50, ttl_12h_tokens: 0 })).toMatchObject({
    input: 40,
    cacheWrite: 50,
    cacheWriteLong: 0,
  })
})
