import { closestName } from '@tollgate/middleware'
import { CommandFault } from './command-fault.ts'

const MOST_NAMED = 20

/** @throws CommandFault where the policy has no such plan, with what it has. */
export function checkPlan(plan: string, plans: ReadonlyMap<string, unknown>): void {
  if (plans.has(plan)) return
  const meant = closestName(plan, plans.keys())
  const hint = meant === undefined ? '' : ` Did you mean ${meant}?`
  const names = [...plans.keys()]
  const more = names.length > MOST_NAMED ? ` and ${names.length - MOST_NAMED} more` : ''
  const known = `${names.slice(0, MOST_NAMED).join(', ')}${more}`
  throw new CommandFault(`--plan: the policy has no plan '${plan}'. It has: ${known}.${hint}`)
}
