import { listText, moneyLimits, oldBookText, type Policy, type PolicyOutline, servedText } from '@tollgate/middleware'
import type { Settings } from '../../../../functions/settings.ts'
import type { Examined } from './environment.ts'
import { ok, type Seen, warn } from './finding.ts'

/* What the policy says, what its models cost, and where its targets are. */

export function policySeen({ policy, policySource: { file, digest } }: Settings): readonly Seen[] {
  const { unlimitedPlans } = moneyLimits(policy)
  const plans = [...policy.plans.keys()]
  const served = servedText(policy)
  const from = file === undefined ? 'the defaults, since there is no tollgate.policy.yaml' : `${file} (${digest})`
  const what = `${from}, revision ${policy.revision}: ${plans.length === 1 ? 'plan' : 'plans'} ${listText(plans.slice(0, 20))}`
  return [
    ok(served === undefined ? what : `${what}; ${served}`),
    ...(unlimitedPlans.length === 0
      ? []
      : [
          warn(
            `nothing limits what consumers of ${listText(unlimitedPlans.slice(0, 20))} may spend`,
            'Write {usd: 50, per: month} under plans.<plan>.limits, or under global.limits.',
          ),
        ]),
  ]
}

/** @param outline the policy by itself, which says whose word a price is */
export function pricesSeen(policy: Policy, outline: PolicyOutline, now: number): readonly Seen[] {
  const { refusedModels } = moneyLimits(policy)
  const book = [...outline.models.values()].filter(({ priced }) => priced?.by === 'book').map(({ name }) => name)
  const old = oldBookText(book, now)
  const priced = [...policy.models.values()].filter(({ targets }) => targets.some(({ price }) => price !== undefined))
  const seen: Seen[] = [ok(`${priced.length} of ${policy.models.size} models have a price`)]
  if (refusedModels.length > 0) {
    seen.push(
      warn(
        `money is limited, and ${listText(refusedModels)} have no price: requests for them are refused`,
        'Write models.<name>.price, such as {input: 0.15, output: 0.60} (dollars per million tokens). npm run tollgate -- prices',
      ),
    )
  }
  if (old !== undefined)
    seen.push(
      warn(old, 'Compare with the provider, and write what differs under models.<name>.price, or update Tollgate.'),
    )
  return seen
}

/** By the platform's own word: `REGION_NAME`, such as `West Europe`. */
export function regionSeen(policy: Policy, { env }: Examined): Seen {
  const region = env.REGION_NAME?.toLowerCase().replaceAll(' ', '') || undefined
  const zones = new Set([...policy.models.values()].flatMap(({ targets }) => targets.flatMap(({ zone }) => zone ?? [])))
  const told = zones.size === 0 ? 'no target names a zone' : `targets are in ${listText(zones)}`
  if (region === undefined) return ok(`${told}; where the app runs is not told here (REGION_NAME)`)
  const regions = [...zones].filter((zone) => REGION.test(zone.toLowerCase()))
  const saw = `the app runs in ${region}; ${told}`
  if (regions.length === 0 || regions.some((zone) => zone.toLowerCase() === region)) return ok(saw)
  return warn(`${saw}: each call leaves the region`, `Add a target in ${region}, or deploy the app beside its models.`)
}

/** A zone is the policy's own word; these are Azure's. */
const REGION =
  /^(?:(?:north|south|east|west|central|southeast|northcentral|southcentral|westcentral|southeast|uk|france|germany|switzerland|norway|sweden|italy|poland|spain|japan|korea|canada|brazil|australia|uae|qatar|israel)[a-z]+\d?)$/
