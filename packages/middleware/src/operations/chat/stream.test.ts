import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { BrokenStream } from '../broken-stream.ts'
import { type ChatChunk, chatStream } from './stream.ts'

const chunk = (content: string, finish_reason: string | null = null, index = 0) => ({
  choices: [{ index, delta: { content }, finish_reason }],
})
const sse = (...events: unknown[]) =>
  events.map((event) => `data: ${typeof event === 'string' ? event : JSON.stringify(event)}\n\n`).join('')

function readAll(pieces: readonly (string | Uint8Array)[]) {
  const stream = chatStream()
  const events = pieces.flatMap((piece) => stream.feed(Buffer.from(piece as string)))
  const early = stream.ended
  events.push(...stream.close())
  const chunks = events.flatMap(({ json }) => (json === undefined ? [] : [json as unknown as ChatChunk]))
  return { events, chunks, early, ended: stream.ended }
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
          expect(readAll(pieces)).toMatchObject({
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
    ['broken by null alone', sse('null'), 'invalid_response'],
    ['broken by an event without an end', `data: ${'x'.repeat(5 * 1024 * 1024)}`, 'invalid_response'],
  ])('is %s', (_what, text, expected) => {
    const { ended } = readAll([text])
    if (expected === 'whole') expect(ended).toBe('whole')
    else expect((ended as BrokenStream).failure).toEqual({ code: expected })
  })

  const noise = fc.constantFrom(
    ': keep-alive\n\n',
    ':\n',
    'event: ping\ndata: {"type":"ping"}\n\n',
    'event: ping\ndata: now\n\n',
    'data: ping\n\n',
    'data: null\n\n',
    'data: {}\n\n',
    'data: []\n\n',
    'data:\n\n',
    'id: 7\n\n',
    '\n\n\n',
    sse({ choices: [] }),
    sse({ object: 'status', queue: 1 }),
    sse({ choices: [{ index: 0, finish_reason: null, content_filter_results: {} }] }),
    sse({ choices: [{ index: 0, delta: {}, finish_reason: 'null' }] }),
  )

  test('E2: is the same with any events between that carry no answer, and never whole where it is cut', () => {
    const texts = fc.array(fc.string({ minLength: 1, maxLength: 5 }), { minLength: 1, maxLength: 6 })
    const between = fc.array(fc.tuple(noise, fc.nat()), { maxLength: 8 })
    fc.assert(
      fc.property(texts, between, fc.nat(), fc.boolean(), (texts, between, cutAt, done) => {
        const events = [...texts.map((text) => sse(chunk(text))), sse(chunk('', 'stop')), done ? sse('[DONE]') : '']
        for (const [event, place] of between) events.splice(place % (texts.length + 1), 0, event)
        const said = ({ chunks }: ReturnType<typeof readAll>) =>
          chunks.map(({ choices }) => choices[0]?.delta?.content ?? '').join('')
        const whole = readAll(events)
        expect([said(whole), whole.ended]).toEqual([texts.join(''), 'whole'])
        const cut = readAll(events.slice(0, cutAt % (texts.length + between.length + 1)))
        expect(cut.ended).toBeInstanceOf(Error)
        expect(texts.join('').startsWith(said(cut))).toBe(true)
      }),
    )
  })

  test.each([
    ['E1: by any of "", "null", "none" in each chunk', ['', 'null', 'none', 'NULL', 'in_progress', 0, false, {}, []]],
    ['E1: by a known reason in each chunk', ['stop', 'length', 'end_turn', 'STOP']],
    ['E1: by an unknown one in each chunk', ['generating...', 'x']],
  ])('is not ended %s', (_how, reasons) => {
    for (const reason of reasons) {
      const all = sse(chunk('a', reason as string), chunk('b', reason as string))
      expect(readAll([all]).ended).toMatchObject({ failure: { code: 'stream_cut' } })
      expect(readAll([all + sse('[DONE]')]).ended).toBe('whole')
    }
  })

  test('is ended by an unknown reason once its usage has come in a chunk of its own, and no output after it', () => {
    const usage = { choices: [], usage: { prompt_tokens: 1, completion_tokens: 2 } }
    const ends = (...events: unknown[]) => readAll([sse(...events)]).ended
    const cut = { failure: { code: 'stream_cut' } }
    expect(ends(chunk('a', 'x'))).toMatchObject(cut)
    expect(ends(chunk('a', 'x'), usage)).toBe('whole')
    expect(ends(usage, chunk('a', 'x'))).toMatchObject(cut)
    expect(ends(chunk('a', 'x'), usage, chunk('b', null, 1), chunk('', 'x', 1))).toMatchObject(cut)
    expect(ends(chunk('a', 'x'), chunk('b', null, 1), usage)).toMatchObject(cut)
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

describe('the events of a stream', () => {
  const text = (events: readonly { readonly bytes: Uint8Array }[]) => events.map(({ bytes }) => String(bytes))

  test('are parts of what came where they stand there in their form, and copies else', () => {
    const piece = Buffer.from(`: hi\n\n${sse(chunk('a'))}data:${JSON.stringify(chunk('b'))}\n\n`)
    const [part, copy] = chatStream().feed(piece)
    expect([part?.bytes.buffer === piece.buffer, part?.bytes.byteOffset]).toEqual([true, piece.byteOffset + 6])
    expect(text([part, copy] as never)).toEqual([sse(chunk('a')), sse(chunk('b'))])
    const stream = chatStream()
    const first = Buffer.from(sse(chunk('a')).slice(0, 9))
    stream.feed(first)
    first.fill(0)
    expect(text(stream.feed(Buffer.from(sse(chunk('a')).slice(9))))).toEqual([sse(chunk('a'))])
  })

  test('are one for each chunk of an array, and tell of a usage without choices as of one with none', () => {
    const usage = { prompt_tokens: 1, completion_tokens: 2 }
    const { events, ended } = readAll([
      sse([chunk('a'), 7, chunk('b', 'stop')], { choices: null, usage }, { usage }, '[done]'),
    ])
    const told = { choices: [], usage }
    expect(text(events)).toEqual(
      [chunk('a'), chunk('b', 'stop'), told, told, '[done]']
        .map((each) => sse(each))
        .map((each, at) => (at === 3 ? sse({ usage, choices: [] }) : each)),
    )
    expect([events.map(({ json }) => json), ended]).toEqual([
      [chunk('a'), chunk('b', 'stop'), told, told, undefined],
      'whole',
    ])
  })

  test('count as output, or tell of it before the choices have ended', () => {
    const usage = (completion_tokens: number) => ({ usage: { prompt_tokens: 1, completion_tokens } })
    const stream = chatStream()
    const outputs = [
      chunk('a'),
      { ...chunk('b'), ...usage(7) },
      { choices: [0, 1].map((index) => ({ index, delta: { content: 'c' } })) },
      { ...chunk('', 'stop'), ...usage(8) },
      // All choices have ended with this one: what is told with it, and later, is of tokens that have been sent already.
      { ...chunk('', 'stop', 1), ...usage(900) },
      { choices: [], ...usage(1_000) },
    ].map((each) => {
      stream.feed(Buffer.from(sse(each)))
      return stream.output
    })
    expect(outputs).toEqual([1, 7, 7, 8, 8, 8])
    expect([stream.told?.tokens.output, stream.usage?.tokens.output]).toEqual([1_000, 1_000])
  })

  test('are the end of a stream with more choices than any service makes', () => {
    const at = (count: number) => sse(...Array.from({ length: count }, (_, index) => chunk('', 'stop', index)))
    expect(readAll([at(1_024)]).ended).toBe('whole')
    expect(readAll([at(1_025)]).ended).toMatchObject({ failure: { code: 'invalid_response' } })
  })
})
