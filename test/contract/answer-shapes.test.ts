import { bodyOf, chat } from '@tollgate/middleware'
import { afterAll, beforeAll, beforeEach, describe, expect, inject, test } from 'vitest'
import { type Completion, complete } from '../support/completions.ts'
import { newKey, unique } from '../support/consumers.ts'
import { BARE_HOST, generate, type RunningHost, startHost } from '../support/host.ts'
import { openAccount } from '../support/tables.ts'
import { answering, startUpstream, type Upstream } from '../support/upstream.ts'

/*
 * What a model's 200 may look like, and what becomes of it: for those who follow the call, in the store, and in a budget.
 * Liberal where nothing is lost, strict where something is.
 */

const open = openAccount(inject('azurite'))
let upstream: Upstream
let host: RunningHost
let sentinel: string
beforeAll(async () => {
  upstream = await startUpstream()
  host = await startHost(
    {
      TOLLGATE_STORAGE: inject('azurite'),
      TOLLGATE_POLICY: 'test/contract/shapes.yaml',
      OPENAI_BASE_URL: upstream.baseUrl,
      OPENAI_API_KEY: 'sk-upstream-secret',
      OPENAI_MODEL_NAME: 'test-model',
      TOLLGATE_FIRST_BYTE_MS: '2000',
      TOLLGATE_IDLE_MS: '500',
      TOLLGATE_TOTAL_MS: '5000',
      TOLLGATE_CACHE_DEADLINE_MS: '2000',
    },
    BARE_HOST,
  )
  sentinel = await newKey(open, unique('sentinel'), 'ample')
})
afterAll(async () => {
  await host?.stop()
  await upstream?.close()
})
beforeEach(() => {
  upstream.calls.length = 0
})

const QUOTA = 1_000_000
/** The same length for every test, so that what is reserved is known. */
const newPrompt = () => unique('Why?').padEnd(60, '?')
const reserved = (stream: boolean) => {
  const body = bodyOf({
    messages: [
      { role: 'system', content: 'You are a helpful assistant.' },
      { role: 'user', content: newPrompt() },
    ],
    temperature: 0.7,
    max_tokens: 800,
    ...(stream ? { stream, stream_options: { include_usage: true } } : {}),
  })
  return { input: chat.bounds(body, { contextWindow: undefined })?.input ?? Number.NaN, output: 800 }
}
const sum = ({ input, output }: { readonly input: number; readonly output: number }) => input + output
/** Nobody knows what the model took. */
const ALL = 'all that was reserved'
const allOf = (stream: boolean) => sum(reserved(stream))
/** What is believed at the most, of both sides together. */
const BELIEVED = 2 * 131_072

const isSentinel = (body: Record<string, unknown>) => JSON.stringify(body).includes('sentinel')

/** What a consumer has been charged, in tokens: a request that follows tells what is left. */
async function charged(key: string): Promise<number> {
  upstream.reply = answering()
  const { headers } = await generate(host, JSON.stringify({ prompt: newPrompt() }), { 'x-api-key': key })
  const left = /"tokens";r=(\d+)/.exec(headers.get('ratelimit') ?? '')?.[1]
  return QUOTA - allOf(false) - Number(left)
}

async function isStored(prompt: string, key: string): Promise<boolean> {
  const headers = { 'x-api-key': key, 'cache-control': 'only-if-cached' }
  return (await generate(host, JSON.stringify({ prompt }), headers)).status === 200
}

/** When a request that was sent after others is answered, by way of the model, those have joined the call that they follow. */
async function othersHaveJoined(): Promise<void> {
  for (const prompt of [unique('sentinel'), unique('sentinel'), unique('sentinel')]) {
    await complete(host, { prompt, key: sentinel })
  }
}

interface Told {
  readonly status: number
  readonly data: Record<string, unknown> | undefined
}

/** A stream's events; its cost is a comment after them. */
function withoutComments(text: string): string {
  return text.replace(/^:.*\n/gm, '').trim()
}

