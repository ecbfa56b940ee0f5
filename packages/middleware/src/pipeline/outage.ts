/**
 * How a store of one's own says that it can't be reached, or can't answer now, whatever it met: `isOutage` holds for it.
 * Known by its name, since two copies of this class can meet.
 *
 * @example
 * throw new StoreUnavailable('The database is being restored', { cause })
 */
export class StoreUnavailable extends Error {
  override readonly name = 'StoreUnavailable'
  constructor(message = 'The store is unavailable', options?: ErrorOptions) {
    super(message, options)
  }
}

/** The JavaScript engine's own errors: a defect in code throws them, and a service that fails does not. */
const ENGINES = [TypeError, ReferenceError, RangeError, SyntaxError, EvalError, URIError]

/** Node's and undici's codes of a call that was written wrong, a failed assertion, and a module that is not there. */
const FAULT_CODE =
  /^(?:ERR_(?:ASSERTION|INTERNAL_ASSERTION|INVALID_\w+|MISSING_ARGS|OUT_OF_RANGE|METHOD_NOT_IMPLEMENTED|\w*MODULE\w*|REQUIRE_\w+|PACKAGE_\w+|UNKNOWN_\w+|UNSUPPORTED_\w+|DLOPEN_FAILED)|MODULE_NOT_FOUND|UND_ERR_INVALID_\w+)$/

/** What an aborted signal, a deadline or a lost connection throws; a `DOMException` of another name is a wrong call. */
const OUTAGE_NAMES: ReadonlySet<string> = new Set(['TimeoutError', 'AbortError', 'NetworkError'])

/**
 * Tells outages from programming faults, for all that call something outside of this process: whether what such a call
 * rejected with says that the other side failed. An outage is the other side's, and another try may succeed. All else is a
 * fault: it is thrown on, logged as what it is, and answered with 500.
 *
 * | an outage | a fault |
 * |---|---|
 * | a deadline, an aborted signal | an error of the JavaScript engine (`TypeError`, `RangeError` …) |
 * | such an error that is caused by an outage, as a failed `fetch` throws it | an assertion, an invalid argument, a missing module |
 * | `StoreUnavailable`; any other error of an SDK or a store, with or without a code or an HTTP status | what is no `Error` |
 */
export function isOutage(error: unknown): boolean {
  if (!(error instanceof Error)) return false
  if (error.name === 'StoreUnavailable') return true
  if (error instanceof DOMException) return OUTAGE_NAMES.has(error.name)
  if (isEngines(error)) return isOutage(error.cause)
  if (error instanceof AggregateError && error.errors.length > 0) return error.errors.some(isOutage)
  const { code } = error as { readonly code?: unknown }
  return !(typeof code === 'string' && FAULT_CODE.test(code))
}

/** By its name too, for an error that comes from another realm. */
function isEngines(error: Error): boolean {
  return ENGINES.some((Engines) => error instanceof Engines || error.name === Engines.name)
}
