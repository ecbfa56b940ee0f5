import { listText } from './names.ts'
import type { Policy } from './policy.ts'
import type { Target } from './target.ts'
import { virtualText } from './virtual-model.ts'

/** What is asked of a policy, or of its outline. */
interface Served extends Pick<Policy, 'plans' | 'virtualModels'> {
  readonly models: ReadonlyMap<string, { readonly name: string; readonly targets: readonly Pick<Target, 'zone'>[] }>
}

/** A line is read by people: of more, the first ones and how many more there are. */
const MOST = 6

/**
 * Where requests go, as a start tells it: the models that are served in several places, the names that pick others, and the plans
 * that stay in zones. `undefined` where there are none of these.
 */
export function servedText({ plans, models, virtualModels = new Map() }: Served): string | undefined {
  const several = [...models.values()]
    .filter(({ targets }) => targets.length > 1)
    .map(({ name, targets }) => `${name} has ${targets.length} targets${zonesText(targets)}`)
  const virtual = Array.from(virtualModels.values(), (each) => `${each.name} is ${virtualText(each, { most: MOST })}`)
  const zoned = [...plans.values()].flatMap(({ name, rights }) =>
    rights?.zones === undefined ? [] : [`plan ${name} stays in ${listText(rights.zones, 'and', MOST)}`],
  )
  const all = [several, virtual, zoned].filter((list) => list.length > 0).map((list) => listText(list, 'and', MOST))
  return all.length === 0 ? undefined : all.join('; ')
}

function zonesText(targets: readonly Pick<Target, 'zone'>[]): string {
  const zones = new Set(targets.map(({ zone }) => zone).filter((zone) => zone !== undefined))
  if (zones.size === 0) return ''
  const outside = targets.filter(({ zone }) => zone === undefined).length
  return ` (${listText(zones)}${outside === 0 ? '' : `, ${outside} in no zone`})`
}
