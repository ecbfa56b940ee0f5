import {
  type AnswerReply,
  BrokenStream,
  bodyOf,
  type Cacheable,
  type CacheStore,
  type Call,
  chat,
  completionCache,
  costOf,
  digestWith,
  type EventSource,
  type Facts,
  type Json,
  type Log,
  localTier,
  memoryCacheStore,
  type Price,
  type PurgeVersions,
  pipeline,
  type Refusal,
  type RefusedReply,
  type Reply,
  refused,
  type StreamEnd,
  type StreamEvent,
  type StreamReply,
  systemTime,
  type Time,
  toldUsage,
  upstreamFailed,
} from '@tollgate/middleware'
import { baseContext } from './base-context.ts'
import { attempt, textOf } from './replies.ts'

/** 2026-09-21, UTC, in milliseconds since 1970. */
export const START = 1_790_000_000_000
export const HOUR = 3_600_000

/** One process's cache, before a model that the test plays. */
export interface CacheRoom {
  ask(asking?: Asking): Promise<CacheAnswer>
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
  readonly body?: Json
  readonly routed?: Partial<Omit<Cacheable['routed'], 'body'>>
  readonly headers?: Record<string, string>
  readonly signal?: AbortSignal
  readonly stream?: boolean
}

export interface CacheAnswer {
  readonly reply: Reply
  /** What a surface would answer with. */
  readonly code: number
  readonly status: string | undefined
  /** What the request's line tells: as far as it was told by now. */
  readonly record: Facts
  text(): Promise<string>
  /** Of a stream. */
  readonly events: EventSource
}

/** The model, and the middlewares before it: what it is asked, and what is told. */
export type Model = (asked: {
  readonly body: Json
  readonly streamed: boolean
  readonly consumer: Cacheable['consumer']
  readonly tell: (facts: Facts) => void
  readonly signal: AbortSignal
}) => Reply | Promise<Reply>

export interface CacheRoomOptions {
  readonly shared?: CacheStore
  readonly localAgeMs?: number
  readonly purgeVersions?: PurgeVersions
  readonly model?: Model
  readonly deadlineMs?: number
  readonly wallClock?: () => number
  readonly after?: Time['after']
  readonly now?: Time['now']
  readonly random?: () => number
}

export const ALWAYS_KNOWN: PurgeVersions = { tag: () => '', warm: () => {} }
export const RULE = { ttlMs: HOUR, sampled: true, scope: 'consumer', tools: false } as const
export const PRICE: Price = { rates: { input: 1_000_000, cachedInput: 500_000, output: 2_000_000 } }

/** A 200 of the model's with this text, as the upstream gives it. */
export function plain(text: string | Buffer): Reply {
  const parsed = chat.parse(Buffer.isBuffer(text) ? text : ownBuffer(text))
  if (parsed.kind === 'failure') return { ...refusedByModel(parsed.failure), attempts: [attempt(parsed.spend)] }
  return {
    kind: 'answer',
    answer: parsed.answer,
    attempts: [attempt(parsed.spend, { price: PRICE })],
    headers: {},
    source: 'call',
    storable: true,
  }
}

/** In memory of its own, as the upstream reads it. */
function ownBuffer(text: string): Buffer {
  const bytes = Buffer.allocUnsafeSlow(Buffer.byteLength(text))
  bytes.write(text)
  return bytes
}

/** The model's refusal, which holds for all who ask the same. */
export function refusedByModel(upstream: NonNullable<Refusal['upstream']>): RefusedReply {
  return { ...refused(upstreamFailed(upstream)), shared: upstream.code !== 'client_left' }
}

/** A refusal of a limit's, which is the one caller's. */
export function refusedByLimit(code: Refusal['code'], status: number): RefusedReply {
  return refused({ kind: 'refusal', code, status, message: '' })
}

/** What a budget that cuts an answer makes of a reply. */
export function clamped<R extends AnswerReply | StreamReply>(reply: R): R {
  return { ...reply, storable: false }
}

/** A completion as a model sends it whole; the prompt and a count make each another. */
export function completionOf(text: string, finish: string | null = 'stop', more: object = {}): Reply {
  return plain(
    JSON.stringify({
      id: 'chatcmpl-1',
      object: 'chat.completion',
      model: 'm-2026',
      choices: [{ index: 0, message: { role: 'assistant', content: text }, finish_reason: finish }],
      usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
      field_of_next_year: 'kept',
      ...more,
    }),
  )
}

