import type {
  ChatAnswer,
  ChatUsage,
  Codec,
  CompletionRequest,
  EventEncoder,
  Refusal,
  RefusalCode,
  UpstreamFailure,
} from '@tollgate/middleware'

/*
 * POST /api/generate: a prompt in, a completion out, errors as {"error": …, "code": …}. docs/generate.md is the contract.
 */

const DEFAULT_SYSTEM = 'You are a helpful assistant.'
const DEFAULT_TEMPERATURE = 0.7
const DEFAULT_MAX_TOKENS = 800

/** @param maxOutputTokens what `max_tokens` is capped at */
export function generateCodec(maxOutputTokens: number): Codec {
  return { decode: (body) => decode(body, maxOutputTokens), encode, events }
}

/** Fields beside the prompt: each optional, and none of another type than this. */
const OPTIONAL_FIELDS: Readonly<Record<string, { readonly is: (value: unknown) => boolean; readonly what: string }>> = {
  system: { is: (value) => typeof value === 'string', what: 'a string' },
  model: { is: (value) => typeof value === 'string', what: 'a string' },
  temperature: { is: (value) => typeof value === 'number' && value >= 0 && value <= 2, what: 'a number from 0 to 2' },
  max_tokens: { is: (value) => Number.isInteger(value) && Number(value) >= 1, what: 'a positive integer' },
  stream: { is: (value) => typeof value === 'boolean', what: 'true or false' },
}

interface GenerateBody {
  readonly prompt?: unknown
  readonly system?: string
  readonly model?: string
  readonly temperature?: number
  readonly max_tokens?: number
  readonly stream?: boolean
}

function decode(json: unknown, maxOutputTokens: number): CompletionRequest | Refusal {
  const isObject = typeof json === 'object' && json !== null && !Array.isArray(json)
  const fields: Record<string, unknown> = isObject ? { ...json } : {}
  const { prompt, system, model, temperature, max_tokens, stream } = fields as GenerateBody
  if (typeof prompt !== 'string' || prompt === '') return invalid('prompt', 'a non-empty string')
  for (const [field, { is, what }] of Object.entries(OPTIONAL_FIELDS)) {
    if (fields[field] !== undefined && !is(fields[field])) return invalid(field, what)
  }
  return {
    model,
    prompt,
    body: {
      messages: [
        { role: 'system', content: system ?? DEFAULT_SYSTEM },
        { role: 'user', content: prompt },
      ],
      temperature: temperature ?? DEFAULT_TEMPERATURE,
      max_tokens: Math.min(max_tokens ?? DEFAULT_MAX_TOKENS, maxOutputTokens),
      ...(stream ? { stream, stream_options: { include_usage: true } } : {}),
    },
  }
}

function invalid(field: string, what: string): Refusal {
  return { code: 'invalid_request', status: 400, param: field, message: `'${field}' must be ${what}` }
}

function encode({ choices, model, usage }: ChatAnswer): object {
  return success(choices[0]?.message.content ?? null, model, usage)
}

function success(completion: unknown, model: unknown, usage: ChatUsage | null | undefined): object {
  return {
    data: {
      completion,
      model: model ?? null,
      usage: {
        prompt_tokens: usage?.prompt_tokens ?? null,
        completion_tokens: usage?.completion_tokens ?? null,
        total_tokens: usage?.total_tokens ?? null,
      },
    },
    status: 'success',
  }
}

/** A streamed completion: its pieces, and last a plain answer without text. The texts of all, joined, are the completion. */
function events(): EventEncoder {
  let model: unknown
  let usage: ChatUsage | null | undefined
  return {
    chunk(chunk) {
      // Azure's first chunk, of filter results, names no model.
      model = chunk.model || model
      usage = chunk.usage ?? usage
      const piece = chunk.choices[0]?.delta?.content
      return typeof piece === 'string' && piece !== ''
        ? JSON.stringify({ data: { completion: piece }, status: 'streaming' })
        : undefined
    },
    end: () => JSON.stringify(success('', model, usage)),
    failed: (upstream) => JSON.stringify(errorBody({ code: 'upstream_failed', status: 502, message: '', upstream })),
  }
}

/** Texts that the contract fixes; all other refusals speak for themselves. */
const FIXED_MESSAGES: Partial<Record<RefusalCode, string>> = {
  invalid_json: 'Invalid JSON format',
  rate_limit_exceeded: 'Too many requests. Please try again later.',
  not_configured: 'Internal Server Error: LLM service is not configured.',
  upstream_failed: 'The LLM service failed to process the request.',
  internal_error: 'An internal server error occurred.',
}

export function refuseGenerate(refusal: Refusal): Response {
  const { status, headers } = refusal
  return Response.json(errorBody(refusal), { status, ...(headers === undefined ? {} : { headers }) })
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
