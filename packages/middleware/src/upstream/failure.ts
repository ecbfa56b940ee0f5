import { errorCode, isTimeout, type UpstreamFailure } from '../pipeline/index.ts'
import type { CallProgress } from './call-progress.ts'
import { retryAfterOf } from './retry-after.ts'

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/**
 * A 3xx or 4xx says that the request was not processed: one without a meaning of its own means the same as 300 or 400
 * (RFC 9110, section 15). These come after a model may have worked: Azure OpenAI answers its own time-outs with 408; gateways
 * note by the others that their client, which is us, has gone.
 */
const MAYBE_PROCESSED: ReadonlySet<number> = new Set([408, 444, 460, 499])

/**
 * A 5xx may come from anywhere on the way, also after a model has worked, but for these: not implemented, the version of
 * HTTP, faults of negotiation, of a loop and of a network's login; and of Cloudflare, that the server behind it refused the
 * connection, is unreachable, or failed the TLS handshake.
 */
const NOT_PROCESSED: ReadonlySet<number> = new Set([501, 505, 506, 508, 510, 511, 521, 523, 525, 526])

/** Overloaded (529 is Anthropic's). With a time to come back they are a server's own refusal, and no accident on the way. */
const OVERLOADED: ReadonlySet<number> = new Set([503, 529])

/** As much of the SDK's errors as is read here. Their texts are not: they repeat what was sent. */
interface SdkError {
  readonly status?: unknown
  readonly headers?: unknown
  readonly code?: unknown
  readonly type?: unknown
}

/** What became of a call until it failed. */
export interface CallState {
  readonly clientLeft: boolean
  readonly progress: CallProgress
}

/** What may be told of an error that the SDK, or our deadline, threw. */
export function failureOf(
  error: unknown,
  sdk: typeof import('openai'),
  { clientLeft, progress }: CallState,
): UpstreamFailure {
  const { sent = false } = progress
  // An answer's head counts, whatever has become of its body.
  const refused = progress.refused ?? refusalIn(error, sdk)
  const retryAfterMs = refused && retryAfterOf(refused.headers)
  const isUnspent = refused === undefined ? !sent : isUnprocessed(refused.status, retryAfterMs)
  const unspent = isUnspent ? ({ unspent: true } as const) : {}
  if (clientLeft) return { code: 'client_left', ...unspent }
  if (refused !== undefined) {
    const { code, type } = error instanceof sdk.APIError ? (error as SdkError) : {}
    const requestId = refused.headers.get('x-request-id')
    return {
      status: refused.status,
      ...codeField(errorCode(code ?? type)),
      ...(requestId !== null && REQUEST_ID.test(requestId) ? { requestId } : {}),
      ...(retryAfterMs === undefined ? {} : { retryAfterMs }),
      ...unspent,
    }
  }
  if (error instanceof sdk.APIConnectionTimeoutError || isTimeout(error)) return { code: 'timeout', ...unspent }
  if (error instanceof sdk.APIConnectionError) return { code: 'connection_failed', ...unspent }
  return { code: sent ? 'connection_failed' : 'request_failed', ...unspent }
}

/** Whether a status says that the model has generated nothing, for certain. */
function isUnprocessed(status: number, retryAfterMs: number | undefined): boolean {
  if (OVERLOADED.has(status)) return retryAfterMs !== undefined
  return NOT_PROCESSED.has(status) || (status >= 300 && status < 500 && !MAYBE_PROCESSED.has(status))
}

function refusalIn(error: unknown, sdk: typeof import('openai')): CallProgress['refused'] {
  if (!(error instanceof sdk.APIError)) return undefined
  const { status, headers } = error as SdkError
  return typeof status === 'number'
    ? { status, headers: headers instanceof Headers ? headers : new Headers() }
    : undefined
}

function codeField(code: string | undefined): { code: string } | Record<string, never> {
  return code === undefined ? {} : { code }
}
