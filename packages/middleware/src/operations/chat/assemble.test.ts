import assert from 'node:assert'
import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { isJson } from '../body.ts'
import { eventOf } from '../stream-event.ts'
import type { ChatAnswer } from './answer.ts'
import { chatAssembler } from './assemble.ts'

type Fields = Record<string, unknown>

function assemble(chunks: readonly object[]): Fields | undefined {
  const assembler = chatAssembler()
  for (const chunk of chunks) assembler.add(eventOf(chunk as Fields))
  return assembler.answer(undefined)?.json()
}

const HEAD = { id: 'chatcmpl-1', object: 'chat.completion.chunk', created: 1_700_000_000, model: 'gpt-4o-2024-08-06' }
const chunk = (delta: object | null, others: object = {}) => ({
  ...HEAD,
  choices: [{ index: 0, delta, finish_reason: null, ...others }],
})
const STOP = chunk({}, { finish_reason: 'stop' })
const message = (chunks: readonly object[]) =>
  (assemble(chunks)?.choices as { message: Fields }[] | undefined)?.[0]?.message

describe('an answer put together', () => {
  test("is OpenAI's, with logprobs, a tier, a fingerprint, and the usage in a chunk of its own", () => {
    const head = { ...HEAD, service_tier: 'default', system_fingerprint: 'fp_1' }
    const [hel, lo, bang] = ['Hel', 'lo', '!'].map((token) => ({ token, logprob: -0.1, bytes: null, top_logprobs: [] }))
    const at = (delta: object, logprobs: unknown, finish_reason: string | null, obfuscation: string) => ({
      ...head,
      choices: [{ index: 0, delta, logprobs, finish_reason }],
      usage: null,
      obfuscation,
    })
    const usage = { prompt_tokens: 9, completion_tokens: 3, total_tokens: 12 }
    const chunks = [
      at({ role: 'assistant', content: '', refusal: null }, null, null, 'aP3'),
      at({ content: 'Hel' }, { content: [hel], refusal: null }, null, 'x'),
      at({ content: 'lo!' }, { content: [lo, bang], refusal: null }, null, 'yy'),
      at({}, null, 'stop', ''),
      { ...head, choices: [], usage },
    ]
    expect(assemble(chunks)).toEqual({
      ...head,
      object: 'chat.completion',
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hello!', refusal: null },
          logprobs: { content: [hel, lo, bang], refusal: null },
          finish_reason: 'stop',
        },
      ],
      usage,
    })
  })

  test("is Azure's: filters of the prompt come before any choice, and those of the text with some chunks only", () => {
    const safe = { filtered: false, severity: 'safe' }
    const prompt_filter_results = [{ prompt_index: 0, content_filter_results: { hate: safe } }]
    const at = (delta: object, content_filter_results: object, finish_reason: string | null = null) =>
      chunk(delta, { content_filter_results, finish_reason, logprobs: null })
    const chunks = [
      { id: '', object: '', created: 0, model: '', choices: [], prompt_filter_results },
      at({ role: 'assistant', content: '', refusal: null }, {}),
      at({ content: 'Hi' }, { hate: safe, protected_material_text: { filtered: false, detected: false } }),
      at({ content: '.' }, { hate: { ...safe, severity: 'low' } }),
      at({}, {}, 'stop'),
    ]
    expect(assemble(chunks)).toEqual({
      ...HEAD,
      object: 'chat.completion',
      prompt_filter_results,
      choices: [
        {
          index: 0,
          message: { role: 'assistant', content: 'Hi.', refusal: null },
          content_filter_results: {
            hate: { filtered: false, severity: 'low' },
            protected_material_text: { filtered: false, detected: false },
          },
          finish_reason: 'stop',
          logprobs: null,
        },
      ],
    })
  })

  test('has its tool calls in their order, from pieces that are mixed, and without their index', () => {
    const call = (index: number, piece: object) => chunk({ tool_calls: [{ index, ...piece }] })
    const chunks = [
      chunk({ role: 'assistant', content: null }),
      call(1, { id: 'call_b', type: 'function', function: { name: 'time', arguments: '' } }),
      call(0, { id: 'call_a', type: 'function', function: { name: 'weather', arguments: '' } }),
      call(0, { function: { arguments: '{"city":' } }),
      // Some services repeat what identifies a call, or leave it empty.
      call(1, { id: 'call_b', type: 'function', function: { name: 'time', arguments: '{' } }),
      call(0, { id: '', type: null, function: { name: '', arguments: '"Rome"}' } }),
      call(1, { function: { arguments: '}' } }),
      chunk({}, { finish_reason: 'tool_calls' }),
    ]
    expect(message(chunks)).toEqual({
      role: 'assistant',
      content: null,
      tool_calls: [
        { id: 'call_a', type: 'function', function: { name: 'weather', arguments: '{"city":"Rome"}' } },
        { id: 'call_b', type: 'function', function: { name: 'time', arguments: '{}' } },
      ],
    })
  })

  test('keeps tool calls apart that have no index, after those that have one', () => {
    const call = (id: string) => ({ id, type: 'function', function: { name: 'f', arguments: '{}' } })
    const chunks = [
      chunk({ tool_calls: [call('a'), call('b')] }),
      chunk({ tool_calls: [{ index: 0, ...call('c') }] }),
      STOP,
    ]
    expect(message(chunks)).toEqual({ tool_calls: [call('c'), call('a'), call('b')] })
  })

  test("has DeepSeek's thoughts beside its text, where each is null while the other comes", () => {
    const chunks = [
      chunk({ role: 'assistant', content: null, reasoning_content: '' }),
      chunk({ content: null, reasoning_content: 'The user ' }),
      chunk({ content: null, reasoning_content: 'greets.' }),
      chunk({ content: 'Good ', reasoning_content: null }),
      chunk({ content: 'day', reasoning_content: null }),
      chunk({ content: '', reasoning_content: null }, { finish_reason: 'stop' }),
    ]
    expect(message(chunks)).toEqual({
      role: 'assistant',
      content: 'Good day',
      reasoning_content: 'The user greets.',
    })
  })

  test('has a refusal', () => {
    const chunks = [
      chunk({ role: 'assistant', content: null, refusal: null }),
      chunk({ refusal: "I'm " }),
      chunk({ refusal: 'sorry.' }),
      STOP,
    ]
    expect(message(chunks)).toEqual({ role: 'assistant', content: null, refusal: "I'm sorry." })
  })

  test('has its choices in their order, though their chunks are mixed', () => {
    const at = (index: number, delta: object, finish_reason: string | null = null) => ({
      ...HEAD,
      choices: [{ index, delta, finish_reason }],
    })
    const chunks = [
      at(1, { role: 'assistant', content: '' }),
      at(0, { role: 'assistant', content: '' }),
      at(1, { content: 'b' }),
      at(0, { content: 'a' }),
      {
        ...HEAD,
        choices: [
          { index: 0, delta: { content: 'A' } },
          { index: 1, delta: { content: 'B' } },
        ],
      },
      at(1, {}, 'length'),
      at(0, {}, 'stop'),
    ]
    expect(assemble(chunks)?.choices).toEqual([
      { index: 0, message: { role: 'assistant', content: 'aA' }, finish_reason: 'stop' },
      { index: 1, message: { role: 'assistant', content: 'bB' }, finish_reason: 'length' },
    ])
  })

  test('has sound and its words', () => {
    const chunks = [
      chunk({ role: 'assistant', audio: { id: 'audio_1', transcript: 'Hel' } }),
      chunk({ audio: { transcript: 'lo' } }),
      chunk({ audio: { data: 'UklG' } }),
      chunk({ audio: { id: 'audio_1', data: 'RiQA' } }),
      chunk({ audio: { expires_at: 1_700_003_600 } }),
      STOP,
    ]
    expect(message(chunks)).toEqual({
      role: 'assistant',
      audio: { id: 'audio_1', transcript: 'Hello', data: 'UklGRiQA', expires_at: 1_700_003_600 },
    })
  })

  test('puts together arrays whose elements have an index, and joins those that have none', () => {
    const thought = (index: number, text: string) => ({ index, type: 'reasoning.text', format: 'v1', id: null, text })
    const chunks = [
      chunk({ reasoning_details: [thought(0, 'One, ')], annotations: [{ url: 'a' }] }),
      chunk({ reasoning_details: [thought(0, 'two.'), thought(1, 'Three')] }),
      chunk({ reasoning_details: [{ index: 1, signature: 'c2ln' }], annotations: [{ url: 'b' }] }),
      STOP,
    ]
    expect(message(chunks)).toEqual({
      reasoning_details: [thought(0, 'One, two.'), { ...thought(1, 'Three'), signature: 'c2ln' }],
      annotations: [{ url: 'a' }, { url: 'b' }],
    })
  })

  test('has parts of a content that comes as an array at first, and as text then', () => {
    const thinking = (text: string) => ({ type: 'thinking', thinking: [{ type: 'text', text }] })
    const chunks = [
      chunk({ role: 'assistant', content: '' }),
      chunk({ content: [thinking('Hm')] }),
      chunk({ content: [thinking('.')] }),
      chunk({ content: 'Ye' }),
      chunk({ content: 's' }),
      STOP,
    ]
    expect(message(chunks)?.content).toEqual([thinking('Hm'), thinking('.'), { type: 'text', text: 'Yes' }])
  })

  test('takes the message where a service sends no deltas, and leaves it where it repeats them', () => {
    const whole = (content: string) => ({ message: { role: 'assistant', content } })
    expect(message([chunk(null, whole('a')), chunk(null, whole('ab'))])).toEqual({ role: 'assistant', content: 'ab' })
    expect(message([chunk({ content: 'a' }, whole('a')), chunk({ content: 'b' }, whole('ab'))])).toEqual({
      content: 'ab',
    })
  })

  test('keeps null, the empty string and 0 where nothing else comes', () => {
    const odd = { ...HEAD, created: 0, system_fingerprint: null, service_tier: '', citations: [] }
    const chunks = [{ ...odd, choices: [{ index: 0, delta: { content: '', audio: null }, finish_reason: 'stop' }] }]
    expect(assemble([...chunks, { choices: [], service_tier: null }])).toEqual({
      ...odd,
      object: 'chat.completion',
      choices: [{ index: 0, message: { content: '', audio: null }, finish_reason: 'stop' }],
    })
  })

  test('is none before a choice has come', () => {
    expect(assemble([])).toBeUndefined()
    expect(assemble([{ ...HEAD, choices: [] }])).toBeUndefined()
  })

  test('has a field named __proto__, and gives it to nothing else', () => {
    const odd = (text: string) => JSON.parse(`{"__proto__":{"polluted":${JSON.stringify(text)}},"a":{"__proto__":"x"}}`)
    const at = (text: string) => ({ ...odd(text), choices: [{ ...odd(text), index: 0, delta: odd(text) }] })
    const answer = assemble([at('1'), at('2')])
    assert.deepStrictEqual(
      answer,
      JSON.parse(
        `{"__proto__":{"polluted":"2"},"a":{"__proto__":"x"},"object":"chat.completion","choices":[{"index":0,
          "message":{"__proto__":{"polluted":"12"},"a":{"__proto__":"xx"}},
          "__proto__":{"polluted":"2"},"a":{"__proto__":"x"}}]}`,
      ),
    )
    expect(Object.getPrototypeOf(answer)).toBe(Object.prototype)
    expect('polluted' in {}).toBe(false)
  })

  test('can be asked for at any time', () => {
    const assembler = chatAssembler()
    const said = () => (assembler.answer(undefined)?.json() as unknown as ChatAnswer | undefined)?.choices[0]?.message
    const piece = eventOf(chunk({ content: 'a', audio: { data: 'b' } }))
    assembler.add(piece)
    assembler.add(piece)
    const early = said()
    assembler.add(piece)
    expect(early).toEqual({ content: 'aa', audio: { data: 'bb' } })
    expect(said()).toEqual({ content: 'aaa', audio: { data: 'bbb' } })
  })
})

