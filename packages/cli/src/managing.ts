import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  type DocumentSource,
  type ManageAction,
  type Managed,
  ManageFault,
  type ManageInput,
  type ManageOutput,
  type OpenTable,
  outlinePolicy,
  outlinePolicyText,
  POLICY_FILE,
  PolicyError,
  type PolicyOutline,
  type PolicyText,
  perform,
  policyRevisions,
  revisionText,
  shortDigest,
  storageLocation,
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
  return withTables(place, 'Commands', async (open, storage) => {
    // A key can be revoked, and another policy be applied, while this one is refused.
    const inForce = await policyInForce(place, open).catch((fault) => {
      if (fault instanceof PolicyError) return fault
      throw fault
    })
    return withCounters(place, open, async (counters) => {
      const managed: Managed = {
        consumers: tableConsumerStore(open),
        counters,
        generations: tableGenerationStore(open),
        usage: open('tollgateusage'),
        policies: open('tollgatepolicy'),
        policyName: policyNameOf(place),
        audit: open('tollgateaudit'),
        get policy() {
          if (inForce instanceof PolicyError) throw inForce
          return inForce
        },
        check: (text, source) => void outlinePolicyText({ text, source }),
        from: 'cli',
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
    })
  })
}

/** Whose revisions the gateway keeps: by the name of its file. */
export function policyNameOf({ env }: Place): string {
  return env.TOLLGATE_POLICY || POLICY_FILE
}

/** What is known of a policy without the app's settings, and what it came from. */
export type PolicyInForce = PolicyOutline & { readonly source: DocumentSource }

/** What the gateway goes by: the revision that was applied last, and where there is none yet, the policy's file. @throws PolicyError */
export async function policyInForce(place: Place, open: OpenTable): Promise<PolicyInForce> {
  const kept = await textInForce(place, open)
  if (kept === undefined) return outlinePolicy({ root: place.root, path: place.env.TOLLGATE_POLICY || undefined })
  return { ...outlinePolicyText(kept), source: { file: kept.source, digest: kept.digest } }
}

/** The same for a command that needs nothing else of the tables: where there are none that it could share, the file. @throws PolicyError */
export async function policyHere(place: Place): Promise<PolicyInForce> {
  const kept = await textHere(place)
  if (kept === undefined) return outlinePolicy({ root: place.root, path: place.env.TOLLGATE_POLICY || undefined })
  return { ...outlinePolicyText(kept), source: { file: kept.source, digest: kept.digest } }
}

/** The text of the revision in force; `undefined` where there is none, or no tables that a command could share. */
export async function textHere(place: Place): Promise<Awaited<ReturnType<typeof textInForce>>> {
  const { root, env } = place
  const storage = storageLocation(env)
  const isLocal = storage === undefined && existsSync(resolve(root, env.TOLLGATE_LOCAL_DATA || '.azurite'))
  if (storage?.kind === 'memory' || (storage === undefined && !isLocal)) return undefined
  return withTables(place, 'Revisions', (open) => textInForce(place, open))
}

/** The text of that revision; `undefined` where none was applied yet. */
export async function textInForce(
  place: Place,
  open: OpenTable,
): Promise<(PolicyText & { readonly digest: string }) | undefined> {
  const revisions = policyRevisions({ table: open('tollgatepolicy'), name: policyNameOf(place) })
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const { current } = await revisions.look(signal)
  if (current === undefined) return undefined
  const text = await revisions.textOf(current, signal)
  return { text, source: revisionText(current.revision), digest: shortDigest(current.revision) }
}
