import {
  type Cacheable,
  type CacheStore,
  completionCache,
  digestWith,
  type Generations,
  type Log,
  memoryCacheStore,
  nearCache,
  pipeline,
  type RequestRecord,
  systemTime,
  type Time,
} from '@tollgate/middleware'
import { baseContext, request } from './room.ts'

/** 2026-09-21, UTC, in milliseconds since 1970. */
export const START = 1_790_000_000_000
export const HOUR = 3_600_000

/** One process's cache room, before a model that the test plays. */
export interface CacheRoom {
  ask(question?: Asking): Promise<CacheAnswer>
  /** How often the model was asked. */
  asked(): number
  /** What was logged: the events' names, and the cache's own lines whole. */
  readonly events: string[]
  readonly lines: Parameters<Log>[]
}

export interface Asking {
  readonly consumer?: string
  readonly plan?: string
  readonly prompt?: string
  readonly routed?: Partial<Cacheable['routed']>
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
  readonly stream?: boolean
}

export interface CacheAnswer {
  readonly response: Response
  readonly status: string | null
  readonly record: RequestRecord
  text(): Promise<string>
}

/** The model, and the rooms before it: what it is asked, and what is noted. */
export type Model = (asked: {
  readonly body: Cacheable['routed']['body']
  readonly consumer: Cacheable['consumer']
  readonly record: RequestRecord
  readonly signal: AbortSignal
  refuse(refusal: Parameters<ReturnType<typeof baseContext>['refuse']>[0]): Response
}) => Response | Promise<Response>

export interface CacheRoomOptions {
  readonly far?: CacheStore
  readonly nearAgeMs?: number
  readonly generations?: Generations
  readonly model?: Model
  readonly deadlineMs?: number
  readonly wallClock?: () => number
  readonly after?: Time['after']
  readonly now?: Time['now']
  readonly random?: () => number
}

export const ALWAYS_KNOWN: Generations = { tag: () => '', warm: () => {} }
export const RULE = { ttlMs: HOUR, sampled: true, scope: 'consumer', tools: false } as const

/** A completion as a model sends it whole; the prompt and a count make each another. */
export function completionOf(text: string, finish: string | null = 'stop', more: object = {}): Response {
  return Response.json({
    id: 'chatcmpl-1',
    object: 'chat.completion',
    model: 'm-2026',
    choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: finish }],
    usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
    field_of_next_year: 'kept',
    ...more,
  })
}

/** The same as a stream, a word an event; what is thrown at an end breaks it. */
export function streamOf(
  words: readonly string[],
  { finish = 'stop', before = async () => {} }: { finish?: string; before?: (index: number) => unknown } = {},
): Response {
  async function* events() {
    const chunk = (delta: object, finish_reason: string | null) =>
      `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', model: 'm-2026', choices: [{ index: 0, delta, finish_reason }] })}\n\n`
    yield chunk({ role: 'assistant', content: '' }, null)
    for (const [index, content] of words.entries()) {
      await before(index)
      yield chunk({ content }, null)
    }
    yield chunk({}, finish)
    const usage = { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 }
    yield `data: ${JSON.stringify({ id: 'c', object: 'chat.completion.chunk', model: 'm-2026', choices: [], usage })}\n\n`
    yield 'data: [DONE]\n\n'
  }
  const bytes = events()
  const body = new ReadableStream<Uint8Array>(
    {
      async pull(controller) {
        const { done, value } = await bytes.next()
        if (done) controller.close()
        else controller.enqueue(Buffer.from(value))
      },
      cancel: () => void bytes.return(),
    },
    { highWaterMark: 0 },
  )
  return new Response(body, { headers: { 'content-type': 'text/event-stream' } })
}

/** The joined text of a stream of chunks. */
export function textIn(events: string): string {
  return [...events.matchAll(/^data: (\{.*\})$/gm)]
    .map(([, data = '{}']) => JSON.parse(data).choices[0]?.delta?.content ?? '')
    .join('')
}

export function memoryFar(): CacheStore {
  return memoryCacheStore({ maxBytes: 16_000_000 })
}

export function cacheRoom(options: CacheRoomOptions = {}): CacheRoom {
  const {
    wallClock = () => START,
    after = systemTime.after,
    now = systemTime.now,
    model = ({ body }) => completionOf(`answer to ${promptOf(body)}`),
  } = options
  const events: string[] = []
  const lines: Parameters<Log>[] = []
  let asked = 0
  const handler = pipeline<Cacheable>()
    .use(
      completionCache({
        near: nearCache({ maxBytes: 16_000_000, maxAgeMs: options.nearAgeMs ?? 60_000 }),
        far: options.far ?? memoryFar(),
        generations: options.generations ?? ALWAYS_KNOWN,
        digest: digestWith(undefined),
        deadlineMs: options.deadlineMs ?? 40,
        log(...line) {
          events.push(line[1])
          lines.push(line)
        },
        time: { ...systemTime, wallClock, after, now },
        random: options.random ?? (() => 0.5),
      }),
    )
    .handle((passed, { routed, consumer, record, refuse }) => {
      asked += 1
      return model({ body: routed.body, consumer, record, signal: passed.signal, refuse })
    })
  return {
    events,
    lines,
    asked: () => asked,
    async ask({ consumer = 'alice', plan = 'free', prompt = 'Why?', routed = {}, headers = {}, signal, stream } = {}) {
      const base = baseContext({
        log: (_level, event) => events.push(event),
        refuse: ({ status, code }) => Response.json({ error: code }, { status }),
      })
      const body = { model: 'm', messages: [{ role: 'user', content: prompt }], temperature: 0.7 }
      const whole: Cacheable['routed'] = {
        route: 'generate',
        target: { identity: 't' },
        cache: RULE,
        transforms: '',
        body: stream ? { ...body, stream } : body,
        ...routed,
      }
      base.record.price = { input: 1_000_000, cachedInput: 500_000, output: 2_000_000 }
      const passed = { ...request, headers: new Headers(headers), signal: signal ?? request.signal }
      const bodyDigest = JSON.stringify(whole.body)
      const response = await handler(passed, { ...base, consumer: { id: consumer, plan }, bodyDigest, routed: whole })
      return {
        response,
        status: response.headers.get('cache-status'),
        record: base.record,
        text: () => response.text(),
      }
    },
  }
}

function promptOf({ messages }: Cacheable['routed']['body']): unknown {
  return messages.at(-1)?.content
}
