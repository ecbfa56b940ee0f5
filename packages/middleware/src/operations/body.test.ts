import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type Body, bodyFrom, bodyOf, type Json, type NoBody } from './index.ts'

const came = (text: string | Uint8Array): Body => {
  const body = bodyFrom(Buffer.from(text as string))
  if (typeof body === 'string') throw new Error(`The test's body is none: ${body}`)
  return body
}
const text = (body: Body) => Buffer.from(body.bytes).toString()

describe('a body that came as bytes', () => {
  test.each<[string, string | Buffer, NoBody]>([
    ['nothing', '', 'no JSON'],
    ['half an object', '{"a":', 'no JSON'],
    ['two objects', '{}{}', 'no JSON'],
    ['a comma too many', '{"a":1,}', 'no JSON'],
    ['bytes that are no UTF-8', Buffer.from([...Buffer.from('{"a":"'), 0xff, ...Buffer.from('"}')]), 'no JSON'],
    ['half a character', Buffer.from('{"a":"€"}').subarray(0, 8), 'no JSON'],
    ['UTF-16', Buffer.from('{}', 'utf16le'), 'no JSON'],
    ['an array', '[]', 'no object'],
    ['null', 'null', 'no object'],
    ['a string', '"a"', 'no object'],
    ['a number', '1', 'no object'],
  ])('is none: %s', (_what, bytes, why) => {
    expect(bodyFrom(Buffer.from(bytes as string))).toBe(why)
  })

  test('is the text after a byte order mark', () => {
    const body = came('\ufeff{"a":1}')
    expect([body.json, text(body), text(body.with({ a: 2 }))]).toEqual([{ a: 1 }, '{"a":1}', '{"a":2}'])
  })

  test('keeps all its bytes where nothing is changed', () => {
    const bytes = Buffer.from(' {"seed": 9007199254740993, "top_p": 1.0 } ')
    const body = bodyFrom(bytes) as Body
    expect(Buffer.from(body.bytes).equals(bytes)).toBe(true)
    expect(Buffer.from(body.with({}).bytes).equals(bytes)).toBe(true)
  })

  test.each<[string, string, Json, string]>([
    ['a field in its place', ' {"a": 1.0 , "b" : 2} ', { b: 'x' }, ' {"a": 1.0 , "b" : "x"} '],
    ['a field at the end', '{"seed": 9007199254740993 }\n', { a: [1] }, '{"seed": 9007199254740993,"a":[1] }\n'],
    ['the first field', ' { } ', { a: 1 }, ' {"a":1 } '],
    [
      'a field whose name is escaped',
      String.raw`{"mod\u0065l":"a","x":1E2}`,
      { model: 'b' },
      String.raw`{"mod\u0065l":"b","x":1E2}`,
    ],
    [
      'no field of the same name further in',
      '{"m":{"a":1},"a":{"a":[{"a":2}]},"z":0}',
      { a: 3 },
      '{"m":{"a":1},"a":3,"z":0}',
    ],
    [
      'braces and quotes in strings',
      String.raw`{"p":"}\",\"a\":{[","a":"\\","b":1}`,
      { a: 0 },
      String.raw`{"p":"}\",\"a\":{[","a":0,"b":1}`,
    ],
    ['one of a name that stands twice', '{"a":1, "b":2 , "a" : [3] , "c":4}', { a: 5 }, '{"a":5, "b":2 , "c":4}'],
    ['one of a name that stands only twice', '{"a":1,"a":2,"a":3}', { a: 4 }, '{"a":4}'],
    ['a field out, the first', '{ "a":1 , "b":2}', { a: undefined }, '{ "b":2}'],
    ['a field out, the last', '{"a":1, "b":2 }', { b: undefined }, '{"a":1 }'],
    ['a field out, one between', '{"a":1, "b":2 ,"c":3}', { b: undefined }, '{"a":1 ,"c":3}'],
    ['a field out, the only one', '{ "a":1 }', { a: undefined }, '{  }'],
    ['a field out, that stands at the start again and again', '{"a":1, "a":2, "b":3}', { a: undefined }, '{"b":3}'],
    ['nothing out that is not there', '{"a":1}', { b: undefined }, '{"a":1}'],
    ['all fields for others', '{"a":1,"b":2}', { a: undefined, b: undefined, c: 3 }, '{"c":3}'],
    ['a field named __proto__', '{"__proto__":1,"a":2}', JSON.parse('{"__proto__":3}'), '{"__proto__":3,"a":2}'],
  ])('gets %s', (_what, before, fields, after) => {
    const body = came(before).with(fields)
    expect(text(body)).toBe(after)
    expect(JSON.stringify(body.json)).toBe(JSON.stringify(JSON.parse(after)))
  })

  test('is not changed itself, and may be changed again, before its bytes are asked for and after', () => {
    const body = came('{"a": 1, "b": 2}')
    const changed = body.with({ a: 3, c: 4 })
    const again = changed.with({ c: undefined, b: 5 })
    expect([text(again), text(changed), text(body)]).toEqual([
      '{"a": 3, "b": 5}',
      '{"a": 3, "b": 2,"c":4}',
      '{"a": 1, "b": 2}',
    ])
    expect(text(changed.with({ c: undefined }))).toBe('{"a": 3, "b": 2}')
  })
})

