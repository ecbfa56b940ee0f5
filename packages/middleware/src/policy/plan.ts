import * as z from 'zod'
import { interned } from './interned.ts'
import { type Limit, type LimitList, limits, resolveLimits } from './limit.ts'
import { knowsModel, type ModelDocuments, type Rights, zonesOf } from './model.ts'
import { closestName, listText, name } from './names.ts'
import { modelsBehind, type VirtualModels, withAliases } from './virtual-model.ts'

/* A plan: the limits of its consumers, and what they may use. */

export interface Plan {
  readonly name: string
  /** For each of its consumers alone. */
  readonly limits: readonly Limit[]
  /** For all of its consumers together. */
  readonly shared: readonly Limit[]
  /** What they may use; `undefined` where the plan lists nothing. */
  readonly rights: Rights | undefined
}

const allowed = z.array(name).max(256).optional()

export const planSchema = z.strictObject({
  limits: limits.describe('Limits on each consumer of the plan alone.'),
  shared: z.strictObject({ limits }).optional().describe("Limits on all the plan's consumers together."),
  models: allowed.describe('The models that its consumers may name, and that may serve them. Absent: all.'),
  tiers: allowed.describe(
    'The service tiers that they may ask for; default is the usual one. Absent: all that have a price.',
  ),
  tools: allowed.describe('The hosted tools that they may use. Absent: all that have a price.'),
  zones: z
    .array(name)
    .min(1)
    .max(16)
    .optional()
    .describe('The zones that their requests stay in; a target without a zone is in none. Absent: everywhere.'),
})

type PlanDocuments = Readonly<Record<string, z.infer<typeof planSchema>>>

/** What the whole document says of plans, and of what they name. */
interface PlansDocument {
  readonly plans?: PlanDocuments | undefined
  readonly global?: { readonly limits: z.infer<typeof limits> } | undefined
  readonly models?: ModelDocuments | undefined
}

export interface ResolvedPlans {
  readonly plans: ReadonlyMap<string, Plan>
  /** The plan of a consumer that was made without one; `undefined` where the choice isn't clear. */
  readonly defaultPlan: string | undefined
  /** For all consumers together. */
  readonly global: readonly Limit[]
}

/** The seed's limits: 10 requests a minute, burst 5. */
const DEFAULT_PLANS: PlanDocuments = {
  default: { limits: [{ requests: 10, per: '1m', burst: 5 }] },
}

export function planFaults({ plans }: PlansDocument): string[] {
  if (plans === undefined || Object.keys(plans).length > 0) return []
  return ['plans: there is none, so every request would be refused. Name one, or leave plans out for the default.']
}

/** Plans and global limits; what is wrong with them goes to `faults`, with its path. */
export function resolvePlans(document: PlansDocument, virtualModels: VirtualModels, faults: string[]): ResolvedPlans {
  const modelFault = limitedModelFault(document.models, virtualModels)
  const zones = zonesOfAll(document.models)
  const expanded = withAliases(virtualModels)
  const plans = Object.entries(document.plans ?? DEFAULT_PLANS).map(([name, plan]) => {
    const { limits, shared, models, tiers, tools } = plan
    const path = `plans.${name}`
    const mayUse = models && expanded(models)
    faults.push(...rightsFaults(path, plan, { document, virtualModels, zones, mayUse }))
    const rights = { models: mayUse, tiers, tools, zones: plan.zones }
    const resolved: Plan = {
      name,
      limits: resolveLimits(limits, { path: `${path}.limits`, prefix: '', modelFault }, faults),
      shared: resolveLimits(
        shared?.limits ?? [],
        { path: `${path}.shared.limits`, prefix: 'plan-', modelFault },
        faults,
      ),
      rights: models || tiers || tools || plan.zones ? rights : undefined,
    }
    return [name, interned(resolved)] as const
  })
  const list = { path: 'global.limits', prefix: 'global-', modelFault } as const
  return {
    plans: new Map(plans),
    defaultPlan: defaultPlan(plans.map(([name]) => name)),
    global: interned(resolveLimits(document.global?.limits ?? [], list, faults)),
  }
}

/** Why a limit can't be on a model of this name. */
export function limitedModelFault(
  documents: ModelDocuments | undefined,
  virtualModels: VirtualModels,
): LimitList['modelFault'] {
  return (name) => {
    if (!knowsModel(documents, name)) return `there is no model '${name}' under models.`
    if (!virtualModels.has(name)) return undefined
    const behind = modelsBehind(name, virtualModels)
    return behind.length === 1
      ? `'${name}' is another name for '${behind[0]}', by which its requests are counted. Write model: ${behind[0]}.`
      : `'${name}' picks a model for each request, by which that is counted. Write a limit for each: ${listText(behind)}.`
  }
}

function defaultPlan(names: readonly string[]): string | undefined {
  return names.includes('default') ? 'default' : names.length === 1 ? names[0] : undefined
}

interface Zones {
  /** Of each model that is served in any. */
  readonly served: ReadonlyMap<string, readonly string[]>
  readonly known: ReadonlySet<string>
}

function zonesOfAll(documents: ModelDocuments = {}): Zones {
  const zones = Object.entries(documents).map(([name, model]) => [name, zonesOf(model)] as const)
  return { served: new Map(zones.filter(([, own]) => own.length > 0)), known: new Set(zones.flatMap(([, own]) => own)) }
}

interface Named {
  readonly document: PlansDocument
  readonly virtualModels: VirtualModels
  readonly zones: Zones
  /** The models of the plan, by all of their names; `undefined` where that is all. */
  readonly mayUse: readonly string[] | undefined
}

/** What a plan lists, and nothing could be served by. */
function rightsFaults(
  path: string,
  { models, zones = [] }: PlanDocuments[string],
  { document, virtualModels, zones: { served, known }, mayUse }: Named,
): string[] {
  const faults: string[] = []
  for (const [index, name] of (models ?? []).entries()) {
    const place = `${path}.models[${index}]`
    if (!knowsModel(document.models, name)) {
      faults.push(`${place}: there is no model '${name}' under models.`)
      continue
    }
    const behind = modelsBehind(name, virtualModels)
    if (behind.length === 0 || behind.some((each) => mayUse?.includes(each))) continue
    faults.push(
      `${place}: '${name}' picks ${listText(behind, 'or')}, and the plan lists none of them, so each request for it would be refused. List them too.`,
    )
  }
  if (zones.length === 0) return faults
  const unknown = [...zones.entries()].filter(([, zone]) => !known.has(zone))
  for (const [index, zone] of unknown) {
    const meant = closestName(zone, known)
    const hint = meant === undefined ? '' : ` Did you mean '${meant}'?`
    const there = known.size === 0 ? '' : ` There are: ${listText(known)}.`
    faults.push(
      `${path}.zones[${index}]: no target says that it is in the zone '${zone}'.${hint}${there} Write zone: ${zone} at those that are.`,
    )
  }
  const isServed = [...(mayUse ?? served.keys())].some((name) => served.get(name)?.some((zone) => zones.includes(zone)))
  if (unknown.length === 0 && !isServed) {
    faults.push(
      `${path}.zones: none of the models that the plan may use has a target in ${listText(zones, 'or')}, so each request would be refused. Give a target its zone, list another model, or remove the zones.`,
    )
  }
  return faults
}
