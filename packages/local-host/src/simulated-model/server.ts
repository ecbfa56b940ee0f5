import { createServer, type IncomingMessage, type ServerResponse } from 'node:http'
import type { AddressInfo } from 'node:net'
import { type ChatRequest, complete } from './chat.ts'
import { type EmbeddingsRequest, embed } from './embeddings.ts'
import { FaultSyntaxError, type Faults, parseFaults } from './faults.ts'
import { replyBadly, replyChat, replyResponse, replyWhole, sendError, sendJson } from './reply.ts'
import { messagesIn, type ResponsesRequest } from './responses.ts'
import { type Counted, countRequests } from './stats.ts'

/** The name under which the simulated model answers where none is set. */
export const SIMULATED_MODEL = 'simulated'

/** Says what answers here; cached answers of a simulated model are told from a real one's by it. */
const BASE = '/simulated'
/** OpenAI's paths, and Azure OpenAI's, where the deployment names the model, or nothing does. */
const ROUTE =
  /^\/simulated\/(?:v1|openai(?:\/v1)?|openai\/deployments\/([^/]+))\/(chat\/completions|embeddings|responses|models)(?:\/([^/]+))?$/
const STATS = `${BASE}/stats`
const MODELS = [SIMULATED_MODEL, 'simulated-embedding']

export interface SimulatedModel {
  /** Its base URL, as an OpenAI SDK takes it. */
  readonly url: string
  /** Its endpoint, as an Azure OpenAI SDK takes it. */
  readonly azureEndpoint: string
  /** Ends every answer under way. */
  close(): Promise<void>
}

/**
 * An OpenAI-compatible server that needs no model: the same prompt always gets the same answer, and every answer says
 * that it is simulated. Told to by the `x-simulate` header, or by what stands behind a `+` in the model's name, it fails
 * as models do; docs/simulated-model.md has the words.
 *
 * @param port 0 for any free one
 */
export async function startSimulatedModel({ port = 0 } = {}): Promise<SimulatedModel> {
  const counted = countRequests()
  const failed = new Map<string, number>()
  const server = createServer((request, response) => {
    respond(request, response, counted, failed).catch((error: unknown) => {
      if (response.headersSent) response.destroy()
      else if (error instanceof FaultSyntaxError) sendError(response, 400, 'invalid_fault', error.message)
      else if (error instanceof BadRequest) sendError(response, 400, 'invalid_request_error', error.message)
      else if (!request.destroyed) sendError(response, 500, 'simulation_failed', String(error))
    })
  })
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject)
    server.listen(port, '127.0.0.1', resolve)
  })
  const origin = `http://127.0.0.1:${(server.address() as AddressInfo).port}`
  return {
    url: `${origin}${BASE}/v1`,
    azureEndpoint: `${origin}${BASE}`,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve())
        server.closeAllConnections()
      }),
  }
}

async function respond(
  request: IncomingMessage,
  response: ServerResponse,
  counted: Counted,
  failed: Map<string, number>,
): Promise<void> {
  const { method = '', url = '' } = request
  const path = url.split('?')[0] ?? ''
  if (path === STATS && (method === 'GET' || method === 'DELETE')) {
    sendJson(response, 200, JSON.stringify(counted.stats))
    if (method === 'DELETE') {
      counted.clear()
      failed.clear()
    }
    return
  }
  const [, deployment, route, item] = ROUTE.exec(path) ?? []
  if (route === 'models' && method === 'GET') {
    sendModels(response, item)
    return
  }
  if (method !== 'POST' || route === undefined || route === 'models' || item !== undefined) {
    return sendError(response, 404, 'not_found', `The simulated model has no ${method} ${path}.`)
  }
  const body = parseBody(await text(request))
  const named = deployment === undefined ? body.model : decodeName(deployment)
  const [model = SIMULATED_MODEL, byName = ''] = String(named ?? SIMULATED_MODEL).split(/\+(.*)/)
  counted.count(model, response)
  const byHeader = request.headers['x-simulate']
  const words = typeof byHeader === 'string' ? byHeader : byName
  const faults = stillFailing(words, parseFaults(words, body.stream === true), failed)

  const left = new AbortController()
  response.once('close', () => left.abort())
  if (await replyBadly(response, faults, left.signal)) return
  if (route === 'embeddings') {
    const answer = embed(body, model)
    if (answer === undefined) return sendError(response, 400, 'invalid_request_error', "'input' must not be empty.")
    return replyWhole(response, answer, faults, left.signal)
  }
  const isResponse = route === 'responses'
  const asked = isResponse
    ? { messages: messagesIn(body), max_tokens: body.max_output_tokens ?? Number.POSITIVE_INFINITY }
    : body
  const completion = complete(asked, model, faults)
  response.setHeader('x-request-id', String(request.headers['x-request-id'] ?? completion.id))
  if (isResponse) return replyResponse(response, completion, body, faults, left.signal)
  await replyChat(response, completion, body, faults, left.signal)
}

/** With `fail=N`, the faults of the first N requests with the same words, and then none. */
function stillFailing(words: string, faults: Faults, failed: Map<string, number>): Faults {
  if (faults.fail === undefined) return faults
  const before = failed.get(words) ?? 0
  failed.set(words, before + 1)
  return before < faults.fail ? faults : {}
}

function sendModels(response: ServerResponse, item: string | undefined): void {
  const data = MODELS.map((id) => ({ id, object: 'model', created: 0, owned_by: 'tollgate' }))
  const found = item === undefined ? { object: 'list', data } : data.find(({ id }) => id === item)
  if (found === undefined) sendError(response, 404, 'model_not_found', `There is no model '${item}'.`)
  else sendJson(response, 200, JSON.stringify(found))
}

class BadRequest extends Error {}

function decodeName(deployment: string): string {
  try {
    return decodeURIComponent(deployment)
  } catch {
    throw new BadRequest('The deployment in the path can’t be decoded.')
  }
}

type Body = ChatRequest & EmbeddingsRequest & ResponsesRequest & { readonly model?: string }

function parseBody(text: string): Body {
  let body: unknown
  try {
    body = JSON.parse(text)
  } catch {
    throw new BadRequest('The body is not JSON.')
  }
  if (typeof body !== 'object' || body === null || Array.isArray(body))
    throw new BadRequest('The body is no JSON object.')
  const { messages = [] } = body as { readonly messages?: unknown }
  const areMessages = Array.isArray(messages) && messages.every((each) => typeof each === 'object' && each !== null)
  if (!areMessages) throw new BadRequest("'messages' must be an array of objects.")
  return body
}

async function text(request: IncomingMessage): Promise<string> {
  const received: Buffer[] = []
  for await (const chunk of request as AsyncIterable<Buffer>) received.push(chunk)
  return Buffer.concat(received).toString('utf8')
}
