import {
  type Answer,
  answerText,
  type Body,
  bodyOf,
  type ChatAnswer,
  type ChatChunk,
  type ChatUsage,
  chat,
  type FieldRules,
  isCount,
  type Json,
} from '../operations/index.ts'
import {
  type HttpResponse,
  jsonResponse,
  type Refusal,
  type RefusalCode,
  type UpstreamFailure,
} from '../pipeline/index.ts'
import type { Decoded, EventWriter, Surface } from './surface.ts'

/*
 * POST /api/generate: a prompt in, a completion out, errors as {"error": …, "code": …}. docs/generate.md is the contract.
 */

const DEFAULT_SYSTEM = 'You are a helpful assistant.'
const DEFAULT_TEMPERATURE = 0.7
const DEFAULT_MAX_TOKENS = 800

/** The surface that the seed's clients speak; its errors are the same words on any route. */
export const generate: Surface = {
  name: 'generate',
  operation: chat,
  route: 'generate',
  decode: (body, _request, { maxOutputTokens }) => decode(body, maxOutputTokens),
  encode,
  events,
  refuse,
}

/** Fields beside the prompt: each optional, and none of another type than this. */
const OPTIONAL_FIELDS = Object.entries<{ readonly is: (value: unknown) => boolean; readonly what: string }>({
  system: { is: (value) => typeof value === 'string', what: 'a string' },
  model: { is: (value) => typeof value === 'string', what: 'a string' },
  temperature: { is: (value) => typeof value === 'number' && value >= 0 && value <= 2, what: 'a number from 0 to 2' },
  max_tokens: { is: (value) => Number.isInteger(value) && Number(value) >= 1, what: 'a positive integer' },
  stream: { is: (value) => typeof value === 'boolean', what: 'true or false' },
})

interface GenerateBody {
  readonly prompt?: unknown
  readonly system?: string
  readonly model?: string
  readonly temperature?: number
  readonly max_tokens?: number
  readonly stream?: boolean
}

function decode({ json: fields }: Body, maxOutputTokens: number): Decoded | Refusal {
  const { prompt, system, model, temperature, max_tokens, stream } = fields as GenerateBody & Json
  if (typeof prompt !== 'string' || prompt === '') return invalid('prompt', 'a non-empty string')
  for (const [field, { is, what }] of OPTIONAL_FIELDS) {
    if (fields[field] !== undefined && !is(fields[field])) return invalid(field, what)
  }
  return {
    model,
    prompt,
    streamed: stream === true,
    fit,
    body: bodyOf({
      messages: [
        { role: 'system', content: system ?? DEFAULT_SYSTEM },
        { role: 'user', content: prompt },
      ],
      temperature: temperature ?? DEFAULT_TEMPERATURE,
      max_tokens: Math.min(max_tokens ?? DEFAULT_MAX_TOKENS, maxOutputTokens),
      ...(stream ? { stream, stream_options: { include_usage: true } } : {}),
    }),
  }
}

/** Models that think refuse `max_tokens`, for what they call `max_completion_tokens`, and any temperature. */
function fit(body: Body, { outputField, temperature }: FieldRules): Body {
  if (outputField === 'max_tokens' && temperature) return body
  const { max_tokens, temperature: asked, ...rest } = body.json
  return bodyOf({ ...rest, ...(temperature ? { temperature: asked } : {}), [outputField]: max_tokens })
}

function invalid(field: string, what: string): Refusal {
  return { kind: 'refusal', code: 'invalid_request', status: 400, param: field, message: `'${field}' must be ${what}` }
}

function encode(answer: Answer): Uint8Array {
  const { choices, model, usage } = answer.json() as unknown as ChatAnswer
  const { text, refusal } = answerText(choices[0]?.message ?? {})
  // In memory of its own: what is remembered must not keep a common buffer.
  return new TextEncoder().encode(JSON.stringify(success({ text, refusal, model, usage: countsIn(usage) })))
}

