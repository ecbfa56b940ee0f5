import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { operationConforms, type Random } from '../../../../../test/conformance/operation.ts'
import { BrokenStream, bodyOf, type Json, responses, statefulField } from '../index.ts'

const UNKNOWN = { contextWindow: undefined }

/** As JSON has it: no undefined, no -0, and `__proto__` a field like another. */
const asJson = <T>(arbitrary: fc.Arbitrary<T>): fc.Arbitrary<T> => arbitrary.map((x) => JSON.parse(JSON.stringify(x)))
const isPlain = (value: unknown) => !JSON.stringify(value).includes('\\')
const some = <T>(arbitrary: fc.Arbitrary<T>) => fc.option(arbitrary, { nil: undefined, freq: 2 })
const text = fc.oneof(fc.string({ unit: 'grapheme', maxLength: 80 }), fc.lorem({ maxCount: 30 }))
const unknown = fc.dictionary(
  fc.constantFrom('x_y', '__proto__', 'toString', 'phase'),
  fc.jsonValue({ maxDepth: 2 }).filter(isPlain),
)
const withUnknown = (model: Record<string, fc.Arbitrary<unknown>>) =>
  fc
    .tuple(unknown, fc.record(model, { noNullPrototype: true }))
    .map(([others, known]): Json => ({ ...others, ...known }))

const part = fc.oneof(
  withUnknown({
    type: fc.constant('output_text'),
    text,
    annotations: some(fc.array(fc.record({ type: fc.constant('url_citation'), url: fc.string() }), { maxLength: 2 })),
    logprobs: some(fc.array(fc.record({ token: fc.string(), logprob: fc.integer() }), { maxLength: 2 })),
  }),
  withUnknown({ type: fc.constant('refusal'), refusal: text }),
  withUnknown({ type: fc.constant('audio') }),
)
const id = fc.option(fc.string(), { nil: undefined, freq: 5 })
const status = some(fc.constantFrom('completed', 'incomplete'))
const item = fc.oneof(
  withUnknown({
    type: fc.constant('message'),
    id,
    status,
    role: fc.constant('assistant'),
    content: fc.array(part, { maxLength: 2 }),
  }),
  withUnknown({
    type: fc.constant('reasoning'),
    id,
    status,
    summary: fc.oneof(
      fc.array(fc.record({ type: fc.constant('summary_text'), text }), { maxLength: 2 }),
      fc.constantFrom(null, undefined, 'short'),
    ),
    content: some(fc.array(fc.record({ type: fc.constant('reasoning_text'), text }), { maxLength: 2 })),
    encrypted_content: some(fc.base64String()),
  }),
  withUnknown({
    type: fc.constant('function_call'),
    id,
    status,
    call_id: fc.string(),
    name: fc.string(),
    arguments: text,
  }),
  withUnknown({ type: fc.constant('custom_tool_call'), id, call_id: fc.string(), name: fc.string(), input: text }),
  withUnknown({ type: fc.constant('web_search_call'), id, status, action: unknown }),
  withUnknown({ type: fc.string() }),
)
const answer = asJson(
  fc
    .tuple(
      withUnknown({
        id: fc.string(),
        created_at: fc.nat(),
        model: fc.string(),
        service_tier: some(fc.constantFrom('default', 'flex')),
        completed_at: some(fc.nat()),
        metadata: fc.dictionary(fc.string().filter(isPlain), fc.string()),
        usage: fc.option(
          fc.record({
            input_tokens: fc.integer({ min: 1, max: 9_000 }),
            output_tokens: fc.integer({ min: 1, max: 9_000 }),
            input_tokens_details: fc.record({ cached_tokens: fc.nat(9_000) }),
          }),
        ),
      }),
      fc.array(item, { maxLength: 3 }),
      fc.constantFrom('completed', 'incomplete', undefined),
    )
    .map(([rest, output, status]) => ({
      ...rest,
      object: 'response',
      ...(status === undefined ? {} : { status }),
      error: null,
      incomplete_details: status === 'incomplete' ? { reason: 'max_output_tokens' } : null,
      output,
    })),
) as fc.Arbitrary<unknown> as fc.Arbitrary<Json>

