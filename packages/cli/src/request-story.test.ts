import type { UsageRow } from '@tollgate/middleware'
import { describe, expect, test } from 'vitest'
import { requestStory } from './request-story.ts'

const AT = Date.UTC(2026, 10, 27, 14, 22, 40)
const step = (name: string, decision: string) => ({ name, decision, ms: 1 })
const WAY = [step('key', 'known'), step('limits', 'admitted'), step('body', 'decoded'), step('route', 'default')]

const ANSWERED: UsageRow = {
  id: '1',
  requestId: 'r-1',
  call: 0,
  startedAt: AT,
  ms: 1_840,
  status: 200,
  outcome: 'answered',
  consumer: 'alice',
  plan: 'pro',
  policy: '381c6d22784c',
  promptHash: 'XYqZ',
  surface: 'chat-completions',
  operation: 'chat',
  route: 'chat',
  model: 'default',
  cache: 'miss',
  usage: { input: 1_000, cachedInput: 600, output: 50, reasoning: 40 },
  reserved: { input: 1_200, output: 800, costNanoUsd: 660_000 },
  costNanoUsd: 99_000,
  attempts: [
    { model: 'default', target: 'azure:a', ms: 120, status: 500, code: 'server_error' },
    {
      model: 'default',
      target: 'openai:b',
      ms: 1_700,
      firstTokenMs: 250,
      usage: { input: 1_000, cachedInput: 600, output: 50, reasoning: 40 },
      costNanoUsd: 99_000,
      price: { rates: { input: 150_000, cachedInput: 15_000, output: 600_000 }, tiers: { flex: 500 } },
      tier: 'flex',
    },
  ],
  steps: [
    ...WAY,
    step('cache', 'miss'),
    step('budget', 'reserved'),
    step('attempts', 'server_error'),
    step('attempts', 'answered'),
    step('settle', 'certain'),
    step('store', 'stored'),
  ],
  left: [
    { limit: 'requests', measure: 'requests', of: 10, left: 9 },
    { limit: 'usd', measure: 'money', of: 5_000_000_000, left: 4_999_340_000 },
  ],
}

const REFUSED: UsageRow = {
  ...ANSWERED,
  status: 429,
  outcome: 'refused',
  refusal: 'insufficient_quota',
  limit: 'usd',
  attempts: [],
  steps: [...WAY, step('cache', 'miss'), step('budget', 'insufficient_quota')],
  left: [
    { limit: 'requests', measure: 'requests', of: 10, left: 9 },
    { limit: 'usd', measure: 'money', of: 5_000_000_000, left: 120_000 },
  ],
}

const without = <Key extends keyof UsageRow>(row: UsageRow, ...keys: Key[]): Omit<UsageRow, Key> =>
  Object.fromEntries(Object.entries(row).filter(([key]) => !keys.includes(key as Key))) as Omit<UsageRow, Key>

test('the whole story of a request that was answered at the second try', () => {
  expect(requestStory(ANSWERED)).toBe(`Request r-1, 2026-11-27 14:22:40 UTC

'alice', on plan 'pro', was answered by model 'default' at openai:b in 1.84 s, for $0.000099.

  STEP      DECISION                                               TOOK
  key       of 'alice', on plan 'pro'                              1 ms
  limits    had room                                               1 ms
  body      chat by chat-completions                               1 ms
  route     route 'chat', whose model is 'default'                 1 ms
  cache     does not have it: the model is asked                   1 ms
  budget    reserved 1,200 input and 800 output tokens, $0.000660  1 ms
  attempts  azure:a failed: server_error, status 500               1 ms
  attempts  openai:b answered                                      1 ms
  settle    charged what the model told                            1 ms
  store     kept, to answer the same again                         1 ms

Limits, and what each had left:
  LIMIT     COUNTS        LEFT  QUOTA
  requests  requests   9           10
  usd       money     $4.99934     $5

Reserved: 1,200 input and 800 output tokens, $0.000660. Given back: 950 tokens, $0.000561.

Call to openai:b: $0.000099, in 1.70 s, the first token after 250 ms.
  TOKENS       COUNT               PRICE
  input          400   $0.15 per million
  cachedInput    600  $0.015 per million
  output          50    $0.6 per million
  The price also depends on the service tier, flex.

Policy: revision 381c6d22784c.
Prompt: hash XYqZ, the same for the same prompt.`)
})

