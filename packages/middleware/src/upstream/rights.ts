import type { Call } from '../operations/index.ts'
import { memoByTwo, PRICED_FIELDS, pricedFields, type Refusal, type RefusalCode } from '../pipeline/index.ts'
import { listText, type Narrowing, narrowedRights, type Policy, type Rights } from '../policy/index.ts'

/** Of a consumer whose plan the policy doesn't have: limits refuse it, where there are any. */
const ALL_RIGHTS: Rights = { models: undefined, tiers: undefined, tools: undefined }

/** Who asks, as far as rights go by it. */
export interface Asker {
  readonly plan: string
  /** What its key narrows. */
  readonly grant?: Narrowing | undefined
}

type Listing = Pick<Policy, 'plans' | 'virtualModels'>

/** What the policy lets a caller use: what its plan lists, and its key leaves it. Worked out once. */
export const rightsOf = memoByTwo(({ plans, virtualModels }: Listing, { plan, grant }: Asker): Rights => {
  const ofPlan = plans.get(plan)?.rights ?? ALL_RIGHTS
  return grant === undefined ? ofPlan : narrowedRights(ofPlan, grant, virtualModels)
})

/** Why a caller's key may not ask a route; `undefined` where it may. */
export function beyondRoutes({ grant }: Asker, route: string): Refusal | undefined {
  const routes = grant?.routes
  if (routes === undefined || routes.includes(route)) return undefined
  const message =
    `Your key does not allow the route '${route}'. It allows: ${listText(routes)}. ` +
    'Use one of these, or ask the operator for a key that allows it.'
  return { kind: 'refusal', code: 'route_not_allowed', status: 403, message }
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
export function beyondRights(rights: Rights, { operation, body }: Call, tier: string | undefined): Refusal | undefined {
  const { models, tiers, tools } = rights
  const lists = { model: models, tools, rate: undefined }
  for (const field of models || tools ? pricedFields(body.json) : []) {
    const { moves, buys } = PRICED_FIELDS.get(field) ?? {}
    const list = moves && lists[moves]
    if (list === undefined) continue
    return forbidden(
      'field_not_allowed',
      field,
      `'${field}', which may ${buys}`,
      list,
      list === models ? rights.by : undefined,
    )
  }
  if (tiers !== undefined && tier !== undefined && !tiers.includes(tier)) return tierNotAllowed(tier, tiers)
  if (tools === undefined) return undefined
  const tool = Object.keys(operation.surcharges(body).toolCalls).find((each) => !tools.includes(each))
  if (tool === undefined) return undefined
  return forbidden('tool_not_allowed', 'tools', `the hosted tool '${shown(tool)}'`, tools)
}

export function modelNotAllowed(model: string, { models, by }: Rights): Refusal {
  return forbidden('model_not_allowed', 'model', `the model '${model}'`, models, by)
}

export function tierNotAllowed(tier: string, allowed: readonly string[] | undefined): Refusal {
  return forbidden('tier_not_allowed', 'service_tier', `the service tier '${shown(tier)}'`, allowed)
}

function shown(word: string): string {
  return word.replace(/[^\x20-\x7e]/g, '?').slice(0, 64)
}

/** @param by whose list it is: the plan's by default */
function forbidden(
  code: RefusalCode,
  param: string,
  what: string,
  allowed: readonly string[] = [],
  by: Rights['by'] | 'plan' = 'plan',
): Refusal {
  const message = `Your ${by} does not allow ${what}. It allows: ${listText(allowed)}. Use one of these, or ask the operator ${FIX[by]}.`
  return { kind: 'refusal', code, status: 403, param, message }
}

const FIX = { plan: 'to add it to the plan in the policy', key: 'for a key that allows it' } as const
