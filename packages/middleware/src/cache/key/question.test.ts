import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChatBody } from '../../operations/index.ts'
import { type Question, questionDigest, WITHOUT_EFFECT } from './question.ts'
import { questionAliases } from './question-aliases.ts'

const text = fc.string({ unit: 'grapheme', maxLength: 20 })
const json = fc.jsonValue({ maxDepth: 3 }).filter((value) => !/\d{16}|e\+/.test(JSON.stringify(value)))
const part = fc.oneof(
  fc.record({ type: fc.constant('text'), text }),
  fc.record({ type: fc.constant('image_url'), image_url: fc.record({ url: text, detail: text }) }),
  fc.record({ type: fc.constant('input_audio'), input_audio: fc.record({ data: text, format: text }) }),
)
const toolCall = fc.record({
  id: text,
  type: fc.constant('function'),
  function: fc.record({ name: text, arguments: text }),
})
const message = fc.record(
  {
    role: fc.constantFrom('system', 'developer', 'user', 'assistant', 'tool'),
    content: fc.oneof(text, fc.constant(null), fc.array(part, { maxLength: 3 })),
    name: text,
    refusal: text,
    tool_call_id: text,
    tool_calls: fc.array(toolCall, { maxLength: 2 }),
  },
  { requiredKeys: ['role', 'content'] },
)
const tool = fc.record({
  type: fc.constant('function'),
  function: fc.record({ name: text, description: text, parameters: json, strict: fc.boolean() }),
})
const number = fc.double({ min: -2, max: 2, noNaN: true })
/** The whole schema of a request, and a field that nobody knows yet. */
const body = fc.record(
  {
    model: text,
    messages: fc.array(message, { minLength: 1, maxLength: 4 }),
    temperature: number,
    top_p: number,
    frequency_penalty: number,
    presence_penalty: number,
    seed: fc.integer(),
    n: fc.integer({ min: 1, max: 4 }),
    max_tokens: fc.integer({ min: 1, max: 9_999 }),
    max_completion_tokens: fc.integer({ min: 1, max: 9_999 }),
    stop: fc.oneof(text, fc.array(text, { maxLength: 3 })),
    logit_bias: fc.dictionary(text, fc.integer()),
    logprobs: fc.boolean(),
    top_logprobs: fc.integer({ min: 0, max: 20 }),
    response_format: json,
    tools: fc.array(tool, { maxLength: 2 }),
    tool_choice: json,
    parallel_tool_calls: fc.boolean(),
    reasoning_effort: text,
    verbosity: text,
    modalities: fc.array(text, { maxLength: 2 }),
    audio: json,
    prediction: json,
    web_search_options: json,
    a_field_of_next_year: json,
  },
  { requiredKeys: ['model', 'messages'] },
) as fc.Arbitrary<ChatBody>
const question: fc.Arbitrary<Question> = fc.record({ route: text, target: text, transforms: text, body })

const withoutEffect = fc.dictionary(fc.constantFrom(...WITHOUT_EFFECT), json)

function reversed(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(reversed)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.entries(value)
      .reverse()
      .map(([name, inner]) => [name, reversed(inner)]),
  )
}

/** Each JSON value within a value, by its path. */
function paths(value: unknown, path: readonly (string | number)[] = []): (readonly (string | number)[])[] {
  if (typeof value !== 'object' || value === null) return [path]
  const entries: [string | number, unknown][] = Array.isArray(value) ? [...value.entries()] : Object.entries(value)
  return [path, ...entries.flatMap(([name, inner]) => paths(inner, [...path, name]))]
}

function changedAt(value: unknown, path: readonly (string | number)[], to: unknown): unknown {
  const [name, ...rest] = path
  if (name === undefined) return to
  if (Array.isArray(value)) return value.map((inner, index) => (index === name ? changedAt(inner, rest, to) : inner))
  return Object.fromEntries(
    Object.entries(value as object).map(([field, inner]) => [
      field,
      field === name ? changedAt(inner, rest, to) : inner,
    ]),
  )
}

