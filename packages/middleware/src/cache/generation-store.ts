import { randomBytes } from 'node:crypto'

/** Whose completions a purge concerns: all, those of a route, or those of a scope. */
export type PurgeSubject = 'all' | `route:${string}` | 'shared' | `consumer:${string}` | `plan:${string}`

/**
 * Keeps the generation of each subject that was purged. It is part of every cache key, so that one write makes all that
 * was stored before unfindable, however much that is. Every method rejects when the store can't be reached,
 * with what `isOutage` takes for an outage; an error of the JavaScript engine (`TypeError` …) is logged as a fault.
 */
export interface GenerationStore {
  /** The generations by subject; none for a subject that was not purged. */
  list(signal: AbortSignal): Promise<ReadonlyMap<string, string>>
  /** Purges: once this resolves, no list that is asked for has a generation of before. If it rejects, it may have worked. */
  renew(subject: PurgeSubject, signal: AbortSignal): Promise<void>
  /**
   * Forgets the subjects that were last purged before then: they are as if never purged.
   *
   * @param before milliseconds since 1970, at least `GENERATION_LIFE_MS` ago, or what was purged is found again
   * @param signal ends the sweep early: what was removed by then is told, and the next sweep goes on.
   */
  sweep(before: number, signal: AbortSignal): Promise<{ readonly removed: number }>
}

/** For so long a generation is remembered, in milliseconds: no completion that it hides lives longer than 33 days. */
export const GENERATION_LIFE_MS = 60 * 24 * 3_600_000

/** Drawn, not counted: of two purges at once each has its effect, and no generation comes a second time. */
export function newGeneration(): string {
  return randomBytes(12).toString('base64url')
}
