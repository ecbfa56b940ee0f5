import { hash } from 'node:crypto'
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'

/** The name under which the simulated model answers where none is set. */
export const SIMULATED_MODEL = 'simulated'

/** Says what answers here; cached answers of a simulated model are told from a real one's by it. */
const BASE = '/simulated/v1'

export interface SimulatedModel {
  /** Its base URL, as an OpenAI SDK takes it. */
  readonly url: string
  close(): void
}

interface ChatRequest {
  readonly model?: string
  readonly messages?: readonly { readonly role?: string; readonly content?: unknown }[]
  readonly stream?: boolean
  readonly stream_options?: { readonly include_usage?: boolean }
}

/**
 * An OpenAI-compatible server that needs no model: the same prompt always gets the same answer, and every answer says
 * that it is simulated. Plain and streamed chat completions.
 */
export async function startSimulatedModel(): Promise<SimulatedModel> {
  const server = createServer((request, response) => {
    respond(request, response).catch(() => sendError(response, 400, 'invalid_request_error', 'The body is not JSON.'))
  })
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve))
  const { port } = server.address() as AddressInfo
  return { url: `http://127.0.0.1:${port}${BASE}`, close: () => server.close() }
}

async function respond(request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (request.method !== 'POST' || request.url?.split('?')[0] !== `${BASE}/chat/completions`) {
    return sendError(response, 404, 'not_found', `The simulated model answers POST ${BASE}/chat/completions only.`)
  }
  const body: ChatRequest = JSON.parse(await text(request))
  const messages = JSON.stringify(body.messages ?? [])
  const prompt = String(body.messages?.findLast(({ role }) => role === 'user')?.content ?? '')
  const content = `This is a simulated answer to: ${shorten(prompt)}`
  const promptTokens = tokens(messages)
  const completion = {
    id: `chatcmpl-simulated-${hash('sha256', messages, 'hex').slice(0, 16)}`,
    created: 0,
    model: body.model ?? SIMULATED_MODEL,
  }
  const usage = {
    prompt_tokens: promptTokens,
    completion_tokens: tokens(content),
    total_tokens: promptTokens + tokens(content),
  }
  response.setHeader('x-request-id', String(request.headers['x-request-id'] ?? completion.id))
  if (body.stream) {
    response.writeHead(200, { 'content-type': 'text/event-stream' })
    for (const event of events(content, body, usage)) {
      response.write(`data: ${JSON.stringify({ ...completion, object: 'chat.completion.chunk', ...event })}\n\n`)
    }
    response.end('data: [DONE]\n\n')
    return
  }
  const choices = [{ index: 0, message: { role: 'assistant', content }, finish_reason: 'stop' }]
  sendJson(response, 200, { ...completion, object: 'chat.completion', choices, usage })
}

function events(content: string, body: ChatRequest, usage: object): object[] {
  const words = content.split(/(?<= )/)
  const chunk = (delta: object, finish: 'stop' | null) => ({ choices: [{ index: 0, delta, finish_reason: finish }] })
  return [
    chunk({ role: 'assistant', content: '' }, null),
    ...words.map((word) => chunk({ content: word }, null)),
    chunk({}, 'stop'),
    ...(body.stream_options?.include_usage ? [{ choices: [], usage }] : []),
  ]
}

/** Four bytes a token, as English text has about. */
function tokens(text: string): number {
  return Math.ceil(Buffer.byteLength(text) / 4)
}

function shorten(text: string): string {
  const characters = [...text]
  return characters.length > 200 ? `${characters.slice(0, 200).join('')}…` : text
}

async function text(request: IncomingMessage): Promise<string> {
  const chunks: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk)
  return Buffer.concat(chunks).toString('utf8')
}

function sendError(response: ServerResponse, status: number, code: string, message: string): void {
  sendJson(response, status, { error: { message, type: 'invalid_request_error', param: null, code } })
}

function sendJson(response: ServerResponse, status: number, body: object): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(JSON.stringify(body))
}
