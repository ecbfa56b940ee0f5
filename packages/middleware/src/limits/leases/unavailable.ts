/**
 * The store could not be reached (`store_failed`), or others kept changing the row (`contention`), until the deadline; or
 * the row can't be read (`row_failed`). Not a limit: try again.
 */
export class LimiterUnavailable extends Error {
  override readonly name = 'LimiterUnavailable'
  readonly code: 'contention' | 'store_failed' | 'row_failed'
  /** @param cause what the store threw last, if it did */
  constructor(code: LimiterUnavailable['code'], cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}
