import type { Price } from './price.ts'
import type { UpstreamFailure } from './refusal.ts'
import { addCounts, type Spend, type TokenUsage } from './usage.ts'

/** What became of a request in the completion cache. `collapsed`: answered by another's call, which was under way. */
export type CacheOutcome = 'hit' | 'miss' | 'collapsed' | 'bypass'

/** One call to one target. */
export interface Attempt {
  /** The policy's name. */
  readonly model: string
  /** The target's id. */
  readonly target: string
  /** Of what served, by the answer's headers too; `undefined` where it has none. */
  readonly price: Price | undefined
  readonly spend: Spend
  /** The service tier that the gateway asked for by name. */
  readonly tier?: string
  /** The deployment that served in this one's place, since that had no room, as the answer tells. */
  readonly spillover?: string
  /** How it failed, if it did. */
  readonly failure?: UpstreamFailure
  /** Bytes of an answer's body had come: its model has worked. */
  readonly begun?: true
  /** Milliseconds since 1970. */
  readonly startedAt?: number
  /** Milliseconds. */
  readonly ms: number
  /** Milliseconds until the first event of a stream came. */
  readonly firstTokenMs?: number
  readonly asked?: AskedTarget
}

/** What was asked, for telemetry. */
export interface AskedTarget {
  /** Of the call's own span, which its model's service was told; left out where no spans are exported. */
  readonly spanId?: string
  /** The kind of target: `azure`, `openai`. */
  readonly kind: string
  /** The target's own name of the model. */
  readonly model: string
  /** As a log may show it; left out where none was reached for. */
  readonly url?: string
}

/** One call to one target, as it is told: what it took, and at which price. */
export interface AttemptFacts {
  /** The policy's name. */
  readonly model: string
  /** The target's id. */
  readonly target: string
  /** Milliseconds since 1970. */
  readonly startedAt?: number
  readonly asked?: AskedTarget
  /** Milliseconds, and until the first event of a stream came. */
  readonly ms: number
  readonly firstTokenMs?: number
  readonly failure?: UpstreamFailure
  readonly tier?: string
  readonly spillover?: string
  /** Left out where it certainly generated nothing, and where nobody knows. */
  readonly usage?: TokenUsage
  /** Of that usage; left out where the model has no price. */
  readonly costNanoUsd?: number
  readonly price?: Price
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
  /** Revision of the policy that decided. */
  readonly policy?: string
  /** HMAC (or plain SHA-256) of the prompt, so that two log lines can be compared without showing it. */
  readonly promptHash?: string
  /** The policy's name of the model. */
  readonly model?: string
  /** Why that model: `named`, `default`, `alias`, `split`, a rule's words, `fallback`. */
  readonly reason?: string
  /** It asked what would become of it, and no more. */
  readonly dryRun?: true
  /** Of a dry run, what would become of it: `model_asked`, `answered_from_cache`, or the refusal's code. */
  readonly verdict?: string
  /** The revision of the policy that was judged beside the one in force. */
  readonly shadow?: string
  /**
   * Why that one would have refused it: the refusal's code, and after a space the limit's name where it was a limit; `unknown`
   * where that could not be told in time. The line says `would_refuse`.
   */
  readonly wouldRefuse?: string
  readonly cache?: CacheOutcome
  /** The name of the limit that refused it. */
  readonly limit?: string
  /** Why the limits could not be checked: others kept changing the counters, or their store fails, or a row can't be read. `unchecked`: went on. */
  readonly limits?: 'contention' | 'store_failed' | 'row_failed' | 'unchecked'
  /** What the model told, or what was reserved where it told nothing (`uncertain`). Nothing for a hit. */
  readonly usage?: TokenUsage
  /** Of that usage, in whole nano-dollars, rounded up; left out where the model has no price. */
  readonly costNanoUsd?: number
  /** The service tier that was billed, where it is another than the usual one. */
  readonly tier?: string
  /** Calls of hosted tools, by the tool's name. */
  readonly toolCalls?: Readonly<Record<string, number>>
  /** The deployment that served in the target's place, which had no room. */
  readonly spillover?: string
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
  /** Added to what was told before. For the ledger: the line tells their sum. */
  readonly attempts?: readonly AttemptFacts[]
  /** These are of a call that went on for others when its caller had left: none of the request's own, and in no line of its. */
  readonly outlived?: { readonly startedAt: number; readonly ms: number }
}

/** Facts that are being told. */
export type ToldFacts = { -readonly [Fact in keyof Facts]: Facts[Fact] }

/** None yet, with the fields that most requests tell: an object of one shape is cheaper to tell to than one that grows. */
export function noFacts(): ToldFacts {
  const facts: { [Fact in keyof Facts]: Facts[Fact] | undefined } = {
    policy: undefined,
    consumer: undefined,
    plan: undefined,
    promptHash: undefined,
    model: undefined,
    reason: undefined,
    cache: undefined,
    usage: undefined,
    costNanoUsd: undefined,
    spared: undefined,
    sparedNanoUsd: undefined,
    attempts: undefined,
  }
  return facts as ToldFacts
}

/**
 * Adds what is told now to what was told before. What calls took and cost adds up, since a request may make several of them,
 * whoever made them; all else replaces.
 */
export function addFacts(before: ToldFacts, now: Facts): void {
  const { usage, toolCalls, costNanoUsd, attempts } = before
  Object.assign(before, now)
  if (attempts && now.attempts) before.attempts = [...attempts, ...now.attempts]
  if (usage && now.usage) before.usage = sumOf(usage, now.usage)
  if (toolCalls && now.toolCalls) before.toolCalls = sumOf(toolCalls, now.toolCalls)
  if (costNanoUsd !== undefined && now.costNanoUsd !== undefined) {
    before.costNanoUsd = Math.min(Number.MAX_SAFE_INTEGER, costNanoUsd + now.costNanoUsd)
  }
}

function sumOf<Counts extends Readonly<Record<string, number>>>(a: Counts, b: Counts): Counts {
  const sum: Record<string, number> = { ...a }
  addCounts(sum, b)
  return sum as Counts
}
