import assert from 'node:assert'
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import type { Answer } from '../operation.ts'
import type { StreamEvent } from '../stream-event.ts'
import { parseAnswer } from './answer.ts'
import { replay } from './replay.ts'
import { type ChatChunk, chatStream } from './stream.ts'

type Fields = Readonly<Record<string, unknown>>

/** Reads a stream of events as the gateway reads a model's. */
function read(events: Iterable<StreamEvent>) {
  const stream = chatStream()
  const chunks = [...events].flatMap(({ bytes }) => chunksIn(stream.feed(bytes)))
  return { chunks, finished: stream.finished, ended: stream.ended }
}

function chunksIn(events: Iterable<StreamEvent>): (ChatChunk & Fields)[] {
  return [...events].flatMap(({ json }) => (json === undefined ? [] : [json as unknown as ChatChunk & Fields]))
}

const answerOf = (value: unknown): Answer => {
  const parsed = parseAnswer(Buffer.from(JSON.stringify(value)))
  assert(parsed.kind === 'answer')
  return parsed.answer
}

const FULL = {
  id: 'chatcmpl-1',
  object: 'chat.completion',
  created: 1_700_000_000,
  model: 'deepseek-reasoner',
  system_fingerprint: 'fp_1',
  service_tier: 'default',
  prompt_filter_results: [{ prompt_index: 0, content_filter_results: { hate: { filtered: false, severity: 'safe' } } }],
  choices: [
    {
      index: 0,
      message: {
        role: 'assistant',
        content: 'Some weather: the sky is blue and the wind is from the south, 😀 all day long.',
        reasoning_content: 'The user wants to know what the weather will be like.',
        refusal: null,
        annotations: [],
        tool_calls: [
          {
            id: 'call_a',
            type: 'function',
            function: { name: 'weather', arguments: '{"city":"Rome","days":[1,2,3]}' },
          },
          { id: 'call_b', type: 'function', function: { name: 'time', arguments: '{}' } },
        ],
      },
      logprobs: { content: [{ token: 'S', logprob: -0.1, bytes: [83], top_logprobs: [] }], refusal: null },
      content_filter_results: { hate: { filtered: false, severity: 'safe' } },
      finish_reason: 'tool_calls',
    },
    { index: 1, message: { role: 'assistant', content: null, refusal: 'No.' }, logprobs: null, finish_reason: 'stop' },
  ],
  usage: { prompt_tokens: 9, completion_tokens: 30, total_tokens: 39 },
}