/** A plain answer, or the last event of a streamed one. */
async function told(prompt: string, key: string, stream = false): Promise<Told> {
  const response = await fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': key },
    body: JSON.stringify({ prompt, stream }),
  })
  const text = await response.text()
  const last =
    stream && response.status === 200 ? withoutComments(text).split('\n\n').at(-1)?.slice('data: '.length) : text
  return { status: response.status, data: JSON.parse(last ?? '').data }
}

const data = (value: unknown) => `data: ${typeof value === 'string' ? value : JSON.stringify(value)}\n\n`
const chunk = (delta: unknown, finish_reason: unknown = null, more: object = {}) =>
  data({
    id: 'c',
    object: 'chat.completion.chunk',
    model: 'm-2026',
    choices: [{ index: 0, delta, finish_reason }],
    ...more,
  })
const say = (content: string, finish_reason: unknown = null, more: object = {}) =>
  chunk({ content }, finish_reason, more)
const usage = (prompt_tokens: unknown, completion_tokens: unknown, more: object = {}) => ({
  prompt_tokens,
  completion_tokens,
  ...more,
})
const USAGE = data({ choices: [], usage: usage(11, 7) })
const STOP = chunk({}, 'stop')
const DONE = data('[DONE]')
const TEXT = say('naïve ') + say('🚧')
const WHOLE = TEXT + STOP + USAGE + DONE
const SAID = 'naïve 🚧'

interface Shape {
  /** What the model sends. */
  readonly raw: string | Buffer
  /** Whether the connection stays open after it. */
  readonly hangs?: true
  /** Whether it is broken off. */
  readonly breaks?: true
  /** Bytes of each write. */
  readonly cutEvery?: number
  readonly type?: string | undefined
  /** The completion, or the code of what broke it. */
  readonly text?: string
  readonly code?: string
  /** Whether it broke before its first piece, and all get a 502. */
  readonly before?: true
  readonly stored?: false
  /** 18 by default. */
  readonly charged?: number | typeof ALL
}
const whole = (raw: Shape['raw'], more: Omit<Shape, 'raw'> = {}): Shape => ({ raw, ...more })
const broken = (raw: Shape['raw'], code: string, more: Omit<Shape, 'raw'> = {}): Shape => ({
  raw,
  code,
  stored: false,
  charged: ALL,
  ...more,
})
const refused = (raw: Shape['raw'], code: string, more: Omit<Shape, 'raw'> = {}) =>
  broken(raw, code, { before: true, ...more })

const deep = (levels: number) => `${'['.repeat(levels)}${']'.repeat(levels)}`

