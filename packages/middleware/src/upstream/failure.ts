import { isJson, type Json } from '../operations/index.ts'
import {
  type ByteSource,
  describeFault,
  errorCode,
  growingBytes,
  isTimeout,
  type Log,
  NOTHING_SPENT,
  PROMPT_SPENT,
  SPEND_UNKNOWN,
  type Spend,
  type UpstreamFailure,
} from '../pipeline/index.ts'
import type { Translation } from '../targets/index.ts'
import { isOperators, isRedirect, MAYBE_PROCESSED, REQUEST_TOO_LARGE } from './balancers/index.ts'
import {
  type AnswerHeaders,
  type CallProgress,
  ConnectionFailed,
  headerOf,
  shownUrl,
  type TransportAnswer,
} from './transports/index.ts'

/* What became of a call that brought no answer, and what of it may be told. */

/** A model's server answered, and it was no completion. */
export class NoAnswer extends Error {
  override readonly name = 'NoAnswer'
  readonly failure: UpstreamFailure
  readonly spend: Spend
  constructor(failure: UpstreamFailure, spend: Spend) {
    super('The model did not answer with a completion')
    this.failure = failure
    this.spend = spend
  }
}

/** What a failed call took, where nothing was told of it. */
export function spendOfFailure(failure: UpstreamFailure): Spend {
  if (isFiltered(failure)) return PROMPT_SPENT
  return failure.unspent ? NOTHING_SPENT : SPEND_UNKNOWN
}

const FILTERS: ReadonlySet<string> = new Set([
  'content_filter',
  'content_policy_violation',
  'ResponsibleAIPolicyViolation',
])

/** Whether a filter of the provider's refused a prompt: it has read it, which is billed. */
function isFiltered({ status, code }: UpstreamFailure): boolean {
  return status === 400 && code !== undefined && FILTERS.has(code)
}

/** What may be told of what a transport, or a deadline of ours, threw. */
export function failureOf(error: unknown, { sent }: CallProgress): UpstreamFailure {
  const unspent = sent ? {} : ({ unspent: true } as const)
  const isConnections = error instanceof ConnectionFailed
  if (isConnections && error.notAllowed) return { code: 'address_not_allowed', ...unspent }
  if (isTimeout(error) || (isConnections && error.timedOut)) return { code: 'timeout', ...unspent }
  return { code: sent || isConnections ? 'connection_failed' : 'request_failed', ...unspent }
}

/**
 * A 5xx may come from anywhere on the way, also after a model has worked, but for these: not implemented, the version of
 * HTTP, faults of negotiation, of a loop and of a network's login; and of Cloudflare, that the server behind it refused the
 * connection, is unreachable, or failed the TLS handshake.
 */
const NOT_PROCESSED: ReadonlySet<number> = new Set([501, 505, 506, 508, 510, 511, 521, 523, 525, 526])

/** Overloaded (529 is Anthropic's). With a time to come back they are a server's own refusal, and no accident on the way. */
const OVERLOADED: ReadonlySet<number> = new Set([503, 529])

/** What the caller's own request is refused by, wherever it goes: too large, of a wrong form, against a rule or a law. */
const CALLERS: ReadonlySet<number> = new Set([400, 413, 414, 415, 422, 431, 451])

/** Whether another model may do better: not where the request itself is at fault. */
export function isFallible({ status }: UpstreamFailure): boolean {
  return status === undefined || !CALLERS.has(status)
}

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/** An answer that is no success. */
export interface FailedAnswer {
  /** What may be told of it. Its head counts, whatever becomes of its body. The body's text is not told: it repeats what was sent. */
  readonly failure: UpstreamFailure
  /** Its error, whole, where it is about the request: for the caller alone. */
  readonly said: Json | undefined
}

/** What tells of the operator's own key, or repeats it, is not the caller's to read. */
const KEYS = /api[ _-]?key|authentication|\bBearer\s|\bsk-/i

/** Of a longer error the caller is told its code: a process remembers a thousand. */
const LONGEST_SAID = 16 * 1024

/** Reads an answer that is no success. */
export async function failedAnswer(
  { status, headers, body }: TransportAnswer,
  translation?: Translation,
): Promise<FailedAnswer> {
  const bytes = await beginningOf(body)
  const error = errorIn(bytes, translation)
  const isSaid =
    CALLERS.has(status) &&
    bytes.length <= LONGEST_SAID &&
    typeof error.message === 'string' &&
    !KEYS.test(`${error.code} ${error.type} ${JSON.stringify(error)}`)
  const failure = failureIn({ status, headers }, error)
  return { failure, said: isSaid ? (error as Json) : undefined }
}

/** As OpenAI says it, whose code for it is that of any other rate limit. It tells no time: none helps. */
const TOO_LARGE = /^Request too large for /

