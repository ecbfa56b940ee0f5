import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChatMessage } from '../operations/index.ts'
import { transform, transformLabel } from './index.ts'

const ALL = { lineEndings: true, minifyJson: true, dropDuplicates: ['chunk', 'document'] }
const NONE = { lineEndings: false, minifyJson: false, dropDuplicates: [] }
const user = (content: unknown): ChatMessage => ({ role: 'user', content })
const textOf = (text: string, rule = ALL) => transform([user(text)], rule).messages[0]?.content

/** Pieces from which texts come about that are nearly, and sometimes wholly, what transforms look for. */
const piece = fc.constantFrom(
  ...['<chunk>', '</chunk>', '<chunk id="1">', '<document>', '</document>', '<data>', '</data>', '<chunk/>', '<chunk'],
  ...['```json\n', '```', '\n```\n', '~~~\n', '````', '`', '{ "a": 1 }', '[ 1 ]', '[1]', '{', '}', '"', '\\'],
  ...[
    '\n',
    '\n\n',
    '\r\n',
    '\r',
    ' ',
    'a',
    'b',
    '<chunk>a</chunk>',
    '<chunk>\n[ 1 ]\n</chunk>\n',
    '<data> [ 1 ]</data>',
  ],
)
const text = fc.array(piece, { maxLength: 30 }).map((pieces) => pieces.join(''))
const content = fc.oneof(
  text,
  fc.array(
    text.map((each) => ({ type: 'text', text: each })),
    { maxLength: 3 },
  ),
)
const role = fc.constantFrom('system', 'developer', 'user', 'assistant', 'tool')
const messages = fc.array(fc.record({ role, content }), { minLength: 1, maxLength: 4 })
const rule = fc.record({
  lineEndings: fc.boolean(),
  minifyJson: fc.boolean(),
  dropDuplicates: fc.constantFrom([], ['chunk'], ['chunk', 'document'], ['data']),
})

describe('transforms', () => {
  test('together: copies are found that only layout told apart', () => {
    const one = '<document>\r\n```json\r\n{ "a":  1 }\r\n```\r\n</document>'
    const other = '<document>\n```json\n{"a": 1}\n```\n</document>'
    expect(textOf(`${one}\r\n${other}\r\nWhy?`)).toBe('<document>\n```json\n{"a":1}\n```\n</document>\nWhy?')
  })

  test('make every line end alike, an assistant’s too', () => {
    const { messages } = transform([user('a\r\nb\rc\n\r\n'), { role: 'assistant', content: 'a\r' }], {
      ...NONE,
      lineEndings: true,
    })
    expect(messages).toEqual([user('a\nb\nc\n\n'), { role: 'assistant', content: 'a\n' }])
  })

  test('do nothing where the rule has none', () => {
    const given = [user('a\r\n<chunk>a</chunk><chunk>a</chunk>```json\n[ 1 ]\n```')]
    expect(transform(given, NONE).messages).toBe(given)
  })

  test('of what is transformed already do nothing', () => {
    fc.assert(
      fc.property(messages, rule, (given, applied) => {
        const once = transform(given, applied).messages
        const twice = transform(once, applied)
        expect(twice.messages).toBe(once)
        expect(twice.removed).toEqual([])
      }),
      { numRuns: 2_000 },
    )
  })

  test('give the same for the same, and leave what they were given as it was', () => {
    fc.assert(
      fc.property(messages, rule, (given, applied) => {
        const before = structuredClone(given)
        expect(transform(given, applied)).toEqual(transform(structuredClone(given), applied))
        expect(given).toEqual(before)
      }),
    )
  })

  test('keep messages, roles, parts, and their order; and add nothing', () => {
    fc.assert(
      fc.property(messages, rule, (given, applied) => {
        const after = transform(given, applied).messages
        expect(after.map(shape)).toEqual(given.map(shape))
        for (const [index, text] of after.flatMap(texts).entries()) {
          const before = given.flatMap(texts)[index] ?? ''
          expect(text.length).toBeLessThanOrEqual(before.length)
          expect(isSubsequence(text, before.replace(/\r\n?/g, '\n')) || isSubsequence(text, before)).toBe(true)
        }
      }),
    )
  })

  test('leave texts without blocks, elements and carriage returns alone', () => {
    const character = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code))
    const plain = fc.string({ unit: character, maxLength: 60 }).filter((each) => !/[<`~\r]/.test(each))
    fc.assert(
      fc.property(
        fc.array(fc.record({ role: fc.constantFrom('user', 'system'), content: plain }), { maxLength: 4 }),
        (given) => {
          expect(transform(given, ALL).messages).toBe(given)
        },
      ),
    )
  })

  // Work that grew with the square of the length would take hours.
  test.each<[string, string]>([
    ['fences that are not closed', '```js\n'],
    ['fences of JSON', '```json\n'],
    ['marks in a line', '``` '],
    ['marks without end', '`'],
    ['tags that are not ended', '<document '],
    ['tags that are not closed', '<document>'],
    ['tags that were not opened', '</document>'],
    ['elements', '<chunk>a</chunk>'],
    ['tags of data', '<data>'],
    ['data of no JSON', '<data>{</data>'],
    ['crossing tags', '<chunk><document></chunk>'],
    ['spaces and elements', `${' '.repeat(999)}<chunk>a</chunk>`],
    ['empty lines and elements', `${'\n'.repeat(99)}<chunk>a</chunk>`],
    ['fences and tags', '```\n<chunk>'],
    ['carriage returns', '\r'],
    ['open brackets', '['],
  ])('take no longer than the text is: %s', (_what, repeated) => {
    const long = repeated.repeat((1024 * 1024) / repeated.length)
    expect(typeof textOf(long)).toBe('string')
    expect(typeof textOf(`\`\`\`json\n${long}\n\`\`\``)).toBe('string')
    expect(typeof textOf(`<data>"${long}"</data>`)).toBe('string')
  })

  test('take no longer than the text is: elements in elements', () => {
    const deep = 40_000
    const nested = `${'<chunk>'.repeat(deep)}a${'</chunk>'.repeat(deep)}`
    expect(textOf(`${nested}${nested}`)).toBe(nested)
    const large = Array.from({ length: 30 }, (_, index) => `<chunk>${'a'.repeat(32_000)}${index}</chunk>`).join('')
    expect(textOf(large)).toBe(large)
  })
})

test('a rule’s label names what it applies', () => {
  expect(transformLabel(NONE)).toBe('')
  expect(transformLabel(ALL)).toBe('eol.1,json.1,dup.1:chunk+document')
  expect(transformLabel({ ...NONE, minifyJson: true })).toBe('json.1')
})

function shape({ role, content }: ChatMessage): unknown {
  return [role, typeof content === 'string' ? 'text' : (content as unknown[]).length]
}

function texts({ content }: ChatMessage): string[] {
  return typeof content === 'string' ? [content] : (content as { text: string }[]).map((part) => part.text)
}

function isSubsequence(less: string, more: string): boolean {
  let at = 0
  for (const character of more) if (character === less[at]) at += 1
  return at === less.length
}
