import type { TokenUsage } from '../pipeline/index.ts'
import type { InstanceTarget } from './told-targets.ts'

/**
 * What requests came to, summed up. Each figure is a sum, so that two of them can be added: hours to days, consumers to all.
 * A request is in exactly one of `answered`, `refused` and `failed`.
 */
export interface UsageSums {
  readonly requests: number
  /** With a status under 400. */
  readonly answered: number
  /** Of those answered: from the cache, and by another's call. */
  readonly hits: number
  readonly collapsed: number
  /** By the gateway: by a key, a limit, a right, a faulty body. A client that left before its answer began is among them. */
  readonly refused: number
  /** Answered with a 5xx, or a stream that broke. */
  readonly failed: number
  /** As the log line tells them: `input` is all that was read, and so on. */
  readonly tokens: TokenUsage
  readonly costNanoUsd: number
  /** What hits and others' calls spared. */
  readonly savedNanoUsd: number
  /** Calls whose model has no price: what they cost is not in `costNanoUsd`. */
  readonly unpriced: number
  /** Requests for which all that was reserved counts as spent, since nobody knows what the model generated. */
  readonly uncertain: number
}

export type UsageDimension = 'consumer' | 'model' | 'target'

export interface UsageQuery {
  readonly by: UsageDimension
  /**
   * Milliseconds since 1970. Both are widened to whole minutes; to whole hours where that is longer ago than the detail is kept,
   * and to whole months where hours are kept no longer. The report says which span it took.
   */
  readonly since: number
  readonly until: number
  readonly consumer?: string
  readonly model?: string
}

export interface UsageReport {
  readonly by: UsageDimension
  readonly since: number
  readonly until: number
  /** Everything that had ended by then is in it, but what instances that were killed had not written: milliseconds since 1970. */
  readonly asOf: number
  /** The dearest first. */
  readonly rows: readonly (UsageSums & { readonly name: string })[]
  /** Of all rows, by the same function. */
  readonly total: UsageSums
  /** What budgets charged in their present window and the ledger doesn't show; only what is above 0. `undefined` where it can't be told. */
  readonly unattributed: readonly Unattributed[] | undefined
  /** Rows of the ledger that can't be read, by partition and row: what only they hold is in no figure. */
  readonly unreadable: readonly string[]
}

/** What a shadow revision of the policy would have done: counts of requests. */
export interface ShadowSums {
  /** All that it was judged on. */
  readonly judged: number
  readonly wouldRefuse: number
  /** What it would have decided was not known when the request ended. */
  readonly unknown: number
  /** By code and limit, the most frequent first: `wouldRefuse` is their sum. */
  readonly refusals: readonly { readonly code: string; readonly limit?: string; readonly requests: number }[]
}

export interface ShadowReport extends Pick<UsageReport, 'since' | 'until' | 'asOf' | 'unreadable'> {
  readonly by: 'consumer' | 'model'
  /** Those with the most refusals first. */
  readonly rows: readonly (ShadowSums & { readonly name: string })[]
  /** Of all rows, by the same function. */
  readonly total: ShadowSums
}

/** What a limit on tokens or money has charged, and no row tells of: by an instance that was killed, above all. */
export interface Unattributed {
  /** As the counters name it: `consumer:alice`, `plan:pro`, `global`. */
  readonly subject: string
  readonly limit: string
  readonly measure: 'tokens' | 'input' | 'output' | 'money'
  /** Of the limit's window: milliseconds since 1970. */
  readonly windowStart: number
  /** Whole tokens, or nano-dollars. */
  readonly units: number
}

/** Counts of what took up to so many milliseconds; the last count is of all that took longer. */
export interface Histogram {
  /** One more than there are bounds (`LATENCY_BOUNDS_MS`). */
  readonly counts: readonly number[]
  readonly sumMs: number
}

/** Upper bounds of histograms, in milliseconds: hits take a few, long answers minutes. */
export const LATENCY_BOUNDS_MS = [
  5, 10, 25, 50, 100, 250, 500, 1_000, 2_500, 5_000, 10_000, 20_000, 40_000, 80_000, 160_000, 320_000,
] as const

/** What a model's requests came to, over all consumers. */
export interface ModelFigures {
  /** The policy's name; '' for requests that named no model of the policy. */
  readonly model: string
  readonly sums: UsageSums
  readonly duration: Histogram
  /** Of streams: until the first byte. */
  readonly firstToken: Histogram
  /** By the name of the limit that refused. */
  readonly refusedBy: Readonly<Record<string, number>>
  /** By the target's id: calls, and those of them that failed. */
  readonly targets: Readonly<Record<string, { readonly sums: UsageSums; readonly failed: number }>>
}

/** What one consumer's requests for one model came to on one day of UTC. */
export interface ConsumerDay {
  /** When the day began: milliseconds since 1970. */
  readonly start: number
  /** '' for requests that named no model of the policy. */
  readonly model: string
  readonly sums: UsageSums
}

