import type { Refusal } from '../pipeline/index.ts'
import type { Policy } from '../policy/index.ts'
import type { Subject } from './leases/decision.ts'

/**
 * Whose limits hold for a consumer's request: its own, those of its plan's consumers together, and everybody's. Those
 * without a limit are left out. 403 (`plan_unavailable`) where the policy doesn't have the plan.
 */
export function subjectsOf(
  { plans, global }: Pick<Policy, 'plans' | 'global'>,
  consumer: { readonly id: string; readonly plan: string },
): readonly Subject[] | Refusal {
  const plan = plans.get(consumer.plan)
  if (plan === undefined) return missingPlan(consumer.plan)
  const subjects: Subject[] = []
  if (plan.limits.length > 0) subjects.push({ id: `consumer:${consumer.id}`, limits: plan.limits })
  if (plan.shared.length > 0) subjects.push({ id: `plan:${plan.name}`, limits: plan.shared })
  if (global.length > 0) subjects.push({ id: 'global', limits: global })
  return subjects
}

function missingPlan(plan: string): Refusal {
  const message = `This consumer's plan '${plan}' is not in the policy. The operator must add it or move the consumer.`
  return { code: 'plan_unavailable', status: 403, message }
}
