import type { RefusalCode, UpstreamFailure } from './refusal.ts'
import type { StreamEnd } from './tap.ts'

/** What became of a request in the completion cache. */
export type CacheOutcome = 'hit' | 'miss' | 'bypass'

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
  upstream?: UpstreamFailure
  /** How a streamed answer ended. */
  stream?: StreamEnd
}