/** Reads what the ledger has, rolled up or not: at most 10 s old. */
export interface UsageReader {
  report(query: UsageQuery, signal: AbortSignal): Promise<UsageReport>
  /** What shadow revisions of the policy would have refused. */
  shadow(query: UsageQuery & { readonly by: ShadowReport['by'] }, signal: AbortSignal): Promise<ShadowReport>
  /**
   * One consumer's days: a few reads, and not one for each of them. `since` is the later of what is asked and the first day that is
   * still kept.
   */
  daysOf(
    query: { readonly consumer: string; readonly since: number; readonly until: number },
    signal: AbortSignal,
  ): Promise<{ readonly since: number; readonly days: readonly ConsumerDay[]; readonly unreadable: readonly string[] }>
  /** What one consumer's own budgets charged that the ledger doesn't show, as a report has it. */
  unattributedOf(consumer: string, signal: AbortSignal): Promise<readonly Unattributed[] | undefined>
  /** By model, since the ledger's beginning: they never fall, so that counters can be made of them. */
  totals(signal: AbortSignal): Promise<{
    readonly models: readonly ModelFigures[]
    readonly asOf: number
    /** `undefined` where the counters can't be read: then all else is told. */
    readonly unattributed: readonly Unattributed[] | undefined
    /** As a report has it. */
    readonly unreadable: readonly string[]
    readonly targets: readonly InstanceTarget[]
  }>
  /** Each instance's targets that it does not ask now, as far as it has told that within the last minute. */
  targets(signal: AbortSignal): Promise<readonly InstanceTarget[]>
  /**
   * All rows with a request id, the newest first: the id is the caller's own, and so not unique.
   *
   * @throws UsageUnreadable where none is found, and a segment that may hold it can't be read
   */
  why(
    requestId: string,
    query: { readonly since: number; readonly until: number },
    signal: AbortSignal,
  ): Promise<readonly UsageRow[]>
}

/** What was asked for may be in a segment that can't be read. */
export class UsageUnreadable extends Error {
  override readonly name = 'UsageUnreadable'
}

/** One request's end, as the ledger keeps it. Never a secret, a prompt or an answer. */
export interface UsageRow {
  /** Unique, sorts by time. */
  readonly id: string
  readonly requestId: string
  /** 0: the request itself; 1, 2, …: a call of its that went on for others when its caller had left. */
  readonly call: number
  readonly startedAt: number
  readonly ms: number
  readonly firstTokenMs?: number
  readonly status: number
  readonly outcome: 'answered' | 'refused' | 'failed' | 'call'
  readonly refusal?: string
  /** The field at fault, if one is. */
  readonly param?: string
  /** How long it was told to wait before it comes back. */
  readonly retryAfterMs?: number
  readonly stream?: string
  readonly consumer?: string
  readonly plan?: string
  /** Revision of the policy. */
  readonly policy?: string
  readonly promptHash?: string
  readonly surface?: string
  readonly operation?: string
  readonly streamed?: boolean
  readonly route?: string
  readonly model?: string
  /** Why that model: `named`, `default`, `alias`, `split`, a rule's words, `fallback`. */
  readonly reason?: string
  readonly cache?: string
  /** The name of the limit that refused it. */
  readonly limit?: string
  readonly tier?: string
  readonly usage?: TokenUsage
  readonly toolCalls?: Readonly<Record<string, number>>
  /** Before the call was made. Of one that a budget refused, what was to be reserved. */
  readonly reserved?: { readonly input: number; readonly output: number; readonly costNanoUsd?: number }
  readonly costNanoUsd?: number
  readonly savedNanoUsd?: number
  readonly uncertain?: true
  readonly clamped?: true
  readonly dryRun?: true
  /** Of a dry run, what would become of it: `model_asked`, `answered_from_cache`, or the refusal's code. */
  readonly verdict?: string
  /** The revision of the policy that was judged beside the one in force. */
  readonly shadow?: string
  /** Why that one would have refused it: a code, and after a space the limit's name; `unknown` where that was not told in time. */
  readonly wouldRefuse?: string
  readonly attempts?: readonly UsageAttempt[]
  readonly steps: readonly { readonly name: string; readonly decision: string; readonly ms: number }[]
  /** What each limit had left when it was asked, in the order in which they were asked. */
  readonly left?: readonly {
    readonly limit: string
    readonly measure: string
    readonly of: number
    /** The most that it may have, where its burst makes that more. */
    readonly most?: number
    readonly left: number
  }[]
}

export interface UsageAttempt {
  readonly model: string
  readonly target: string
  readonly ms: number
  readonly firstTokenMs?: number
  readonly status?: number
  /** How it failed, if it did. */
  readonly code?: string
  readonly tier?: string
  readonly spillover?: string
  readonly usage?: TokenUsage
  readonly costNanoUsd?: number
  /** By which it was charged, in pico-dollars a token, as the policy's prices are resolved. */
  readonly price?: object
}
