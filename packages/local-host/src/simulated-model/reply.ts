import type { ServerResponse } from 'node:http'
import { type ChatRequest, type Completion, chunks, wholeAnswer } from './chat.ts'
import { type Faults, retryHeaders } from './faults.ts'

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
  response.writeHead(200, { 'content-type': 'text/event-stream' })
  response.flushHeaders()
  let sent = 0
  for (const { chunk, isPiece } of chunks(completion, body)) {
    if (isPiece && (await stopsAt(response, sent, faults, left))) return
    if (isPiece && faults.pace !== undefined) await pause(faults.pace, left)
    if (left.aborted) return
    await write(response, `data: ${JSON.stringify(chunk)}\n\n`, left)
    if (isPiece) sent += 1
  }
  if (await stopsAt(response, sent, faults, left)) return
  response.end(faults.noDone ? '' : 'data: [DONE]\n\n')
}

/** Whether the stream stops after so many pieces, and how. A fault past the last piece comes after it. */
async function stopsAt(response: ServerResponse, sent: number, faults: Faults, left: AbortSignal): Promise<boolean> {
  const { hang, cut, errorEvent } = faults
  if (errorEvent === sent) {
    const error = { message: 'A simulated error event.', type: 'server_error', param: null, code: 'server_error' }
    response.end(`data: ${JSON.stringify({ error })}\n\n`)
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
