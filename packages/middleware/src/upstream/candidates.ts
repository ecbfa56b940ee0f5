import { isUsualTier } from '../operations/index.ts'
import { isRefusal, type ModelRules, memoByTwo, type Price, type Refusal } from '../pipeline/index.ts'
import { dearestPrice, listText, type Model, type Rights, rulesOf, type Target, targetsFor } from '../policy/index.ts'
import { tierNotAllowed } from './rights.ts'

/** A target as it may be asked. A service tier is tried like a target of its own: `flex` here, then `default` here. */
export interface Candidate {
  readonly target: Target
  /** Asked for by name; `undefined` leaves it to the body, and to the service. */
  readonly tier: string | undefined
  /** Those of the lowest are asked while one of them can be; among equals the target's weight decides. */
  readonly rank: number
}

/** By rank. */
export type Candidates = readonly [Candidate, ...Candidate[]]

/** Where requests for a model may go. */
export interface Offer {
  readonly candidates: Candidates
  /** The dearest at which one of them may serve. */
  readonly price: Price | undefined
  /** Whether a conversation has a choice of where to stay: tiers of one target are none. */
  readonly hasSeveralTargets: boolean
}

/** The same for every request of a model, by consumers of the same rights. */
export interface Served {
  readonly rules: ModelRules
  /** Of requests that name a service tier themselves; why there is none. */
  readonly named: Offer | Refusal
  /** Of those that leave it to the model. */
  readonly unnamed: Offer | Refusal
}

const unrestricted = new WeakMap<Model, Offer>()

/** What a model's requests may be served by within these rights: found out once. */
export const servedBy = memoByTwo((model: Model, rights: Rights): Served => {
  const named = offerIn(model, rights)
  return { rules: rulesOf(model, rights), named, unnamed: isRefusal(named) ? named : byTiers(model, rights, named) }
})

/** The targets in the zones that a plan allows. One without a zone is in none. */
function offerIn(model: Model, rights: Rights): Offer | Refusal {
  const { zones, by } = rights
  if (zones === undefined) {
    const known = unrestricted.get(model)
    if (known !== undefined) return known
  }
  const offer = offerOf(
    rankedTargets(targetsFor(model.targets, rights)).map(({ target, rank }) => ({ target, tier: undefined, rank })),
  )
  if (offer === undefined) return notInZone(model.name, zones, by)
  if (zones === undefined) unrestricted.set(model, offer)
  return offer
}

/** The same targets, each once for each of the model's tiers that the plan allows and the target has a price for. */
function byTiers({ name, tiers }: Model, rights: Rights, all: Offer): Offer | Refusal {
  const allows = (tier: string) => rights.tiers === undefined || rights.tiers.includes(tierName(tier))
  if (tiers === undefined) return allows('default') ? withinPlan(all, allows) : tierNotAllowed('default', rights.tiers)
  const ranks = all.candidates.at(-1)?.rank ?? 0
  const candidates = tiers
    .filter(allows)
    .flatMap((tier, index) =>
      all.candidates
        .filter(({ target }) => hasPrice(target, tier))
        .map(({ target, rank }) => ({ target, tier, rank: index * ranks + rank })),
    )
  return offerOf(candidates) ?? noTierLeft(name, tiers, rights.tiers)
}

/**
 * The same targets, the usual tier asked for by name where a price names one that the plan doesn't allow: left to the service, it
 * could be a dearer one that its project has for a default, which is neither allowed nor reserved for.
 */
function withinPlan(all: Offer, allows: (tier: string) => boolean): Offer {
  const isOpen = ({ target }: Candidate) => Object.keys(dearestPrice([target])?.tiers ?? {}).every(allows)
  if (all.candidates.every(isOpen)) return all
  const [first, ...others] = all.candidates
  const within = (each: Candidate): Candidate => (isOpen(each) ? each : { ...each, tier: 'default' })
  return { ...all, candidates: [within(first), ...others.map(within)] }
}

/** By which a plan lists a tier: the usual one has several names. */
export function tierName(tier: string): string {
  return isUsualTier(tier) ? 'default' : tier
}

function hasPrice(target: Target, tier: string): boolean {
  const price = dearestPrice([target])
  return price === undefined || isUsualTier(tier) || Object.hasOwn(price.tiers ?? {}, tier)
}

/** By priority, which makes ranks of 1, 2, …; in the policy's order within each. */
function rankedTargets(targets: readonly Target[]): readonly { readonly target: Target; readonly rank: number }[] {
  const priorities = [...new Set(targets.map(({ priority }) => priority))].toSorted((a, b) => a - b)
  return targets
    .map((target) => ({ target, rank: 1 + priorities.indexOf(target.priority) }))
    .toSorted((a, b) => a.rank - b.rank)
}

function offerOf(candidates: readonly Candidate[]): Offer | undefined {
  const [first, ...others] = candidates
  if (first === undefined) return undefined
  return {
    candidates: [first, ...others],
    price: dearestPrice(candidates.map(({ target }) => target)),
    hasSeveralTargets: others.some(({ target }) => target.id !== first.target.id),
  }
}

function notInZone(model: string, zones: readonly string[] = [], by: Rights['by'] | 'plan' = 'plan'): Refusal {
  return {
    kind: 'refusal',
    code: 'zone_not_allowed',
    status: 403,
    param: 'model',
    message:
      `The model '${model}' is served in none of the zones that your ${by} allows: ${listText(zones)}. Use another model, or ask ` +
      'the operator for a place of it in one of these.',
  }
}

function noTierLeft(model: string, tiers: readonly string[], allowed: readonly string[] | undefined): Refusal {
  const plan = allowed === undefined ? '' : ` Your plan allows: ${listText(allowed)}.`
  return {
    kind: 'refusal',
    code: 'tier_not_allowed',
    status: 403,
    param: 'service_tier',
    message:
      `The model '${model}' is tried by service tiers (${listText(tiers)}), none of which may be used: a plan has to allow it, and the ` +
      `model's price to name it.${plan}`,
  }
}