const STREAMS: Readonly<Record<string, Readonly<Record<string, Shape>>>> = {
  'E1: what ends a choice': {
    'a known reason': whole(WHOLE),
    'a known reason, and the connection’s end': whole(TEXT + STOP + USAGE),
    'a known reason in upper case': whole(TEXT + chunk({}, 'STOP') + USAGE, { stored: false }),
    'another service’s reason': whole(TEXT + chunk({}, 'end_turn') + USAGE, { stored: false }),
    '"null" in each chunk, and [DONE]': whole(say('naïve ', 'null') + say('🚧', 'null') + STOP + USAGE + DONE),
    '"null" in each chunk, and a cut': broken(say('naïve ', 'null') + say('🚧', 'null'), 'stream_cut'),
    '"" in each chunk, and a cut': broken(say('naïve ', '') + say('🚧', ''), 'stream_cut'),
    '"none" in each chunk, and a cut': broken(say('naïve ', 'none') + say('🚧', 'none'), 'stream_cut'),
    'false in each chunk, and a cut': broken(say('naïve ', false) + say('🚧', false), 'stream_cut'),
    '0 in each chunk, and a cut': broken(say('naïve ', 0) + say('🚧', 0), 'stream_cut'),
    '"stop" in each chunk, and a cut': broken(say('naïve ', 'stop') + say('🚧', 'stop'), 'stream_cut'),
    '"stop" in each chunk, and [DONE]': whole(say('naïve ', 'stop') + say('🚧', 'stop') + USAGE + DONE),
    'an unknown reason, and [DONE]': whole(TEXT + chunk({}, 'enough') + USAGE + DONE, { stored: false }),
    'an unknown reason, its usage, and no [DONE]': whole(TEXT + chunk({}, 'enough') + USAGE, { stored: false }),
    'an unknown reason, and a cut': broken(TEXT + chunk({}, 'enough'), 'stream_cut'),
    'a reason without an index': whole(
      TEXT + data({ choices: [{ delta: {}, finish_reason: 'stop' }], usage: usage(11, 7) }),
    ),
    'filters’ results after the end': whole(
      TEXT + STOP + data({ choices: [{ index: 0, finish_reason: null, content_filter_offsets: {} }] }) + USAGE,
    ),
    'a cut': broken(TEXT, 'stream_cut'),
  },
  'E2: events that carry no answer': {
    'a named ping': whole(`event: ping\n${data({ type: 'ping' })}${WHOLE}`),
    'a ping between': whole(`${TEXT}${data({ type: 'ping' })}event: ping\n${data('pong')}${STOP}${USAGE}${DONE}`),
    'a keep-alive in words': whole(`${data('keep-alive')}${TEXT}${data('ping')}${STOP}${USAGE}${DONE}`),
    'a named keep-alive that is no JSON': whole(`${TEXT}event: keepalive\n${data('2026-11-27')}${STOP}${USAGE}${DONE}`),
    'empty data': whole(`data:\n\n${TEXT}data: \n\n${STOP}${USAGE}${DONE}`),
    'null, a number, a text, an array': whole(
      data('null') + TEXT + data('1') + data('"a"') + data('[]') + STOP + USAGE + DONE,
    ),
    'objects of other kinds': whole(data({ object: 'status', queue: 3 }) + TEXT + data({}) + STOP + USAGE + DONE),
    'comments, ids and retries': whole(
      `: hello\n\nid: 1\nretry: 5\n${TEXT}:\n\n: PROCESSING\n\n${STOP}${USAGE}${DONE}`,
    ),
    'an error that is none': whole(
      say('naïve ', null, { error: null }) + say('🚧', null, { error: '' }) + STOP + USAGE,
    ),
    'a [DONE] with spaces': whole(`${TEXT}${STOP}${USAGE}data:  [DONE] \n\n`),
    'a [done] in lower case': whole(`${TEXT}${STOP}${USAGE}data:[done]\n\n`),
    'a usage without choices': whole(TEXT + STOP + data({ usage: usage(11, 7) }) + DONE),
    'a usage with null for choices': whole(TEXT + STOP + data({ choices: null, usage: usage(11, 7) }) + DONE),
    'Azure’s first chunk': whole(data({ id: '', model: '', choices: [], prompt_filter_results: [] }) + WHOLE),
    'chunks in arrays': whole(
      data(`[${say('naïve ').slice(6).trim()}]`) + data(`[${say('🚧').slice(6).trim()}]`) + STOP + USAGE + DONE,
    ),
  },
  'E2: events that are broken': {
    'half of JSON': broken(`${TEXT}data: {"choices"\n\n${STOP}${USAGE}${DONE}`, 'invalid_response'),
    words: broken(TEXT + data('upstream connect error') + STOP + USAGE + DONE, 'invalid_response'),
    'an error': broken(TEXT + data({ error: { code: 'overloaded', message: 'SECRET' } }) + DONE, 'overloaded'),
    'a named error': broken(`${TEXT}event: error\n${data({ code: 'overloaded', message: 'SECRET' })}`, 'overloaded'),
    'a named error in words': broken(`${TEXT}event: error\n${data('SECRET')}`, 'error_event'),
    'an error without a frame': broken(TEXT + data({ object: 'error', message: 'SECRET', code: 500 }), 'error_event'),
    'an error within a choice': broken(
      TEXT + data({ choices: [{ index: 0, delta: {}, error: { code: 'overloaded' } }] }),
      'overloaded',
    ),
    'choices that are none': broken(TEXT + data({ choices: 'a' }) + DONE, 'invalid_response'),
    'a delta that is a text': broken(TEXT + chunk('a') + DONE, 'invalid_response'),
    'an error after its usage': broken(TEXT + STOP + USAGE + data({ error: { code: 'overloaded' } }), 'overloaded', {
      charged: 18,
    }),
    'an error after its usage, but in the middle': broken(
      TEXT + USAGE + data({ error: { code: 'overloaded' } }),
      'overloaded',
    ),
    'an error first': refused(data({ error: { code: 'overloaded' } }), 'overloaded'),
    'nothing but pings': refused(data({ type: 'ping' }), 'invalid_response'),
    nothing: refused('', 'stream_cut'),
  },
  'E3: what the usage is': {
    falls: whole(TEXT + STOP + data({ choices: [], usage: usage(11, 40) }) + USAGE + DONE, { charged: 51 }),
    'is told on the way, and falls to zero': whole(
      say('naïve ', null, { usage: usage(11, 3) }) +
        say('🚧', 'stop', { usage: usage(11, 7) }) +
        data({ choices: [], usage: usage(0, 0) }) +
        DONE,
    ),
    'is less than was counted': whole(
      'a b c d e f g h i'
        .split(' ')
        .map((word) => say(word))
        .join('') +
        STOP +
        data({ choices: [], usage: usage(11, 2) }) +
        DONE,
      { text: 'abcdefghi', charged: 20 },
    ),
    'is zero beside text': whole(TEXT + STOP + data({ choices: [], usage: usage(0, 0) }) + DONE, { charged: ALL }),
    'is zero of the output, beside text': whole(TEXT + STOP + data({ choices: [], usage: usage(11, 0) }) + DONE, {
      charged: ALL,
    }),
    'is told before the text only': whole(data({ choices: [], usage: usage(11, 0) }) + TEXT + STOP + DONE, {
      charged: ALL,
    }),
    'is zero without text': whole(
      chunk({ role: 'assistant', content: '' }) + STOP + data({ choices: [], usage: usage(0, 0) }) + DONE,
      {
        text: '',
        charged: 0,
      },
    ),
    'is below nothing': whole(TEXT + STOP + data({ choices: [], usage: usage(11, -7) }) + DONE, { charged: ALL }),
    'is in words': whole(TEXT + STOP + data({ choices: [], usage: usage('11', '7') }) + DONE, { charged: ALL }),
    'is no object': whole(TEXT + STOP + data({ choices: [], usage: 'many' }) + DONE, { charged: ALL }),
    'is not told': whole(TEXT + STOP + DONE, { charged: ALL }),
    'is told with the end': whole(TEXT + chunk({}, 'stop', { usage: usage(11, 7) }) + DONE),
    'counts thoughts in the total alone': whole(
      TEXT + STOP + data({ choices: [], usage: usage(11, 7, { total_tokens: 118 }) }) + DONE,
      { charged: 118 },
    ),
    'is more than is believed': whole(TEXT + STOP + data({ choices: [], usage: usage(1e6, 1e6) }) + DONE, {
      charged: BELIEVED,
    }),
    'is told of an answer without a choice': broken(
      data({ choices: [], prompt_filter_results: [] }) + data({ choices: [], usage: usage(11, 0) }) + DONE,
      'invalid_response',
      { before: true, charged: 11 },
    ),
  },
  'E4: an end that doesn’t come': {
    'after the usage': whole(TEXT + STOP + USAGE, { hangs: true }),
    'after the answer': whole(TEXT + STOP, { hangs: true, charged: ALL }),
    'after half of the answer': broken(TEXT, 'timeout', { hangs: true }),
    'after the usage, by the connection’s break': whole(TEXT + STOP + USAGE, { breaks: true }),
    'after the answer, by the connection’s break': broken(TEXT + STOP, 'stream_cut', { breaks: true }),
  },
  'E5: how bytes are cut and lines end': {
    'the last event without its blank line': whole(TEXT + STOP + USAGE.trimEnd()),
    'the [DONE] without any line end': whole(TEXT + STOP + USAGE + DONE.trimEnd()),
    'the last event cut': broken(TEXT + STOP.slice(0, -12), 'stream_cut'),
    'a usage that is cut': whole(TEXT + STOP + USAGE.slice(0, -12), { charged: ALL }),
    CRLF: whole(WHOLE.replaceAll('\n', '\r\n')),
    CR: whole(WHOLE.replaceAll('\n', '\r')),
    'a byte order mark': whole(`\ufeff${WHOLE}`),
    'byte by byte': whole(WHOLE, { cutEvery: 1 }),
    'byte by byte, with CRLF and a byte order mark': whole(`\ufeff${WHOLE.replaceAll('\n', '\r\n')}`, { cutEvery: 1 }),
    'data of several lines': whole(WHOLE.replaceAll(',"choices"', ',\ndata: "choices"')),
    'data without a space': whole(WHOLE.replaceAll('data: ', 'data:')),
  },
  'E6: what a body is called': {
    JSON: whole(WHOLE, { type: 'application/json' }),
    'plain text': whole(WHOLE, { type: 'text/plain' }),
    nothing: whole(WHOLE, { type: undefined }),
    'nothing, byte by byte': whole(`\n\n: hello\n\n${WHOLE}`, { type: undefined, cutEvery: 1 }),
    'JSON, and is it': whole(
      JSON.stringify({ choices: [{ message: { content: SAID }, finish_reason: 'stop' }], usage: usage(11, 7) }),
      { type: 'application/json' },
    ),
    'a stream, and is JSON': whole(
      ` \n${JSON.stringify({ choices: [{ message: { content: SAID }, finish_reason: 'stop' }], usage: usage(11, 7) })}`,
    ),
    'JSON, and is an error': refused('{"error":{"message":"SECRET"}}', 'invalid_response', {
      type: 'application/json',
    }),
    'JSON, and is an error that has a code': refused(
      '{"error":{"code":"overloaded","message":"SECRET"}}',
      'overloaded',
      {
        type: 'application/json',
      },
    ),
    'JSON, and is an error without a frame': refused('{"object":"error","type":"Overloaded"}', 'Overloaded', {
      type: 'application/json',
    }),
    'JSON, and its choice has failed': refused(
      JSON.stringify({
        choices: [{ message: { content: 'naï' }, finish_reason: 'error', error: { code: 'overloaded' } }],
        usage: usage(11, 7),
      }),
      'overloaded',
      { type: 'application/json', charged: 18 },
    ),
    'JSON, and tells of an error beside its text': refused(
      JSON.stringify({ choices: [{ message: { content: 'naï' } }], error: { code: 'overloaded' } }),
      'overloaded',
      { type: 'application/json' },
    ),
    'JSON, and its error is none': whole(
      JSON.stringify({
        choices: [{ message: { content: SAID }, finish_reason: 'stop', error: null }],
        usage: usage(11, 7),
        error: '',
      }),
      { type: 'application/json' },
    ),
    HTML: refused('<html>SECRET</html>', 'invalid_response', { type: 'text/html' }),
  },
  'E7: what a text is': {
    parts: whole(
      chunk({ content: [{ type: 'text', text: 'naïve ' }] }) +
        chunk({ content: [{ type: 'text', text: '🚧' }] }) +
        STOP +
        USAGE +
        DONE,
    ),
    'parts after thoughts': whole(
      chunk({ content: [{ type: 'thinking', thinking: [{ type: 'text', text: 'Hm.' }] }] }) +
        TEXT +
        STOP +
        USAGE +
        DONE,
    ),
    'a refusal': whole(chunk({ refusal: 'naïve ' }) + chunk({ refusal: '🚧', content: null }) + STOP + USAGE + DONE),
    'a refusal in parts': whole(chunk({ content: [{ type: 'refusal', refusal: SAID }] }) + STOP + USAGE + DONE),
    'a tool’s call, and none': whole(
      chunk({ tool_calls: [{ index: 0, function: { name: 'f', arguments: '{}' } }] }) +
        chunk({}, 'tool_calls') +
        USAGE +
        DONE,
      { text: '', stored: false },
    ),
  },
  'C3: what can’t be told or written': {
    'a content that is a number': broken(
      say('naïve ') + chunk({ content: 1 }) + STOP + USAGE + DONE,
      'invalid_response',
    ),
    'a content that is an object': broken(
      say('naïve ') + chunk({ content: {} }) + STOP + USAGE + DONE,
      'invalid_response',
    ),
    'parts that are numbers': broken(say('naïve ') + chunk({ content: [1] }) + STOP + USAGE + DONE, 'invalid_response'),
    'a chunk of 20,000 levels': broken(
      `${say('naïve ')}data: {"choices":[],"x":${deep(20_000)}}\n\n${DONE}`,
      'invalid_response',
    ),
    'a model that is no text': whole(
      say('naïve ', null, { model: {} }) + say('🚧', null, { model: 7 }) + STOP + USAGE + DONE,
    ),
  },
}

