import type { ServerResponse } from 'node:http'
import { type ChatRequest, type Completion, chunks, wholeAnswer } from './chat.ts'
import { type Faults, retryHeaders } from './faults.ts'
import { eventsOf, type ResponsesRequest, wholeResponse } from './responses.ts'

/** Codes that OpenAI gives with these statuses. */
const CODES: Readonly<Record<number, string>> = {
  400: 'invalid_request_error',
  401: 'invalid_api_key',
  404: 'model_not_found',
  429: 'rate_limit_exceeded',
}

/** Sends what stands in the answer's place. @returns whether there was such. */
export async function replyBadly(response: ServerResponse, faults: Faults, left: AbortSignal): Promise<boolean> {
  const { latency, hang, status, retryAfter, html, invalidJson } = faults
  if (latency !== undefined) await pause(latency, left)
  if (left.aborted) return true
  if (hang === 'begin') {
    await leaving(left)
    return true
  }
  const retry = retryHeaders(retryAfter, Date.now())
  for (const [name, value] of Object.entries(retry)) response.setHeader(name, value)
  if (html) {
    response.writeHead(status ?? 502, { 'content-type': 'text/html' })
    response.end('<html><head><title>Bad Gateway</title></head><body>The simulated proxy is unwell.</body></html>')
    return true
  }
  if (status !== undefined) {
    sendError(response, status, CODES[status] ?? 'server_error', `A simulated ${status}.`)
    return true
  }
  if (invalidJson) {
    response.writeHead(200, { 'content-type': 'application/json' }).end('{"object": "chat.completion", "choices": [')
    return true
  }
  return false
}

/** Sends a whole body; a fault may stop it half-way. */
export async function replyWhole(
  response: ServerResponse,
  answer: object,
  { hang, cut }: Faults,
  left: AbortSignal,
): Promise<void> {
  const text = JSON.stringify(answer)
  if (hang === undefined && cut === undefined) return sendJson(response, 200, text)
  response.writeHead(200, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) })
  await write(response, text.slice(0, text.length / 2), left)
  if (cut === undefined) await leaving(left)
  else await breakOff(response)
}

export async function replyChat(
  response: ServerResponse,
  completion: Completion,
  body: ChatRequest,
  faults: Faults,
  left: AbortSignal,
): Promise<void> {
  if (!body.stream) return replyWhole(response, wholeAnswer(completion), faults, left)
  await replyStream(response, chatEvents(completion, body), faults, left)
}

export async function replyResponse(
  response: ServerResponse,
  completion: Completion,
  body: ResponsesRequest & { readonly stream?: boolean },
  faults: Faults,
  left: AbortSignal,
): Promise<void> {
  if (!body.stream) return replyWhole(response, wholeResponse(completion, body), faults, left)
  await replyStream(response, responseEvents(completion, body), faults, left)
}

interface Sent {
  /** An event, with its blank line. */
  readonly text: string
  /** Whether it brings a piece of the text. */
  readonly isPiece?: boolean
  /** Whether it says that there is no more. */
  readonly isEnd?: boolean
  /** What would tell of an error in its place. */
  readonly error: string
}

const ERROR = { message: 'A simulated error event.', param: null, code: 'server_error' }

function* chatEvents(completion: Completion, body: ChatRequest): Generator<Sent> {
  const error = `data: ${JSON.stringify({ error: { ...ERROR, type: 'server_error' } })}\n\n`
  for (const { chunk, isPiece } of chunks(completion, body)) {
    yield { text: `data: ${JSON.stringify(chunk)}\n\n`, isPiece, error }
  }
  yield { text: 'data: [DONE]\n\n', isEnd: true, error }
}

function* responseEvents(completion: Completion, body: ResponsesRequest): Generator<Sent> {
  let sequence_number = 0
  const named = ({ type, ...fields }: { readonly type: string }) =>
    `event: ${type}\ndata: ${JSON.stringify({ type, sequence_number, ...fields })}\n\n`
  for (const event of eventsOf(completion, body)) {
    const { type } = event
    const isEnd = type === 'response.completed' || type === 'response.incomplete'
    const error = named({ type: 'error', ...ERROR })
    yield { text: named(event), isPiece: type === 'response.output_text.delta', isEnd, error }
    sequence_number += 1
  }
}

async function replyStream(
  response: ServerResponse,
  events: Iterable<Sent>,
  faults: Faults,
  left: AbortSignal,
): Promise<void> {
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.flushHeaders()
  let sent = 0
  for (const { text, isPiece = false, isEnd = false, error } of events) {
    if ((isPiece || isEnd) && (await stopsAt(response, { sent, error }, faults, left))) return
    if (isPiece && faults.pace !== undefined) await pause(faults.pace, left)
    if (left.aborted) return
    if (isEnd) return void response.end(faults.noDone ? '' : text)
    await write(response, text, left)
    if (isPiece) sent += 1
  }
}

/** Whether the stream stops after so many pieces, and how. A fault past the last piece comes after it. */
async function stopsAt(
  response: ServerResponse,
  { sent, error }: { readonly sent: number; readonly error: string },
  faults: Faults,
  left: AbortSignal,
): Promise<boolean> {
  const { hang, cut, errorEvent } = faults
  if (errorEvent === sent) {
    response.end(error)
    return true
  }
  if (cut === sent) {
    await breakOff(response)
    return true
  }
  if (hang === sent) await leaving(left)
  return left.aborted
}

export function sendError(response: ServerResponse, status: number, code: string, message: string): void {
  const type = status >= 500 ? 'server_error' : 'invalid_request_error'
  sendJson(response, status, JSON.stringify({ error: { message, type, param: null, code } }))
}

export function sendJson(response: ServerResponse, status: number, text: string): void {
  response.writeHead(status, { 'content-type': 'application/json' })
  response.end(text)
}

/** Breaks the connection, after what was written. */
async function breakOff(response: ServerResponse): Promise<void> {
  // An empty write is called back when all before it has been handed to the system.
  await new Promise<void>((resolve) => response.write('', () => resolve()))
  response.destroy()
}

/** No faster than the client takes it. */
async function write(response: ServerResponse, text: string, left: AbortSignal): Promise<void> {
  if (response.write(text) || left.aborted) return
  await new Promise<void>((resolve) => {
    const done = () => {
      response.off('drain', done)
      left.removeEventListener('abort', done)
      resolve()
    }
    response.on('drain', done)
    left.addEventListener('abort', done)
  })
}

function pause(ms: number, left: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    const done = () => {
      clearTimeout(timer)
      left.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    left.addEventListener('abort', done)
  })
}

function leaving(left: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (left.aborted) resolve()
    else left.addEventListener('abort', () => resolve(), { once: true })
  })
}
