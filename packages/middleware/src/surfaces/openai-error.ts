import {
  type HttpResponse,
  jsonResponse,
  type Refusal,
  type RefusalCode,
  type UpstreamFailure,
} from '../pipeline/index.ts'

/*
 * Errors as OpenAI and Azure OpenAI write them, for all surfaces that speak their language. A limit of the policy reads as a
 * rate limit, a spent budget as quota; what asking again can't mend says `x-should-retry: false`, since these clients try a
 * 408, 409, 429 and 5xx twice more, and at once where they are told to wait for more than a minute.
 */

/** An error in OpenAI's shape: `{"error": …}`. */
export interface OpenaiError {
  readonly message: string
  readonly type: string | null
  readonly param: string | null
  readonly code: string | null
}

/** A refusal as OpenAI answers it. */
export function openaiRefusal(refusal: Refusal): HttpResponse {
  const status = statusOf(refusal)
  return jsonResponse(status, { error: refusal.said ?? errorOf(refusal, status) }, headersOf(refusal, status))
}

/**
 * A refusal as Azure OpenAI answers it. Its gateway's own errors have their status as `code` and nothing but a message; the
 * code by which we know them is their `innererror`. Those of the service behind it have OpenAI's shape.
 */
export function azureRefusal(refusal: Refusal): HttpResponse {
  const status = statusOf(refusal)
  return jsonResponse(status, { error: refusal.said ?? azureErrorOf(refusal, status) }, headersOf(refusal, status))
}

/** The error of a stream that broke off, as the data of its last event. */
export function openaiFailure(failure: UpstreamFailure): { readonly error: OpenaiError } {
  const code = failure.code ?? 'upstream_failed'
  return { error: { message: failedText(failure), type: 'server_error', param: null, code } }
}

/** A path or method that nothing is served at. */
export function notServed(code: 'not_found' | 'method_not_allowed', message: string, allow?: string): Refusal {
  const status = code === 'not_found' ? 404 : 405
  return { kind: 'refusal', code, status, message, ...(allow === undefined ? {} : { headers: { allow } }) }
}

function errorOf(refusal: Refusal, status: number): OpenaiError {
  const { code, param = null, upstream } = refusal
  const message = messageOf(refusal, status)
  if (code === 'rate_limit_exceeded' || isServicesLimit(refusal, status)) {
    return { message, type: refusal.counted ?? 'requests', param, code: 'rate_limit_exceeded' }
  }
  if (code === 'insufficient_quota') return { message, type: code, param, code }
  if (code !== 'upstream_failed') return { message, type: typeOf(status), param, code }
  // What the service calls its error helps only the caller who can do something about it.
  return { message, type: typeOf(status), param, code: (status < 500 ? upstream?.code : undefined) ?? code }
}

/** Errors that Azure's own gateway answers with its status as their code. */
const OF_AZURES_GATEWAY: ReadonlySet<number> = new Set([401, 404, 405, 408, 429])

function azureErrorOf(refusal: Refusal, status: number): object {
  const { code } = refusal
  const error = errorOf(refusal, status)
  if (code === 'model_not_found') return { code: 'DeploymentNotFound', message: error.message }
  if (code === 'insufficient_quota') return error
  if (status < 500 && !OF_AZURES_GATEWAY.has(status)) return error
  return { code: String(status), message: error.message, innererror: { code: error.code } }
}

function typeOf(status: number): string {
  return status < 500 ? 'invalid_request_error' : 'server_error'
}

/** By these the model's service turns a request away for what it asks, wherever it goes. Its callers are told the same. */
const CALLERS_FAULT: ReadonlySet<number> = new Set([400, 413, 415, 422, 451])

function statusOf({ code, status, upstream }: Refusal): number {
  if (code !== 'upstream_failed' || upstream?.status === undefined) return status
  if (CALLERS_FAULT.has(upstream.status)) return upstream.status
  // That the operator's own account is empty is nothing that a caller could wait for.
  return upstream.status === 429 && upstream.code !== 'insufficient_quota' ? 429 : status
}

function isServicesLimit({ code }: Refusal, status: number): boolean {
  return code === 'upstream_failed' && status === 429
}

function messageOf(refusal: Refusal, status: number): string {
  const { code, message, details, upstream = {} } = refusal
  const seconds = Number(refusal.headers?.['retry-after'])
  const wait = status === 429 && seconds > 0 ? ` Please retry after ${seconds} second${seconds === 1 ? '' : 's'}.` : ''
  if (isServicesLimit(refusal, status)) return `The model's service is at its own rate limit.${wait}`
  if (code === 'rate_limit_exceeded') return `Rate limit reached${details === undefined ? '' : `: ${details}`}.${wait}`
  if (code === 'insufficient_quota') return details === undefined ? message : `${message} (${details})`
  if (code !== 'upstream_failed') return message
  return status < 500 ? "The model's service does not take this request." : failedText(upstream)
}

function failedText({ status, code, requestId }: UpstreamFailure): string {
  const told = [
    status === undefined ? undefined : `status ${status}`,
    code === undefined ? undefined : `code ${code}`,
    requestId === undefined ? undefined : `request id ${requestId}`,
  ].filter((part) => part !== undefined)
  return `The model's service failed to process the request${told.length === 0 ? '' : ` (${told.join(', ')})`}.`
}

/** OpenAI's clients don't wait longer than this, in seconds, but try again at once. */
const LONGEST_CLIENT_WAIT_S = 60

function headersOf(refusal: Refusal, status: number): Readonly<Record<string, string>> {
  const { headers = {} } = refusal
  const waits = Number(headers['retry-after'] ?? 0) > LONGEST_CLIENT_WAIT_S
  return waits || isLasting(refusal, status) ? { ...headers, 'x-should-retry': 'false' } : headers
}

/** Refusals with a status that clients try again, and which stay as they are. */
const LASTING: ReadonlySet<RefusalCode> = new Set([
  'insufficient_quota',
  'not_configured',
  'not_cached',
  'request_timeout',
])
/** Failures that the same request meets again. */
const LASTING_FAILURES: ReadonlySet<unknown> = new Set([
  'answer_too_large',
  'reservation_exceeded',
  'insufficient_quota',
  'request_too_large',
])
/** Of a 4xx, what is for the moment only: a conflict, a time-out, too early, too many. */
const PASSING: ReadonlySet<number> = new Set([408, 409, 425, 429])

/** Whether the same request, asked again, would be refused again. */
function isLasting({ code, upstream }: Refusal, status: number): boolean {
  if (isLastingStatus(status) || LASTING.has(code)) return true
  if (code !== 'upstream_failed' || upstream === undefined) return false
  // A wrong key, name or URL of a target is for the operator to mend.
  return LASTING_FAILURES.has(upstream.code) || (upstream.status !== undefined && isLastingStatus(upstream.status))
}

function isLastingStatus(status: number): boolean {
  return status >= 300 && status < 500 && !PASSING.has(status)
}
