import { type Body, type Call, type ChatMessage, type Reply, refused, tierAsked } from '../operations/index.ts'
import {
  type BaseContext,
  isRefusal,
  type Middleware,
  type ModelRules,
  type Price,
  type Refusal,
  unknownModel,
} from '../pipeline/index.ts'
import { type CacheRule, type Model, type Policy, routeOf } from '../policy/index.ts'
import { type Removal, savedTokens, transform, transformLabel } from '../transform/index.ts'
import { type Candidate, type Candidates, tierName } from './candidates.ts'
import { conversationKey } from './conversation-key.ts'
import { type Asking, type Picked, pickModel } from './pick-model.ts'
import { type Asker, beyondRights, beyondRoutes, rightsOf } from './rights.ts'

export type { Candidate }

/** Where a request may go, and the body that goes there. */
export interface Routed {
  readonly routed: {
    readonly route: string
    readonly model: Model
    /** Why this one, in ASCII words for the log and the caller: `named`, `default`, `alias`, `split`, a rule's words, `fallback`. */
    readonly reason: string
    /** Without `model`: each target's own name for it is put in when it is asked, so that targets share the cache. */
    readonly body: Body
    readonly rules: ModelRules
    /** The dearest at which it may be served, by which a call is reserved for; `undefined` where the model has none. */
    readonly price: Price | undefined
    /** What keeps a conversation on one target while that is healthy; called only where there are several. */
    readonly sticky?: (() => string) | undefined
    /** By rank. What isn't here can't be asked. */
    readonly candidates: Candidates
    /** `undefined` where the route is not cached. */
    readonly cache: CacheRule | undefined
    /** Which transforms the prompt in `body` went through, with their versions; '' for none. */
    readonly transforms: string
    /** The model to ask where this one fails, resolved when it is needed; `undefined` where there is none. */
    readonly fallback: (() => Routed['routed'] | undefined) | undefined
    /** When the first of several models was asked, by the monotonic clock; `undefined` for the first itself. */
    readonly startedAt?: number | undefined
  }
}

export interface RouteOptions {
  /** What an answer may have, in tokens of each choice, where the request doesn't say. */
  readonly maxOutputTokens: number
  /** Told of each choice that a virtual model makes: for who explains them. */
  readonly onChoice?: Asking['onChoice']
}

/** What a request needs of the policy that it is pinned to. */
export interface Pinned {
  readonly policy: Pick<Policy, 'models' | 'virtualModels' | 'routes' | 'plans'>
  readonly consumer: Asker & { readonly id: string }
}

/**
 * Resolves the model that serves the name in a request, or its route's own, where that may be asked, and the exact body for it: its
 * prompt by the route's transforms, with a bound on the answer, and, for a stream, with its usage asked for. Tells the tokens that the
 * transforms saved where the model was asked. Refuses with 404 (`model_not_found`) a name that the policy doesn't have, with 403
 * (`route_not_allowed`, `model_not_allowed`, `zone_not_allowed`, `tier_not_allowed`, `tool_not_allowed`, `field_not_allowed`) what
 * the consumer's plan, or its key, doesn't list, and with 500 (`not_configured`) when the route's own model has no target.
 */
export function route({ maxOutputTokens, onChoice }: RouteOptions): Middleware<Pinned, Routed, Call, Reply> {
  return async function route(call, context, next) {
    const { policy, consumer } = context
    const { model: ownModel, cache, transforms } = routeOf(policy, call.route)
    const name = call.model ?? ownModel
    const rights = rightsOf(policy, consumer)
    const asking: Asking = { policy, rights, consumer, call, tier: tierAsked(call.body.json.service_tier), onChoice }
    const turnAway = (refusal: Refusal) => {
      context.step('route', refusal.code, { route: call.route })
      return refused(refusal)
    }
    const elsewhere = beyondRoutes(consumer, call.route)
    if (elsewhere !== undefined) return turnAway(elsewhere)
    const picked = pickModel(name, asking)
    if (picked === undefined) return turnAway(name === ownModel ? NOT_CONFIGURED : unknownModel(name))
    if (isRefusal(picked)) {
      context.tell({ model: name })
      return turnAway(picked)
    }
    const reason = picked.reason ?? (call.model === undefined ? 'default' : 'named')
    context.tell({ model: picked.model.name, reason })
    const beyond = beyondRights(rights, call, asking.tier && tierName(asking.tier))
    if (beyond !== undefined) return turnAway(beyond)
    const messages = messagesOf(call)
    const transformed = transform(messages, transforms)
    const { removed } = transformed
    const transformedBody =
      transformed.messages === messages ? call.body : call.body.with({ messages: transformed.messages })
    const label = transformLabel(transforms)

    /** The way to a model that was picked, by the rules of that model. */
    const routedTo = ({ model, rules, offer }: Picked, reason: string, before: readonly string[]): Routed['routed'] => {
      const fitted = call.fit === undefined ? transformedBody : call.fit(transformedBody, rules)
      return {
        route: call.route,
        model,
        reason,
        body: call.operation.bounded(fitted, maxOutputTokens, rules),
        rules,
        price: offer.price,
        candidates: offer.candidates,
        sticky:
          offer.hasSeveralTargets && call.operation.conversation !== undefined
            ? conversationKey(call, { consumer: consumer.id, model: model.name })
            : undefined,
        cache,
        transforms: label,
        fallback: model.fallback === undefined ? undefined : fallbackOf(model.fallback, [...before, model.name]),
      }
    }
    /** Each model is asked once at most; one that the plan doesn't allow is not asked. */
    const fallbackOf = (name: string, asked: readonly string[]) => () => {
      const picked = pickModel(name, asking)
      if (picked === undefined || isRefusal(picked) || asked.includes(picked.model.name)) return undefined
      return routedTo(picked, 'fallback', asked)
    }
    context.step('route', reason, { route: call.route })
    const onward = () => next({ routed: routedTo(picked, reason, NONE_BEFORE) })
    return removed.length === 0 ? onward() : telling(removed, context, onward)
  }
}

const NONE_BEFORE: readonly string[] = []
const NO_MESSAGES: readonly ChatMessage[] = []

/** What transforms know of a call's prompt: a policy has none for operations without messages. */
function messagesOf({ body }: Call): readonly ChatMessage[] {
  const { messages } = body.json
  return Array.isArray(messages) ? messages : NO_MESSAGES
}

/**
 * Counts what was saved while the answer, or the beginning of its stream, is awaited: a model takes longer than that, but for
 * the first count of a process. Where the model wasn't asked, nothing was saved.
 */
async function telling(
  removed: readonly Removal[],
  { tell }: BaseContext,
  onward: () => Promise<Reply>,
): Promise<Reply> {
  const unwanted = new AbortController()
  // A figure for the log is not worth a request.
  const counting = savedTokens(removed, unwanted.signal).catch(() => undefined)
  let isWanted = false
  try {
    const reply = await onward()
    isWanted = reply.kind !== 'refused' && reply.source === 'call'
    const saved = isWanted ? await counting : undefined
    if (saved !== undefined) tell({ savedTokens: saved })
    return reply
  } finally {
    if (!isWanted) unwanted.abort()
  }
}

const NOT_CONFIGURED: Refusal = {
  kind: 'refusal',
  code: 'not_configured',
  status: 500,
  message: 'Internal Server Error: LLM service is not configured.',
}
