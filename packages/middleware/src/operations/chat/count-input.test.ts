import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { bodyOf } from '../body.ts'
import { countTokens } from '../o200k-base.ts'
import { countInput } from './count-input.ts'
import { bounds } from './request.ts'

const RULES = { contextWindow: undefined, tokenizer: 'o200k_base' } as const
const { signal } = new AbortController()
const bodyWith = (...contents: readonly unknown[]) =>
  bodyOf({ messages: contents.map((content) => ({ role: 'user', content })), max_tokens: 1 })
const byBytes = (body: ReturnType<typeof bodyWith>) => bounds(body, { contextWindow: undefined })?.input ?? Number.NaN
/** What stays counted by its bytes. */
const around = (body: ReturnType<typeof bodyWith>, text: string) => byBytes(body) - Buffer.byteLength(text)

const word = fc.oneof(
  fc.string({ minLength: 1, maxLength: 12 }),
  fc.string({ unit: 'grapheme', minLength: 1, maxLength: 8 }),
  fc.constantFrom(
    "it's",
    "WE'LL",
    'naïve',
    '漢字かな',
    'é',
    '12345',
    '\n\n',
    '   ',
    '<|im_end|>',
    'áb',
    '🙂',
    '…',
    'x1y2',
    '\r\n\t',
    "'s",
  ),
)
const text = fc
  .tuple(
    fc.array(word, { minLength: 1, maxLength: 60 }),
    fc.constantFrom('', ' ', '\n', ', '),
    fc.integer({ min: 5_000, max: 9_000 }),
  )
  .map(([words, between, length]) => {
    const once = words.join(between) + between
    return once.repeat(Math.ceil(length / once.length))
  })

describe('the input, counted by o200k_base', () => {
  test('is never fewer than its tokens, and never more than its bytes', async () => {
    await fc.assert(
      fc.asyncProperty(text, async (text) => {
        const body = bodyWith(text)
        const counted = (await countInput(body, RULES, signal)) ?? Number.NaN
        expect(counted - around(body, text)).toBeGreaterThanOrEqual(countTokens(text))
        expect(counted).toBeLessThanOrEqual(byBytes(body))
      }),
      { numRuns: 60 },
    )
  })

  test('is exact for prose: a fraction of its bytes', async () => {
    const prose =
      'The gateway reserves the most that a completion could cost, and gives back what it did not take. '.repeat(400)
    const body = bodyWith(prose)
    const counted = (await countInput(body, RULES, signal)) ?? 0
    expect(counted - around(body, prose)).toBe(countTokens(prose))
    expect(byBytes(body) / counted).toBeGreaterThan(4)
  })

  test('is by bytes from where a text can’t be cut', async () => {
    const letters = 'a'.repeat(9_000)
    const body = bodyWith(letters)
    expect(await countInput(body, RULES, signal)).toBe(byBytes(body))
  })

  test('counts the text of a message that has one part, and leaves several by their bytes', async () => {
    const long = 'Some words here. '.repeat(500)
    const [one, two] = [
      bodyWith([{ type: 'text', text: long }]),
      bodyWith([
        { type: 'text', text: long },
        { type: 'text', text: 'b' },
      ]),
    ]
    expect(await countInput(one, RULES, signal)).toBeLessThan(byBytes(one) / 2)
    expect(await countInput(two, RULES, signal)).toBeUndefined()
  })

  test.each<[string, Parameters<typeof countInput>]>([
    ['the vocabulary is another', [bodyWith('a b '.repeat(5_000)), { contextWindow: undefined }, signal]],
    ['no text is long', [bodyWith('a b'), RULES, signal]],
    ['nothing bounds it', [bodyWith('a b '.repeat(5_000)).with({ file: 'x' }), RULES, signal]],
  ])('is not counted where %s', async (_what, args) => {
    expect(await countInput(...args)).toBeUndefined()
  })

  test('is no more than the context window', async () => {
    expect(await countInput(bodyWith('a b '.repeat(5_000)), { ...RULES, contextWindow: 99 }, signal)).toBe(99)
  })

  test('is given up with its request', async () => {
    await expect(countInput(bodyWith('a b '.repeat(5_000)), RULES, AbortSignal.abort())).rejects.toThrow()
  })
})