/*
 * Any JSON object as a text: with white space, escapes, numbers in any form, and names that stand more than once. No name has
 * a backslash, since `JSON.parse`, with which these tests compare, mistakes others for it (see the test below).
 */
const space = fc.constantFrom('', '', ' ', '\n', '\t', '\r\n  ')
const escaped = (character: string) => `\\u${character.charCodeAt(0).toString(16).padStart(4, '0')}`
const quoted = (value: string, escapes: readonly boolean[]) =>
  `"${[...value].map((each, at) => (escapes[at % 3] && each.length === 1 ? escaped(each) : JSON.stringify(each).slice(1, -1))).join('')}"`
const name = fc.constantFrom('a', 'b', 'model', '"', 'é', '__proto__', '', '}{', '😀')
const asString = (value: fc.Arbitrary<string>) =>
  fc
    .tuple(value, fc.array(fc.boolean(), { minLength: 3, maxLength: 3 }))
    .map(([value, escapes]) => quoted(value, escapes))
const strings = asString(
  fc.oneof(fc.string({ unit: 'grapheme', maxLength: 8 }), fc.constantFrom('\\', '"', '",', '\\"}', ']', '{[')),
)
const numbers = fc.constantFrom('0', '-0', '1.0', '1E+2', '-1.5e-3', '9007199254740993', '0.1e1')
const { value } = fc.letrec<{ value: string; array: string; object: string }>((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    strings,
    numbers,
    fc.constantFrom('true', 'false', 'null'),
    tie('array'),
    tie('object'),
  ),
  array: fc
    .array(fc.tuple(space, tie('value'), space), { maxLength: 3 })
    .map((values) => `[${values.map((parts) => parts.join('')).join(',')}]`),
  object: fc
    .array(fc.tuple(space, asString(name), space, space, tie('value'), space), { maxLength: 3 })
    .map((members) => `{${members.map(([a, name, b, c, value, d]) => `${a}${name}${b}:${c}${value}${d}`).join(',')}}`),
}))
interface Written {
  readonly name: string
  /** Its text up to its value, the value, and what stands after it. */
  readonly parts: readonly [string, string, string]
}
const member: fc.Arbitrary<Written> = name.chain((name) =>
  fc
    .tuple(space, asString(fc.constant(name)), space, space, value, space)
    .map(([a, quoted, b, c, value, d]) => ({ name, parts: [`${a}${quoted}${b}:${c}`, value, d] })),
)
const object = fc.tuple(space, fc.array(member, { maxLength: 6 }), space)
const newValue = fc.oneof(
  fc.constant(undefined),
  fc.oneof(fc.string(), fc.double(), fc.constantFrom(null, true)),
  fc.array(fc.string(), { maxLength: 2 }),
  fc.dictionary(name, fc.string(), { maxKeys: 2 }),
)
const fields = fc
  .array(fc.tuple(fc.oneof(name, fc.constantFrom('c', 'ä', 'x y')), newValue), { maxLength: 4 })
  .map((entries) => Object.fromEntries(entries) as Json)
const textOf = ([before, members, after]: readonly [string, readonly Written[], string]) =>
  `${before}{${members.map(({ parts }) => parts.join('')).join(',')}}${after}`
/** As JSON has it: without what is undefined, and without -0. */
const plain = (json: Json) => JSON.parse(JSON.stringify(json))