/** As a service might send it: texts cut anywhere, events that we have never heard of, items left out of the last one. */
function* streamed(response: Json, random: Random): Generator<Json> {
  let sequence_number = random(3)
  const numbered = (event: Json) => ({ ...event, sequence_number: sequence_number++ })
  const items = response.output as readonly Json[]
  const begun = { ...response, status: 'in_progress', output: [], usage: null }
  yield numbered({ type: 'response.created', response: begun })
  if (random(2) > 0) yield numbered({ type: 'response.in_progress', response: begun })
  for (const [output_index, item] of items.entries()) {
    yield numbered({ type: 'response.output_item.added', output_index, item: { ...item, status: 'in_progress' } })
    for (let more = random(5); more > 0; more -= 1) {
      yield numbered({
        type: 'response.output_text.delta',
        output_index,
        delta: 'ab'.slice(random(3)),
        obfuscation: 'x',
      })
    }
    if (random(3) === 0) yield numbered({ type: 'response.never_heard_of', output_index })
    yield numbered({ type: 'response.output_item.done', output_index, item })
  }
  const type = response.status === 'incomplete' ? 'response.incomplete' : 'response.completed'
  const left = random(4)
  const output = left === 0 ? [] : left === 1 ? null : items
  yield numbered({ type, response: items.length === 0 ? response : { ...response, output } })
}

const named = (json: Json) => `event: ${json.type}\ndata: ${JSON.stringify(json)}\n\n`

operationConforms({
  operation: responses,
  request: { input: [{ role: 'user', content: 'Hello' }], store: false, temperature: 0 },
  freeForm: 'metadata',
  answers: answer,
  noAnswers: [
    '',
    'SECRET',
    '[]',
    'null',
    '{}',
    '{"output":null}',
    '{"output":[7]}',
    '{"output":"SECRET"}',
    '{"output":[],"status":"queued"}',
    '{"output":[],"status":"in_progress"}',
    '{"output":[{"type":"message"}],"status":"failed","error":{"code":"my prompt was: x"}}',
    '{"output":[],"error":{"code":"server_error"}}',
    '{"error":{"message":"SECRET","type":"server_error"}}',
    `{"output":[{"type":"message","content":${'['.repeat(600)}${']'.repeat(600)}}]}`,
  ],
  streams: {
    sent: streamed,
    end: undefined,
    eventText: named,
    noise: [
      ': keep-alive\n\n',
      'event: ping\ndata: {"type":"ping"}\n\n',
      'event: keepalive\ndata: {"type":"keepalive","sequence_number":7}\n\n',
      'data: ping\n\n',
      'data: {}\n\n',
      'data:\n\n',
      'id: 7\n\n',
      'data: [DONE]\n\n',
      'data: {"type":"response.rate_limits","delta":"x"}\n\n',
      'event: response.output_text.delta\ndata: {"type":"response.output_text.delta",\ndata: "delta":"Hi"}\n\n',
      'data: {"type":"response.in_progress","response":{"usage":{"input_tokens":9,"output_tokens":3}}}\n\n',
    ],
    breaks: [
      named({ type: 'error', code: 'server_error', message: 'SECRET', param: null, sequence_number: 3 }),
      'data: {"type":"error","code":null,"message":"SECRET"}\n\n',
      'data: {"error":{"code":"rate_limit_exceeded","message":"SECRET"}}\n\n',
      'event: error\ndata: SECRET\n\n',
      named({ type: 'response.failed', response: { output: [], error: { code: 'server_error' } } }),
      'event: response.created\ndata: {\n\n',
      named({ type: 'response.completed', response: { output: [7] } }),
      named({ type: 'response.completed' }),
    ],
  },
})

const usage = { input_tokens: 20, output_tokens: 9, total_tokens: 29 }
const message = { type: 'message', id: 'msg_1', role: 'assistant', content: [{ type: 'output_text', text: 'Hi' }] }
const whole = (...items: object[]) => ({ status: 'completed', output: items })

test.each<[string, object, { readonly plain: boolean; readonly tools: boolean }]>([
  ['that ended by itself', whole(message), { plain: true, tools: true }],
  ['that was thought about', whole({ type: 'reasoning', summary: [] }, message), { plain: true, tools: true }],
  [
    'that ended at its length',
    { ...whole(message), status: 'incomplete', incomplete_details: { reason: 'max_output_tokens' } },
    { plain: true, tools: true },
  ],
  [
    'that a filter cut',
    { ...whole(message), status: 'incomplete', incomplete_details: { reason: 'content_filter' } },
    { plain: false, tools: false },
  ],
  ['without a status', { output: [message] }, { plain: false, tools: false }],
  ['that calls a function', whole({ type: 'function_call' }), { plain: false, tools: true }],
  ['that has searched', whole({ type: 'web_search_call' }, message), { plain: false, tools: true }],
])('an answer %s may be said again, or may not', (_what, json, storable) => {
  const answer = responses.answerOf(Buffer.from(JSON.stringify(json)), undefined)
  const body = bodyOf({ input: 'Hello' })
  expect(responses.isStorable(answer, { body, tools: false })).toBe(storable.plain)
  expect(responses.isStorable(answer, { body, tools: true })).toBe(storable.tools)
})

