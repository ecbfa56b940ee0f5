import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { operationConforms } from '../../../../test/conformance/operation.ts'
import { bodyOf, embeddings, inputsIn } from './index.ts'

const UNKNOWN = { contextWindow: undefined }

const vector = fc.oneof(
  fc.array(
    fc.double({ noNaN: true, noDefaultInfinity: true }).map((x) => x + 0),
    { minLength: 1, maxLength: 8 },
  ),
  fc.base64String({ minLength: 4, maxLength: 32 }),
)
const answer = fc
  .tuple(fc.array(vector, { minLength: 1, maxLength: 4 }), fc.integer({ min: 1, max: 9_000 }))
  .map(([vectors, tokens]) => ({
    object: 'list',
    data: vectors.map((embedding, index) => ({ object: 'embedding', index, embedding })),
    model: 'text-embedding-3-small',
    usage: { prompt_tokens: tokens, total_tokens: tokens },
  }))

operationConforms({
  operation: embeddings,
  request: { input: 'Hello', encoding_format: 'base64' },
  generates: false,
  answers: answer,
  noAnswers: [
    '',
    'SECRET',
    '[]',
    'null',
    '{}',
    '{"data":[]}',
    '{"data":[{}]}',
    '{"data":[7]}',
    '{"data":[{"embedding":["a"]}]}',
    '{"data":[{"embedding":[1,null]}]}',
    '{"data":[{"embedding":[1]}],"error":{"code":"my prompt was: x"}}',
    '{"object":"error","message":"SECRET","code":"bad"}',
    `{"data":[{"embedding":${'['.repeat(600)}${']'.repeat(600)}}]}`,
  ],
})

describe('the inputs of a request', () => {
  test.each<[string, unknown, ReturnType<typeof inputsIn>]>([
    ['a text', 'Hello', { count: 1, tokens: undefined }],
    ['texts', ['a', 'b', 'c'], { count: 3, tokens: undefined }],
    ['tokens', [1, 2, 3], { count: 1, tokens: 3 }],
    ['lists of tokens', [[1, 2], [3]], { count: 2, tokens: 3 }],
    ['none', [], undefined],
    ['nothing', undefined, undefined],
    ['an empty list of tokens', [[1], []], undefined],
    ['texts and tokens', ['a', 1], undefined],
    ['an image', [{ type: 'image_url', image_url: { url: 'https://host/file' } }], undefined],
    ['numbers that are no tokens', [1.5], undefined],
  ])('%s', (_what, input, inputs) => {
    expect(inputsIn(input)).toEqual(inputs)
  })

  test('take as many tokens as they say where they are tokens, and never more than their bytes', () => {
    expect(embeddings.bounds(bodyOf({ input: [[1, 2], [100_257]] }), UNKNOWN)).toMatchObject({ input: 3 })
    fc.assert(
      fc.property(fc.array(fc.string({ unit: 'binary' }), { minLength: 1 }), (input) => {
        const told = embeddings.bounds(bodyOf({ input }), UNKNOWN)?.input ?? 0
        // A token is a byte at the least, and a model's frame two more for each input.
        expect(told).toBeGreaterThanOrEqual(input.reduce((sum, text) => sum + Buffer.byteLength(text) + 2, 0))
      }),
    )
  })

  test('fit a context window each', () => {
    const body = bodyOf({ input: ['x'.repeat(500), 'y'.repeat(500)] })
    expect(embeddings.bounds(body, { contextWindow: 100 })).toMatchObject({ input: 200 })
    const image = bodyOf({ input: [{ type: 'image_url' }] })
    expect(embeddings.bounds(image, UNKNOWN)).toMatchObject({ input: undefined, unboundedField: 'input' })
  })
})

test('who asks changes no vector, and all else may', () => {
  const body = bodyOf({ input: 'Hello', dimensions: 8, user: 'a' })
  expect(embeddings.fingerprinted(body)).toEqual({ input: 'Hello', dimensions: 8 })
})

test('an answer is stored that has a vector for each input', () => {
  const answer = embeddings.answerOf(Buffer.from('{"data":[{"embedding":[1]},{"embedding":[2]}]}'), undefined)
  const isStorable = (input: unknown) => embeddings.isStorable(answer, { body: bodyOf({ input }), tools: false })
  expect([isStorable(['a', 'b']), isStorable([[1], [2]]), isStorable('a'), isStorable(['a', 'b', 'c'])]).toEqual([
    true,
    true,
    false,
    false,
  ])
})

test.each([
  ['prompt and total', { prompt_tokens: 8, total_tokens: 8 }, 8],
  ['the total alone', { total_tokens: 8 }, 8],
  ['nothing', undefined, undefined],
  ['no tokens', { prompt_tokens: 0, total_tokens: 0 }, undefined],
  ['no numbers', { prompt_tokens: '8' }, undefined],
])('of what was taken %s is told', (_what, usage, input) => {
  const { spend } = embeddings.parse(Buffer.from(JSON.stringify({ data: [{ embedding: [1] }], usage })))
  expect(spend.usage?.tokens.input).toBe(input)
  expect(spend.isCertain).toBe(input !== undefined)
})

test('2,048 vectors of 1,536 numbers are an answer', () => {
  const embedding = Array.from({ length: 1_536 }, (_, i) => i / 1_536)
  const data = Array.from({ length: 2_048 }, () => ({ embedding }))
  const text = JSON.stringify({ data, usage: { prompt_tokens: 5, total_tokens: 5 } })
  expect(embeddings.parse(Buffer.from(text)).kind).toBe('answer')
})
