import { once } from 'node:events'
import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ReceivedCall {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Record<string, unknown>
  /** The body as it came. */
  readonly text: string
}

type Reply = (call: ReceivedCall, response: ServerResponse) => unknown

/** A real HTTP server in the model's place: it records what it was asked and answers as the test says. */
export interface Upstream {
  /** As an OpenAI SDK takes it, with /v1. */
  readonly baseUrl: string
  readonly origin: string
  readonly calls: ReceivedCall[]
  reply: Reply
  close(): Promise<void>
}

export async function startUpstream(): Promise<Upstream> {
  const server = createServer(async (request, response) => {
    const text = await textOf(request)
    const call = { path: request.url ?? '', headers: request.headers, body: JSON.parse(text || '{}'), text }
    upstream.calls.push(call)
    upstream.reply(call, response)
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  const upstream: Upstream = {
    origin,
    baseUrl: `${origin}/v1`,
    calls: [],
    reply: answering(),
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
  return upstream
}

/** A whole completion that repeats the prompt, with what the test wants different. */
export function answering(change: (answer: CompletionBody) => unknown = (answer) => answer): Reply {
  return (call, response) => sendJson(response, 200, change(completionOf(call)))
}

/** An error in OpenAI's shape. */
export function failing(
  status: number,
  error: Record<string, unknown> = {},
  headers: Record<string, string> = {},
): Reply {
  return (_call, response) => sendJson(response, status, { error: { message: 'no', ...error } }, headers)
}

export function sending(status: number, text: string, headers: Record<string, string> = {}): Reply {
  return (_call, response) => response.writeHead(status, headers).end(text)
}

export interface StreamingOptions {
  /** Waited for before the piece of this index. */
  readonly before?: (index: number) => unknown
  /** What comes after the pieces instead of a proper end. */
  readonly end?: (response: ServerResponse) => void
  /** Sent in place of all of it. */
  readonly raw?: string
  /** Whether the usage is told (it is asked for). */
  readonly usage?: boolean
  /** Bytes of each write, so that events and characters are cut apart. */
  readonly cutEvery?: number
}

/** A completion as a stream of events, a piece each. */
export function streaming(pieces: readonly string[], options: StreamingOptions = {}): Reply {
  return async (call, response) => {
    const { before, end, raw, usage = true, cutEvery } = options
    const write = (text: string) => {
      const bytes = Buffer.from(text)
      const step = cutEvery ?? (bytes.length || 1)
      for (let at = 0; at < bytes.length; at += step) response.write(bytes.subarray(at, at + step))
    }
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    if (raw !== undefined) return void response.end(raw)
    const chunk = (change: object) =>
      write(
        `data: ${JSON.stringify({ model: `${call.body.model}-2026`, object: 'chat.completion.chunk', ...change })}\n\n`,
      )
    const delta = (content: object, finish_reason: string | null) =>
      chunk({ choices: [{ index: 0, delta: content, finish_reason }] })
    for (const [index, content] of pieces.entries()) {
      await before?.(index)
      if (response.writableNeedDrain) await drained(response)
      if (response.destroyed) return
      delta({ content }, null)
    }
    if (end !== undefined) return end(response)
    delta({}, 'stop')
    if (usage) chunk({ choices: [], usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 } })
    write('data: [DONE]\n\n')
    response.end()
  }
}

async function drained(response: ServerResponse): Promise<void> {
  const settled = new AbortController()
  const { signal } = settled
  await Promise.race([once(response, 'drain', { signal }), once(response, 'close', { signal })])
  settled.abort()
}

export interface CompletionBody {
  id: string
  object: string
  model: unknown
  choices: { index: number; message: Record<string, unknown>; finish_reason: string | null }[]
  usage?: Record<string, number>
  [field: string]: unknown
}

function completionOf({ body }: ReceivedCall): CompletionBody {
  // A call by another route than chat has none.
  const messages = (body.messages ?? []) as { role: string; content: string }[]
  return {
    id: 'chatcmpl-test',
    object: 'chat.completion',
    model: `${body.model}-2026`,
    choices: [
      { index: 0, message: { role: 'assistant', content: `echo: ${messages.at(-1)?.content}` }, finish_reason: 'stop' },
    ],
    usage: { prompt_tokens: 11, completion_tokens: 7, total_tokens: 18 },
  }
}

function sendJson(response: ServerResponse, status: number, body: unknown, headers: Record<string, string> = {}): void {
  response.writeHead(status, { 'content-type': 'application/json', ...headers }).end(JSON.stringify(body))
}

async function textOf(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString()
}