test.each<[string, object, object | undefined, boolean]>([
  ['an answer', whole(message), usage, true],
  ['an answer that tells of no tokens', whole(message), { ...usage, output_tokens: 0, total_tokens: 20 }, false],
  ['an answer that tells nothing', whole(message), undefined, false],
  ['a failure', { status: 'failed', output: [], error: { code: 'server_error' } }, usage, true],
  ['a failure that tells nothing', { status: 'failed', output: [], error: { code: 'server_error' } }, undefined, false],
])('what %s took is certain, or is not', (_what, answer, usage, isCertain) => {
  const { spend } = responses.parse(Buffer.from(JSON.stringify({ ...answer, usage })))
  expect([spend.isCertain, spend.usage !== undefined]).toEqual([isCertain, usage !== undefined])
})

describe('what a response tells of its bill', () => {
  const taken = (json: object) =>
    responses.parse(Buffer.from(JSON.stringify({ status: 'completed', ...json }))).spend.usage
  const search = { type: 'web_search_call', action: { type: 'search' } }

  test('is its tokens by their kinds, its tier and its model', () => {
    const details = { cached_tokens: 5, cache_write_tokens: 3, image_tokens: 2 }
    const usage = { input_tokens: 20, output_tokens: 9, input_tokens_details: details }
    const told = taken({
      output: [],
      model: 'm-2026',
      service_tier: 'flex',
      usage: { ...usage, output_tokens_details: { reasoning_tokens: 4 } },
    })
    expect(told).toEqual({
      tokens: { input: 10, cachedInput: 5, cacheWrite: 3, imageInput: 2, output: 9 },
      reasoning: 4,
      tier: 'flex',
      model: 'm-2026',
    })
  })

  test.each<[string, object, object | undefined]>([
    ['none', { output: [message] }, {}],
    ['functions', { output: [{ type: 'function_call' }, { type: 'custom_tool_call' }] }, {}],
    [
      'searches, and no look at what they found',
      { output: [search, { ...search, action: { type: 'open_page' } }] },
      { web_search: 1 },
    ],
    [
      'the tool that was asked for',
      { tools: [{ type: 'web_search_preview_2025_03_11' }], output: [search] },
      { web_search_preview: 1 },
    ],
    [
      'one of several tools, at the dearest price that there is',
      { tools: [{ type: 'web_search_preview' }, { type: 'web_search' }], output: [search] },
      { 'web_search, of several kinds': 1 },
    ],
    ['its own count', { tool_usage: { web_search: { num_requests: 3 } }, output: [search] }, { web_search: 3 }],
    ['another tool', { output: [{ type: 'code_interpreter_call' }, message] }, { code_interpreter: 1 }],
    ['nothing, where it tells no items', { output: [] }, undefined],
  ])('calls of tools: %s', (_what, json, toolCalls) => {
    expect(taken({ ...json, usage })?.toolCalls).toEqual(toolCalls)
  })
})

test('what the answer repeats of its request tells requests apart', () => {
  const body = bodyOf({ input: 'Hello', store: false })
  for (const field of ['metadata', 'user', 'safety_identifier', 'prompt_cache_key', 'service_tier', 'store']) {
    expect(responses.fingerprinted(body.with({ [field]: 'x' })), field).not.toEqual(responses.fingerprinted(body))
  }
})

describe('a stream', () => {
  const read = (...events: Json[]) => {
    const parser = responses.stream()
    for (const event of events) parser.feed(Buffer.from(named(event)))
    return parser
  }
  const delta = { type: 'response.output_text.delta', delta: 'Hi' }

  test('that fails by itself has taken what it tells', () => {
    const response = { status: 'failed', error: { code: 'server_error' }, output: [], usage }
    const { ended, finished, usage: taken } = read(delta, { type: 'response.failed', response })
    expect((ended as BrokenStream).failure).toEqual({ code: 'server_error' })
    expect([finished, taken]).toEqual([true, { tokens: { input: 20, cachedInput: 0, output: 9 } }])
  })

  test('counts each piece of what is written, and no summary of what was thought', () => {
    const parser = read(
      delta,
      { type: 'response.function_call_arguments.delta', delta: '{' },
      { type: 'response.reasoning_text.delta', delta: 'Hm' },
      { type: 'response.reasoning_summary_text.delta', delta: 'Thinks' },
      { type: 'response.output_text.delta', delta: '' },
    )
    expect([parser.output, parser.begun, parser.finished]).toEqual([3, true, false])
  })

  test('that has told nothing but that it began can still be refused with a status', () => {
    const parser = read({ type: 'response.created', response: {} }, { type: 'error', code: 'server_error' })
    expect([parser.begun, parser.ended instanceof BrokenStream]).toEqual([false, true])
  })
})