test('a limit with a burst shows the most that it may have, which is what is left at most', () => {
  const left = [{ limit: 'requests', measure: 'requests', of: 10, most: 15, left: 13 }]
  expect(requestStory({ ...ANSWERED, left })).toMatch(/^ {2}requests +requests +13 +10, up to 15$/m)
  const refused = { ...REFUSED, refusal: 'rate_limit_exceeded', limit: 'requests', left }
  expect(requestStory(refused)).toContain("by limit 'requests', which had 13 of 15 left, after")
})

test('a refusal names the field at fault, and says when to come back', () => {
  const { limit: _, ...row } = REFUSED
  const faulty = { ...row, status: 400, refusal: 'invalid_request', param: 'messages[0].content', left: [] }
  expect(requestStory(faulty)).toContain(
    "was refused with 400 (invalid_request) for its field 'messages[0].content', after 1.84 s.",
  )
  expect(requestStory({ ...REFUSED, retryAfterMs: 42_000 })).toContain(
    'after 1.84 s. It was told to come back in 42.00 s, at 2026-11-27 14:23:23 UTC.',
  )
})

test.each([
  ['model_asked', 'It would be let through, and the model be asked.'],
  ['answered_from_cache', 'It would be answered from the cache.'],
  ['rate_limit_exceeded', 'It would be refused (rate_limit_exceeded).'],
])('a dry run tells its verdict: %s', (verdict, sentence) => {
  const text = requestStory({ ...ANSWERED, dryRun: true, verdict })
  expect(text).toContain(`asked what would become of a request. ${sentence} A dry run takes nothing`)
})

test('a refusal names the limit, what it had left, and what was given back', () => {
  const text = requestStory(REFUSED)
  expect(text).toContain(
    "'alice', on plan 'pro', was refused with 429 (insufficient_quota) by limit 'usd', which had $0.00012 of $5 left, after 1.84 s.",
  )
  expect(text).toMatch(
    /^ {2}budget +wanted 1,200 input and 800 output tokens, \$0\.000660, which 'usd' has not left: refused +1 ms$/m,
  )
  expect(text).toContain('What the limits before had taken for it was given back.')
  expect(text).not.toContain('Reserved:')
})

describe('in a sentence', () => {
  const HIT = { ...without(ANSWERED, 'attempts', 'costNanoUsd', 'usage'), savedNanoUsd: 99_000 } as const
  test.each<[string, UsageRow, string]>([
    ['a hit', { ...HIT, cache: 'hit', ms: 9 }, 'was answered from the cache in 9 ms, for $0, and $0.000099 saved.'],
    [
      'one that waited for another’s call',
      { ...HIT, cache: 'collapsed' },
      'was answered by the call of another request for the same, which was under way, in 1.84 s',
    ],
    [
      'a model without a price',
      {
        ...without(ANSWERED, 'costNanoUsd'),
        attempts: [{ model: 'm', target: 't', ms: 1, usage: { input: 1, cachedInput: 0, output: 1 } }],
      },
      'in 1.84 s, at a cost that is not known, for want of a price.',
    ],
    [
      'no key',
      {
        ...without(REFUSED, 'consumer', 'plan', 'limit'),
        status: 401,
        refusal: 'invalid_api_key',
        steps: [step('key', 'invalid_api_key')],
      },
      'A caller without a valid key was refused with 401 (invalid_api_key), after 1.84 s.',
    ],
    [
      'a client that left',
      { ...REFUSED, status: 499, refusal: 'client_left' },
      'left before the answer began, after 1.84 s, for $0.000099.',
    ],
    [
      'a failure',
      { ...ANSWERED, status: 502, outcome: 'failed', refusal: 'upstream_failed' },
      'got a failure, 502 (upstream_failed), after 1.84 s, for $0.000099.',
    ],
    [
      'a stream that broke',
      { ...ANSWERED, outcome: 'failed', stream: 'broken' },
      'got a part of a stream, which broke off after 1.84 s, for $0.000099.',
    ],
    ['a stream that was left', { ...ANSWERED, stream: 'client_left' }, 'left while the stream was sent, after 1.84 s'],
    [
      'a call that went on',
      { ...ANSWERED, call: 1, outcome: 'call', status: 499 },
      "had left, and the call to model 'default' went on for others that had asked the same: 1.84 s, for $0.000099.",
    ],
    [
      'a dry run',
      { ...ANSWERED, dryRun: true },
      "'alice', on plan 'pro', asked what would become of a request. A dry run takes nothing, and asks no model.",
    ],
  ])('%s', (_what, row, sentence) => {
    expect(requestStory(row).split('\n')[2]).toContain(sentence)
  })
})

