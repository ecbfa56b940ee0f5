import { OperatorError } from '../pipeline/index.ts'

/** A plan's request limit, as a bucket: at most `capacity + refill · W / periodMs` requests in any interval W. */
export interface RequestLimit {
  /** Its name in `RateLimit` headers; unique in its plan. */
  readonly name: string
  /** The number that the policy states for each period. */
  readonly quota: number
  readonly periodMs: number
  /** Requests that may come beyond the quota's steady rate. */
  readonly burst: number
  /** The most requests that may come at once. */
  readonly capacity: number
  /** Requests that come back in each period. */
  readonly refill: number
}

export interface Plan {
  readonly name: string
  readonly requests: readonly RequestLimit[]
}

/** Where a model is served, resolved: no environment names are left in it. */
export type TargetSettings =
  | {
      readonly kind: 'azure'
      readonly endpoint: string
      /** The name to send as `model`. */
      readonly model: string
      /** A dated API; `undefined` for `/openai/v1/`. */
      readonly apiVersion: string | undefined
      /** `undefined` for managed identity. */
      readonly key: string | undefined
    }
  | {
      readonly kind: 'openai'
      readonly baseUrl: string
      readonly model: string
      /** `undefined` where the server asks for none. */
      readonly key: string | undefined
    }

export interface CacheRule {
  readonly ttlMs: number
  /** Whether an answer that was sampled (temperature above 0) is stored too. */
  readonly sampled: boolean
}

export interface RoutePolicy {
  /** The model where a request names none. */
  readonly model: string
  /** `undefined` where the route is not cached. */
  readonly cache: CacheRule | undefined
}

/** A policy, checked and resolved. */
export interface Policy {
  readonly plans: ReadonlyMap<string, Plan>
  /** The plan of a consumer that was made without one; `undefined` where the choice isn't clear. */
  readonly defaultPlan: string | undefined
  readonly models: ReadonlyMap<string, TargetSettings>
  readonly routes: { readonly generate: RoutePolicy }
}

/** A policy that can't be used. The message lists each fault with its path and the fix. */
export class PolicyError extends OperatorError {
  override readonly name = 'PolicyError'
  constructor(source: string, faults: readonly string[]) {
    super(`${source} was refused:\n${faults.map((fault) => `  - ${fault}`).join('\n')}`)
  }
}
