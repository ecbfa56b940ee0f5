import { describe, expect, test } from 'vitest'
import type { ChatMessage } from '../operations/index.ts'
import { transform } from './index.ts'

const NAMES = ['chunk', 'context', 'document', 'passage']
const drop = (messages: readonly ChatMessage[], names: readonly string[] = NAMES) =>
  transform(messages, { lineEndings: false, minifyJson: false, dropDuplicates: names }).messages
const user = (content: unknown): ChatMessage => ({ role: 'user', content })
const dropIn = (text: string, names?: readonly string[]) => drop([user(text)], names)[0]?.content

const A = '<document id="1">\nAlpha\n</document>'
const B = '<document id="2">Beta</document>'

describe('of identical elements the first stays', () => {
  test.each<[string, string, string]>([
    ['on lines of their own', `${A}\n${B}\n${A}\nWhy?`, `${A}\n${B}\nWhy?`],
    ['with empty lines between', `${A}\n\n${B}\n\n${A}\n\n${B}\n\nWhy?`, `${A}\n\n${B}\n\nWhy?`],
    ['at the end', `Why?\n\n${A}\n\n${B}\n\n${A}`, `Why?\n\n${A}\n\n${B}`],
    ['at the end with a line break', `${A}\n${A}\n`, `${A}\n`],
    ['indented', `<context>\n  ${B}\n  ${B}\n</context>`, `<context>\n  ${B}\n</context>`],
    ['with other line endings', `${B}\r\n\r\n${B}\r\n\r\nWhy?`, `${B}\r\n\r\nWhy?`],
    ['in a line', `${B} and ${B}, too`, `${B} and , too`],
    ['side by side', `${B}${B}${B}`, B],
    [
      'of other names',
      '<chunk>a</chunk>\n<passage>a</passage>\n<chunk>a</chunk>',
      '<chunk>a</chunk>\n<passage>a</passage>',
    ],
    ['around others', `<context>${A}${B}</context>\n<context>${A}${B}</context>`, `<context>${A}${B}</context>`],
    ['within others', `${B}\n<context>\n${A}\n${B}\n</context>`, `${B}\n<context>\n${A}\n</context>`],
    [
      'that are identical once what they repeat is gone',
      `${A}${B}<context>${A}</context><context>${B}</context>`,
      `${A}${B}<context></context>`,
    ],
    ['nested in their own kind', '<chunk><chunk>a</chunk></chunk><chunk>a</chunk>', '<chunk><chunk>a</chunk></chunk>'],
    [
      'though one was cut in its code',
      `<chunk>\n\`\`\`js\nlet</chunk>\n${B}\n${B}`,
      `<chunk>\n\`\`\`js\nlet</chunk>\n${B}`,
    ],
  ])('%s', (_what, text, expected) => {
    expect(dropIn(text)).toBe(expected)
  })

  test('across messages and their parts, in the order in which they stand', () => {
    const messages = [
      { role: 'system', content: `Use:\n${A}` },
      user([{ type: 'text', text: `${A}\nFirst?`, cache_control: 1 }, { type: 'image_url' }]),
      { role: 'assistant', content: `${A} says so` },
      { role: 'tool', content: `${B}\n${A}`, tool_call_id: 'x' },
    ]
    expect(drop(messages)).toEqual([
      messages[0],
      user([{ type: 'text', text: 'First?', cache_control: 1 }, { type: 'image_url' }]),
      messages[2],
      { role: 'tool', content: B, tool_call_id: 'x' },
    ])
  })

  test('of data, where that is listed', () => {
    expect(dropIn('<data>[1]</data>\n<data>[1]</data>\n<data>x</data>\n<data>x</data>', ['data'])).toBe(
      '<data>[1]</data>\n<data>x</data>',
    )
  })

  test('of the names that are listed alone', () => {
    expect(dropIn('<hit.1>a</hit.1><hit.1>a</hit.1><chunk>a</chunk><chunk>a</chunk><hit-1>', ['hit.1'])).toBe(
      '<hit.1>a</hit.1><chunk>a</chunk><chunk>a</chunk><hit-1>',
    )
  })
})

describe('all stay', () => {
  test.each<[string, string]>([
    ['that differ in a byte', '<chunk>a</chunk>\n<chunk>a </chunk>\n<chunk >a</chunk>'],
    ['that differ in an attribute', '<chunk id="1">a</chunk>\n<chunk id="2">a</chunk>'],
    ['of names that only begin alike', '<chunks>a</chunks><chunks>a</chunks>'],
    ['of another case', '<Chunk>a</Chunk><Chunk>a</Chunk>'],
    ['where a tag is not closed', '<chunk>a</chunk><chunk>a</chunk><chunk>'],
    ['where a tag was not opened', '<chunk>a</chunk> b</chunk> <chunk>a</chunk> b</chunk>'],
    ['where tags cross', '<chunk>a<passage>b</chunk>c</passage><chunk>a<passage>b</chunk>c</passage>'],
    ['in fenced code', '```jsx\n<context>a</context>\n<context>a</context>\n```'],
    ['in JSON', '<data>["<chunk>a</chunk>","<chunk>a</chunk>"]</data> <chunk>a</chunk>'],
    ['without content', '<chunk/><chunk/><document id="1" /><document id="1" />'],
  ])('%s', (_what, text) => {
    expect(dropIn(text)).toBe(text)
  })

  test('where one name doesn’t pair up, of that name alone', () => {
    expect(dropIn(`By the <document>s.\n${B}\n${B}\n<chunk>a</chunk>\n<chunk>a</chunk>`)).toBe(
      `By the <document>s.\n${B}\n${B}\n<chunk>a</chunk>`,
    )
  })

  test('in JSON that a tool answered', () => {
    const messages = [{ role: 'tool', content: '["<chunk>a</chunk>","<chunk>a</chunk>"]' }]
    expect(drop(messages)).toBe(messages)
  })

  test('in a text of nothing else, which would be empty', () => {
    const messages = [user(A), user(`${A}\n${A}`), user(`${A}\nWhy?`)]
    expect(drop(messages)).toEqual([user(A), user(`${A}\n${A}`), user('Why?')])
  })

  test('an assistant’s, which don’t count as the first either', () => {
    const messages = [{ role: 'assistant', content: `${A}${A}` }, user(`${A}Why?`)]
    expect(drop(messages)).toBe(messages)
  })

  test('texts that only a lone surrogate tells apart', () => {
    const text = '<chunk>\ud800</chunk><chunk>\ud801</chunk>'
    expect(dropIn(text)).toBe(text)
  })
})
