import {
  type AnswerReply,
  type Attempt,
  BrokenStream,
  chat,
  type EventSource,
  type Reply,
  SPEND_UNKNOWN,
  type Spend,
  type StreamEnd,
  type StreamEvent,
  type StreamReply,
} from '@tollgate/middleware'

/** One call to a target that is played. */
export function attempt(spend: Spend, more: Partial<Attempt> = {}): Attempt {
  return { model: 'default', target: 'played', price: undefined, spend, ms: 1, ...more }
}

/** A plain answer as the upstream gives it: the model's 200 with this JSON. */
export function answered(json: object, more: Partial<AnswerReply> = {}): AnswerReply {
  const parsed = chat.parse(Buffer.from(JSON.stringify(json)))
  if (parsed.kind !== 'answer') throw new Error(`The test's answer is none: ${parsed.failure.code}`)
  return {
    kind: 'answer',
    answer: parsed.answer,
    attempts: [attempt(parsed.spend)],
    headers: {},
    source: 'call',
    storable: true,
    ...more,
  }
}

export interface PlayedStream {
  readonly reply: StreamReply
  /** Sends these bytes of the model's stream to who reads; `'end'` ends it, an error breaks it. */
  send(bytes: string | 'end' | Error): void
  /** What it was cancelled with; `undefined` while it was not. */
  readonly cancelled: { readonly reason: unknown } | undefined
  /** How often somebody waited for more. */
  readonly reads: number
}

/** A streamed answer as the upstream gives it, whose model the test plays. */
export function playedStream({ signal }: { readonly signal?: AbortSignal } = {}): PlayedStream {
  const parser = chat.stream()
  const ready: (readonly StreamEvent[] | undefined | Error)[] = []
  let waiting: PromiseWithResolvers<readonly StreamEvent[] | undefined> | undefined
  let cancelled: { readonly reason: unknown } | undefined
  let reads = 0
  const { promise: ended, resolve } = Promise.withResolvers<StreamEnd>()

  const spend = (): Spend => {
    const isOver = parser.finished || parser.ended === 'whole' || parser.isEmpty
    if (isOver && parser.usage !== undefined) return { usage: parser.usage, isCertain: true }
    return parser.told === undefined ? SPEND_UNKNOWN : { usage: parser.told, isCertain: false }
  }
  const end = (how: StreamEnd['how']) => resolve({ how, attempts: [attempt(spend())] })
  const give = (piece: readonly StreamEvent[] | undefined | Error) => {
    if (cancelled !== undefined) return
    if (waiting === undefined) return void ready.push(piece)
    const { resolve: deliver, reject } = waiting
    waiting = undefined
    if (piece instanceof Error) {
      end('broken')
      reject(piece)
    } else {
      if (piece === undefined) end('complete')
      deliver(piece)
    }
  }
  const cancel = (reason: unknown) => {
    if (cancelled !== undefined) return
    cancelled = { reason }
    waiting?.resolve(undefined)
    waiting = undefined
    end('client_left')
  }
  signal?.addEventListener('abort', () => cancel(signal.reason))
  const events: EventSource = {
    async read() {
      reads += 1
      if (cancelled !== undefined) return undefined
      if (ready.length > 0) {
        const piece = ready.shift()
        if (piece instanceof Error) {
          end('broken')
          throw piece
        }
        if (piece === undefined) end('complete')
        return piece
      }
      waiting = Promise.withResolvers()
      return waiting.promise
    },
    cancel,
  }
  return {
    reply: { kind: 'stream', events, ended, headers: {}, source: 'call', storable: true },
    send(bytes) {
      if (bytes instanceof Error) return give(bytes)
      const came = bytes === 'end' ? parser.close() : parser.feed(Buffer.from(bytes))
      if (came.length > 0) give(came)
      if (parser.ended instanceof BrokenStream) give(parser.ended)
      else if (bytes === 'end') give(undefined)
    },
    get cancelled() {
      return cancelled
    },
    get reads() {
      return reads
    },
  }
}

/** A whole stream of these bytes. */
export function streamed(bytes: string, more: Partial<StreamReply> = {}): StreamReply {
  const { reply, send } = playedStream()
  send(bytes)
  send('end')
  return { ...reply, ...more }
}

/** Reads a reply's stream to its end, as text. @throws what the stream throws */
export async function textOf(reply: Reply): Promise<string> {
  if (reply.kind === 'answer') return reply.answer.bytes.toString()
  if (reply.kind === 'refused') return JSON.stringify(reply.refusal)
  const pieces: Uint8Array[] = []
  for (let came = await reply.events.read(); came !== undefined; came = await reply.events.read()) {
    for (const { bytes } of came) pieces.push(Buffer.from(bytes))
  }
  return Buffer.concat(pieces).toString()
}
