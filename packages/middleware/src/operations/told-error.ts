import { errorCode, type UpstreamFailure } from '../pipeline/index.ts'
import { isJson } from './body.ts'

/** The code by which an error may be known; `undefined` where it has none that may be told. */
export function codeOfError(error: unknown): string | undefined {
  const { code, type } = Object(error) as { readonly code?: unknown; readonly type?: unknown }
  return errorCode(code) ?? errorCode(type)
}

/** Whether an `error` field says that there is one: some servers fill it into each answer. */
export function isError(error: unknown): boolean {
  return error !== undefined && error !== null && error !== false && error !== ''
}

/** What may be told of an error event. */
export function failureIn(error: unknown): UpstreamFailure {
  return { code: codeOfError(error) ?? 'error_event' }
}

/** The same of one whose data may be no JSON. */
export function failureInText(text: string): UpstreamFailure {
  try {
    const value: unknown = JSON.parse(text)
    return failureIn(isJson(value) ? (value.error ?? value) : value)
  } catch {
    return failureIn(undefined)
  }
}
