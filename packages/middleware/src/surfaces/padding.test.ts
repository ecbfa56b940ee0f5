import { expect, test, vi } from 'vitest'
import { eventsIn } from '../operations/index.ts'
import { withoutPadding } from './padding.ts'

function without(text: string) {
  const [event] = eventsIn(Buffer.from(text))
  if (event === undefined) throw new Error('This is no event')
  const parse = vi.spyOn(JSON, 'parse')
  const bytes = withoutPadding(event)
  const parses = parse.mock.calls.length
  vi.restoreAllMocks()
  return { text: String(bytes), isOwn: bytes === event.bytes, parses }
}

test.each([
  ['data: {"a":1.0,"obfuscation":"xY1"}\n\n', 'data: {"a":1.0}\n\n'],
  [
    'event: a\ndata: {"delta":"Hi","logprobs":[],"obfuscation":""}\n\n',
    'event: a\ndata: {"delta":"Hi","logprobs":[]}\n\n',
  ],
])('padding that stands last is cut off unparsed: %j', (text, left) => {
  expect(without(text)).toMatchObject({ text: left, parses: 0 })
})

test.each([
  ['data: {"obfuscation":"x","a":1.0}\n\n', 'data: {"a":1.0}\n\n'],
  ['event: a\ndata: { "a": 1.0, "obfuscation": "x" }\n\n', 'event: a\ndata: { "a": 1.0 }\n\n'],
  ['data: {"a":1,"obfuscation":"x\\"}"}\n\n', 'data: {"a":1}\n\n'],
])('padding that stands elsewhere is cut out: %j', (text, left) => {
  expect(without(text).text).toBe(left)
})

test.each([
  'data: {"a":1}\n\n',
  'data: [DONE]\n\n',
  'data: {"a":{"b":1,"obfuscation":"x"}}\n\n',
  'data: {"a":"\\"obfuscation\\":\\"x"}\n\n',
  'data: {"a":[",\\"obfuscation\\":\\"x"]}\n\n',
  'data: {"obfuscation":7}\n\n',
  'data: {"a":"obfuscation"}\n\n',
])('all else goes on as it came: %j', (text) => {
  expect(without(text)).toMatchObject({ text, isOwn: true })
})
