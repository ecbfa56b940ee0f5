import assert from 'node:assert'
import fc from 'fast-check'
import OpenAI from 'openai'
import { describe, expect, test } from 'vitest'
import type { Answer } from '../operation.ts'
import { eventOf, type StreamEvent } from '../stream-event.ts'
import { type ChatAnswer, parseAnswer } from './answer.ts'
import { chatAssembler } from './assemble.ts'
import { replay } from './replay.ts'
import { type ChatChunk, chatStream } from './stream.ts'

type Fields = Readonly<Record<string, unknown>>

function assemble(chunks: Iterable<object>): ChatAnswer {
  const assembler = chatAssembler()
  for (const chunk of chunks) assembler.add(eventOf(chunk as Fields))
  const answer = assembler.answer(undefined)
  assert(answer !== undefined)
  return answer.json() as unknown as ChatAnswer
}

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

/** As JSON has it: no undefined, no -0, and `__proto__` a field like another. */
const asJson = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T> => arbitrary.map((x) => JSON.parse(JSON.stringify(x)))

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.lorem({ maxCount: 30 }),
  fc.string({ unit: 'binary', maxLength: 30 }),
)
const json = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }),
  fc.constant({ index: 3 }),
  fc.array(fc.record({ index: fc.nat(2) })),
)
const field = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'x_y', 'toString', 'own_id'),
  fc.string({ maxLength: 6 }),
)
const unknown = (...known: string[]) =>
  fc
    .array(fc.tuple(field, json), { maxLength: 3 })
    .map((entries) => Object.fromEntries(entries.filter(([name]) => !known.includes(name))) as Fields)
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
const orNull = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { freq: 4 })
const withUnknown = (model: Record<string, fc.Arbitrary<unknown>>, ...more: string[]) =>
  fc
    .tuple(unknown(...Object.keys(model), ...more), fc.record(model, { noNullPrototype: true }))
    .map(([others, known]): Fields => ({ ...others, ...known }))

const toolCall = withUnknown(
  {
    id: fc.string(),
    type: fc.constantFrom('function', 'custom'),
    function: some(withUnknown({ name: fc.string(), arguments: text })),
    custom: some(fc.record({ name: fc.string(), input: text }, { noNullPrototype: true })),
  },
  'index',
)
const message = withUnknown({
  role: fc.constant('assistant'),
  content: fc.oneof(text, fc.constantFrom(null, ''), fc.array(fc.record({ type: fc.constant('text'), text }))),
  reasoning_content: some(orNull(text)),
  refusal: some(orNull(text)),
  annotations: some(fc.array(json, { maxLength: 2 })),
  function_call: some(orNull(fc.record({ name: fc.string(), arguments: text }))),
  audio: some(orNull(fc.record({ id: fc.string(), data: text, transcript: text, expires_at: fc.nat() }))),
  tool_calls: some(orNull(fc.array(toolCall, { maxLength: 3 }))),
})
const logprob = fc.record({ token: fc.string(), logprob: fc.integer(), bytes: orNull(fc.array(fc.nat(255))) })
const choice = withUnknown(
  {
    message,
    finish_reason: fc.constantFrom('stop', 'length', 'tool_calls'),
    logprobs: some(orNull(fc.record({ content: orNull(fc.array(logprob)), refusal: fc.constant(null) }))),
    content_filter_results: some(json),
  },
  'index',
  'delta',
)
const answer = asJson(
  fc
    .tuple(
      withUnknown(
        {
          id: fc.string(),
          created: fc.nat(),
          model: fc.string(),
          system_fingerprint: some(orNull(fc.string())),
          service_tier: some(orNull(fc.constantFrom('', 'default'))),
          prompt_filter_results: some(fc.array(json)),
          usage: some(orNull(fc.record({ prompt_tokens: fc.nat(), completion_tokens: fc.nat() }))),
        },
        'choices',
        'object',
        'obfuscation',
      ),
      fc.array(choice, { minLength: 1, maxLength: 3 }),
    )
    .map(([rest, choices]) => ({
      ...rest,
      object: 'chat.completion',
      choices: choices.map((each, index) => ({ ...each, index })),
    })),
) as fc.Arbitrary<unknown> as fc.Arbitrary<ChatAnswer & Fields>

/** Numbers from 0 up to but not with the given one. */
type Random = (below: number) => number