test('any damage to a stream ends in a code or in the stream, and no read takes longer for it', () => {
  const events = fc.tuple(answer, fc.infiniteStream(fc.nat())).map(([json, numbers]) => {
    const next = (below: number) => numbers.next().value % below
    return [...streamed(json, next)].map(named).join('')
  })
  const change = fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('replace', 'insert', 'remove'))
  fc.assert(
    fc.property(events, fc.array(change, { minLength: 1, maxLength: 4 }), (text, changes) => {
      let bytes = [...Buffer.from(text)]
      for (const [at, byte, how] of changes) {
        bytes = bytes.toSpliced(at % bytes.length, how === 'insert' ? 0 : 1, ...(how === 'remove' ? [] : [byte]))
      }
      const parser = responses.stream()
      const assembler = responses.assembler()
      for (const event of [...parser.feed(Buffer.from(bytes)), ...parser.close()]) assembler.add(event)
      expect(parser.ended === 'whole' || parser.ended instanceof BrokenStream).toBe(true)
      if (parser.ended === 'whole') expect(assembler.answer(undefined)).toBeDefined()
    }),
    { numRuns: 500 },
  )
})

describe('input that the bytes don’t bound', () => {
  const user = (content: unknown) => ({ role: 'user', content })
  test.each<[string, Json, string | undefined]>([
    ['a text', { input: 'Hello' }, undefined],
    ['messages', { input: [user('Hello'), user([{ type: 'input_text', text: 'Hi' }])] }, undefined],
    [
      'a function’s turn',
      {
        input: [
          { type: 'function_call', name: 'f', arguments: '{}' },
          { type: 'function_call_output', output: 'x' },
        ],
      },
      undefined,
    ],
    ['a thought', { input: [{ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'gAAA' }] }, undefined],
    [
      'functions',
      {
        input: 'Hello',
        tools: [
          { type: 'function', name: 'f' },
          { type: 'custom', name: 'c' },
        ],
      },
      undefined,
    ],
    ['a prompt cache’s options', { input: 'Hello', prompt_cache_options: { ttl: '12h' } }, undefined],
    ['no input', {}, 'input'],
    ['an image', { input: [user([{ type: 'input_image', image_url: 'https://host/a.png' }])] }, 'input[0].content[0]'],
    [
      'an image that a function gave',
      { input: [{ type: 'function_call_output', output: [{ type: 'input_image' }] }] },
      'input[0].output[0]',
    ],
    ['an item of another kind', { input: [{ type: 'compaction', encrypted_content: 'x' }] }, 'input[0]'],
    ['a hosted tool', { input: 'Hello', tools: [{ type: 'web_search' }] }, 'tools[0]'],
    ['a stored prompt', { input: 'Hello', prompt: { id: 'pmpt_1' } }, 'prompt'],
    ['a response before', { input: 'Hello', previous_response_id: 'resp_1' }, 'previous_response_id'],
  ])('%s', (_what, fields, unboundedField) => {
    const bounds = responses.bounds(bodyOf({ ...fields, max_output_tokens: 5 }), UNKNOWN)
    expect(bounds).toMatchObject({ unboundedField })
    expect(bounds?.input === undefined).toBe(unboundedField !== undefined)
  })

  test('is read again with each call of a hosted tool, whose number must be bounded', () => {
    const input = (fields: Json) =>
      responses.bounds(bodyOf({ input: 'Hello', max_output_tokens: 5, tools: [{ type: 'web_search' }], ...fields }), {
        contextWindow: 1_000,
      })?.input
    expect([input({}), input({ max_tool_calls: 2 })]).toEqual([undefined, 3_000])
  })

  test('counts tools and what templates add', () => {
    const input = (fields: Json) =>
      responses.bounds(bodyOf({ input: 'Hello', max_output_tokens: 5, ...fields }), UNKNOWN)?.input ?? 0
    expect(input({ tools: [] })).toBeLessThan(300)
    expect(input({ tools: [{ type: 'function', name: 'f' }] })).toBeGreaterThan(700)
  })

  test.each([0, -1, 1.5, '5', {}])('has no bound of its answer by %j', (max_output_tokens) => {
    expect(responses.bounds(bodyOf({ input: 'Hello', max_output_tokens }), UNKNOWN)).toBeUndefined()
  })
})

