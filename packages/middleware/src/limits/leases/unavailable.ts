/** The store could not be reached, or others kept changing the row, until the deadline. Not a limit: try again. */
export class LimiterUnavailable extends Error {
  override readonly name = 'LimiterUnavailable'
  readonly code: 'contention' | 'store_failed'
  /** @param cause what the store threw last, if it did */
  constructor(code: 'contention' | 'store_failed', cause?: unknown) {
    super(code, { cause })
    this.code = code
  }
}
