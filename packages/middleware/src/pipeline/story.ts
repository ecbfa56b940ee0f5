import type { Facts, StreamOutcome } from './facts.ts'
import type { RefusalCode } from './refusal.ts'
import type { TraceContext } from './trace-context.ts'

/** A step on a request's way. `limits` comes twice where the model has limits of its own. */
export type StepName = 'key' | 'limits' | 'body' | 'route' | 'cache' | 'budget' | 'attempts' | 'settle' | 'store'

export interface Step {
  readonly name: StepName
  readonly decision: string
  /** Milliseconds since the step before ended, or since the request came. */
  readonly ms: number
}

/** Where a limit stood when it was asked. */
export interface Standing {
  readonly limit: {
    readonly name: string
    readonly measure: string
    readonly quota: number
    /** The most that it may have, where that is another number. */
    readonly capacity?: number
  }
  /** Whole units: of money nano-dollars. */
  readonly remaining: number
}

/** What a request's story tells beside what its line says. Never a secret, never a prompt. */
export interface Story {
  readonly surface?: string | undefined
  readonly operation?: string | undefined
  readonly streamed?: boolean | undefined
  readonly route?: string | undefined
  /**
   * Reserved for the call before it was made: whole tokens, and nano-dollars where the model has a price. Where a budget refused
   * it, what was to be reserved.
   */
  readonly reserved?: { readonly input: number; readonly output: number; readonly costNanoUsd?: number } | undefined
  /** Added to what was told before, as limits are asked one after the other; all else replaces. */
  readonly standings?: readonly Standing[] | undefined
}

/** A request that has ended, or a call of its that went on after that, and has ended now. */
export interface FinishedRequest {
  /** The caller's own word, and so not unique. */
  readonly requestId: string
  /** 0: the request. 1, 2, …: what calls took that went on for others when its caller had left. */
  readonly call: number
  /** Milliseconds since 1970. */
  readonly startedAt: number
  readonly ms: number
  /** Until the first byte of a stream went out; `undefined` where none did. */
  readonly firstTokenMs: number | undefined
  readonly status: number
  readonly method?: string
  readonly refusal?: RefusalCode
  /** Of a refusal: the field at fault, where its name is one that a log may show. */
  readonly param?: string
  /** Of a refusal: how long the caller was told to wait. */
  readonly retryAfterMs?: number
  readonly stream?: StreamOutcome
  readonly facts: Facts
  /** Left out where it was in none. */
  readonly trace?: TraceContext
  /** Of our own code, or a store's, as the log tells them: the first few. */
  readonly faults?: readonly Readonly<Record<string, unknown>>[]
  /** A step may still be added after the end: an answer can be stored when it was sent. */
  readonly story: Story & { readonly steps: readonly Step[] }
}

/** What became of a request, in the words of ledger, metrics and spans alike: their figures must be the same. */
export type RequestOutcome = 'answered' | 'refused' | 'failed'

export function outcomeOf({ status, stream }: Pick<FinishedRequest, 'status' | 'stream'>): RequestOutcome {
  if (status >= 500 || stream === 'broken') return 'failed'
  return status >= 400 ? 'refused' : 'answered'
}
