import type { RateLimit } from '@tollgate/middleware'
import type { GateName } from './gates/gate.ts'
import type { Share, Stream } from './stream.ts'

/** What a driver is told, over the channel of `fork`. */
export type Order =
  /** First of all, once. */
  | { readonly kind: 'open'; readonly gate: GateName; readonly address: string; readonly log: string }
  | { readonly kind: 'load'; readonly load: Load }
  /** One request at once. */
  | { readonly kind: 'ask'; readonly id: number; readonly subject: string; readonly limit: RateLimit }

export interface Load {
  readonly streams: readonly Stream[]
  /** What subjects' names begin with, so that no run meets another's. */
  readonly prefix: string
  readonly share: Share
  readonly seed: number
  /** On the clock of `monotonic`. */
  readonly startAt: number
  /** When its figures begin to count. */
  readonly steadyAt: number
  readonly seconds: number
  /** Looks at the row after refusals (one at a time for each subject): for a process that drives alone. */
  readonly inspect: boolean
  /** Notes every so many milliseconds what it holds of the first stream's first subject; 0 for never. */
  readonly noteHeldMs: number
}

/** What a driver says. */
export type Report =
  | { readonly kind: 'ready' }
  /** All its requests were answered. How late they were sent, once the figures counted; milliseconds. */
  | { readonly kind: 'done'; readonly lateMs: { readonly p50: number; readonly p99: number } }
  | { readonly kind: 'answer'; readonly id: number; readonly answer: Answer }
  /** The limiter told of units of a budget that a dead instance held. */
  | { readonly kind: 'lost'; readonly subject: string; readonly units: number }
  /** The first of its requests that failed in no way foreseen, or why the limiter calls its store failed. */
  | { readonly kind: 'broken'; readonly message: string }

export type Answer =
  | { readonly admitted: boolean; readonly retryAfterMs: number; readonly called: number; readonly resolved: number }
  | { readonly failed: string }
