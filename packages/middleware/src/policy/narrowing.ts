import * as z from 'zod'
import { interned } from './interned.ts'
import { type BudgetLimit, budgetOfKey, type Spending, spending } from './limit.ts'
import type { Rights } from './model.ts'
import { closestName, listText, name } from './names.ts'
import type { Plan } from './plan.ts'
import { DEFAULT_MODEL, ROUTES } from './route.ts'
import { modelsBehind, type VirtualModels, withAliases } from './virtual-model.ts'

/* What a key narrows: of what its consumer's plan allows, the part that is left to the key. */

const MOST_NAMES = 64

/** Its grammar, in a key's row and where a key is made. */
export const narrowing = z.strictObject({
  models: z.array(name).max(MOST_NAMES).optional().describe('The models that it may name, and that may serve it.'),
  zones: z.array(name).max(MOST_NAMES).optional().describe('The zones that its requests stay in.'),
  routes: z.array(name).max(MOST_NAMES).optional().describe('The routes that it may ask.'),
  budget: spending.optional().describe('The most that it may spend by itself.'),
})

/** What one key may, within what its consumer's plan allows. A list that is left out is all; an empty one is none. */
export interface Narrowing {
  /** By their names in the policy, or those of aliases, splits and routes of models. */
  readonly models?: readonly string[] | undefined
  /** In which its requests stay. */
  readonly zones?: readonly string[] | undefined
  /** Of `ROUTES`. */
  readonly routes?: readonly string[] | undefined
  /** What it may spend by itself. */
  readonly budget?: Spending | undefined
}

/** Rights within which a key stays, where its consumer has these. */
export function narrowedRights(
  rights: Rights,
  { models, zones }: Narrowing,
  virtualModels: VirtualModels = new Map(),
): Rights {
  if (models === undefined && zones === undefined) return rights
  return interned({
    ...rights,
    // As in a plan, who may name an alias may name what it stands for.
    models: both(rights.models, models && withAliases(virtualModels)(models)),
    zones: both(rights.zones, zones),
    by: 'key',
  } satisfies Rights)
}

function both(plan: readonly string[] | undefined, key: readonly string[] | undefined): readonly string[] | undefined {
  if (plan === undefined || key === undefined) return plan ?? key
  return plan.filter((each) => key.includes(each))
}

/** The limit that counts what a key alone spends, as the only one of a list: the same list for the same words. */
export function limitsOfKey({ budget }: Narrowing): readonly BudgetLimit[] {
  return budget === undefined ? NONE : interned([budgetOfKey(budget)])
}

const NONE: readonly BudgetLimit[] = []

/** As much of a policy as keys are held against. */
export interface NarrowedPolicy {
  readonly plans: ReadonlyMap<string, Pick<Plan, 'name'>>
  readonly models: ReadonlyMap<
    string,
    { readonly targets: readonly { readonly zone?: string | undefined; readonly price?: object | undefined }[] }
  >
  readonly virtualModels?: VirtualModels
}

export interface NarrowingFault {
  readonly field: keyof Narrowing
  /** Without the field: what is wrong, and the fix. */
  readonly rule: string
}

/** The first thing that a new key names and the policy lacks, or that nothing could ever be served by. */
export function narrowingFault(
  { models, zones, routes }: Narrowing,
  policy: NarrowedPolicy,
): NarrowingFault | undefined {
  const known = new Set([...policy.models.keys(), ...(policy.virtualModels?.keys() ?? []), DEFAULT_MODEL])
  const model = models?.find((each) => !known.has(each))
  if (model !== undefined) return lacks('models', 'model', model, known)
  const mayUse = models && withAliases(policy.virtualModels ?? new Map())(models)
  for (const each of models ?? []) {
    const behind = modelsBehind(each, policy.virtualModels)
    if (behind.some((real) => mayUse?.includes(real))) continue
    return {
      field: 'models',
      rule: `'${each}' picks ${listText(behind, 'or')}, and the key would list none of them, so each request for it would be refused. Name them too.`,
    }
  }
  const served = new Set(
    [...policy.models.values()].flatMap(({ targets }) => targets.flatMap(({ zone }) => zone ?? [])),
  )
  const zone = zones?.find((each) => !served.has(each))
  if (zone !== undefined) return lacks('zones', 'target in a zone', zone, served)
  const route = routes?.find((each) => !ROUTES.includes(each))
  if (route !== undefined) return lacks('routes', 'route', route, ROUTES)
  return undefined
}

function lacks(field: keyof Narrowing, what: string, missing: string, known: Iterable<string>): NarrowingFault {
  const meant = closestName(missing, known)
  const hint = meant === undefined ? '' : ` Did you mean '${meant}'?`
  return { field, rule: `the policy has no ${what} '${missing}'.${hint} There are: ${listText(known)}.` }
}
