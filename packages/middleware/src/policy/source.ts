import { createHash } from 'node:crypto'
import { type OperatorError, StoreUnavailable } from '../pipeline/index.ts'
import type { AskedBy } from './model.ts'
import type { Policy } from './policy.ts'
import { routeOf } from './route.ts'

/** Where the policy of a request comes from. */
export interface PolicySource {
  /**
   * The policy in force. It never waits.
   *
   * @throws PolicyUnknown before it was first read; PolicyError where there is none that can be used
   */
  current(): Policy
  /** A second revision, which refuses nothing and is only judged by what it would have refused; `undefined` where there is none. */
  shadow(): Policy | undefined
  /**
   * Looks whether there is another policy, where the last look is too old, and puts it in force. To be called for each request, which
   * waits for what it gives before it goes by `current()`: `undefined` nearly always, and never rejects.
   */
  refresh(): Promise<void> | undefined
  /** What an operator is to know: a revision that was applied, and that this process can't use. `undefined` where all is well. */
  refused(): OperatorError | undefined
}

/** A policy that stays as it is for as long as the process runs. */
export function fixedPolicy(policy: Policy, shadow?: Policy): PolicySource {
  return { current: () => policy, shadow: () => shadow, refresh: () => undefined, refused: () => undefined }
}

/** Which policy is in force could not be read yet: its store failed. Known by its name, since two copies of this class can meet. */
export class PolicyUnknown extends StoreUnavailable {
  constructor(options?: ErrorOptions) {
    super('The policy in force could not be read yet', options)
  }
}

const REVISION_DIGITS = 12

/**
 * The revision of a policy: a hash of what it means, however the document is written.
 *
 * @param asked for each model, the names of the variables that hold the keys of each of its targets, and its other settings
 */
export function revisionOf(policy: Omit<Policy, 'revision'>, asked: ReadonlyMap<string, readonly AskedBy[]>): string {
  // What is left out here is said below in another form, or decides no request: all else counts.
  const { plans, models, virtualModels = new Map(), routes, usage: _, ...rest } = policy
  const hash = createHash('sha256')
  const add = (what: string, value: unknown) => hash.update(`${JSON.stringify([what, value])}\n`)
  for (const [name, plan] of sorted(plans)) add(`plan ${name}`, plan)
  for (const [name, { targets, ...model }] of sorted(models)) {
    // A target's id says where it is. Its settings hold the key.
    const told = targets.map(({ settings: _, ...target }) => target)
    add(`model ${name}`, [told, model, asked.get(name)])
  }
  for (const [name, virtual] of sorted(virtualModels)) add(`virtual model ${name}`, virtual)
  // A route that is written down with its defaults means the same as one that is not.
  const unnamed = routeOf({ routes: new Map() }, '')
  for (const [name, route] of sorted(routes)) if (route !== unnamed) add(`route ${name}`, route)
  add('rest', rest)
  return hash.digest('hex').slice(0, REVISION_DIGITS)
}

function sorted<T>(map: ReadonlyMap<string, T>): [name: string, value: T][] {
  return [...map].toSorted(([a], [b]) => (a < b ? -1 : 1))
}