const shapes = Object.entries(STREAMS).flatMap(([kind, all]) =>
  Object.entries(all).map(([what, shape]) => [kind, what, shape] as const),
)

test('there are shapes enough', () => {
  expect(shapes.length).toBeGreaterThanOrEqual(40)
})

/** Sends a shape once `after` says so. */
function sendingShape(shape: Shape, after: () => Promise<void> | undefined): Upstream['reply'] {
  const { raw, hangs, breaks, cutEvery } = shape
  return async (call, response) => {
    if (isSentinel(call.body)) {
      answering()(call, response)
      return
    }
    await after()
    const type = 'type' in shape ? shape.type : 'text/event-stream'
    response.writeHead(200, type === undefined ? {} : { 'content-type': type })
    const bytes = Buffer.from(raw)
    const step = cutEvery ?? (bytes.length || 1)
    for (let at = 0; at < bytes.length; at += step) response.write(bytes.subarray(at, at + step))
    if (breaks) response.write('', () => response.destroy())
    else if (!hangs) response.end()
  }
}

describe.each(Object.keys(STREAMS))('%s', (kind) => {
  const table = shapes.filter(([of]) => of === kind).map(([, what, shape]) => [what, shape] as const)

  test.each(table)('%s: the same to all who follow, in the store and in the budget', async (_what, shape) => {
    const key = await newKey(open, unique('shapes'), 'shapes')
    const prompt = newPrompt()
    const joined = Promise.withResolvers<void>()
    upstream.reply = sendingShape(shape, () => joined.promise)
    const leader = complete(host, { prompt, key, stream: true })
    await expect.poll(() => upstream.calls.length).toBe(1)
    const followers = [complete(host, { prompt, key }), complete(host, { prompt, key, stream: true })]
    await othersHaveJoined()
    joined.resolve()
    const [first, plain, streamed] = (await Promise.all([leader, ...followers])) as [Completion, Completion, Completion]

    const { code, text = SAID, before, stored = true } = shape
    expect([plain.cacheStatus, streamed.cacheStatus]).toEqual(Array(2).fill(expect.stringContaining('collapsed')))
    if (code === undefined) {
      for (const answer of [first, plain, streamed]) expect(answer).toMatchObject({ status: 200, whole: true, text })
    } else {
      const status = before ? 502 : 200
      const error = expect.stringMatching(new RegExp(`code ${code}$`))
      for (const answer of [first, streamed])
        expect(answer).toMatchObject({ status, whole: false, broke: !before, error })
      expect(plain).toMatchObject({ status: 502, error })
    }
    expect(JSON.stringify([first, plain, streamed])).not.toContain('SECRET')
    expect(await isStored(prompt, key)).toBe(stored)
    const { charged: expected = 18 } = shape
    expect(await charged(key)).toBe(expected === ALL ? allOf(true) : expected)
  })

  test.each(table)('%s: the same to who asks for it whole, and at the same cost', async (_what, shape) => {
    const key = await newKey(open, unique('shapes'), 'shapes')
    upstream.reply = sendingShape(shape, () => undefined)
    const { status, text, error } = await complete(host, { prompt: newPrompt(), key })
    if (shape.code === undefined) expect([status, text]).toEqual([200, shape.text ?? SAID])
    else expect([status, error]).toEqual([502, expect.stringContaining('LLM service failed')])
    const { charged: expected = 18 } = shape
    expect(await charged(key)).toBe(expected === ALL ? allOf(false) : expected)
  })
})

