import { OperatorError } from '../pipeline/index.ts'
import type { Group } from './group.ts'
import type { Identity } from './identity.ts'
import type { Limit } from './limit.ts'
import type { Model } from './model.ts'
import type { Plan } from './plan.ts'
import type { Routes } from './route.ts'
import type { UsageKept } from './usage.ts'
import type { VirtualModels } from './virtual-model.ts'

/** A policy, checked and resolved. */
export interface Policy {
  /**
   * Tells by what a request was decided: 12 hexadecimal digits of a hash of all that follows but `usage`, the same in each process
   * and for each document that means the same. No secret is part of it, only the names of the variables that hold them.
   */
  readonly revision: string
  readonly plans: ReadonlyMap<string, Plan>
  /** The plan of a consumer that was made without one; `undefined` where the choice isn't clear. */
  readonly defaultPlan: string | undefined
  /** For all consumers together. */
  readonly global: readonly Limit[]
  /** Whose tokens let callers in; left out where keys alone do. The same object in each policy that says the same. */
  readonly identity?: Identity
  /** Three at most; left out where there are none. The same object in each policy that says the same. */
  readonly groups?: readonly Group[]
  /** Those that are served somewhere. */
  readonly models: ReadonlyMap<string, Model>
  /** Those that pick one of these; no name is in both. */
  readonly virtualModels?: VirtualModels
  /** Those that the document names: `routeOf` has the defaults of the others. */
  readonly routes: Routes
  /** What limits on requests, tokens and concurrency do while the counters' store is down; money is always closed. */
  readonly storeDown: 'closed' | 'open'
  /** How long the ledger keeps what. It decides no request. */
  readonly usage: UsageKept
  /** Hosts that the operator listed: these alone may be on addresses that are not public. No part of the revision. */
  readonly trustedHosts?: readonly string[]
}

/** Many faults are mostly of one kind, which the first ones show, and a log line has a longest length. */
const MOST_FAULTS = 25
const LONGEST_FAULT = 600
const LONGEST_SOURCE = 200

/** A policy that can't be used. The message lists each fault with its path and the fix: of many, the first ones. */
export class PolicyError extends OperatorError {
  override readonly name = 'PolicyError'
  /** Each with its path and the fix; of many, the first ones. */
  readonly faults: readonly string[]
  /** @param untold how many faults there are beyond `faults` */
  constructor(source: string, faults: readonly string[], untold = 0) {
    const told = faults.slice(0, MOST_FAULTS).map((fault) => `  - ${bounded(fault, LONGEST_FAULT)}`)
    const more = faults.length - told.length + untold
    const end = more > 0 ? [`  - and ${more.toLocaleString('en-US')} more`] : []
    super(`${bounded(source, LONGEST_SOURCE)} was refused:\n${[...told, ...end].join('\n')}`)
    this.faults = [...told, ...end].map((line) => line.slice('  - '.length))
  }
}

function bounded(text: string, longest: number): string {
  return text.length > longest ? `${text.slice(0, longest)}…` : text
}