test('a field can not be hidden by an escape, whatever was read before', () => {
  for (const [before, escaped, name] of [
    [String.raw`{"\\":1}`, String.raw`{"\u0061":2,"n":1}`, 'a'],
    [String.raw`{"n":1,"\\u006dax_t":1}`, String.raw`{"n":1,"\u006dax_tokens":2}`, 'max_tokens'],
  ] as const) {
    came(before)
    const body = came(escaped)
    expect(body.json).toEqual({ n: 1, [name]: 2 })
    expect(text(body.with({ [name]: 3 }))).toBe(escaped.replace('2', '3'))
  }
})

test('nor further in', () => {
  came(String.raw`{"messages":[{"\\":1,"role":"user"}]}`)
  const body = came(String.raw`{"messages":[{"\u0063ontent":[{"t\u0079pe":"image_url"}]}]}`)
  expect(body.json).toEqual({ messages: [{ content: [{ type: 'image_url' }] }] })
})

test('a field that is taken out and put in again keeps its place, and what was changed is told', () => {
  const body = came('{"model": "a", "n": 1, "x": 1.0}').with({ model: undefined })
  expect([text(body), body.changed]).toEqual(['{"n": 1, "x": 1.0}', ['model']])
  const sent = body.with({ n: 2, model: 'b' })
  expect([text(sent), sent.changed]).toEqual(['{"model": "b", "n": 2, "x": 1.0}', ['model', 'n']])
  expect(bodyOf({ n: 1 }).with({ n: 2 }).changed).toEqual([])
})

/** A reader of one's own, which takes the first or the last of the members that have one name; of texts that are valid. */
function readBy(text: string, which: 'first' | 'last'): unknown {
  let at = 0
  const space = () => {
    while (/\s/.test(text.charAt(at))) at += 1
  }
  const string = () => {
    const [quoted] = /^"(?:[^"\\]|\\.)*"/su.exec(text.slice(at)) ?? ['']
    at += quoted.length
    return JSON.parse(quoted) as string
  }
  const list = (close: string, element: () => void) => {
    at += 1
    for (space(); text.charAt(at) !== close; space()) {
      element()
      space()
      if (text.charAt(at) === ',') at += 1
    }
    at += 1
  }
  function value(): unknown {
    space()
    if (text.charAt(at) === '"') return string()
    if (text.charAt(at) === '[') {
      const values: unknown[] = []
      list(']', () => values.push(value()))
      return values
    }
    if (text.charAt(at) === '{') {
      const members = new Map<string, unknown>()
      list('}', () => {
        const name = string()
        space()
        at += 1
        const told = value()
        if (which === 'last' || !members.has(name)) members.set(name, told)
      })
      return Object.fromEntries(members)
    }
    const [scalar] = /^[^\s,\]}]+/.exec(text.slice(at)) ?? ['']
    at += scalar.length
    return JSON.parse(scalar)
  }
  return value()
}

describe('what another reader would find', () => {
  test.each([
    ['a name twice', '{"max_tokens":9,"max_tokens":1}', { kind: 'repeated', path: 'max_tokens' }],
    ['one of them escaped', String.raw`{"n":9,"\u006e":1}`, { kind: 'repeated', path: 'n' }],
    [
      'a name twice further in',
      '{"a":1,"messages":[0,{"content":[],"role":"user","content":""}]}',
      { kind: 'repeated', path: 'messages[1].content' },
    ],
    ['the same name in two objects', '{"a":{"b":1},"b":[{"a":1},{"a":2}],"c":["a","a"]}', undefined],
    ['texts that look like names', String.raw`{"a":"\"a\":1,\"a\":2","b":["a","b"]}`, undefined],
    ['128 levels', `{"a":${'['.repeat(127)}${']'.repeat(127)}}`, undefined],
    ['129 levels', `{"a":${'['.repeat(128)}${']'.repeat(128)}}`, { kind: 'deep', path: 'a[0]' }],
    ['a million levels', `{"a":${'['.repeat(500_000)}${']'.repeat(500_000)}}`, { kind: 'deep', path: 'a[0]' }],
  ])('in %s', (_what, text, flaw) => {
    expect(came(text).flaw).toEqual(flaw)
  })

  test('is what stands in the body, unless that says that it has a flaw', () => {
    let [whole, flawed] = [0, 0]
    fc.assert(
      fc.property(object, (object) => {
        const written = textOf(object)
        const body = came(written)
        const [first, last] = [readBy(written, 'first'), readBy(written, 'last')]
        // The one that the gateway reads is the last.
        expect(body.json).toEqual(last)
        if (body.flaw === undefined) expect(first).toEqual(last)
        if (body.flaw === undefined) whole += 1
        else flawed += 1
      }),
      { numRuns: 2_000 },
    )
    expect(Math.min(whole, flawed)).toBeGreaterThan(100)
  })

  test('a flaw is found in linear time', () => {
    const names = Array.from({ length: 100_000 }, (_, i) => `"${i}":0`).join(',')
    const since = process.cpuUsage()
    expect(came(`{${names},"7":1}`).flaw).toEqual({ kind: 'repeated', path: '7' })
    expect(process.cpuUsage(since).user).toBeLessThan(2_000_000)
  })
})

