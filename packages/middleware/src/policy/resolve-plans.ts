import type { Policy } from './policy.ts'
import { resolveLimits } from './resolve-limits.ts'
import type { PolicyDocument } from './schema.ts'

type PlanDocuments = NonNullable<PolicyDocument['plans']>

/** The seed's limits: 10 requests a minute, burst 5. */
const DEFAULT_PLANS: PlanDocuments = { default: { limits: [{ requests: 10, per: '1m', burst: 5 }] } }

/** Plans and global limits; what is wrong with them goes to `faults`, with its path. */
export function resolvePlans(
  document: PolicyDocument,
  isModel: (name: string) => boolean,
  faults: string[],
): Pick<Policy, 'plans' | 'defaultPlan' | 'global'> {
  const plans = Object.entries(document.plans ?? DEFAULT_PLANS).map(([name, { limits, shared }]) => {
    const path = `plans.${name}`
    const plan = {
      name,
      limits: resolveLimits(limits, { path: `${path}.limits`, prefix: '', isModel }, faults),
      shared: resolveLimits(shared?.limits ?? [], { path: `${path}.shared.limits`, prefix: 'plan-', isModel }, faults),
    }
    return [name, plan] as const
  })
  const list = { path: 'global.limits', prefix: 'global-', isModel } as const
  return {
    plans: new Map(plans),
    defaultPlan: defaultPlan(plans.map(([name]) => name)),
    global: resolveLimits(document.global?.limits ?? [], list, faults),
  }
}

function defaultPlan(names: readonly string[]): string | undefined {
  return names.includes('default') ? 'default' : names.length === 1 ? names[0] : undefined
}
