/** When the store says an answer was given, and when we saw it. */
export interface StoreTime {
  /** The store's clock, milliseconds since 1970, rounded DOWN to its resolution. */
  readonly date: number
  /** How much of the store's time the rounding may hide, in milliseconds: 1,000 for a `Date` header. */
  readonly resolutionMs: number
  /** Our monotonic clock before the question was sent and when the answer had arrived, in milliseconds. */
  readonly sent: number
  readonly received: number
}

/**
 * The subjects of a revision that is judged alone, and refuses nothing, begin with this. What they count is nobody's limit, and a
 * store may forget it once it was not changed for `SHADOW_LIFE_MS`: longer than a month, the longest window of a quota.
 */
export const SHADOW_SUBJECTS = 'shadow:'
export const SHADOW_LIFE_MS = 40 * 86_400_000

export interface CounterRead {
  /** `undefined` where the subject has no row yet. */
  readonly row: { readonly text: string; readonly etag: string } | undefined
  /** `undefined` where the answer bore no date. */
  readonly time: StoreTime | undefined
  /** When the row was written, by the store's clock: milliseconds since 1970; left out where the store doesn't tell. */
  readonly writtenAt?: number
}

export interface CounterWrite {
  /** The row's new ETag; `undefined` where nothing was written, because the row no longer had the expected one. */
  readonly etag: string | undefined
  readonly time: StoreTime | undefined
}

/**
 * Keeps one opaque row for each subject, changed by compare-and-swap alone.
 * Both methods reject when the outcome is unknown; after a rejected write the row may or may not have changed, and may
 * still change. Neither repeats a write by itself.
 *
 * What a method rejects with is told to callers as an outage (503, or no check where the policy says so) if `isOutage`
 * holds for it: an SDK's or a system's error, a timeout, any error class of the store's own, or `StoreUnavailable`, which
 * says it beyond doubt. An error of the JavaScript engine (`TypeError` …) or an assertion is a defect of the store's code,
 * and a 500.
 */
export interface CounterStore {
  read(subject: string, signal: AbortSignal): Promise<CounterRead>
  /** Writes if the row still has this ETag (`undefined`: if there is none yet). */
  writeIfMatch(subject: string, text: string, etag: string | undefined, signal: AbortSignal): Promise<CounterWrite>
}
