import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { type BrokenStream, type ChatChunk, chatEvents } from './chat-events.ts'

const chunk = (content: string, finish_reason: string | null = null, index = 0) => ({
  choices: [{ index, delta: { content }, finish_reason }],
})
const sse = (...events: unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')

function readAll(pieces: readonly (string | Uint8Array)[]) {
  const events = chatEvents()
  const chunks: ChatChunk[] = []
  for (const piece of pieces) chunks.push(...events.feed(Buffer.from(piece as string)))
  const early = events.ended
  events.close()
  return { chunks, early, ended: events.ended }
}

describe('a stream of chat completion chunks', () => {
  test('is the same however the network cuts it, and in every line ending', () => {
    fc.assert(
      fc.property(
        fc.array(fc.string({ unit: 'grapheme' }), { maxLength: 8 }),
        fc.array(fc.nat(), { maxLength: 12 }),
        fc.constantFrom('\n', '\r\n', '\r'),
        (texts, cuts, newline) => {
          const chunks = [...texts.map((text) => chunk(text)), chunk('', 'stop')]
          const bytes = Buffer.from(`: hello\n\n${sse(...chunks, '[DONE]')}`.replaceAll('\n', newline))
          const at = [0, ...cuts.map((cut) => cut % bytes.length).sort((a, b) => a - b), bytes.length]
          const pieces = at.slice(1).map((end, index) => bytes.subarray(at[index], end))
          expect(readAll(pieces)).toEqual({
            chunks,
            early: newline === '\r' ? expect.anything() : 'whole',
            ended: 'whole',
          })
        },
      ),
    )
  })

  test.each<[string, string, 'whole' | string]>([
    ['whole with [DONE]', sse(chunk('a'), '[DONE]'), 'whole'],
    ['whole where it ends after its finish_reason', sse(chunk('a'), chunk('', 'stop')), 'whole'],
    ['cut without either', sse(chunk('a')), 'stream_cut'],
    ['cut where one choice of two has not ended', sse(chunk('a', 'stop', 0), chunk('b', null, 1)), 'stream_cut'],
    ['cut in the middle of an event', `${sse(chunk('a'))}data: {"cho`, 'stream_cut'],
    ['cut where nothing came', '', 'stream_cut'],
    [
      'broken by an error event',
      sse(chunk('a'), { error: { code: 'server_error', message: 'SECRET' } }),
      'server_error',
    ],
    ['broken by one that only has a type', sse({ error: { type: 'overloaded' } }), 'overloaded'],
    ['broken by one whose code repeats a prompt', sse({ error: { code: 'my prompt was: x' } }), 'error_event'],
    ['broken by one that is a text', sse({ error: 'SECRET' }), 'error_event'],
    ['broken by what is no JSON', sse('{'), 'invalid_response'],
    ['broken by what is no chunk', sse({ object: 'other' }), 'invalid_response'],
    ['broken by null', sse('null'), 'invalid_response'],
    ['broken by an event without an end', `data: ${'x'.repeat(5 * 1024 * 1024)}`, 'invalid_response'],
  ])('is %s', (_what, text, expected) => {
    const { ended } = readAll([text])
    if (expected === 'whole') expect(ended).toBe('whole')
    else expect((ended as BrokenStream).failure).toEqual({ code: expected })
  })

  test('keeps what came before the break, and takes nothing after its end', () => {
    const { chunks } = readAll([sse(chunk('a'), { error: {} }, chunk('b')), sse(chunk('c'))])
    expect(chunks).toEqual([chunk('a')])
    expect(readAll([sse('[DONE]', chunk('b'))]).chunks).toEqual([])
  })

  test('keeps fields that it does not know', () => {
    const odd = { ...chunk('a', 'stop'), system_fingerprint: 'fp', choices: [{ index: 0, delta: { reasoning: 'r' } }] }
    expect(readAll([sse(odd)]).chunks).toEqual([odd])
  })
})
