import type { Attempt } from '../pipeline/index.ts'

/** Whether a call that failed before a byte of its answer is made again, at the same target or another. */
export interface RetryPolicy {
  /**
   * @param attempts those that were made, the last of them just now
   * @param left how many more are covered by what was reserved
   * @returns `undefined` where it stays with the failure
   */
  next(
    attempts: readonly Attempt[],
    left: { readonly coveredAttempts: number },
  ): { readonly afterMs: number } | undefined
}

export const neverRetry: RetryPolicy = { next: () => undefined }
