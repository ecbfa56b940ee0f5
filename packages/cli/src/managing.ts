import { existsSync } from 'node:fs'
import { resolve } from 'node:path'
import {
  checkInput,
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
import { gatewayOf, managingByUrl } from './manage-client.ts'
import type { Place } from './place.ts'
import { withTables } from './tables.ts'

/** What came of an action, and what a person is told of where it was done. */
export interface Done<Output> {
  readonly output: Output
  readonly storage: string
}

const TIMEOUT_MS = 30_000

export interface ManagingOptions {
  /** How an option or argument is called that gives a field: `--` and the field's name by default, of one in the path `<name>`. */
  readonly named?: Readonly<Record<string, string>>
  /** On the tables; 30,000 by default. */
  readonly timeoutMs?: number
}

/**
 * Carries an action out for a command: by a gateway's URL where one is given, and else on the tables that the gateway uses.
 *
 * @param input by the action's own names of its fields
 * @throws CommandFault that names the option
 */
export async function managing<Action extends ManageAction>(
  action: Action,
  input: ManageInput<Action>,
  place: Place,
  { named = {}, timeoutMs = TIMEOUT_MS }: ManagingOptions = {},
): Promise<Done<ManageOutput<Action>>> {
  try {
    checkInput(action, input)
    const gateway = gatewayOf(place)
    if (gateway === undefined) return await managingTables(action, input, place, timeoutMs)
    return { output: await managingByUrl(action, input, gateway), storage: `what the gateway at ${gateway.url} has` }
  } catch (error) {
    if (!(error instanceof ManageFault || error instanceof CommandFault)) throw error
    throw new CommandFault(optionText(error.message, action, named))
  }
}

/** A field that a message begins with stands in quotes there, and in backticks within it. */
function optionText(message: string, { path, input }: ManageAction, named: Readonly<Record<string, string>>): string {
  const optionOf = (field: string) => named[field] ?? (path.includes(`{${field}}`) ? `<${field}>` : `--${field}`)
  return message
    .replace(/^'(\w+)(?:\.[\w.-]*)?'/, (text, field: string) => (field in input.shape ? optionOf(field) : text))
    .replace(/`(\w+)`/g, (text, field: string) => (field in input.shape ? optionOf(field) : text))
}

async function managingTables<Action extends ManageAction>(
  action: Action,
  input: ManageInput<Action>,
  place: Place,
  timeoutMs: number,
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
        signal: AbortSignal.timeout(timeoutMs),
        log: () => {},
      }
      return { output: await perform(action, input, managed), storage }
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
  return outlined(await textInForce(place, open), place)
}

/** The same for a command that needs nothing else of the tables: where there are none that it could share, the file. @throws PolicyError */
export async function policyHere(place: Place): Promise<PolicyInForce> {
  return outlined(await textHere(place), place)
}

/** Of a revision's text; of the file where there is none. @throws PolicyError */
function outlined(kept: RevisionText | undefined, { root, env }: Place): PolicyInForce {
  if (kept === undefined) return outlinePolicy({ root, path: env.TOLLGATE_POLICY || undefined })
  return { ...outlinePolicyText(kept), source: { file: kept.source, digest: kept.digest } }
}

type RevisionText = PolicyText & { readonly digest: string }

/** The text of the revision in force; `undefined` where there is none, or no tables that a command could share. */
export async function textHere(place: Place): Promise<RevisionText | undefined> {
  const { root, env } = place
  const storage = storageLocation(env)
  const isLocal = storage === undefined && existsSync(resolve(root, env.TOLLGATE_LOCAL_DATA || '.azurite'))
  if (storage?.kind === 'memory' || (storage === undefined && !isLocal)) return undefined
  return withTables(place, 'Revisions', (open) => textInForce(place, open))
}

/** The text of that revision; `undefined` where none was applied yet. */
export async function textInForce(place: Place, open: OpenTable): Promise<RevisionText | undefined> {
  const revisions = policyRevisions({ table: open('tollgatepolicy'), name: policyNameOf(place) })
  const signal = AbortSignal.timeout(TIMEOUT_MS)
  const { current } = await revisions.look(signal)
  if (current === undefined) return undefined
  const text = await revisions.textOf(current, signal)
  return { text, source: revisionText(current.revision), digest: shortDigest(current.revision) }
}
