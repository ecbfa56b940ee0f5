import { type Check, checkOf } from './exactness.ts'
import { type GateName, storeOf } from './gates/gate.ts'
import type { Store, Stores } from './stores.ts'
import { runTrial, type Trial, type TrialResult } from './trial.ts'

/** What a section measures with. */
export interface Workbench {
  /** So short that the figures mean nothing: only that limits hold is judged. */
  readonly quick: boolean
  /** Whether this machine has the store that a limiter needs. */
  has(gate: GateName): boolean
  store(gate: GateName): Store
  /** A trial that was run before, by whichever section, is not run again. */
  run(trial: Trial): Promise<TrialResult>
  /** Adds what was checked outside of trials. */
  checked(check: Check): void
  /** What all trials, and others, came to. */
  checks(): readonly Check[]
}

export function workbench(stores: Stores, quick: boolean): Workbench {
  const results = new Map<string, TrialResult>()
  const others: Check[] = []
  const store = (gate: GateName): Store => {
    const found = stores.of(storeOf(gate))
    if (found === undefined) throw new Error(`There is no store for ${gate} here`)
    return found
  }
  return {
    quick,
    has: (gate) => stores.of(storeOf(gate)) !== undefined,
    store,
    async run(trial) {
      const key = JSON.stringify({ ...trial, name: '' })
      const known = results.get(key)
      if (known !== undefined) return known
      const result = await runTrial(trial, store(trial.gate))
      results.set(key, result)
      return result
    },
    checked: (check) => {
      others.push(check)
    },
    checks: () => [...[...results.values()].map(checkOf), ...others],
  }
}
