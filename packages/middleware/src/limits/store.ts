/** When the store says an answer was given, and when we saw it. */
export interface StoreTime {
  /** The store's clock, milliseconds since 1970, rounded DOWN to the second where it comes from a `Date` header. */
  readonly date: number
  /** Our monotonic clock before the question was sent and when the answer had arrived, in milliseconds. */
  readonly sent: number
  readonly received: number
}

export interface CounterRead {
  /** `undefined` where the subject has no row yet. */
  readonly row: { readonly text: string; readonly etag: string } | undefined
  /** `undefined` where the answer bore no date. */
  readonly time: StoreTime | undefined
}

/**
 * Keeps one opaque row for each subject, changed by compare-and-swap alone.
 * Both methods reject when the outcome is unknown; after a rejected write the row may or may not have changed.
 */
export interface CounterStore {
  read(subject: string, signal: AbortSignal): Promise<CounterRead>
  /**
   * Writes if the row still has this ETag (`undefined`: if there is none yet).
   * Resolves to `false`, having changed nothing, if it hasn't.
   */
  writeIfMatch(subject: string, text: string, etag: string | undefined, signal: AbortSignal): Promise<boolean>
}
