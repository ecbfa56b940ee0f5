import { errorCode } from '../../pipeline/index.ts'

/** As much of an answer, or of an event of one, as tells of an error. */
interface Fallible {
  readonly error?: unknown
  readonly object?: unknown
  readonly type?: unknown
  readonly choices?: unknown
}

/** The error that an answer, or an event of one, tells of: its own, a choice's, or itself; `undefined` where it tells of none. */
export function errorIn(value: Fallible): unknown {
  if (isError(value.error)) return value.error
  const { choices } = value
  if (Array.isArray(choices)) return choices.map((choice) => (choice as Fallible | null)?.error).find(isError)
  return value.type === 'error' || value.object === 'error' ? value : undefined
}

/** The code by which an error may be known; `undefined` where it has none that may be told. */
export function codeOfError(error: unknown): string | undefined {
  const { code, type } = Object(error) as { readonly code?: unknown; readonly type?: unknown }
  return errorCode(code) ?? errorCode(type)
}

/** Some servers fill the field into each answer. */
function isError(error: unknown): boolean {
  return error !== undefined && error !== null && error !== false && error !== ''
}
