import { createParser } from 'eventsource-parser'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type ServerSentEvent, serverSentEvents } from './server-sent-events.ts'

const MAX = 100_000

function readAll(pieces: readonly Uint8Array[], maxBytes = MAX, keepsNames = false) {
  const events: Pick<ServerSentEvent, 'type' | 'data'>[] = []
  const reader = serverSentEvents({
    maxBytes,
    keepsNames,
    onEvent({ type, data, bytes }) {
      const name = keepsNames && type !== '' ? `event: ${type}\n` : ''
      expect(bytes.toString()).toBe(`${name}data: ${data.replaceAll('\n', '\ndata: ')}\n\n`)
      events.push({ type, data })
    },
  })
  for (const piece of pieces) reader.feed(piece)
  reader.close()
  return { events, isTooLong: reader.isTooLong }
}

/** What a well-kept parser makes of the same text, whole and with the last event's blank line. */
function expected(text: string) {
  const events: Pick<ServerSentEvent, 'type' | 'data'>[] = []
  const parser = createParser({ onEvent: ({ event = '', data }) => events.push({ type: event, data }) })
  parser.feed(`${text}\n\n`)
  return events
}

function cut(bytes: Buffer, cuts: readonly number[]): Buffer[] {
  const at = [0, ...cuts.map((place) => place % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  // Each in memory of its own, which is overwritten afterwards, as a socket's may be.
  return at.slice(1).map((end, index) => Buffer.from(bytes.subarray(at[index], end)))
}

const line = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 20 }).map((text) => `data: ${text.replaceAll(/[\r\n\0]/g, '')}`),
  fc.constantFrom('data', 'data:', 'data: ', 'data:  a', 'dat', 'datas: a', 'data : a', ' data: a', 'DATA: a'),
  fc.constantFrom('event: ping', 'event:', 'event', 'events: a', 'id: 1', 'retry: 5', ':', ': hello', 'x', '{"a":1}'),
  fc.constant(`: ${'comment '.repeat(20)}`),
  fc.constant(''),
  fc.constant(''),
)
const text = fc
  .tuple(fc.array(fc.tuple(line, fc.constantFrom('\n', '\r\n', '\r')), { maxLength: 20 }), fc.boolean())
  .map(([lines, bom]) => (bom ? '\ufeff' : '') + lines.map((parts) => parts.join('')).join(''))

describe('a stream of events', () => {
  test('is read as the standard says, however it is cut', () => {
    fc.assert(
      fc.property(text, fc.array(fc.nat(), { maxLength: 12 }), fc.boolean(), (text, cuts, keepsNames) => {
        // A CR that stands before a line of its own is one line's end with a LF after it: the reference joins them.
        const plain = text.replaceAll('\r\n', '\n').replaceAll('\r', '\n')
        expect(readAll(cut(Buffer.from(text), cuts), MAX, keepsNames).events).toEqual(expected(plain))
      }),
      { numRuns: 1_000 },
    )
  })

  test('is the same byte by byte', () => {
    fc.assert(
      fc.property(text, (text) => {
        const bytes = Buffer.from(text)
        expect(readAll([...bytes].map((byte) => Uint8Array.of(byte)))).toEqual(readAll([bytes]))
      }),
    )
  })

  test('is handed on as it came, with its name where that is wanted', () => {
    const piece = new TextEncoder().encode('event: a\ndata: one\n\nevent:b\ndata: two\n\n')
    const events: Buffer[] = []
    serverSentEvents({ maxBytes: MAX, keepsNames: true, onEvent: ({ bytes }) => events.push(bytes) }).feed(piece)
    expect(events.map(String)).toEqual(['event: a\ndata: one\n\n', 'event: b\ndata: two\n\n'])
    expect(events.map(({ buffer }) => buffer === piece.buffer)).toEqual([true, false])
  })

  test('keeps nothing of the memory that it came in', () => {
    const piece = Buffer.from('data: one\ndata: tw')
    const events: string[] = []
    const reader = serverSentEvents({ maxBytes: MAX, onEvent: ({ data }) => events.push(data) })
    reader.feed(piece)
    piece.fill(0)
    reader.feed(Buffer.from('o\n\n'))
    expect(events).toEqual(['one\ntwo'])
  })

  test.each([
    ['a line without an end', ['data: ', 'x'.repeat(1_001)], true],
    ['a line of the longest length', [`data: ${'x'.repeat(990)}\n\n`], false],
    ['many lines of one event', Array(5).fill(`data: ${'x'.repeat(300)}\n`), true],
    ['many empty lines of one event', Array(20).fill('data:\n'), true],
    ['many events', Array(50).fill('data: a\n\n'), false],
    ['a comment without an end', [': ', ...Array(50).fill('x'.repeat(100))], false],
    ['a field without use and without an end', ['xdata: ', ...Array(50).fill('x'.repeat(100))], false],
  ])('is bounded in bytes: %s', (_what, pieces, isTooLong) => {
    expect(
      readAll(
        pieces.map((piece) => Buffer.from(piece)),
        1_000,
      ).isTooLong,
    ).toBe(isTooLong)
  })
})