describe('chunks of any shape', () => {
  const name = fc.constantFrom('content', 'tool_calls', 'function', 'audio', 'index', 'x', '__proto__', 'text')
  const { value } = fc.letrec<{ value: unknown }>((tie) => ({
    value: fc.oneof(
      { maxDepth: 4 },
      fc.constantFrom(null, '', 'text', 0, 1, true, {}, []),
      fc.dictionary(name, tie('value'), { maxKeys: 4 }),
      fc.array(tie('value'), { maxLength: 3 }),
    ),
  }))
  const record = fc.dictionary(name, value, { maxKeys: 5 })
  const choice = fc.record(
    {
      index: fc.oneof(fc.nat({ max: 2 }), value),
      delta: fc.oneof(record, value),
      message: value,
      finish_reason: value,
    },
    { requiredKeys: [] },
  )
  const chunks = fc
    .array(fc.record({ choices: fc.array(fc.oneof(choice, record), { maxLength: 3 }), usage: value, created: value }))
    .map((each) => JSON.parse(JSON.stringify(each)) as { choices: Fields[] }[])

  test('never make it throw, nor are they changed, and it makes an answer of them', () => {
    fc.assert(
      fc.property(chunks, (chunks) => {
        const before = JSON.stringify(chunks)
        const answer = assemble(chunks)
        expect(JSON.stringify(chunks)).toBe(before)
        if (chunks.every(({ choices }) => choices.length === 0)) expect(answer).toBeUndefined()
        else {
          const choices = (answer?.choices ?? [null]) as readonly ({ readonly message: unknown } | null)[]
          expect(choices.every((choice) => isJson(choice?.message))).toBe(true)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('lose no text of a delta', () => {
    fc.assert(
      fc.property(fc.array(record, { minLength: 1, maxLength: 6 }), (deltas) => {
        let texts = 0
        const told = deltas.map((delta) =>
          JSON.parse(JSON.stringify(delta), (_name, value) => {
            if (value !== 'text') return value
            texts += 1
            return `<${texts}>`
          }),
        )
        const answer = JSON.stringify(assemble(told.map((delta) => chunk(delta))))
        for (let text = 1; text <= texts; text += 1) expect(answer.split(`<${text}>`)).toHaveLength(2)
      }),
      { numRuns: 500 },
    )
  })

  test('may be nested as deep as they like', () => {
    const deep = (open: string, close: string) => JSON.parse(`{"x":${open.repeat(100_000)}"t"${close.repeat(100_000)}}`)
    for (const [open, close] of [
      ['{"x":', '}'],
      ['[', ']'],
      ['[{"index":0,"x":', '}]'],
    ] as const) {
      expect(assemble(Array.from({ length: 4 }, () => chunk(deep(open, close))))?.choices).toHaveLength(1)
    }
  })
})
