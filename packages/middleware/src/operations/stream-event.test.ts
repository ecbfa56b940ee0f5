import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { eventOf, eventsIn } from './index.ts'
import { eventBytes } from './stream-event.ts'

const line = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 12 }),
  fc.constantFrom('', 'data: ', '{"a":1}', '[DONE]'),
)
const data = fc
  .array(
    line.map((text) => text.replaceAll(/[\r\n]/g, '')),
    { minLength: 1, maxLength: 4 },
  )
  .map((lines) => lines.join('\n'))

describe('stored events', () => {
  test('are cut apart where each ends, and joined they are all that was stored', () => {
    fc.assert(
      fc.property(fc.array(data, { maxLength: 8 }), (all) => {
        const events = all.map((each) => eventBytes(Buffer.from(each)))
        const cut = [...eventsIn(Buffer.concat(events))]
        expect(cut.map(({ bytes }) => String(bytes))).toEqual(events.map(String))
      }),
    )
  })

  test('lose no byte, whatever was stored', () => {
    fc.assert(
      fc.property(fc.string({ unit: fc.constantFrom('\n', 'a', '{', 'data: ', ':') }), (text) => {
        const events = [...eventsIn(Buffer.from(text))]
        expect(events.map(({ bytes }) => String(bytes)).join('')).toBe(text)
        for (const event of events) expect([event.name, event.json]).toEqual([undefined, undefined])
      }),
    )
  })

  test('tell their data where that is an object, parsed at the first look', () => {
    const [one, lines, end, odd, named] = eventsIn(
      Buffer.from(
        'data: {"a":1}\n\ndata: {"a":\ndata: 2}\n\ndata: [DONE]\n\ndata: [1]\n\nevent: ping\ndata: {"a":3}\n\n',
      ),
    )
    expect([one, lines, end, odd, named].map((event) => event?.json)).toEqual([
      { a: 1 },
      { a: 2 },
      undefined,
      undefined,
      { a: 3 },
    ])
    expect([one?.name, named?.name]).toEqual([undefined, 'ping'])
    expect(one?.json).toBe(one?.json)
  })

  test('are found in linear time, and hold no memory of their own', () => {
    const stored = Buffer.alloc(8 * 1024 * 1024, 'data: {"choices":[]}\n\n')
    const since = process.cpuUsage()
    let events = 0
    for (const { bytes } of eventsIn(stored)) {
      if (bytes.buffer === stored.buffer) events += 1
    }
    expect(events).toBe(Math.ceil(stored.length / 22))
    expect(process.cpuUsage(since).user).toBeLessThan(5_000_000)
  })
})

test('an event of an object is written in one line, when it is asked for', () => {
  expect(String(eventOf({ text: 'a\nb' }).bytes)).toBe('data: {"text":"a\\nb"}\n\n')
  const bytes = Buffer.from('data: { }\n\n')
  expect(eventOf({}, bytes).bytes).toBe(bytes)
})
