import fc from 'fast-check'
import { expect, test } from 'vitest'
import { type OperationSubject, operationConforms, type Random } from '../../../../../test/conformance/operation.ts'
import { bodyOf, type ChatAnswer, chat } from '../index.ts'

type Fields = Readonly<Record<string, unknown>>

/** As JSON has it: no undefined, no -0, and `__proto__` a field like another. */
const asJson = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T> => arbitrary.map((x) => JSON.parse(JSON.stringify(x)))

const text = fc.oneof(
  fc.string({ unit: 'grapheme', maxLength: 80 }),
  fc.lorem({ maxCount: 30 }),
  fc.string({ unit: 'binary', maxLength: 30 }),
)
/** `JSON.parse` mistakes some names with an escape for others that it has read before (see `bodyFrom`). */
const isPlain = (value: unknown) => !JSON.stringify(value).includes('\\')
const json = fc.oneof(
  fc.jsonValue({ maxDepth: 3 }).filter(isPlain),
  fc.constant({ index: 3 }),
  fc.array(fc.record({ index: fc.nat(2) })),
)
const field = fc.oneof(
  fc.constantFrom('__proto__', 'constructor', 'x_y', 'toString', 'own_id'),
  fc.string({ maxLength: 6 }).filter(isPlain),
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
) as fc.Arbitrary<unknown> as fc.Arbitrary<Fields>

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

const user = { role: 'user', content: 'Hello' }
const error = (value: object) => `data: ${JSON.stringify(value)}\n\n`
const subject: OperationSubject = {
  operation: chat,
  request: { messages: [user], temperature: 0 },
  freeForm: 'metadata',
  answers: answer,
  noAnswers: [
    '',
    'SECRET',
    '[]',
    'null',
    '{}',
    '{"choices":null}',
    '{"choices":[]}',
    '{"choices":[{}]}',
    '{"choices":[{"message":"Hi"}]}',
    '{"choices":[{"message":{"content":7}}]}',
    '{"choices":[{"message":{"content":"Hi"},"error":{"code":"server_error"}}]}',
    '{"choices":[{"message":{"content":"Hi"}}],"error":{"code":"my prompt was: x"}}',
    '{"object":"error","message":"SECRET"}',
    `{"choices":[{"message":{"content":${'['.repeat(600)}${']'.repeat(600)}}}]}`,
  ],
  streams: {
    sent: (answer, random) => streamed(answer as unknown as ChatAnswer & Fields, random) as Iterable<Fields>,
    end: '[DONE]',
    noise: [
      ': keep-alive\n\n',
      'event: ping\ndata: {"type":"ping"}\n\n',
      'data: ping\n\n',
      'data: {}\n\n',
      'data:\n\n',
      'id: 7\n\n',
      'data: {"choices":\ndata: []}\n\n',
      'data:{ "choices": [ ] }\n\n',
      'event: chunk\ndata: {"choices":[],"usage":{"prompt_tokens":9,"completion_tokens":30.0}}\n\n',
    ],
    breaks: [
      error({ error: { code: 'server_error', message: 'SECRET' } }),
      'event: error\ndata: SECRET\n\n',
      'data: {\n\n',
      'data: {"choices":[7]}\n\n',
    ],
  },
}
operationConforms(subject)

const finished = (finish_reason: unknown, message: object = { content: 'Hi' }) => ({ message, finish_reason })
const CALL = { content: null, tool_calls: [{ id: 'a', type: 'function' }] }

test.each<[string, Fields[], object, { readonly plain: boolean; readonly tools: boolean }]>([
  ['that ended by itself', [finished('stop')], {}, { plain: true, tools: true }],
  ['that ended at its length', [finished('length')], {}, { plain: true, tools: true }],
  ['that a filter cut', [finished('content_filter')], {}, { plain: false, tools: false }],
  ['without an end', [finished(null)], {}, { plain: false, tools: false }],
  ['that calls a tool', [finished('tool_calls', CALL)], {}, { plain: false, tools: true }],
  ['that calls a tool and says that it stopped', [finished('stop', CALL)], {}, { plain: false, tools: true }],
  ['with all choices', [finished('stop'), finished('stop')], { n: 2 }, { plain: true, tools: true }],
  ['with fewer choices than were asked for', [finished('stop')], { n: 2 }, { plain: false, tools: false }],
  ['with one choice of two that a filter cut', [finished('stop'), finished('x')], {}, { plain: false, tools: false }],
])('an answer %s may be said again, or may not', (_what, choices, asked, storable) => {
  const answer = chat.answerOf(Buffer.from(JSON.stringify({ choices })), undefined)
  const body = bodyOf({ messages: [user], ...asked })
  expect(chat.isStorable(answer, { body, tools: false })).toBe(storable.plain)
  expect(chat.isStorable(answer, { body, tools: true })).toBe(storable.tools)
})

test.each<[string, object, object | undefined, boolean]>([
  ['an answer', { choices: [finished('stop')] }, { prompt_tokens: 1, completion_tokens: 2 }, true],
  [
    'an answer that tells of no tokens',
    { choices: [finished('stop')] },
    { prompt_tokens: 1, completion_tokens: 0 },
    false,
  ],
  ['an answer without text', { choices: [finished('stop', {})] }, { prompt_tokens: 1, completion_tokens: 0 }, true],
  ['an answer that tells nothing', { choices: [finished('stop')] }, undefined, false],
  ['no answer', { choices: [] }, { prompt_tokens: 1, completion_tokens: 0 }, true],
  [
    'one with an error',
    { choices: [{ ...finished('stop', {}), error: 'x' }] },
    { prompt_tokens: 1, completion_tokens: 0 },
    false,
  ],
])('what %s took is certain, or is not', (_what, answer, usage, isCertain) => {
  const { spend } = chat.parse(Buffer.from(JSON.stringify({ ...answer, usage })))
  expect([spend.isCertain, spend.usage !== undefined]).toEqual([isCertain, usage !== undefined])
})