interface Success {
  readonly text: string | null
  readonly refusal: boolean
  readonly model: unknown
  readonly usage: Counts
}

function success({ text, refusal, model, usage }: Success): object {
  return {
    data: {
      completion: text,
      ...(refusal ? { refusal } : {}),
      model: typeof model === 'string' ? model : null,
      usage,
    },
    status: 'success',
  }
}

const COUNTS = ['prompt_tokens', 'completion_tokens', 'total_tokens'] as const
type Counts = Readonly<Record<(typeof COUNTS)[number], number | null>>

/** What a model tells of its usage, as far as it is a count; of a stream, the most that it has told. */
function countsIn(told: ChatUsage | null | undefined, before?: Counts): Counts {
  const counts = COUNTS.map((name) => {
    const [count, known] = [told?.[name], before?.[name] ?? null]
    return [name, isCount(count) ? Math.max(count, known ?? 0) : known]
  })
  return Object.fromEntries(counts) as Counts
}

/** A streamed completion: its pieces, and last a plain answer without text. The texts of all, joined, are the completion. */
function events(): EventWriter {
  let model: unknown
  let usage = countsIn(undefined)
  let refusal = false
  return {
    write({ json }) {
      if (json === undefined) return undefined
      const chunk = json as unknown as ChatChunk
      // Azure's first chunk, of filter results, names no model.
      if (typeof chunk.model === 'string' && chunk.model !== '') model = chunk.model
      if (chunk.usage) usage = countsIn(chunk.usage, usage)
      const said = answerText(firstOf(chunk)?.delta ?? {})
      refusal ||= said.refusal
      return said.text ? pieceText(said.text, said.refusal) : undefined
    },
    end: () => eventText(success({ text: '', refusal, model, usage })),
    failed: (upstream) =>
      eventText(errorBody({ kind: 'refusal', code: 'upstream_failed', status: 502, message: '', upstream })),
  }
}

/** As `eventText` would write it, in a third of the time: there is one for each token. */
function pieceText(text: string, refusal: boolean): string {
  return `data: {"data":{"completion":${JSON.stringify(text)}${refusal ? ',"refusal":true' : ''}},"status":"streaming"}\n\n`
}

function eventText(data: object): string {
  return `data: ${JSON.stringify(data)}\n\n`
}

/** A piece of the first choice, which is the only one that is asked for. */
function firstOf({ choices }: ChatChunk): ChatChunk['choices'][number] | undefined {
  return choices.find(({ index }) => index === 0) ?? choices[0]
}

/** Texts that the contract fixes; all other refusals speak for themselves. */
const FIXED_MESSAGES: Partial<Record<RefusalCode, string>> = {
  invalid_json: 'Invalid JSON format',
  rate_limit_exceeded: 'Too many requests. Please try again later.',
  not_configured: 'Internal Server Error: LLM service is not configured.',
  upstream_failed: 'The LLM service failed to process the request.',
  internal_error: 'An internal server error occurred.',
}

function refuse(refusal: Refusal): HttpResponse {
  // Among this contract's fields: there is no path that names a model.
  const told = refusal.code === 'model_not_found' ? invalid('model', 'the name of a configured model') : refusal
  return jsonResponse(told.status, errorBody(told), told.headers)
}

function errorBody({ code, message, details, upstream }: Refusal): object {
  const error = FIXED_MESSAGES[code] ?? message
  const more = details ?? (upstream === undefined ? undefined : toldOf(upstream))
  return more === undefined ? { error, code } : { error, code, details: more }
}

function toldOf({ status, code, requestId }: UpstreamFailure): string {
  const parts = [
    status === undefined ? undefined : `status ${status}`,
    code === undefined ? undefined : `code ${code}`,
    requestId === undefined ? undefined : `request id ${requestId}`,
  ]
  return parts.filter((part) => part !== undefined).join(', ') || 'no answer'
}