test('what moves the price of a request', () => {
  const surcharges = (fields: Json) => responses.surcharges(bodyOf({ input: 'Hello', ...fields }))
  expect(surcharges({ service_tier: 'auto', tools: [{ type: 'function' }] })).toEqual({
    tier: undefined,
    toolCalls: {},
    kinds: [],
  })
  const image = { role: 'user', content: [{ type: 'input_image' }] }
  expect(
    surcharges({
      input: [image],
      service_tier: 'priority',
      max_tool_calls: 3,
      tools: [{ type: 'web_search_2025_08_26' }, { type: 'custom' }, { type: 'file_search' }],
      prompt_cache_options: { ttl: '12h' },
    }),
  ).toEqual({
    tier: 'priority',
    toolCalls: { web_search: 3, file_search: 3 },
    kinds: ['cacheWriteLong', 'imageInput'],
  })
  expect(surcharges({ tools: [{ type: 'web_search' }] }).toolCalls).toEqual({ web_search: Number.POSITIVE_INFINITY })
})

describe('what the service would keep', () => {
  const item = (fields: Json) => ({ input: [{ role: 'user', content: 'Hello' }, fields] })
  test.each<[string, Json, string | undefined]>([
    ['nothing', {}, undefined],
    ['no store', { store: undefined }, 'store'],
    ['store: null', { store: null }, 'store'],
    ['store: true', { store: true }, 'store'],
    ['a response before', { previous_response_id: 'resp_1' }, 'previous_response_id'],
    ['a conversation', { conversation: { id: 'conv_1' } }, 'conversation'],
    ['background', { background: true }, 'background'],
    ['no background', { background: false, previous_response_id: null, conversation: null }, undefined],
    ['a stored prompt', { prompt: { id: 'pmpt_1' } }, 'prompt'],
    ['a reference', item({ type: 'item_reference', id: 'msg_1' }), 'input[1]'],
    ['a reference without a type', item({ id: 'rs_1' }), 'input[1]'],
    ['a reference of no type', item({ type: null, id: 'rs_1' }), 'input[1]'],
    ['a thought by its id', item({ type: 'reasoning', id: 'rs_1', summary: [] }), 'input[1]'],
    [
      'a thought, encrypted',
      item({ type: 'reasoning', id: 'rs_1', summary: [], encrypted_content: 'gAAA' }),
      undefined,
    ],
    [
      'an open thought',
      item({ type: 'reasoning', id: 'rs_1', content: [{ type: 'reasoning_text', text: 'Hm' }] }),
      undefined,
    ],
    ['an answer before, whole', item({ type: 'message', id: 'msg_1', role: 'assistant', content: [] }), undefined],
    [
      'a file',
      item({ role: 'user', content: [{ type: 'input_text' }, { type: 'input_file', file_id: 'file_1' }] }),
      'input[1].content[1].file_id',
    ],
    [
      'a screenshot by its file',
      item({ type: 'computer_call_output', output: { type: 'computer_screenshot', file_id: 'file_1' } }),
      'input[1].output.file_id',
    ],
    ['an image by its id', item({ type: 'image_generation_call', id: 'ig_1' }), 'input[1]'],
    ['a container', { tools: [{ type: 'code_interpreter', container: 'cntr_1' }] }, 'tools[0].container'],
    [
      'a container’s files',
      { tools: [{ type: 'code_interpreter', container: { type: 'auto', file_ids: ['file_1'] } }] },
      'tools[0].container.file_ids',
    ],
    [
      'a new container',
      { tools: [{ type: 'code_interpreter', container: { type: 'auto', file_ids: [] } }] },
      undefined,
    ],
    ['a vector store', { tools: [{ type: 'file_search', vector_store_ids: ['vs_1'] }] }, 'tools[0].vector_store_ids'],
  ])('%s', (_what, fields, param) => {
    const found = statefulField({ input: 'Hello', store: false, ...fields })
    expect(found?.param).toBe(param)
    if (param === 'store') expect(found?.message).toContain("'store': false")
  })
})
