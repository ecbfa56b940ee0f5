/**
 * Why a request was turned away. The codes are stable: logs, metrics and the surfaces' error shapes hang on them.
 */
export type RefusalCode =
  | 'invalid_api_key'
  /** The same of a token. RFC 6750's word. */
  | 'invalid_token'
  /** The key may do something else. RFC 6750's word. */
  | 'insufficient_scope'
  | 'plan_unavailable'
  /** The policy wants each caller in a group, and this one is in none of it, or nobody can tell in which. */
  | 'group_required'
  /** The keys could not be read that a token is checked by. */
  | 'issuer_unavailable'
  /** Comes back by itself, soon. */
  | 'rate_limit_exceeded'
  /** A budget is spent until its window ends. */
  | 'insufficient_quota'
  /** More than a limit could ever grant to one request. */
  | 'request_too_expensive'
  /** A limit on tokens holds, and nobody can say how many this input has. */
  | 'input_unbounded'
  /** A limit on money holds, and the model has no price. */
  | 'model_not_priced'
  /** The key may ask other routes. */
  | 'route_not_allowed'
  /** The consumer's plan, or its key, doesn't name the model. */
  | 'model_not_allowed'
  /** The consumer's plan doesn't name the service tier, or a limit on money holds and the tier has no price. */
  | 'tier_not_allowed'
  /** The same of a hosted tool. */
  | 'tool_not_allowed'
  /** A limit on money holds, and a field is known to move the bill by what no price says. */
  | 'field_not_allowed'
  | 'store_unavailable'
  /** Its place among the concurrent requests could not be kept. */
  | 'slot_lost'
  | 'request_too_large'
  | 'invalid_json'
  | 'invalid_request'
  /** The policy has no such model for this caller. */
  | 'model_not_found'
  /** No such path, or one of a kind that can't be metered. */
  | 'not_found'
  | 'method_not_allowed'
  /** The body is of another type than the path takes. */
  | 'unsupported_media_type'
  /** It is not as it was when this was asked for. */
  | 'conflict'
  | 'precondition_failed'
  /** The caller wants what is cached or nothing, and it isn't. */
  | 'not_cached'
  /** A dry run that came as far as the model: not asked. */
  | 'dry_run'
  | 'not_configured'
  | 'upstream_failed'
  /** Nothing was asked: each place that serves the model fails, or has said when to come back. */
  | 'upstream_unavailable'
  /** The model is served in none of the zones of the consumer's plan, or of its key. */
  | 'zone_not_allowed'
  /** The client closed the connection, or broke off its upload, before it was answered. */
  | 'client_left'
  /** The process ends. */
  | 'shutting_down'
  /** It took longer than any request may. */
  | 'request_timeout'
  | 'internal_error'

/** What may be told of a failed upstream call: never its text, which can repeat the prompt or a key. */
export interface UpstreamFailure {
  /** HTTP status, if there was an answer. */
  readonly status?: number
  /**
   * The model's error code, e.g. `rate_limit_exceeded`, or ours: `timeout`, `connection_failed`, `request_failed` (never
   * sent), `address_not_allowed` (the egress check's), `invalid_response`, `answer_too_large`, `stream_cut`, `error_event` (one without a code), `client_left`,
   * `slot_lost`, `reservation_exceeded`, `shutting_down`, `request_timeout`.
   */
  readonly code?: string
  readonly requestId?: string
  /** How long the model's server says to wait before another try, in milliseconds. */
  readonly retryAfterMs?: number
  /** The model certainly generated nothing: it refused, or was never reached. Left out where nobody knows. */
  readonly unspent?: true
}

/**
 * A decision not to go on: data, which the outermost renders in the shape of the surface that was called. Only faults are
 * thrown.
 */