/** The model's stream of these pieces, an event or more each; what is thrown on the way breaks it. */
export function eventsOf(pieces: AsyncIterable<string> | Iterable<string>): PlayedReply {
  const parser = chat.stream()
  const iterator = Symbol.asyncIterator in pieces ? pieces[Symbol.asyncIterator]() : pieces[Symbol.iterator]()
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>()
  const { promise: left, resolve: leave } = Promise.withResolvers<undefined>()
  let how: StreamEnd['how'] | undefined
  let parses = 0
  const cancels: unknown[] = []
  const end = (as: StreamEnd['how']) => {
    if (how !== undefined) return
    how = as
    const { usage } = parser
    const spend = usage === undefined ? { usage: parser.told, isCertain: false } : { usage, isCertain: true }
    resolve({ how, attempts: [attempt(spend, { price: PRICE })] })
  }

  async function next(): Promise<readonly StreamEvent[] | undefined> {
    try {
      for (;;) {
        if (parser.ended !== undefined) break
        const { done, value } = await iterator.next()
        const came = done ? parser.close() : parser.feed(Buffer.from(value))
        if (came.length > 0) return came.map(counted)
        if (done) break
      }
    } catch (fault) {
      end('broken')
      throw fault
    }
    if (parser.ended instanceof BrokenStream) {
      end('broken')
      throw parser.ended
    }
    end('complete')
    return undefined
  }

  function counted(event: StreamEvent): StreamEvent {
    let isParsed = false
    return {
      bytes: event.bytes,
      name: event.name,
      get json() {
        if (!isParsed) parses += 1
        isParsed = true
        return event.json
      },
    }
  }

  const events: EventSource = {
    read: () => (how === undefined ? Promise.race([next(), left]) : Promise.resolve(undefined)),
    cancel(reason) {
      if (how !== undefined) return
      cancels.push(reason)
      end(parser.ended === 'whole' ? 'complete' : 'client_left')
      leave(undefined)
      void iterator.return?.()
    },
  }
  return {
    kind: 'stream',
    events,
    ended,
    headers: {},
    source: 'call',
    storable: true,
    cancels,
    get parses() {
      return parses
    },
    get isOver() {
      return how !== undefined
    },
  }
}

export interface PlayedReply extends StreamReply {
  /** The reasons that it was cancelled with. */
  readonly cancels: readonly unknown[]
  /** How many of its events were looked into. */
  readonly parses: number
  readonly isOver: boolean
}

/** A completion as a stream, a word an event; what is thrown before a word breaks it. */
export function streamOf(
  words: readonly string[],
  { finish = 'stop', before = async () => {} }: { finish?: string; before?: (index: number) => unknown } = {},
): PlayedReply {
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
  return eventsOf(events())
}

/** The joined text of a stream of chunks. */
export function textIn(events: string): string {
  return [...events.matchAll(/^data: (\{.*\})$/gm)]
    .map(([, data = '{}']) => JSON.parse(data).choices[0]?.delta?.content ?? '')
    .join('')
}

export function memoryShared(): CacheStore {
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
  const handler = pipeline<Cacheable, Call, Reply>()
    .use(
      completionCache({
        local: localTier({ maxBytes: 16_000_000, maxAgeMs: options.localAgeMs ?? 60_000 }),
        shared: options.shared ?? memoryShared(),
        purgeVersions: options.purgeVersions ?? ALWAYS_KNOWN,
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
    // What a budget tells of a call.
    .use<{}>(async function playedBudget(_call, { tell }, next) {
      const reply = await next()
      const told = (attempts: StreamEnd['attempts']) => {
        const usage = attempts.at(-1)?.spend.usage
        if (usage !== undefined) tell({ usage: toldUsage(usage), costNanoUsd: costOf(usage, PRICE) })
      }
      if (reply.kind !== 'stream') {
        told(reply.attempts)
        return reply
      }
      const ended = reply.ended.then((end) => {
        told(end.attempts)
        return end
      })
      return { ...reply, ended }
    })
    .handle(({ signal, streamed, body }, { consumer, tell }) => {
      asked += 1
      return model({ body: body.json, streamed, consumer, tell, signal })
    })
  return {
    events,
    lines,
    asked: () => asked,
    async ask({ consumer = 'alice', plan = 'free', prompt = 'Why?', routed = {}, headers = {}, ...more } = {}) {
      const base = baseContext({
        log(...line) {
          events.push(line[1])
          lines.push(line)
        },
      })
      const messages = [{ role: 'user', content: prompt }]
      const body = bodyOf(more.body ?? { messages, temperature: 0.7 })
      const whole: Cacheable['routed'] = {
        route: 'generate',
        model: { name: 'm' },
        price: PRICE,
        candidates: [{ target: { identity: 't' } }],
        cache: RULE,
        transforms: '',
        body,
        ...routed,
      }
      const call: Call = {
        operation: chat,
        route: whole.route,
        model: undefined,
        body,
        streamed: more.stream ?? false,
        bodyDigest: () => JSON.stringify(body.json),
        headers: new Headers(headers),
        signal: more.signal ?? new AbortController().signal,
      }
      const context = { ...base, consumer: { id: consumer, plan }, modelAdmitted: true as const, routed: whole }
      const reply = await handler(call, context)
      return {
        reply,
        code: reply.kind === 'refused' ? reply.refusal.status : 200,
        status: reply.headers['cache-status'],
        // What a refusal says of the upstream is on the line, too.
        get record() {
          const upstream = reply.kind === 'refused' ? reply.refusal.upstream : undefined
          return upstream === undefined ? base.told : { ...base.told, upstream }
        },
        text: () => textOf(reply),
        get events() {
          if (reply.kind !== 'stream') throw new Error('This is no stream')
          return reply.events
        },
      }
    },
  }
}

function promptOf({ messages }: Json): unknown {
  return (messages as readonly { readonly content: unknown }[]).at(-1)?.content
}