function failureIn(
  { status, headers }: Omit<TransportAnswer, 'body'>,
  { code, type, message }: ToldError,
): UpstreamFailure {
  const isTooLarge = status === 429 && typeof message === 'string' && TOO_LARGE.test(message)
  const told = isTooLarge ? REQUEST_TOO_LARGE : errorCode(code ?? type)
  const requestId = headerOf(headers, 'x-request-id')
  const retryAfterMs = retryAfterOf(headers)
  const answered = { status, ...(told === undefined ? {} : { code: told }) }
  return {
    ...answered,
    ...(requestId !== undefined && REQUEST_ID.test(requestId) ? { requestId } : {}),
    ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
    ...(isUnprocessed(status, retryAfterMs) && !isFiltered(answered) ? { unspent: true } : {}),
  }
}

/** Whether a status says that the model has generated nothing, for certain. */
function isUnprocessed(status: number, retryAfterMs: number | undefined): boolean {
  if (OVERLOADED.has(status)) return retryAfterMs !== undefined
  return NOT_PROCESSED.has(status) || (status >= 300 && status < 500 && !MAYBE_PROCESSED.has(status))
}

interface ToldError {
  readonly code?: unknown
  readonly type?: unknown
  readonly message?: unknown
}

/** The `error` of a body in OpenAI's form; some servers have its fields at the top. */
function errorIn(body: Buffer, translation: Translation | undefined): ToldError {
  try {
    const came: unknown = JSON.parse(body.toString())
    const value = translation !== undefined && isJson(came) ? translation.error(came) : came
    const { error = value } = Object(value) as { readonly error?: unknown }
    return Object(error ?? value) as ToldError
  } catch {
    return {}
  }
}

/** The most that is read of an answer which is no success, in bytes, unpacked. An error's code stands at its beginning. */
const MAX_REFUSAL_BYTES = 64 * 1024
/** The longest that such a body is waited for, in milliseconds: its status is known, and says the most. */
const REFUSAL_BODY_MS = 2_000

/** The first bytes of a body. What is longer, breaks off or dawdles is cut there, and its connection ends. */
async function beginningOf(body: ByteSource): Promise<Buffer> {
  const bytes = growingBytes(MAX_REFUSAL_BYTES)
  const timer = setTimeout(() => body.cancel(), REFUSAL_BODY_MS)
  try {
    for (let piece = await body.read(); piece !== undefined; piece = await body.read()) {
      if (bytes.append(piece)) continue
      bytes.append(piece.subarray(0, MAX_REFUSAL_BYTES - bytes.length))
      body.cancel()
    }
  } catch {
    // The status says the most, and what came of the body is kept.
  } finally {
    clearTimeout(timer)
  }
  return bytes.view()
}

/** An HTTP date (RFC 9110, 5.6.7), in the form that is to be sent, or the older one with the day's full name. */
const HTTP_DATE =
  /^(?:[A-Z][a-z]{2}, \d{2} [A-Z][a-z]{2} \d{4}|[A-Z][a-z]{5,8}, \d{2}-[A-Z][a-z]{2}-\d{2}) \d{2}:\d{2}:\d{2} GMT$/
const NUMBER = /^\d{1,15}(?:\.\d{1,15})?$/

/**
 * How long a model's server says to wait, in milliseconds: by `retry-after-ms`, or else by `Retry-After`, in seconds or as
 * a date, which is read by the server's own clock (`Date`) where it tells one. `undefined` where it says nothing that can be
 * understood.
 */
function retryAfterOf(headers: AnswerHeaders): number | undefined {
  const ms = headerOf(headers, 'retry-after-ms') ?? ''
  if (NUMBER.test(ms)) return Number(ms)
  const after = headerOf(headers, 'retry-after') ?? ''
  if (NUMBER.test(after)) return Number(after) * 1_000
  const until = dateOf(after)
  if (until === undefined) return undefined
  return Math.max(0, until - (dateOf(headerOf(headers, 'date') ?? '') ?? Date.now()))
}

function dateOf(text: string): number | undefined {
  if (!HTTP_DATE.test(text)) return undefined
  const time = Date.parse(text)
  return Number.isNaN(time) ? undefined : time
}

export interface FailedCall {
  /** Where it went, as a log may show it. */
  readonly url: string | undefined
  /** What was thrown, where there was no answer. */
  readonly error?: unknown
  /** Of the answer that refused it. */
  readonly headers?: AnswerHeaders
}

/**
 * Writes the line that an operator needs where a call failed for a reason that a status alone doesn't tell: where it went,
 * and what broke. Other failures stand on the request's own line.
 */
export function logFailure(log: Log, { status, code }: UpstreamFailure, { url, error, headers }: FailedCall): void {
  const place = url === undefined ? {} : { url }
  if (status === undefined) {
    log('error', 'upstream failed', { ...describeFault(error), ...place })
  } else if (isOperators(status)) {
    const told = code === undefined ? {} : { code }
    const more = isRedirect(status) ? redirected(url, headers) : {}
    log('error', 'upstream failed', { status, ...told, ...place, ...more })
  }
}

function redirected(
  url: string | undefined,
  headers: AnswerHeaders = {},
): { readonly message: string; readonly location?: string } {
  const message = 'The model’s server redirects, which is not followed. Set the URL that it redirects to.'
  const location = URL.parse(headerOf(headers, 'location') ?? '', url)
  return location === null ? { message } : { message, location: shownUrl(location) }
}
