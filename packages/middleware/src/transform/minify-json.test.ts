import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ChatMessage } from '../operations/index.ts'
import { transform } from './index.ts'

const RULE = { lineEndings: false, minifyJson: true, dropDuplicates: [] }
const minify = (content: unknown, role = 'user') => {
  const [message] = transform([{ role, content }], RULE).messages
  return (message as ChatMessage).content
}

/** Lone surrogates, line separators and controls too. */
const character = fc.integer({ min: 0, max: 0xffff }).map((code) => String.fromCharCode(code))

describe('white space is taken out of', () => {
  test.each<[string, string, string]>([
    ['a fenced block of JSON', 'See:\n```json\n{\n  "a": [1, 2]\n}\n```\nSo?', 'See:\n```json\n{"a":[1,2]}\n```\nSo?'],
    ['one with tildes', '~~~json\n[ 1 ]\n~~~', '~~~json\n[1]\n~~~'],
    ['one with more marks', '````json\n[ "```" ]\n````', '````json\n["```"]\n````'],
    ['one that is indented', '  ```json\n  [ 1 ]\n  ```', '  ```json\n[1]\n  ```'],
    ['one with other line endings', '```json\r\n[ 1,\r\n 2 ]\r\n```\r\n', '```json\r\n[1,2]\r\n```\r\n'],
    ['several', '```json\n[ 1 ]\n```\n```json\n[ 2 ]\n```', '```json\n[1]\n```\n```json\n[2]\n```'],
    ['a <data> element', 'x <data id="1">\n{ "a": 1 }\n</data> y', 'x <data id="1">{"a":1}</data> y'],
    ['one with a tag in a string', '<data>[ "<chunk>" ]</data>', '<data>["<chunk>"]</data>'],
    ['one after a tag that stands alone', 'The <data> is <data> [ 1 ] </data>', 'The <data> is <data>[1]</data>'],
  ])('%s', (_what, text, expected) => {
    expect(minify(text)).toBe(expected)
    expect(minify(expected)).toBe(expected)
  })

  test('what a tool answers, if that is JSON and nothing else', () => {
    expect(minify(' { "a": 1 }\n', 'tool')).toBe('{"a":1}')
    expect(minify('[ 1 ]', 'function')).toBe('[1]')
    expect(minify([{ type: 'text', text: '{ "a": 1 }' }], 'tool')).toEqual([{ type: 'text', text: '{"a":1}' }])
    expect(minify('Found: { "a": 1 }', 'tool')).toBe('Found: { "a": 1 }')
    expect(minify('"a  b" ', 'tool')).toBe('"a  b" ')
    expect(minify('{ "a": 1 }', 'user')).toBe('{ "a": 1 }')
    const parts = [
      { type: 'text', text: '{ "a": 1 }' },
      { type: 'text', text: 'x' },
    ]
    expect(minify(parts, 'tool')).toEqual(parts)
  })
})

describe('nothing is done to', () => {
  test.each<[string, string]>([
    ['JSON that is not declared', 'Is { "a":  1 } JSON?'],
    ['a block of another language', '```js\n[ 1 ]\n```'],
    ['a block of none', '```\n[ 1 ]\n```'],
    ['a block that is marked with more', '```json title=a\n[ 1 ]\n```'],
    ['a block that is not closed', '```json\n[ 1 ]\n'],
    ['a block closed by fewer marks', '````json\n[ 1 ]\n```'],
    ['a block in a block', '````markdown\n```json\n[ 1 ]\n```\n````'],
    ['a <data> in a block', '```html\n<data>[ 1 ]</data>\n```'],
    ['code in a line', 'a ```json [ 1 ]``` b'],
    ['what is no JSON', '```json\n{ a: 1 }\n```\n<data>{ "a": 1, }</data>'],
    ['several values', '```json\n{ "a": 1 }\n{ "a": 2 }\n```'],
    ['a <data> with its own tag in a string', '<data>[ "<data>" ]</data>'],
    ['an empty block', '```json\n```\n<data></data>'],
    ['a value with text around it', '<data>a: [ 1 ]</data>'],
  ])('%s', (_what, text) => {
    expect(minify(text)).toBe(text)
  })

  test('blocks after very many that are no JSON', () => {
    const refused = '<data>{</data>'
    expect(minify(`${refused.repeat(99)}<data>[ 1 ]</data>`)).toContain('[1]')
    expect(minify(`${refused.repeat(101)}<data>[ 1 ]</data>`)).toContain('[ 1 ]')
  })

  test('what an assistant wrote', () => {
    expect(minify('```json\n[ 1 ]\n```', 'assistant')).toBe('```json\n[ 1 ]\n```')
  })

  test('tool calls, images and parts that are no text', () => {
    const messages = [
      { role: 'assistant', content: null, tool_calls: [{ function: { name: 'f', arguments: '{ "a": 1 }' } }] },
      { role: 'user', content: [{ type: 'image_url', image_url: { url: '<data>[ 1 ]</data>' } }, null, 7] },
      { role: 'user', content: [{ type: 'text', text: 1 }] },
    ]
    expect(transform(messages, RULE).messages).toBe(messages)
  })
})

describe('values stay as they are written', () => {
  test.each([
    '{"n":[1.0,1e3,-0,12345678901234567890,0.10]}',
    '{"a":1,"a":2,"__proto__":3}',
    '["\\u00e9 \\n \\" \\\\", "a \\t b", " ", "é\u2028 x"]',
  ])('%s', (json) => {
    const spread = json.replace(/(?<=[[{,:])(?=["[{\d])/g, ' \n\t')
    expect(minify(`<data>${spread}</data>`)).toBe(`<data>${json.replace(/(?<=",) (?=")/g, '')}</data>`)
  })

  test('of any JSON, however it is laid out', () => {
    fc.assert(
      fc.property(
        fc.jsonValue({ stringUnit: character, maxDepth: 3 }),
        fc.integer({ min: 0, max: 10 }),
        (value, indent) => {
          const json = JSON.stringify(value)
          const spread = JSON.stringify(value, null, indent)
          // Lossless: the text without layout is the one and only, whatever its numbers and escapes are.
          expect(minify(`\`\`\`json\n${spread}\n\`\`\``)).toBe(`\`\`\`json\n${json}\n\`\`\``)
        },
      ),
    )
  })
})
