import type { Middleware } from '../pipeline/index.ts'
import type { Policy } from './policy.ts'
import type { PolicySource } from './source.ts'

/** By which policy a request is decided. */
export interface WithPolicy {
  readonly policy: Policy
  /** A revision that is only judged by what it would have refused; `undefined` where there is none. */
  readonly shadow?: Policy | undefined
}

/** Gives a request the policy that is in force as it comes, so that one request sees one revision. Stands first. */
export function pinPolicy(source: PolicySource): Middleware<{}, WithPolicy> {
  return function pinPolicy(_request, { tell }, next) {
    const policy = source.current()
    tell({ policy: policy.revision })
    return next({ policy })
  }
}
