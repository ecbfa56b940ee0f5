import { errorCode, isTimeout, type UpstreamFailure } from '../pipeline/index.ts'

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/** Statuses with which a model turns a request away before it generates anything. */
const TURNED_AWAY: ReadonlySet<unknown> = new Set([400, 401, 403, 404, 413, 422, 429])

/** System and TLS errors by which no connection comes about that a request could have gone over. */
const NEVER_CONNECTED =
  /^(?:ECONNREFUSED|ENOTFOUND|EAI_\w+|EHOSTUNREACH|ENETUNREACH|UND_ERR_CONNECT_TIMEOUT|ERR_TLS_\w+|CERT_\w+|\w*CERT(?:IFICATE)?|UNABLE_TO_\w+)$/

/** As much of the SDK's errors as is read here. Their texts are not: they repeat what was sent. */
interface SdkError {
  readonly status?: unknown
  readonly code?: unknown
  readonly type?: unknown
  readonly requestID?: unknown
}

/** How far a call had come when it failed. */
export interface CallState {
  readonly clientLeft: boolean
  /** Whether the request may have left this process. */
  readonly sent: boolean
}

/** What may be told of an error that the SDK, or our deadline, threw. */
export function failureOf(
  error: unknown,
  sdk: typeof import('openai'),
  { clientLeft, sent }: CallState,
): UpstreamFailure {
  const unspent = !sent || neverConnected(error) ? ({ unspent: true } as const) : {}
  if (clientLeft) return { code: 'client_left', ...unspent }
  if (error instanceof sdk.APIConnectionTimeoutError || isTimeout(error)) return { code: 'timeout', ...unspent }
  if (error instanceof sdk.APIConnectionError) return { code: 'connection_failed', ...unspent }
  if (!(error instanceof sdk.APIError)) return { code: sent ? 'connection_failed' : 'request_failed', ...unspent }
  const { status, code, type, requestID } = error as SdkError
  return {
    ...(typeof status === 'number' ? { status } : {}),
    ...codeField(errorCode(code ?? type)),
    ...(typeof requestID === 'string' && REQUEST_ID.test(requestID) ? { requestId: requestID } : {}),
    ...(TURNED_AWAY.has(status) ? ({ unspent: true } as const) : {}),
  }
}

function neverConnected(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  const { code, cause } = error as { readonly code?: unknown; readonly cause?: unknown }
  return (typeof code === 'string' && NEVER_CONNECTED.test(code)) || neverConnected(cause)
}

function codeField(code: string | undefined): { code: string } | Record<string, never> {
  return code === undefined ? {} : { code }
}
