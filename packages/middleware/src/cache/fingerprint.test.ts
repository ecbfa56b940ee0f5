import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bodyOf, chat, type Json, type Operation, WITHOUT_EFFECT } from '../operations/index.ts'
import { digestWith } from '../pipeline/index.ts'
import { cacheKey, fingerprint, fingerprintMemo } from './cache-key.ts'

/** All that an answer depends on, in plain values. */
interface Question {
  readonly route: string
  readonly model: string
  readonly targets: readonly string[]
  readonly transforms: string
  readonly body: Json
}

const NO_HEADERS = { operation: chat, headers: new Headers() }

function routedOf({ route, model, targets, transforms, body }: Question) {
  const candidates = targets.map((identity) => ({ target: { identity } }))
  return { route, model: { name: model }, candidates, transforms, body: bodyOf(body) }
}

const digestOf = (question: Question) => fingerprint(NO_HEADERS, routedOf(question))

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
  { requiredKeys: ['messages'] },
) as fc.Arbitrary<unknown> as fc.Arbitrary<Json>
const question: fc.Arbitrary<Question> = fc.record({
  route: text,
  model: text,
  targets: fc.array(text, { minLength: 1, maxLength: 3 }),
  transforms: text,
  body,
})

const asked: Question = {
  route: 'r',
  model: 'm',
  targets: ['t'],
  transforms: '',
  body: { messages: [{ role: 'user', content: 'Why?' }] },
}

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

