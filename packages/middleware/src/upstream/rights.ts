import type { Call } from '../operations/index.ts'
import { PRICED_FIELDS, pricedFields, type Refusal, type RefusalCode } from '../pipeline/index.ts'
import { listText, type Policy, type Rights, type VirtualModel } from '../policy/index.ts'

/** Of a consumer whose plan the policy doesn't have: limits refuse it, where there are any. */
const ALL_RIGHTS: Rights = { models: undefined, tiers: undefined, tools: undefined }

/** What the policy lets the consumers of a plan use. */
export function rightsOf({ plans }: Pick<Policy, 'plans'>, plan: string): Rights {
  return plans.get(plan)?.rights ?? ALL_RIGHTS
}

/** Whether a plan lists a model. An alias is its model's name as any other: to list one of them lists both. */
export function mayUse(rights: Rights, policy: Pick<Policy, 'virtualModels'>, name: string): boolean {
  const { models } = rights
  if (models === undefined || models.includes(name)) return true
  const { virtualModels } = policy
  if (virtualModels === undefined || virtualModels.size === 0) return false
  return synonymsIn(models, virtualModels).has(unaliased(name, virtualModels))
}

type VirtualModels = ReadonlyMap<string, VirtualModel>

const synonyms = new WeakMap<VirtualModels, WeakMap<readonly string[], ReadonlySet<string>>>()

/** The models that a list names, none of them by an alias. */
function synonymsIn(models: readonly string[], virtual: VirtualModels): ReadonlySet<string> {
  let ofPolicy = synonyms.get(virtual)
  if (ofPolicy === undefined) {
    ofPolicy = new WeakMap()
    synonyms.set(virtual, ofPolicy)
  }
  let names = ofPolicy.get(models)
  if (names === undefined) {
    names = new Set(models.map((name) => unaliased(name, virtual)))
    ofPolicy.set(models, names)
  }
  return names
}

/** A chain of aliases is no longer than this. */
const MOST_ALIASES = 16

function unaliased(name: string, virtual: VirtualModels): string {
  let at = name
  for (let left = MOST_ALIASES; left > 0; left -= 1) {
    const model = virtual.get(at)
    if (model?.kind !== 'alias') break
    at = model.model
  }
  return at
}

/**
 * What a request asks for beyond its consumer's plan, whichever model serves it: fields, a service tier by name, hosted tools.
 *
 * @param tier the one that it names, as plans list it; `undefined` where it names none
 */
export function beyondRights(
  { models, tiers, tools }: Rights,
  { operation, body }: Call,
  tier: string | undefined,
): Refusal | undefined {
  const lists = { model: models, tools, rate: undefined }
  for (const field of models || tools ? pricedFields(body.json) : []) {
    const { moves, buys } = PRICED_FIELDS.get(field) ?? {}
    const list = moves && lists[moves]
    if (list !== undefined) return forbidden('field_not_allowed', field, `'${field}', which may ${buys}`, list)
  }
  if (tiers !== undefined && tier !== undefined && !tiers.includes(tier)) return tierNotAllowed(tier, tiers)
  if (tools === undefined) return undefined
  const tool = Object.keys(operation.surcharges(body).toolCalls).find((each) => !tools.includes(each))
  if (tool === undefined) return undefined
  return forbidden('tool_not_allowed', 'tools', `the hosted tool '${shown(tool)}'`, tools)
}

export function modelNotAllowed(model: string, allowed: readonly string[] | undefined): Refusal {
  return forbidden('model_not_allowed', 'model', `the model '${model}'`, allowed)
}

export function tierNotAllowed(tier: string, allowed: readonly string[] | undefined): Refusal {
  return forbidden('tier_not_allowed', 'service_tier', `the service tier '${shown(tier)}'`, allowed)
}

function shown(word: string): string {
  return word.replace(/[^\x20-\x7e]/g, '?').slice(0, 64)
}

function forbidden(code: RefusalCode, param: string, what: string, allowed: readonly string[] = []): Refusal {
  const message =
    `Your plan does not allow ${what}. It allows: ${listText(allowed)}. ` +
    'Use one of these, or ask the operator to add it to the plan in the policy.'
  return { kind: 'refusal', code, status: 403, param, message }
}
