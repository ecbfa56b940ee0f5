import { OperatorError } from '../pipeline/index.ts'
import type { Limit } from './limit.ts'

export interface Plan {
  readonly name: string
  /** For each of its consumers alone. */
  readonly limits: readonly Limit[]
  /** For all of its consumers together. */
  readonly shared: readonly Limit[]
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

/** Whole pico-dollars a token: USD per million tokens × 1,000,000. */
export interface Price {
  readonly input: number
  /** Never above `input`. */
  readonly cachedInput: number
  readonly output: number
}

export interface Model {
  readonly name: string
  readonly target: TargetSettings
  /** `undefined` where a limit on money must refuse the model. */
  readonly price: Price | undefined
  /** The most tokens of one request, prompt and answer together; `undefined` where nobody said. */
  readonly contextWindow: number | undefined
}

export interface CacheRule {
  readonly ttlMs: number
  /** Whether an answer that was sampled (temperature above 0) is stored too. */
  readonly sampled: boolean
  /** Who is served what is stored: the consumer that asked, all of its plan, or all. */
  readonly scope: 'consumer' | 'plan' | 'shared'
  /** Whether an answer that calls tools is stored too. */
  readonly tools: boolean
}

/** What is taken out of a prompt before the model reads it. */
export interface TransformRule {
  readonly lineEndings: boolean
  readonly minifyJson: boolean
  /** The elements of which repetitions are dropped, sorted, each once; empty where none are. */
  readonly dropDuplicates: readonly string[]
}

export interface RoutePolicy {
  /** The model where a request names none. */
  readonly model: string
  /** `undefined` where the route is not cached. */
  readonly cache: CacheRule | undefined
  readonly transforms: TransformRule
}

/** A policy, checked and resolved. */
export interface Policy {
  readonly plans: ReadonlyMap<string, Plan>
  /** The plan of a consumer that was made without one; `undefined` where the choice isn't clear. */
  readonly defaultPlan: string | undefined
  /** For all consumers together. */
  readonly global: readonly Limit[]
  readonly models: ReadonlyMap<string, Model>
  readonly routes: { readonly generate: RoutePolicy }
  /** What limits on requests, tokens and concurrency do while the counters' store is down; money is always closed. */
  readonly storeDown: 'closed' | 'open'
}

/** Many faults are mostly of one kind, which the first ones show, and a log line has a longest length. */
const MOST_FAULTS = 25
const LONGEST_FAULT = 600
const LONGEST_SOURCE = 200

/** A policy that can't be used. The message lists each fault with its path and the fix: of many, the first ones. */
export class PolicyError extends OperatorError {
  override readonly name = 'PolicyError'
  /** @param untold how many faults there are beyond `faults` */
  constructor(source: string, faults: readonly string[], untold = 0) {
    const told = faults.slice(0, MOST_FAULTS).map((fault) => `  - ${bounded(fault, LONGEST_FAULT)}`)
    const more = faults.length - told.length + untold
    const end = more > 0 ? [`  - and ${more.toLocaleString('en-US')} more`] : []
    super(`${bounded(source, LONGEST_SOURCE)} was refused:\n${[...told, ...end].join('\n')}`)
  }
}

function bounded(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}
