import {
  type BaseContext,
  type Middleware,
  type Next,
  type Refusal,
  refusalOfEnded,
  unlessEnded,
} from '../pipeline/index.ts'
import type { Policy } from './policy.ts'
import { type PolicySource, PolicyUnknown } from './source.ts'

/** By which policy a request is decided. */
export interface WithPolicy {
  readonly policy: Policy
  /** A revision that is only judged by what it would have refused; `undefined` where there is none. */
  readonly shadow?: Policy | undefined
}

/**
 * Gives a request the policy that is in force as it comes, so that one request sees one revision. Stands first. Refuses with 503
 * (`store_unavailable`) where no policy was ever read: by an older one nobody is let in.
 */
export function pinPolicy(source: PolicySource): Middleware<{}, WithPolicy> {
  function pinned({ tell }: BaseContext, next: Next<WithPolicy>) {
    let policy: Policy
    try {
      policy = source.current()
    } catch (fault) {
      if (fault instanceof PolicyUnknown) return UNKNOWN
      throw fault
    }
    tell({ policy: policy.revision })
    return next({ policy, shadow: source.shadow() })
  }

  return function pinPolicy({ signal }, context, next) {
    const refreshing = source.refresh()
    if (refreshing === undefined) return pinned(context, next)
    return unlessEnded(refreshing, signal).then((ended) =>
      ended === 'ended' ? refusalOfEnded(signal) : pinned(context, next),
    )
  }
}

const UNKNOWN: Refusal = {
  kind: 'refusal',
  code: 'store_unavailable',
  status: 503,
  message: 'The policy could not be read. Please try again.',
  headers: { 'retry-after': '1' },
}