describe('a plain answer', () => {
  const choice = (message: object, finish_reason: unknown = 'stop') => ({ index: 0, message, finish_reason })
  const answer = (change: object) =>
    JSON.stringify({
      id: 'c',
      object: 'chat.completion',
      model: 'm-2026',
      choices: [choice({ role: 'assistant', content: SAID })],
      usage: usage(11, 7),
      ...change,
    })
  const saying = (message: object) => answer({ choices: [choice(message)] })
  const taking = (told: unknown) => answer({ usage: told })

  interface Plain {
    readonly raw: string
    readonly data?: object
    readonly status?: 502
    readonly charged?: number | typeof ALL
    readonly stored?: false
  }
  const unfit = (raw: string, more: Partial<Plain> = {}): Plain => ({ raw, status: 502, stored: false, ...more })
  const plain: Readonly<Record<string, Plain>> = {
    'is whole': { raw: answer({}), data: { completion: SAID, model: 'm-2026' } },
    'E6: is after white space and a byte order mark': { raw: `\ufeff \r\n\t${answer({})}` },
    'E7: is in parts': {
      raw: saying({
        content: [
          { type: 'thinking', thinking: [] },
          { type: 'text', text: 'a' },
          { type: 'text', text: 'b' },
        ],
      }),
      data: { completion: 'ab' },
    },
    'E7: is a refusal': { raw: saying({ content: null, refusal: 'No.' }), data: { completion: 'No.', refusal: true } },
    'E7: is a refusal beside an empty text': {
      raw: saying({ content: '', refusal: 'No.' }),
      data: { completion: 'No.', refusal: true },
    },
    'E7: is no refusal': {
      raw: saying({ content: SAID, refusal: null }),
      data: { completion: SAID },
    },
    'E7: calls a tool': {
      raw: saying({ content: null, tool_calls: [{ id: 'a' }] }),
      data: { completion: null },
      stored: false,
    },
    'C3: has a number for its content': unfit(saying({ content: 1 })),
    'C3: has an object for its content': unfit(saying({ content: {} })),
    'C3: has an array of numbers for its content': unfit(saying({ content: [1, 2] })),
    'C3: has no message': unfit(answer({ choices: [{}] })),
    'C3: has null for a choice': unfit(answer({ choices: [null] })),
    'C3: is 20,000 levels deep': unfit(answer({}).replace('{', `{"x":${deep(20_000)},`), { charged: ALL }),
    'C3: is 100 levels deep in its content': unfit(saying({ content: JSON.parse(deep(100)) })),
    'C3: has nothing but values': unfit(`{"x":[${'[],'.repeat(1_200_000)}0],${answer({}).slice(1)}`, { charged: ALL }),
    'C3: has an object for its model': { raw: answer({ model: {} }), data: { completion: SAID, model: null } },
    'C3: has a text for its usage': { raw: taking('many'), data: { usage: { prompt_tokens: null } }, charged: ALL },
    'E3: tells zero beside text': { raw: taking(usage(0, 0)), charged: ALL },
    'E3: tells zero of its output beside text': { raw: taking(usage(11, 0)), charged: ALL },
    'E3: tells zero without text': {
      raw: answer({ choices: [choice({ content: '' })], usage: usage(0, 0) }),
      charged: 0,
    },
    'E3: tells less than nothing': { raw: taking(usage(-1, 7)), charged: ALL },
    'E3: tells words': {
      raw: taking(usage('11', '7')),
      data: { usage: { prompt_tokens: null, completion_tokens: null } },
      charged: ALL,
    },
    'E3: tells halves': { raw: taking(usage(11.5, 7)), charged: ALL },
    'E3: tells more than a number holds': { raw: taking(usage(1e300, 7)), charged: ALL },
    'F5: tells more than is believed': { raw: taking(usage(1e6, 1e6)), charged: BELIEVED },
    'F2: has no choices, and tells what it took': unfit(answer({ choices: [], usage: usage(11, 0) }), { charged: 11 }),
    'F2: has no choices, and took nothing': unfit(answer({ choices: [], usage: usage(0, 0) }), { charged: 0 }),
    'F2: has no choices, and tells nothing': unfit(answer({ choices: [], usage: undefined }), { charged: ALL }),
  }

  test.each(Object.entries(plain))(
    'that %s',
    async (_what, { raw, data, status = 200, charged: expected = 18, stored = true }) => {
      const key = await newKey(open, unique('shapes'), 'shapes')
      const prompt = newPrompt()
      upstream.reply = (_call, response) => response.writeHead(200, { 'content-type': 'application/json' }).end(raw)
      const answered = await told(prompt, key)
      expect(answered.status).toBe(status)
      if (data !== undefined) expect(answered.data).toMatchObject(data)
      expect('refusal' in (answered.data ?? {})).toBe('refusal' in (data ?? {}))
      if (stored && status === 200) {
        const streamed = await told(prompt, key, true)
        expect(streamed.data).toMatchObject({ ...answered.data, completion: '' })
      }
      expect(await isStored(prompt, key)).toBe(stored)
      expect(await charged(key)).toBe(expected === ALL ? allOf(false) : expected)
    },
  )

  test.each([
    ['DeepSeek’s', { prompt_cache_hit_tokens: 600, prompt_cache_miss_tokens: 400 }],
    ['Moonshot’s', { cached_tokens: 600 }],
    ['Anthropic’s', { cache_read_input_tokens: 600 }],
    ['OpenAI’s', { prompt_tokens_details: { cached_tokens: 600 } }],
    ['another, that is more than all', { prompt_cache_hit_tokens: 9_000 }],
  ])('F4: has its cached tokens told in %s way, at their price', async (_who, cached) => {
    upstream.reply = (_call, response) => response.end(answer({ usage: usage(1_000, 10, cached) }))
    const id = unique('cached')
    const headers = { 'x-api-key': sentinel, 'x-request-id': id }
    await generate(host, JSON.stringify({ prompt: newPrompt() }), headers)
    const cost = 'prompt_cache_hit_tokens' in cached && cached.prompt_cache_hit_tokens > 1_000 ? 1_080_000 : 1_480_000
    await expect
      .poll(() =>
        host
          .output()
          .split('\n')
          .find((line) => line.includes(id)),
      )
      .toContain(`"costNanoUsd":${cost}`)
  })

  test('F5: whose usage is not believed is told to the operator', async () => {
    const key = await newKey(open, unique('shapes'), 'shapes')
    upstream.reply = (_call, response) => response.end(taking(usage(1e6, 1e6)))
    await generate(host, JSON.stringify({ prompt: newPrompt() }), { 'x-api-key': key })
    await expect.poll(() => host.output()).toMatch(/"event":"usage capped".*"told":\{"input":1000000/)
  })
})

test('a plain answer that comes in pieces, and takes too long, costs no less than it told', async () => {
  const [id, key] = [unique('slow'), await newKey(open, unique('shapes'), 'shapes')]
  upstream.reply = (_call, response) => {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    let pieces = 0
    const more = () => response.write(say('a', null, { usage: usage(2_000, ++pieces) }))
    more()
    const timer = setInterval(more, 100)
    response.on('close', () => clearInterval(timer))
  }
  const headers = { 'x-api-key': key, 'x-request-id': id }
  expect(await generate(host, JSON.stringify({ prompt: newPrompt() }), headers)).toMatchObject({
    status: 502,
    body: { details: 'code timeout' },
  })
  const line = () =>
    host
      .output()
      .split('\n')
      .find((each) => each.includes(id) && each.includes('"event":"request"'))
  await expect.poll(line).toContain('"uncertain":true')
  expect(line()).toContain('"usage":{"input":2000,"cachedInput":0,"output":800}')
  expect(await charged(key)).toBeGreaterThan(2_000)
})

test('E7: a streamed refusal is told as one, piece by piece and at its end', async () => {
  upstream.reply = (_call, response) => response.end(chunk({ refusal: 'No.' }) + STOP + USAGE + DONE)
  const response = await fetch(`${host.url}/api/generate`, {
    method: 'POST',
    headers: { 'x-api-key': sentinel },
    body: JSON.stringify({ prompt: newPrompt(), stream: true }),
  })
  const events = withoutComments(await response.text())
    .split('\n\n')
    .map((event) => JSON.parse(event.slice('data: '.length)))
  expect(events).toEqual([
    { data: { completion: 'No.', refusal: true }, status: 'streaming' },
    { data: expect.objectContaining({ completion: '', refusal: true }), status: 'success' },
  ])
})