/** Cuts an answer as a service might: anywhere, several fields in a chunk, choices mixed, names and nulls repeated. */
function* streamed(answer: ChatAnswer & Fields, random: Random): Generator<object> {
  const { choices, usage, ...head } = answer
  const chunkHead = { ...head, object: 'chat.completion.chunk', ...('usage' in answer ? { usage: null } : {}) }
  yield { ...chunkHead, choices: [] }
  const running = choices.map((choice) => [...choiceChunks(choice as unknown as Fields, random)])
  while (running.some((rest) => rest.length > 0)) {
    const rest = running[random(running.length)]
    const taken = rest?.splice(0, 1 + random(3)) ?? []
    // A service sends each choice once in a chunk, as a rule; nothing says that it must.
    yield { ...(random(3) > 0 ? chunkHead : {}), choices: taken }
  }
  yield { choices: [], ...('usage' in answer ? { usage } : {}) }
}

function* choiceChunks({ message, index, ...last }: Fields, random: Random): Generator<object> {
  const { tool_calls, ...others } = message as { tool_calls?: unknown }
  const queues = Object.entries(others as Fields).map(([name, value]) => [...fieldPieces(name, value, random)])
  if (!Array.isArray(tool_calls) || tool_calls.length === 0)
    queues.push('tool_calls' in (message as Fields) ? [{ tool_calls }] : [])
  else {
    for (const [index, call] of tool_calls.entries()) {
      const pieces = Object.entries(call as Fields).map(([name, value]) => [...fieldPieces(name, value, random)])
      queues.push([
        { tool_calls: [{ index }] },
        ...mix(pieces, random).map((piece) => ({ tool_calls: [{ index, ...piece }] })),
      ])
    }
  }
  for (const delta of mix(queues, random)) yield { index, delta, finish_reason: null }
  yield { index, delta: random(2) > 0 ? {} : null, ...last }
}

const STRINGS = new Set(['content', 'reasoning_content', 'refusal'])
const HOLD_STRINGS = new Set(['function', 'custom', 'function_call', 'audio'])
const CUT_WITHIN = new Set(['arguments', 'input', 'data', 'transcript'])

function* fieldPieces(name: string, value: unknown, random: Random): Generator<Fields> {
  if (typeof value === 'string' && (STRINGS.has(name) || CUT_WITHIN.has(name))) {
    yield { [name]: random(2) > 0 ? '' : null }
    for (const piece of parts(value, random)) yield { [name]: piece }
    if (value === '') yield { [name]: '' }
  } else if (HOLD_STRINGS.has(name) && typeof value === 'object' && value !== null) {
    for (const [inner, each] of Object.entries(value)) {
      for (const piece of fieldPieces(inner, each, random)) yield { [name]: piece }
    }
    if (Object.keys(value).length === 0) yield { [name]: value }
  } else {
    yield { [name]: value }
    if (['role', 'id', 'type', 'name'].includes(name) && random(2) > 0) yield { [name]: random(2) > 0 ? value : null }
  }
}

function* parts(text: string, random: Random): Generator<string> {
  for (let start = 0; start < text.length; ) {
    const end = start + 1 + random(12)
    yield text.slice(start, end)
    start = end
  }
}

/** Takes from the queues at random, each in its order, now and then from several at once. */
function mix(queues: Fields[][], random: Random): Fields[] {
  const mixed: Fields[] = []
  const rest = queues.filter((queue) => queue.length > 0)
  while (rest.length > 0) {
    const place = random(rest.length)
    const next = rest[place]?.shift() ?? {}
    const last = mixed.at(-1)
    const joinable =
      last !== undefined && random(3) === 0 && Object.keys(next).every((name) => !Object.hasOwn(last, name))
    if (joinable) mixed[mixed.length - 1] = { ...last, ...next }
    else mixed.push(next)
    if (rest[place]?.length === 0) rest.splice(place, 1)
  }
  return mixed
}

describe('any answer', () => {
  test('is the same after it was streamed and put together', () => {
    fc.assert(
      fc.property(answer, (answer) => {
        const before = JSON.stringify(answer)
        const { chunks, finished, ended } = read(replay(answerOf(answer)))
        expect({ finished, ended }).toEqual({ finished: true, ended: 'whole' })
        assert.deepStrictEqual(assemble(chunks), answer)
        expect(JSON.stringify(answer)).toBe(before)
      }),
      { numRuns: 500 },
    )
  })

  test('is the same however a service cuts it, and again after it was streamed from here', () => {
    fc.assert(
      fc.property(answer, fc.infiniteStream(fc.nat()), (answer, numbers) => {
        const random: Random = (below) => numbers.next().value % below
        const chunks = JSON.parse(JSON.stringify([...streamed(answer, random)]))
        const assembled = assemble(chunks)
        assert.deepStrictEqual(assembled, answer)
        assert.deepStrictEqual(assemble(read(replay(answerOf(assembled))).chunks), assembled)
      }),
      { numRuns: 500 },
    )
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
