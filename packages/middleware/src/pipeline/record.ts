import type { RefusalCode, UpstreamFailure } from './refusal.ts'
import type { StreamEnd } from './tap.ts'

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

/**
 * The one thing beside the response that flows up: each room notes what it decided, for logs, metrics and the ledger.
 * Never holds a secret or a prompt.
 */
export interface RequestRecord {
  /** Visible ASCII, 1 to 128 characters. */
  readonly requestId: string
  consumer?: string
  plan?: string
  /** HMAC (or plain SHA-256) of the prompt, so that two log lines can be compared without showing it. */
  promptHash?: string
  /** The policy's name of the model. */
  model?: string
  cache?: CacheOutcome
  refusal?: RefusalCode
  /** The name of the limit that refused it. */
  limit?: string
  /** Why the limits could not be checked: others kept changing the counters, or their store fails, or a row can't be read. `unchecked`: went on. */
  limits?: 'contention' | 'store_failed' | 'row_failed' | 'unchecked'
  /** Of the model, while its answer is awaited; left out where it has none. */
  price?: TokenPrice
  /** What the model told, or what was reserved where it told nothing (`uncertain`). Nothing for a hit. */
  usage?: TokenUsage
  /** Of that usage, in whole nano-dollars, rounded up; left out where the model has no price. */
  costNanoUsd?: number
  /** Whole tokens that the route's transforms took out of the prompt, counted by o200k_base, whatever the model counts by. */
  savedTokens?: number
  /** What a hit, or another's call, spared: what the model had told of its answer. */
  spared?: TokenUsage
  /** Of that, in whole nano-dollars, by today's price; left out where the model has none. */
  sparedNanoUsd?: number
  /** Nobody knows what the model generated: all that was reserved counts as spent. */
  uncertain?: true
  /** The answer was allowed fewer tokens than were asked for, since a budget has no more. */
  clamped?: true
  upstream?: UpstreamFailure
  /** How a streamed answer ended. */
  stream?: StreamEnd
}
