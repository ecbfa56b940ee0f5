import type { UpstreamFailure } from './refusal.ts'

/** What became of a request in the completion cache. `collapsed`: answered by another's call, which was under way. */
export type CacheOutcome = 'hit' | 'miss' | 'collapsed' | 'bypass'

/** What a completion took: whole tokens. */
export interface TokenUsage {
  readonly input: number
  /** Of the input, what the model's service had cached. */
  readonly cachedInput: number
  /** Text, tool calls, and what a model thought unseen. */
  readonly output: number
}

/** What a token costs: whole pico-dollars. */
export interface TokenPrice {
  readonly input: number
  readonly cachedInput: number
  readonly output: number
}

/** What a call to a model took. */
export interface Spend {
  /** What the model told; no tokens where it certainly generated nothing; `undefined` where it told nothing. */
  readonly usage: TokenUsage | undefined
  /** `false` where it may be more than was told: up to all that was reserved. */
  readonly isCertain: boolean
}

/** Certainly nothing was generated. */
export const NOTHING_SPENT: Spend = { usage: { input: 0, cachedInput: 0, output: 0 }, isCertain: true }
/** Nobody knows what was generated. */
export const SPEND_UNKNOWN: Spend = { usage: undefined, isCertain: false }

/** One call to one target. */
export interface Attempt {
  /** The policy's name. */
  readonly model: string
  /** The target's id. */
  readonly target: string
  /** Of what served; `undefined` where it has none. */
  readonly price: TokenPrice | undefined
  readonly spend: Spend
  /** How it failed, if it did. */
  readonly failure?: UpstreamFailure
  /** Milliseconds. */
  readonly ms: number
}

/** How a streamed answer ended: whole, given up by its reader, or broken by its writer or by the end of the process. */
export type StreamOutcome = 'complete' | 'client_left' | 'broken'

/**
 * What the log line, and later metrics and the ledger, say of one request. Never holds a secret or a prompt. The names are a
 * contract with queries and alerts.
 */
export interface Facts {
  readonly consumer?: string
  readonly plan?: string
  /** HMAC (or plain SHA-256) of the prompt, so that two log lines can be compared without showing it. */
  readonly promptHash?: string
  /** The policy's name of the model. */
  readonly model?: string
  readonly cache?: CacheOutcome
  /** The name of the limit that refused it. */
  readonly limit?: string
  /** Why the limits could not be checked: others kept changing the counters, or their store fails, or a row can't be read. `unchecked`: went on. */
  readonly limits?: 'contention' | 'store_failed' | 'row_failed' | 'unchecked'
  /** What the model told, or what was reserved where it told nothing (`uncertain`). Nothing for a hit. */
  readonly usage?: TokenUsage
  /** Of that usage, in whole nano-dollars, rounded up; left out where the model has no price. */
  readonly costNanoUsd?: number
  /** Whole tokens that the route's transforms took out of the prompt, counted by o200k_base, whatever the model counts by. */
  readonly savedTokens?: number
  /** What a hit, or another's call, spared: what the model had told of its answer. */
  readonly spared?: TokenUsage
  /** Of that, in whole nano-dollars, by today's price; left out where the model has none. */
  readonly sparedNanoUsd?: number
  /** Nobody knows what the model generated: all that was reserved counts as spent. */
  readonly uncertain?: true
  /** The answer was allowed fewer tokens than were asked for, since a budget has no more. */
  readonly clamped?: true
  /** The top-level fields of the caller's body that the model was sent otherwise, but for `model`. */
  readonly changed?: readonly string[]
  readonly upstream?: UpstreamFailure
}