describe('any body with any fields', () => {
  test('says what its values with these say, be it made of values or of bytes, in one step or two', () => {
    fc.assert(
      fc.property(object, fields, fields, (object, fields, more) => {
        const body = came(textOf(object))
        expect(text(body)).toBe(textOf(object))
        const expected = plain({ ...body.json, ...fields })
        const changed = body.with(fields)
        for (const each of [changed, bodyOf(body.json).with(fields), came(text(bodyOf(body.json))).with(fields)]) {
          expect(plain(each.json)).toEqual(expected)
          expect(Object.values(each.json)).not.toContain(undefined)
          expect(plain(JSON.parse(text(each)))).toEqual(expected)
        }
        const twice = plain({ ...changed.json, ...more })
        expect(plain(JSON.parse(text(came(textOf(object)).with(fields).with(more))))).toEqual(twice)
        expect(plain(JSON.parse(text(changed.with(more))))).toEqual(twice)
      }),
      { numRuns: 1_000 },
    )
  })

  test('keeps every byte of all other members, and has each of these once', () => {
    fc.assert(
      fc.property(object, fields, (object, fields) => {
        const [before, members, after] = object
        const written = text(came(textOf(object)).with(fields))
        expect(written.startsWith(`${before}{`) && written.endsWith(`}${after}`)).toBe(true)
        // What is left, in its order: a member that is not changed byte for byte, and of one that is what is not its value.
        let at = before.length + 1
        const seen = new Set<string>()
        for (const { name, parts } of members) {
          const isChanged = Object.hasOwn(fields, name)
          if (isChanged && (fields[name] === undefined || seen.has(name))) continue
          seen.add(name)
          const kept = isChanged
            ? `${parts[0].trimStart()}${JSON.stringify(fields[name])}`
            : parts.slice(0, 2).join('').trimStart()
          const place = written.indexOf(kept, at)
          expect(written.slice(at, place)).toMatch(/^[\s,]*$/)
          at = place + kept.length
        }
        const added = Object.entries(fields).filter(([name, value]) => value !== undefined && !seen.has(name))
        const ends = added.map(([name, value]) => `${JSON.stringify(name)}:${JSON.stringify(value)}`).join(',')
        expect(
          written
            .slice(at, written.length - after.length - 1)
            .replace(/^\s*,?|\s*$/g, '')
            .trim(),
        ).toBe(ends)
      }),
      { numRuns: 1_000 },
    )
  })

  test('is found in linear time', () => {
    const prompt = String.raw`\\\"{[`.repeat(200_000)
    const body = came(`{"messages":[{"role":"user","content":"${prompt}"}],"model":"a"}`)
    const since = process.cpuUsage()
    expect(body.with({ model: 'b' }).bytes.length).toBe(body.bytes.length)
    expect(process.cpuUsage(since).user).toBeLessThan(2_000_000)
  })
})

describe('a body that is made of values', () => {
  test('is written when its bytes are asked for, once', () => {
    let writes = 0
    const toJSON = () => {
      writes += 1
      return `written ${writes}`
    }
    const prompt = { toJSON }
    const body = bodyOf({ prompt }).with({ n: 1 })
    expect(writes).toBe(0)
    expect([text(body), text(body)]).toEqual(['{"prompt":"written 1","n":1}', '{"prompt":"written 1","n":1}'])
    expect([text(body.with({ model: 'm', n: 2 })), writes]).toEqual(['{"prompt":"written 1","n":2,"model":"m"}', 1])
  })
})
