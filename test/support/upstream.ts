import { createServer, type IncomingHttpHeaders, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

export interface ReceivedCall {
  readonly path: string
  readonly headers: IncomingHttpHeaders
  readonly body: Record<string, unknown>
}

type Reply = (call: ReceivedCall, response: ServerResponse) => void

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
    const call = { path: request.url ?? '', headers: request.headers, body: await json(request) }
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

export interface CompletionBody {
  id: string
  object: string
  model: unknown
  choices: { index: number; message: Record<string, unknown>; finish_reason: string | null }[]
  usage?: Record<string, number>
  [field: string]: unknown
}

function completionOf({ body }: ReceivedCall): CompletionBody {
  const messages = body.messages as { role: string; content: string }[]
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

async function json(request: IncomingMessage): Promise<Record<string, unknown>> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return JSON.parse(Buffer.concat(chunks).toString() || '{}')
}