describe('the digest of a question', () => {
  test('is the same whatever the order of its fields, and its white space', () => {
    fc.assert(
      fc.property(question, (q) => {
        const respelled = JSON.parse(JSON.stringify(reversed(q.body), null, 3)) as ChatBody
        expect(questionDigest({ ...q, body: respelled })).toBe(questionDigest(q))
      }),
    )
  })

  test('is the same whatever the fields say that don’t change the answer', () => {
    fc.assert(
      fc.property(question, withoutEffect, (q, more) => {
        expect(questionDigest({ ...q, body: { ...q.body, ...more } })).toBe(questionDigest(q))
      }),
    )
  })

  test('is another after any change anywhere in the body', () => {
    fc.assert(
      fc.property(question, fc.nat(), json, (q, at, to) => {
        const all = paths(q.body).filter(([field]) => field !== undefined)
        const path = all[at % all.length] ?? []
        const changed = changedAt(q.body, path, to) as ChatBody
        fc.pre(JSON.stringify(sorted(changed)) !== JSON.stringify(sorted(q.body)))
        expect(questionDigest({ ...q, body: changed })).not.toBe(questionDigest(q))
      }),
      { numRuns: 500 },
    )
  })

  test('is another with any field more, those of next year too', () => {
    fc.assert(
      fc.property(question, text, json, (q, field, value) => {
        fc.pre(!(field in q.body) && !WITHOUT_EFFECT.has(field) && field !== '__proto__')
        expect(questionDigest({ ...q, body: { ...q.body, [field]: value } as ChatBody })).not.toBe(questionDigest(q))
      }),
    )
  })

  test('sees a field of any name, __proto__ too', () => {
    const plain = { model: 'm', messages: [] }
    const odd = JSON.parse('{"model": "m", "messages": [], "__proto__": {"a": 1}}')
    const digest = (body: ChatBody) => questionDigest({ route: 'r', target: 't', transforms: '', body })
    expect(digest(odd)).not.toBe(digest(plain))
  })

  test('keeps letters apart that only look alike', () => {
    const digest = (content: string) =>
      questionDigest({
        route: 'r',
        target: 't',
        transforms: '',
        body: { model: 'm', messages: [{ role: 'user', content }] },
      })
    expect(digest('é')).not.toBe(digest('e\u0301'))
  })

  test('is another for another route, target or transform, and has no seam', () => {
    fc.assert(
      fc.property(question, question, (a, b) => {
        const same = JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))
        expect(questionDigest(a) === questionDigest(b)).toBe(same)
      }),
    )
    const bodyOf = { model: 'm', messages: [] }
    expect(questionDigest({ route: 'bc', target: '', transforms: '', body: bodyOf })).not.toBe(
      questionDigest({ route: 'b', target: 'c', transforms: '', body: bodyOf }),
    )
  })

  test.each([
    ['text that is no Unicode', '"\\ud800"'],
    ['a whole number that two texts share', '9007199254740993'],
    ['such a number below 0', '-9007199254740993'],
    ['a number that is infinite for us', '1e999'],
    ['a body that is nested too deeply', `${'['.repeat(5_000)}${']'.repeat(5_000)}`],
  ])('is refused to %s', (_what, value) => {
    const body = JSON.parse(`{"model": "m", "messages": [], "x": ${value}}`)
    expect(questionDigest({ route: 'r', target: 't', transforms: '', body })).toBeUndefined()
  })
})

function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted)
  if (typeof value !== 'object' || value === null) return value
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((name) => [name, sorted((value as Record<string, unknown>)[name])]),
  )
}

describe('an alias', () => {
  const body = { model: 'm', messages: [{ role: 'user', content: 'Why?' }] }
  const asked: Question = { route: 'r', target: 't', transforms: '', body }

  test('is the digest of the question that came in the same bytes', () => {
    const digestOf = questionAliases()
    expect(digestOf(asked, 'alice', 'bytes')).toBe(questionDigest(asked))
    expect(digestOf(asked, 'alice', 'bytes')).toBe(questionDigest(asked))
    expect(digestOf(asked, 'bob', 'bytes')).toBe(questionDigest(asked))
  })

  test.each([
    ['route', { route: 'r2' }],
    ['target', { target: 't2' }],
    ['transforms', { transforms: 'x.1' }],
  ])('of another %s is another', (_what, change) => {
    const digestOf = questionAliases()
    const first = digestOf(asked, 'alice', 'bytes')
    expect(digestOf({ ...asked, ...change }, 'alice', 'bytes')).toBe(questionDigest({ ...asked, ...change }))
    expect(digestOf({ ...asked, ...change }, 'alice', 'bytes')).not.toBe(first)
  })
})
