import type { Call } from '../operations/index.ts'
import { PRICED_FIELDS, pricedFields, type Refusal, type RefusalCode } from '../pipeline/index.ts'
import { listText, type Policy, type Rights } from '../policy/index.ts'

/** Of a consumer whose plan the policy doesn't have: limits refuse it, where there are any. */
const ALL_RIGHTS: Rights = { models: undefined, tiers: undefined, tools: undefined }

/** What the policy lets the consumers of a plan use. */
export function rightsOf({ plans }: Pick<Policy, 'plans'>, plan: string): Rights {
  return plans.get(plan)?.rights ?? ALL_RIGHTS
}

/** Whether a plan lists a model: an alias and what it stands for are listed together. */
export function mayUse({ models }: Rights, name: string): boolean {
  return models === undefined || models.includes(name)
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
