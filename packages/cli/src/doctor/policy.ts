import {
  digestOf,
  isOutage,
  listText,
  moneyLimits,
  OperatorError,
  oldBookText,
  openTables,
  outlinePolicy,
  outlinePolicyText,
  POLICY_FILE,
  type Policy,
  PolicyError,
  type PolicyOutline,
  policyRevisions,
  type Revision,
  revisionText,
  servedText,
  shortDigest,
} from '@tollgate/middleware'
import type { Settings } from '../../../../functions/settings.ts'
import type { Examined } from './environment.ts'
import { codeOf, fault, ok, type Seen, warn } from './finding.ts'
import type { SharedLocation } from './storage.ts'

/* Which policy is in force, what it says and costs, and where its targets are. */

/** The policy that requests go by, as far as it can be had from here. */
export interface PolicyInForce {
  readonly policy: Policy | OperatorError
  /** What it says by itself: also where the settings are at fault. */
  readonly outline: PolicyOutline | OperatorError
  /** Where it is from, and how that differs from the app's file. */
  readonly seen: readonly Seen[]
}

/** What else is looked at must not wait for a table that does not answer. */
const LOOK_MS = 3_000

/** The revision in the table, and where there is none, the app's file. */
export async function policyInForce(
  settings: Settings | OperatorError,
  { env, root, isExported }: Examined,
  storage: SharedLocation | undefined,
): Promise<PolicyInForce> {
  const file = attempt(() => outlinePolicy({ root, path: env.TOLLGATE_POLICY || undefined }))
  const isRead = !(settings instanceof OperatorError)
  const ofFile: Policy | OperatorError = isRead ? (settings.policyFault ?? settings.policy) : settings
  const byFile = (seen: readonly Seen[]): PolicyInForce => ({
    policy: ofFile,
    outline: file,
    seen: [...fileSeen(file), ...seen],
  })
  if (storage === undefined) return byFile([])
  const name = env.TOLLGATE_POLICY || POLICY_FILE
  const revisions = policyRevisions({ table: openTables(storage)('tollgatepolicy'), name })
  try {
    const signal = AbortSignal.timeout(LOOK_MS)
    const { current, shadow } = await revisions.look(signal)
    if (current === undefined) return byFile([])
    const { revision } = current
    const text = await revisions.textOf(current, signal)
    const refusal = await revisions.refusalOf(current, signal)
    const of = { text, source: revisionText(revision) }
    const outline = attempt(() => outlinePolicyText(of))
    return {
      policy: isRead ? attempt(() => settings.resolvePolicy(of)) : settings,
      outline,
      seen: [
        ...(outline instanceof OperatorError ? [fault(outline.message, ROLL_BACK)] : []),
        ...(refusal === undefined
          ? []
          : [fault(`an instance refused ${of.source}, and goes by the one before: ${refusal}`, ROLL_BACK)]),
        revisionSeen(revision, isRead ? settings : undefined, isExported),
        ...(file instanceof OperatorError
          ? [warn(`the app's file can't be used: ${file.message}`, 'Correct it, or nothing but the revision holds.')]
          : []),
        ...(shadow === undefined
          ? []
          : [ok(`${revisionText(shadow.revision)} is judged beside it, and refuses nothing`)]),
      ],
    }
  } catch (error) {
    if (error instanceof OperatorError) return byFile([fault(error.message, ROLL_BACK)])
    if (!isOutage(error)) throw error
    return byFile([
      warn(
        `whether another revision is in force is not known, since the table can't be read (${codeOf(error)})`,
        'See storage.',
      ),
    ])
  }
}

const USE_IT = 'Set what is named (docs/settings.md), or write the policy without it.'
const ROLL_BACK = 'npm run tollgate -- policy history, and policy rollback <number> to one that is well.'

function attempt<T>(read: () => T): T | OperatorError {
  try {
    return read()
  } catch (error) {
    if (error instanceof OperatorError) return error
    throw error
  }
}

function fileSeen(file: ReturnType<typeof outlinePolicy> | OperatorError): readonly Seen[] {
  if (file instanceof OperatorError) return [fault(file.message, 'Correct what is named: docs/policy.md')]
  const { source } = file
  return [
    ok(
      source.file === undefined
        ? `the defaults, since there is no ${POLICY_FILE}`
        : `${source.file} (${source.digest})`,
    ),
  ]
}

