import type { ChatBody } from '../operations/index.ts'
import type { BaseContext, GatewayRequest, Next, Refuse } from '../pipeline/index.ts'
import type { CacheRule } from '../policy/index.ts'

/** A request that the cache may answer. */
export interface Visit {
  readonly request: GatewayRequest
  readonly context: BaseContext
  /** To the rooms within, which ask the model. */
  readonly next: Next<{ readonly refuse: Refuse }>
  readonly key: string
  readonly rule: CacheRule
  /** As it is forwarded. */
  readonly body: ChatBody
  /** Where refusals of this consumer's requests are remembered. */
  readonly ownKey: string
  readonly asStream: boolean
  /** Whether the store may be asked: not while nobody can tell what was purged. */
  readonly seeks: boolean
  /** Whether the answer may be stored. */
  readonly keeps: boolean
  /** Why the model is asked, as `Cache-Status` says it. */
  readonly forwardedAs: 'miss' | 'request'
}