describe('a plain answer, streamed', () => {
  const chunks = chunksIn(replay(answerOf(FULL)))
  const choicesAt = (index: number) => chunks.flatMap(({ choices }) => choices.filter((each) => each.index === index))

  test('repeats its head in every chunk, tells what else it has in the first, and its usage in the last', () => {
    const { choices: _choices, prompt_filter_results, usage, ...head } = FULL
    for (const { choices: _, prompt_filter_results: __, usage: ___, ...rest } of chunks) {
      expect(rest).toEqual({ ...head, object: 'chat.completion.chunk' })
    }
    const has = (field: string) => chunks.flatMap((chunk, place) => (field in chunk ? [[place, chunk[field]]] : []))
    expect(has('prompt_filter_results')).toEqual([[0, prompt_filter_results]])
    expect(has('usage')).toEqual([[chunks.length - 1, usage]])
    expect(chunks.at(-1)?.choices).toEqual([])
  })

  test('opens each message, and ends each choice with all that it has besides', () => {
    const { message: _message, ...rest } = FULL.choices[0] as Fields
    expect(choicesAt(0)[0]).toEqual({
      index: 0,
      delta: { role: 'assistant', content: '', reasoning_content: '', refusal: null, annotations: [] },
      finish_reason: null,
    })
    expect(choicesAt(0).at(-1)).toEqual({ ...rest, delta: {} })
    expect(choicesAt(0).filter(({ finish_reason }) => finish_reason !== null)).toHaveLength(1)
    expect(choicesAt(1).map(({ delta }) => delta)).toEqual([
      { role: 'assistant', content: null, refusal: '' },
      { refusal: 'No.' },
      {},
    ])
  })

  test('thinks first, a few words at a time, then speaks, and then calls its tools', () => {
    expect(
      choicesAt(0)
        .slice(1, -1)
        .map(({ delta }) => delta),
    ).toEqual([
      { reasoning_content: 'The user wants to know what' },
      { reasoning_content: ' the weather will be like.' },
      { content: 'Some weather: the sky is' },
      { content: ' blue and the wind is from' },
      { content: ' the south, 😀 all day long.' },
      { tool_calls: [{ index: 0, id: 'call_a', type: 'function', function: { name: 'weather', arguments: '' } }] },
      { tool_calls: [{ index: 0, function: { arguments: '{"city":"Rome","days":[1,2,3]}' } }] },
      { tool_calls: [{ index: 1, id: 'call_b', type: 'function', function: { name: 'time', arguments: '' } }] },
      { tool_calls: [{ index: 1, function: { arguments: '{}' } }] },
    ])
  })

  test('never cuts a character, and sends a long text in at most 1,001 pieces', () => {
    for (const text of ['😀'.repeat(100), `a${'😀'.repeat(100)}`, 'x'.repeat(100_000), `${'ab '.repeat(50_000)}`]) {
      const answer = answerOf({ choices: [{ index: 0, message: { content: text }, finish_reason: 'stop' }] })
      const pieces = chunksIn(replay(answer))
        .slice(1, -1)
        .map(({ choices }) => String(choices[0]?.delta?.content))
      expect(pieces.join('')).toBe(text)
      expect(pieces.every((piece) => piece.isWellFormed())).toBe(true)
      expect(pieces.length).toBeGreaterThan(1)
      expect(pieces.length).toBeLessThanOrEqual(1_001)
    }
  })

  test('is made bit by bit', () => {
    const events = replay(answerOf(FULL))
    expect(String(events.next().value?.bytes)).toMatch(/^data: \{.*\}\n\n$/)
    expect(String([...events].at(-1)?.bytes)).toBe('data: [DONE]\n\n')
  })

  test('is whole to who reads it', () => {
    const { chunks: received, finished, ended } = read(replay(answerOf(FULL)))
    expect({ received, finished, ended }).toEqual({ received: chunks, finished: true, ended: 'whole' })
  })

  test.each<[string, unknown[], (number | undefined)[]]>([
    ['their place where choices have none', [undefined, undefined], [0, 1]],
    ['their place where choices share one', [0, 0], [0, 1]],
    ['their place where one has none', [1, undefined], [0, 1]],
    ['their own where they stand in another order', [1, 0], [1, 0]],
  ])('has as index %s', (_what, indexes, expected) => {
    const choices = indexes.map((index) => ({ index, message: { content: null }, finish_reason: 'stop' }))
    const opened = chunksIn(replay(answerOf({ choices }))).slice(0, 2)
    expect(opened.map(({ choices }) => choices[0]?.index)).toEqual(expected)
  })
})

describe("OpenAI's client", () => {
  const stream = (answer: unknown) => {
    const events = replay(answerOf(answer))
    const body = new ReadableStream<Uint8Array>({
      pull(controller) {
        const { done, value } = events.next()
        if (done) controller.close()
        else controller.enqueue(Buffer.from(value.bytes))
      },
    })
    const fetch = async () => new Response(body, { headers: { 'content-type': 'text/event-stream' } })
    const client = new OpenAI({ apiKey: 'none', baseURL: 'http://model.invalid/v1', fetch })
    return client.chat.completions.stream({ model: 'm', n: 2, messages: [{ role: 'user', content: 'Weather?' }] })
  }

  test('reads the same answer', async () => {
    const runner = stream(FULL)
    const told: string[] = []
    runner.on('content', (delta) => void told.push(delta))
    const final = (await runner.finalChatCompletion()) as unknown as typeof FULL
    const [first, second] = FULL.choices
    const { content, tool_calls } = first?.message ?? {}
    expect(final).toMatchObject({
      ...FULL,
      // Of a field that it does not know the client keeps the last piece, of any service's stream.
      choices: [{ ...first, message: { role: 'assistant', content, tool_calls } }, second],
    })
    expect(told.length).toBeGreaterThan(2)
    expect(told.join('')).toBe(content)
  })
})
