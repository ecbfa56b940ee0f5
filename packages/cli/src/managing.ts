import {
  type ManageAction,
  type Managed,
  ManageFault,
  type ManageInput,
  type ManageOutput,
  outlinePolicy,
  type PolicyOutline,
  perform,
  tableConsumerStore,
  tableGenerationStore,
} from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'
import { withCounters } from './counters.ts'
import type { Place } from './place.ts'
import { withTables } from './tables.ts'

/** What came of an action, and what a person is told of where it was done. */
export interface Done<Output> {
  readonly output: Output
  readonly storage: string
}

const TIMEOUT_MS = 30_000

/**
 * Carries an action out for a command, on the tables that the gateway uses.
 *
 * @param input by the action's own names of its fields
 * @throws CommandFault that names the field
 */
export async function managing<Action extends ManageAction>(
  action: Action,
  input: ManageInput<Action>,
  place: Place,
): Promise<Done<ManageOutput<Action>>> {
  let policy: PolicyOutline | undefined
  return withTables(place, 'Commands', (open, storage) =>
    withCounters(place, open, async (counters) => {
      const managed: Managed = {
        consumers: tableConsumerStore(open),
        counters,
        generations: tableGenerationStore(open),
        usage: open('tollgateusage'),
        policies: open('tollgatepolicy'),
        audit: open('tollgateaudit'),
        // Read where it is asked for: a key can be revoked while the policy is refused.
        get policy() {
          policy ??= outlinePolicy({ root: place.root, path: place.env.TOLLGATE_POLICY || undefined })
          return policy
        },
        actor: `command line (${place.env.USER ?? place.env.USERNAME ?? 'unknown user'})`,
        wallClock: () => Date.now(),
        signal: AbortSignal.timeout(TIMEOUT_MS),
        log: () => {},
      }
      try {
        return { output: await perform(action, input, managed), storage }
      } catch (error) {
        throw error instanceof ManageFault ? new CommandFault(error.message) : error
      }
    }),
  )
}
