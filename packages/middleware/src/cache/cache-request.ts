import type { Call, Reply } from '../operations/index.ts'
import type { BaseContext, Next, Price } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'
import type { Fingerprinted } from './cache-key.ts'

/** What the middlewares before the cache must have settled. */
export interface Cacheable {
  readonly consumer: { readonly id: string; readonly plan: string }
  /** A hit takes a request of the model's limits, too. */
  readonly modelAdmitted: true
  readonly routed: Fingerprinted & {
    readonly cache: CacheRule | undefined
    readonly model: { readonly name: string }
    readonly price: Price | undefined
  }
}

/** Told to what is within: the model is really asked. */
export interface Asked {
  readonly asked: true
}

/** A request that the cache may answer. */
export interface CacheRequest {
  readonly call: Call
  readonly context: Readonly<Cacheable & BaseContext>
  /** To the middlewares within, which ask the model. */
  readonly next: Next<Asked, Call, Reply>
  readonly key: string
  readonly rule: CacheRule
  /** Where refusals of this consumer's requests are remembered. */
  readonly ownKey: string
  /** Whether the store may be asked: not while nobody can tell what was purged. */
  readonly seeks: boolean
  /** Whether the answer may be stored. */
  readonly keeps: boolean
  /** Why the model is asked, as `Cache-Status` says it. */
  readonly forwardedAs: 'miss' | 'request'
}