describe('a fingerprint', () => {
  test('is the same whatever the order of its fields, and its white space', () => {
    fc.assert(
      fc.property(question, (q) => {
        const respelled = JSON.parse(JSON.stringify(reversed(q.body), null, 3)) as Json
        expect(digestOf({ ...q, body: respelled })).toBe(digestOf(q))
      }),
    )
  })

  test('is the same whatever the fields say that don’t change the answer', () => {
    fc.assert(
      fc.property(question, withoutEffect, (q, more) => {
        expect(digestOf({ ...q, body: { ...q.body, ...more } })).toBe(digestOf(q))
      }),
    )
  })

  test('is another after any change anywhere in the body', () => {
    fc.assert(
      fc.property(question, fc.nat(), json, (q, at, to) => {
        const all = paths(q.body).filter(([field]) => field !== undefined)
        const path = all[at % all.length] ?? []
        const changed = changedAt(q.body, path, to) as Json
        fc.pre(JSON.stringify(sorted(changed)) !== JSON.stringify(sorted(q.body)))
        expect(digestOf({ ...q, body: changed })).not.toBe(digestOf(q))
      }),
      { numRuns: 500 },
    )
  })

  test('is another with any field more, those of next year too', () => {
    fc.assert(
      fc.property(question, text, json, (q, field, value) => {
        fc.pre(!(field in q.body) && !WITHOUT_EFFECT.has(field) && field !== '__proto__')
        expect(digestOf({ ...q, body: { ...q.body, [field]: value } as Json })).not.toBe(digestOf(q))
      }),
    )
  })

  test('sees a field of any name, __proto__ too', () => {
    const plain = { messages: [] }
    const odd = JSON.parse('{"messages": [], "__proto__": {"a": 1}}')
    const digest = (body: Json) => digestOf({ ...asked, body })
    expect(digest(odd)).not.toBe(digest(plain))
  })

  test('keeps letters apart that only look alike', () => {
    const digest = (content: string) => digestOf({ ...asked, body: { messages: [{ role: 'user', content }] } })
    expect(digest('é')).not.toBe(digest('e\u0301'))
  })

  test('is another for another route, model, set of targets or transform, and has no seam', () => {
    fc.assert(
      fc.property(question, question, (a, b) => {
        const same = JSON.stringify(sorted(a)) === JSON.stringify(sorted(b))
        expect(digestOf(a) === digestOf(b)).toBe(same)
      }),
    )
    expect(digestOf({ ...asked, route: 'bc', model: '' })).not.toBe(digestOf({ ...asked, route: 'b', model: 'c' }))
    expect(digestOf({ ...asked, targets: ['a', 'b'] })).not.toBe(digestOf({ ...asked, targets: ['ab'] }))
  })

  test.each([
    ['text that is no Unicode', '"\\ud800"'],
    ['a whole number that two texts share', '9007199254740993'],
    ['such a number below 0', '-9007199254740993'],
    ['a number that is infinite for us', '1e999'],
    ['a body that is nested too deeply', `${'['.repeat(5_000)}${']'.repeat(5_000)}`],
  ])('is refused to %s', (_what, value) => {
    const body = JSON.parse(`{"messages": [], "x": ${value}}`)
    expect(digestOf({ ...asked, body })).toBeUndefined()
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

describe('the headers that go on', () => {
  const forwarding: Operation = { ...chat, forwards: ['x-version'] }
  const call = (operation: Operation, headers: Record<string, string>) => ({ operation, headers: new Headers(headers) })

  test('make another fingerprint, and no others do', () => {
    const of = (operation: Operation, headers: Record<string, string>) =>
      fingerprint(call(operation, headers), routedOf(asked))
    expect(of(forwarding, { 'x-version': '1' })).not.toBe(of(forwarding, { 'x-version': '2' }))
    expect(of(forwarding, { 'x-version': '1' })).not.toBe(of(forwarding, {}))
    expect(of(forwarding, { other: '1' })).toBe(of(forwarding, {}))
    expect(of(chat, { 'x-version': '1' })).toBe(of(chat, {}))
  })
})

describe('what is remembered of a body’s bytes', () => {
  const digest = digestWith(undefined)
  const call = { ...NO_HEADERS, bodyDigest: () => 'bytes' }
  const keyOf = (question: Question, scope: string, purgeVersion = '') =>
    cacheKey({ scope, purgeVersion, fingerprint: digestOf(question) ?? '' }, digest)

  test('is the key of what came in the same bytes, for each scope its own', () => {
    const memo = fingerprintMemo(digest)
    for (const scope of ['alice', 'alice', 'bob']) {
      expect(memo(call, routedOf(asked), scope)?.('')).toBe(keyOf(asked, scope))
    }
  })

  test('is another key with each purge', () => {
    const memo = fingerprintMemo(digest)
    for (const version of ['', 'a', 'a', '']) {
      expect(memo(call, routedOf(asked), 'alice')?.(version)).toBe(keyOf(asked, 'alice', version))
    }
  })

  test.each<[string, Partial<Question>]>([
    ['route', { route: 'r2' }],
    ['model', { model: 'm2' }],
    ['target', { targets: ['t2'] }],
    ['set of targets', { targets: ['t', 't2'] }],
    ['transforms', { transforms: 'x.1' }],
  ])('of another %s is another', (_what, change) => {
    const memo = fingerprintMemo(digest)
    const first = memo(call, routedOf(asked), 'alice')?.('')
    const changed = { ...asked, ...change }
    expect(memo(call, routedOf(changed), 'alice')?.('')).toBe(keyOf(changed, 'alice'))
    expect(memo(call, routedOf(changed), 'alice')?.('')).not.toBe(first)
  })

  test('of other headers that go on is another', () => {
    const memo = fingerprintMemo(digest)
    const forwarding: Operation = { ...chat, forwards: ['x-version'] }
    const keys = ['1', '2', '1'].map((version) =>
      memo(
        { operation: forwarding, headers: new Headers({ 'x-version': version }), bodyDigest: () => 'b' },
        routedOf(asked),
        'a',
      )?.(''),
    )
    expect(keys[0]).toBe(keys[2])
    expect(keys[0]).not.toBe(keys[1])
  })

  test('is nothing of a body without a canonical form', () => {
    expect(
      fingerprintMemo(digest)(call, routedOf({ ...asked, body: { messages: [], x: '\ud800' } as Json }), 'a'),
    ).toBeUndefined()
  })
})