function revisionSeen(
  { digest, at, by, ...revision }: Revision,
  settings: Settings | undefined,
  isExported: boolean,
): Seen {
  const file = settings?.policyFile
  const saw = `${revisionText(revision)} (${shortDigest({ digest })}), applied ${new Date(at).toISOString()} by ${by}`
  if (file === undefined || digestOf(file.text) === digest)
    return ok(`${saw}${file === undefined ? '' : `: as ${file.source} says`}`)
  // `npm start` applies what was saved later.
  if (!isExported && file.savedAt > at)
    return ok(`${saw}; ${file.source}, saved later, is applied by the next npm start`)
  return warn(
    `${saw}, and not what ${file.source} says`,
    'npm run tollgate -- policy diff shows how they differ; policy apply puts the file in force.',
  )
}

export function policySeen({ policy, outline, seen }: PolicyInForce): readonly Seen[] {
  if (outline instanceof OperatorError) return seen
  // What a revision's instance told already is not told again.
  if (policy instanceof PolicyError && seen.every(({ state }) => state !== 'fault')) {
    return [...seen, fault(policy.message, USE_IT)]
  }
  const of = policy instanceof OperatorError ? outline : policy
  const { unlimitedPlans } = moneyLimits(of)
  const plans = [...of.plans.keys()]
  const served = servedText(of)
  const what = `${plans.length === 1 ? 'plan' : 'plans'} ${listText(plans.slice(0, MOST_NAMED))}`
  return [
    ...seen,
    ok(served === undefined ? what : `${what}; ${served}`),
    ...(unlimitedPlans.length === 0
      ? []
      : [
          warn(
            `nothing limits what consumers of ${listText(unlimitedPlans.slice(0, MOST_NAMED))} may spend`,
            'Write {usd: 50, per: month} under plans.<plan>.limits, or under global.limits.',
          ),
        ]),
  ]
}

const MOST_NAMED = 20

/** @param outline the policy by itself, which says whose word a price is */
export function pricesSeen(policy: Policy, outline: PolicyOutline, now: number): readonly Seen[] {
  const { refusedModels } = moneyLimits(policy)
  const book = [...outline.models.values()].filter(({ priced }) => priced?.by === 'book').map(({ name }) => name)
  const old = oldBookText(book, now)
  const priced = [...policy.models.values()].filter(({ targets }) => targets.some(({ price }) => price !== undefined))
  const { size } = policy.models
  const seen: Seen[] = [ok(size === 0 ? 'no model is configured' : `${priced.length} of ${size} models have a price`)]
  if (refusedModels.length > 0) {
    seen.push(
      warn(
        `money is limited, and ${listText(refusedModels)} have no price: requests for them are refused`,
        'Write models.<name>.price, such as {input: 0.15, output: 0.60} (dollars per million tokens). npm run tollgate -- prices',
      ),
    )
  }
  if (old !== undefined)
    seen.push(
      warn(old, 'Compare with the provider, and write what differs under models.<name>.price, or update Tollgate.'),
    )
  return seen
}

/** By the platform's own word: `REGION_NAME`, such as `West Europe`. */
export function regionSeen(policy: Policy, { env }: Examined): Seen {
  const region = env.REGION_NAME?.toLowerCase().replaceAll(' ', '') || undefined
  const zones = new Set([...policy.models.values()].flatMap(({ targets }) => targets.flatMap(({ zone }) => zone ?? [])))
  const told = zones.size === 0 ? 'no target names a zone' : `targets are in ${listText(zones)}`
  if (region === undefined) return ok(`${told}; where the app runs is not told here (REGION_NAME)`)
  const regions = [...zones].filter((zone) => REGION.test(zone.toLowerCase()))
  const saw = `the app runs in ${region}; ${told}`
  if (regions.length === 0 || regions.some((zone) => zone.toLowerCase() === region)) return ok(saw)
  return warn(`${saw}: each call leaves the region`, `Add a target in ${region}, or deploy the app beside its models.`)
}

/** A zone is the policy's own word; these are Azure's. */
const REGION =
  /^(?:(?:north|south|east|west|central|southeast|northcentral|southcentral|westcentral|southeast|uk|france|germany|switzerland|norway|sweden|italy|poland|spain|japan|korea|canada|brazil|australia|uae|qatar|israel)[a-z]+\d?)$/
