import type { Limit } from './limit.ts'
import { listText } from './names.ts'
import type { Policy } from './policy.ts'
import { DEFAULT_MODEL } from './route.ts'
import type { PolicyDocument } from './schema.ts'
import type { Target } from './target.ts'
import { isVirtual } from './virtual-model.ts'

/** A list of limits and its path in the document. */
interface LimitList {
  readonly path: string
  readonly limits: NonNullable<PolicyDocument['global']>['limits']
}

const FIX =
  'Give it one under models.<name>.price, such as {input: 0.15, output: 0.60} (dollars per million tokens), or remove the limit.'

/**
 * Limits on money under which nothing could ever be served, since no model that they count has a price: each answer
 * would be a 403. A policy in which some models have a price is none of these: callers may name one of those.
 */
export function unservedMoneyLimits(document: PolicyDocument): string[] {
  const models = Object.fromEntries(Object.entries(document.models ?? {}).filter(([, model]) => !isVirtual(model)))
  if (document.unpriced === 'worst') return []
  const isPriced = (name: string) => models[name]?.price !== undefined
  const anyPriced = Object.keys(models).some(isPriced)
  return listsOf(document).flatMap(({ path, limits }) =>
    limits.flatMap((limit, index) => {
      if (!('usd' in limit)) return []
      const { model } = limit
      if (model !== undefined) {
        return isPriced(model) || (!Object.hasOwn(models, model) && model !== DEFAULT_MODEL)
          ? []
          : [
              `${path}[${index}]: a limit in dollars on the model '${model}', which has no price, so each request for it would be refused. Write models.${model}.price, such as {input: 0.15, output: 0.60} (dollars per million tokens), or remove the limit.`,
            ]
      }
      return anyPriced
        ? []
        : [
            `${path}[${index}]: a limit in dollars, and no model has a price, so each request would be refused. ${FIX.replace('Give it one under models.<name>.price', `Write models.${Object.keys(models)[0] ?? DEFAULT_MODEL}.price`)}`,
          ]
    }),
  )
}

function listsOf({ plans = {}, groups = {}, global }: PolicyDocument): LimitList[] {
  return [
    ...Object.entries(plans).flatMap(([name, { limits, shared }]) => [
      { path: `plans.${name}.limits`, limits },
      { path: `plans.${name}.shared.limits`, limits: shared?.limits ?? [] },
    ]),
    ...Object.entries(groups).map(([name, { limits }]) => ({ path: `groups.${name}.limits`, limits })),
    { path: 'global.limits', limits: global?.limits ?? [] },
  ]
}

/** What is asked of a policy, or of its outline. */
interface PlansAndPrices extends Pick<Policy, 'plans' | 'groups' | 'global'> {
  readonly models: ReadonlyMap<string, { readonly name: string; readonly targets: readonly Pick<Target, 'price'>[] }>
}

/** Which plans and models a limit on money holds for, as a start tells it. */
export interface MoneyLimits {
  /** Plans without a limit in dollars that counts all of their requests. */
  readonly unlimitedPlans: readonly string[]
  /** Models that a limit in dollars refuses, since they have no price. */
  readonly refusedModels: readonly string[]
}

export function moneyLimits({ plans, groups = [], global, models }: PlansAndPrices): MoneyLimits {
  const counts = (limits: readonly Limit[]) =>
    limits.some(({ measure, model }) => measure === 'money' && model === undefined)
  const anyLimit =
    [...plans.values()].some(({ limits, shared }) => counts([...limits, ...shared])) ||
    groups.some(({ limits }) => counts(limits)) ||
    counts(global)
  return {
    unlimitedPlans: counts(global)
      ? []
      : [...plans.values()].filter(({ limits, shared }) => !counts(limits) && !counts(shared)).map(({ name }) => name),
    refusedModels: anyLimit
      ? [...models.values()]
          .filter(({ targets }) => targets.every(({ price }) => price === undefined))
          .map(({ name }) => name)
      : [],
  }
}

/** The same in a sentence or two. */
export function moneyText(policy: PlansAndPrices): string {
  const { unlimitedPlans, refusedModels } = moneyLimits(policy)
  const limited =
    unlimitedPlans.length === 0
      ? 'money is limited in each plan'
      : unlimitedPlans.length === policy.plans.size
        ? 'NO LIMIT ON MONEY in any plan'
        : `no limit on money in ${unlimitedPlans.length === 1 ? 'plan' : 'plans'}: ${listText(unlimitedPlans)}`
  const refused =
    refusedModels.length === 0
      ? ''
      : `; where money is limited, requests for ${listText(refusedModels.map((name) => `'${name}'`))} are refused, for want of a price`
  return `${limited}${refused}`
}
