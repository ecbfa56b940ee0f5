import { missingPlanText } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'

/** @throws CommandFault where the policy has no such plan, with what it has. */
export function checkPlan(plan: string, plans: ReadonlyMap<string, unknown>): void {
  const fault = missingPlanText(plan, plans)
  if (fault !== undefined) throw new CommandFault(`--plan: ${fault}`)
}