test('a dry run reserves nothing, so nothing is said to be charged or given back', () => {
  const steps = [...WAY, step('cache', 'miss'), step('budget', 'reserved'), step('settle', 'certain')]
  const text = requestStory({ ...without(ANSWERED, 'attempts', 'usage', 'costNanoUsd'), dryRun: true, steps })
  expect(text).toMatch(/^ {2}budget +would reserve 1,200 input and 800 output tokens, \$0\.000660 +1 ms$/m)
  expect(text).not.toMatch(/settle|charged|Given back/)
})

test('of what the model did not tell, nothing was given back', () => {
  const { steps } = ANSWERED
  const settled = steps.map((each) => (each.name === 'settle' ? { ...each, decision: 'uncertain' } : each))
  const text = requestStory({ ...ANSWERED, uncertain: true, steps: settled })
  expect(text).toContain('All of it counts as spent, and nothing was given back.')
  expect(text).toMatch(/^ {2}settle +charged all that was reserved, since the model did not tell what it took +1 ms$/m)
})

const asked = (model: string, target: string, more: object = {}) => ({ model, target, ms: 1, ...more })
const told = { usage: { input: 1_200, cachedInput: 0, output: 800 }, costNanoUsd: 660_000 }

test('where nothing may be asked, no call is said to have been made, and nothing to be charged', () => {
  const way = [...WAY, step('cache', 'miss'), step('budget', 'reserved')]
  const down = [...way, step('attempts', 'blocked'), step('settle', 'certain')]
  const text = requestStory({ ...without(ANSWERED, 'attempts', 'usage', 'costNanoUsd'), status: 503, steps: down })
  expect(text).toMatch(/^ {2}attempts +no target may be asked now: each is blocked, or its breaker is open +1 ms$/m)
  expect(text).toMatch(/^ {2}settle +charged nothing, since no call took anything +1 ms$/m)

  const again = [step('route', 'fallback'), step('cache', 'miss'), step('budget', 'reserved')]
  const steps = [...down, ...again, step('attempts', 'answered'), step('settle', 'certain'), step('store', 'stored')]
  const fellBack = requestStory({ ...ANSWERED, steps, attempts: [asked('small', 'openai:s', told)] })
  expect(fellBack).toMatch(/^ {2}attempts +openai:s answered +1 ms$/m)
  expect(fellBack).toMatch(/^ {2}route +route 'chat', whose model is another +1 ms$/m)
  expect(fellBack.match(/charged (nothing|what the model told)/g)).toEqual([
    'charged nothing',
    'charged what the model told',
  ])
  expect(fellBack.match(/reserved (1,200|the most)/g)).toEqual(['reserved the most', 'reserved 1,200'])
  expect(fellBack).not.toMatch(/^Reserved/m)
})

test('of several calls each counts by itself', () => {
  const attempts = [asked('default', 'azure:a', { code: 'timeout', ...told }), asked('default', 'openai:b', told)]
  const text = requestStory({ ...ANSWERED, uncertain: true, attempts })
  expect(text).toContain(
    'Reserved for each call: 1,200 input and 800 output tokens, $0.000660. A call that did not tell',
  )
  expect(text).not.toContain('nothing was given back')
})

test('a step or a decision that a later version tells stands as it is told', () => {
  const text = requestStory({ ...ANSWERED, steps: [step('shadow', 'would_refuse'), step('cache', 'toString')] })
  expect(text).toMatch(/^ {2}shadow +would_refuse +1 ms$/m)
  expect(text).toMatch(/^ {2}cache +toString +1 ms$/m)
})

test('nothing that a caller or a model’s server chose speaks to the terminal, or forges a line', () => {
  const evil = '\u001b]0;x\u0007\nSpent: $9\u202e\t'
  const text = requestStory({
    ...ANSWERED,
    requestId: evil,
    consumer: evil,
    plan: evil,
    policy: evil,
    promptHash: evil,
    surface: evil,
    operation: evil,
    route: evil,
    model: evil,
    refusal: evil,
    limit: evil,
    tier: evil,
    toolCalls: { [evil]: 1 },
    attempts: [
      {
        model: evil,
        target: evil,
        ms: 1,
        status: 200,
        code: evil,
        tier: evil,
        spillover: evil,
        usage: { input: 1, cachedInput: 0, output: 1, [evil]: 1 },
      },
    ],
    steps: [step(evil, evil), step('attempts', 'streaming'), step('attempts', evil), step('body', 'decoded')],
    left: [{ limit: evil, measure: evil, of: 1, left: 1 }],
  })
  expect(text).not.toMatch(/^\s*Spent/m)
  // biome-ignore lint/suspicious/noControlCharactersInRegex: these are what must not be there
  expect(text).not.toMatch(/[\u0000-\u0009\u000b-\u001f\u007f-\u009f\u202e]/)
})
