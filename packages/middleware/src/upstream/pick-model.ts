import type { Call } from '../operations/index.ts'
import { isRefusal, type ModelRules, type Refusal } from '../pipeline/index.ts'
import { listText, type Model, modelsBehind, type Policy, type Rights, type VirtualModel } from '../policy/index.ts'
import { type Offer, servedBy } from './candidates.ts'
import { type PromptTraits, promptTraits } from './prompt-traits.ts'
import { mayUse, modelNotAllowed } from './rights.ts'
import { firstThatHolds, readyRules } from './size-rules.ts'
import { partsInOrder } from './split.ts'

/** Who asks what, and within which rights. */
export interface Asking {
  readonly policy: Pick<Policy, 'models' | 'virtualModels'>
  readonly rights: Rights
  readonly consumer: { readonly id: string }
  readonly call: Call
  /** The service tier that the request names itself. */
  readonly tier: string | undefined
  /** Told of each choice that a virtual model makes, before it is known whether what it picks may serve. */
  readonly onChoice?: ((choice: Choice) => void) | undefined
}

export interface Choice {
  readonly model: VirtualModel
  readonly picks: string
  /** What its rules look at. */
  readonly traits: () => PromptTraits
}

export interface Picked {
  readonly model: Model
  readonly rules: ModelRules
  readonly offer: Offer
  /** The words of each virtual model on the way; `undefined` where the name is a model's own. */
  readonly reason: string | undefined
}

/** Virtual models that may be followed for one request: those of a policy make short chains. */
const MOST_FOLLOWED = 64

/**
 * The model that serves a request for this name, through all virtual ones on the way. What the plan doesn't allow, or has no place
 * for in its zones and tiers, is not picked: a split's other parts share its requests, and a route takes its other size. Refuses
 * with 403 (`model_not_allowed`, `zone_not_allowed`, `tier_not_allowed`) where nothing is left. `undefined` for a name that nothing
 * serves.
 */
export function pickModel(name: string, asking: Asking): Picked | Refusal | undefined {
  const { policy, rights } = asking
  const model = policy.models.get(name)
  if (model !== undefined) return served(model, asking)
  const virtual = policy.virtualModels?.get(name)
  if (virtual === undefined) return undefined
  if (!mayUse(rights, name)) return modelNotAllowed(name, rights)
  let traits: PromptTraits | undefined
  const traitsOf = () => {
    traits ??= promptTraits(asking.call)
    return traits
  }
  return follow(virtual, { asking, traits: traitsOf, followed: 0 })
}

function served(model: Model, { rights, tier }: Asking): Picked | Refusal {
  if (!mayUse(rights, model.name)) return modelNotAllowed(model.name, rights)
  const { rules, named, unnamed } = servedBy(model, rights)
  const offer = tier === undefined ? unnamed : named
  return isRefusal(offer) ? offer : { model, rules, offer, reason: undefined }
}

interface Following {
  readonly asking: Asking
  readonly traits: () => PromptTraits
  followed: number
}

function follow(model: VirtualModel, following: Following): Picked | Refusal | undefined {
  following.followed += 1
  if (following.followed > MOST_FOLLOWED) return undefined
  switch (model.kind) {
    case 'alias':
      return firstOf(model, [{ name: model.model, words: 'alias' }], following)
    case 'split': {
      const { consumer, call } = following.asking
      const parts = partsInOrder(model, model.by === 'consumer' ? consumer.id : call.bodyDigest())
      return firstOf(
        model,
        parts.map(({ model: name }) => ({ name, words: 'split' })),
        following,
      )
    }
    case 'route': {
      const rule = firstThatHolds(readyRules(model), following.traits())
      const sizes = { small: model.small, large: model.large }
      const [use, other] = rule?.use === 'large' ? (['large', 'small'] as const) : (['small', 'large'] as const)
      const preferred = { name: sizes[use], words: `route: ${rule?.words ?? 'no rule'}` }
      return firstOf(model, [preferred, { name: sizes[other], words: 'route: plan' }], following)
    }
  }
}

/** The first of these that may serve. */
function firstOf(
  model: VirtualModel,
  choices: readonly { readonly name: string; readonly words: string }[],
  following: Following,
): Picked | Refusal | undefined {
  const { asking, traits } = following
  const { policy, onChoice } = asking
  const refusals: Refusal[] = []
  for (const { name, words } of choices) {
    onChoice?.({ model, picks: name, traits })
    const real = policy.models.get(name)
    const virtual = policy.virtualModels?.get(name)
    const came = real === undefined ? virtual && follow(virtual, following) : served(real, asking)
    if (came === undefined) continue
    if (!isRefusal(came)) return { ...came, reason: came.reason === undefined ? words : `${words}, ${came.reason}` }
    refusals.push(came)
  }
  return noneLeft(model.name, refusals, asking.rights)
}

/** All for the same reason, or for several. */
function noneLeft(name: string, refusals: readonly Refusal[], { models, by }: Rights): Refusal | undefined {
  const [first, ...others] = refusals
  if (first === undefined) return undefined
  if (first.code !== 'model_not_allowed' && others.every(({ code }) => code === first.code)) return first
  const message =
    `Your ${by ?? 'plan'} does not allow any of the models that '${name}' picks from.${models === undefined ? '' : ` It allows: ${listText(models)}.`} ` +
    `Use one of these, or ask the operator ${by === 'key' ? 'for a key that allows one' : 'to add one to the plan in the policy'}.`
  return { kind: 'refusal', code: 'model_not_allowed', status: 403, param: 'model', message }
}

/** The models that may come to serve requests for a name, within these rights: for who asks what there is. */
export function reachableModels(name: string, { policy, rights }: Pick<Asking, 'policy' | 'rights'>): readonly Model[] {
  if (!mayUse(rights, name)) return []
  return modelsBehind(name, policy.virtualModels).flatMap((each) => {
    const model = policy.models.get(each)
    return model === undefined || !mayUse(rights, each) || isRefusal(servedBy(model, rights).named) ? [] : [model]
  })
}
