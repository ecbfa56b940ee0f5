import { errorCode, isTimeout, type UpstreamFailure } from '../pipeline/index.ts'

const REQUEST_ID = /^[\x21-\x7e]{1,128}$/

/** As much of the SDK's errors as is read here. Their texts are not: they repeat what was sent. */
interface SdkError {
  readonly status?: unknown
  readonly code?: unknown
  readonly type?: unknown
  readonly requestID?: unknown
}

/** What may be told of an error that the SDK, or our deadline, threw. */
export function failureOf(error: unknown, sdk: typeof import('openai'), clientLeft: boolean): UpstreamFailure {
  if (clientLeft) return { code: 'client_left' }
  if (error instanceof sdk.APIConnectionTimeoutError || isTimeout(error)) return { code: 'timeout' }
  if (error instanceof sdk.APIConnectionError) return { code: 'connection_failed' }
  if (!(error instanceof sdk.APIError)) return { code: 'request_failed' }
  const { status, code, type, requestID } = error as SdkError
  return {
    ...(typeof status === 'number' ? { status } : {}),
    ...codeField(errorCode(code ?? type)),
    ...(typeof requestID === 'string' && REQUEST_ID.test(requestID) ? { requestId: requestID } : {}),
  }
}

function codeField(code: string | undefined): { code: string } | Record<string, never> {
  return code === undefined ? {} : { code }
}