export interface Refusal {
  readonly kind: 'refusal'
  readonly code: RefusalCode
  readonly status: number
  /** For the caller: names the field or header and the fix. */
  readonly message: string
  /** More to the same, for callers whose `message` is a fixed text. */
  readonly details?: string
  /** The field at fault, if one is. */
  readonly param?: string
  /** What the limit counts that refused it: money counts as tokens. */
  readonly counted?: 'requests' | 'tokens'
  readonly headers?: Readonly<Record<string, string>>
  readonly upstream?: UpstreamFailure
  /**
   * The `error` of the model's service, whole, where it turned the request away for what it asks. For the caller alone, and
   * never for a log: it may repeat the prompt.
   */
  readonly said?: Readonly<Record<string, unknown>>
}

export function isRefusal(value: object): value is Refusal {
  return (value as { readonly kind?: unknown }).kind === 'refusal'
}

/** The longest name that a refusal repeats: no policy has a longer one. */
const LONGEST_NAME = 64

/** The refusal of a model that the policy doesn't have. */
export function unknownModel(name: string): Refusal {
  const shown = name.length > LONGEST_NAME ? `${name.slice(0, LONGEST_NAME)}…` : name
  return {
    kind: 'refusal',
    code: 'model_not_found',
    status: 404,
    param: 'model',
    message: `The model '${shown}' does not exist, or you may not use it.`,
  }
}

/** The longest wait that is passed on to a caller, in milliseconds: what is told beyond it is no plan, but a mistake. */
const LONGEST_WAIT_MS = 60 * 60_000
/** OpenAI's clients don't wait longer than this, in milliseconds, but try again at once, unless they are told not to. */
const LONGEST_CLIENT_WAIT_MS = 60_000

/**
 * The refusal of a request whose call to the model came to nothing.
 *
 * @param said the service's own error, for the caller
 * @param afterMs how long to wait before another try, in milliseconds; as long as the model's server says by default
 */
export function upstreamFailed(
  upstream: UpstreamFailure,
  said?: Refusal['said'],
  afterMs = upstream.retryAfterMs ?? 0,
): Refusal {
  const waitMs = Math.ceil(Math.min(afterMs, LONGEST_WAIT_MS))
  return {
    kind: 'refusal',
    code: 'upstream_failed',
    status: 502,
    message: 'The LLM service failed to process the request.',
    ...(waitMs > 0 ? { headers: waiting(waitMs) } : {}),
    upstream,
    ...(said === undefined ? {} : { said }),
  }
}

/** The refusal of a request for which nothing may be asked now. @param waitMs until the first of its targets may be, in milliseconds */
export function upstreamUnavailable(waitMs: number): Refusal {
  return {
    kind: 'refusal',
    code: 'upstream_unavailable',
    status: 503,
    message: 'The LLM service is overloaded or failing. Please try again later.',
    headers: waiting(Math.max(1, Math.ceil(Math.min(waitMs, LONGEST_WAIT_MS)))),
  }
}

function waiting(ms: number): Record<string, string> {
  return {
    'retry-after': String(Math.ceil(ms / 1_000)),
    'retry-after-ms': String(ms),
    ...(ms > LONGEST_CLIENT_WAIT_MS ? { 'x-should-retry': 'false' } : {}),
  }
}

const ERROR_CODE = /^[A-Za-z0-9_.-]{1,64}$/

/** An error code as a model gave it, if it looks like one: whatever else stands there could repeat a prompt or a key. */
export function errorCode(value: unknown): string | undefined {
  return typeof value === 'string' && ERROR_CODE.test(value) ? value : undefined
}

/**
 * A refusal of what this process bounds by itself, and no plan: with the wait until there is room, in whole seconds of at least one.
 *
 * @param told more of it, or in the place of the usual message
 */
export function tooManyRequests(
  retryAfterMs: number,
  told: Partial<Pick<Refusal, 'message' | 'details'>> = {},
): Refusal {
  return {
    kind: 'refusal',
    code: 'rate_limit_exceeded',
    status: 429,
    message: 'Too many requests. Please try again later.',
    ...told,
    headers: { 'retry-after': String(Math.max(1, Math.ceil(retryAfterMs / 1_000))) },
  }
}
