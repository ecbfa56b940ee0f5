import type { Attempt } from '../../pipeline/index.ts'

/* What a call that was made tells of the place that it was made at. */

/**
 * A 3xx or 4xx says that the request was not processed: one without a meaning of its own means the same as 300 or 400
 * (RFC 9110, section 15). These come after a model may have worked: Azure OpenAI answers its own time-outs with 408; gateways
 * note by the others that their client, which is us, has gone.
 */
export const MAYBE_PROCESSED: ReadonlySet<number> = new Set([408, 444, 460, 499])

/**
 * Statuses that say something about our settings, and that only the operator can mend: a wrong URL, deployment, key or
 * plan, or a proxy on the way.
 */
const OPERATORS: ReadonlySet<number> = new Set([401, 402, 403, 404, 405, 407, 410, 421, 426, 501, 505, 511])

export function isRedirect(status: number): boolean {
  return status >= 300 && status < 400
}

/** Whether a status says something that only the operator can mend. */
export function isOperators(status: number): boolean {
  return isRedirect(status) || OPERATORS.has(status)
}

/** What an attempt tells of the place that it was made at. */
export type Outcome =
  /** It answered. */
  | 'answered'
  /** It has no room, or said when to come back. */
  | 'busy'
  /** It has never room for so large a request, and may have for others. */
  | 'oversized'
  /** It turns away whatever is asked, until its operator mends something: a key, a deployment's name, a quota. */
  | 'misconfigured'
  /** It failed, was too slow, or could not be reached. */
  | 'failing'
  /** Nothing: the caller's own fault, or its leaving, or an end that the gateway made. */
  | 'untold'

/** A 429 that is about the request's own size: it is more than all that a service lets its operator use in a minute. */
export const REQUEST_TOO_LARGE = 'request_too_large'

/** Of an answer that began with a 2xx: that the service is at fault, and not what it was asked. */
const FAILING_CODES: ReadonlySet<string> = new Set([
  'timeout',
  'connection_failed',
  'invalid_response',
  'stream_cut',
  'error_event',
  'server_error',
  'internal_error',
  'internal_server_error',
])

const REFUSED_BY_429: Readonly<Record<string, Outcome>> = Object.assign(Object.create(null), {
  insufficient_quota: 'misconfigured',
  [REQUEST_TOO_LARGE]: 'oversized',
})

export function outcomeOf({ failure }: Pick<Attempt, 'failure'>): Outcome {
  if (failure === undefined) return 'answered'
  const { status, code = '', retryAfterMs } = failure
  // Nothing left this process: a token can't be had, say, or the host is where it may not be asked.
  if (status === undefined && (code === 'request_failed' || code === 'address_not_allowed')) return 'misconfigured'
  if (status === undefined || status < 300) return FAILING_CODES.has(code) ? 'failing' : 'untold'
  if (status === 429) return REFUSED_BY_429[code] ?? 'busy'
  if (status >= 500 && retryAfterMs !== undefined) return 'busy'
  if (isOperators(status)) return 'misconfigured'
  return status >= 500 || MAYBE_PROCESSED.has(status) ? 'failing' : 'untold'
}
