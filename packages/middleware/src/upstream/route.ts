import {
  type Body,
  type Call,
  type ChatMessage,
  isUsualTier,
  type RefusedReply,
  type Reply,
  refused,
} from '../operations/index.ts'
import {
  type BaseContext,
  type Middleware,
  type ModelRules,
  PRICED_FIELDS,
  type Price,
  pricedFields,
  type Refusal,
  type RefusalCode,
  unknownModel,
} from '../pipeline/index.ts'
import {
  type CacheRule,
  dearestPrice,
  listText,
  type Model,
  type Policy,
  type Rights,
  routeOf,
  rulesOf,
  type Target,
} from '../policy/index.ts'
import { type Removal, savedTokens, transform, transformLabel } from '../transform/index.ts'

/** A target as it may be asked. A service tier is tried like a target of its own: `flex` here, then `default` here. */
export interface Candidate {
  readonly target: Target
  /** Asked for by name; `undefined` leaves it to the body, and to the service. */
  readonly tier: string | undefined
  /** Those of the lowest are asked while one of them can be; among equals the target's weight decides. */
  readonly rank: number
}

/** Where a request may go, and the body that goes there. */
export interface Routed {
  readonly routed: {
    readonly route: string
    readonly model: Model
    /** Why this one, in words for the log and the caller: `named`, `default`, `alias`, `split`, a rule's words, `fallback`. */
    readonly reason: string
    /** Without `model`: each target's own name for it is put in when it is asked, so that targets share the cache. */
    readonly body: Body
    readonly rules: ModelRules
    /** The dearest at which it may be served, by which a call is reserved for; `undefined` where the model has none. */
    readonly price: Price | undefined
    /** What keeps a conversation on one target while that is healthy; called only where there are several. */
    readonly sticky?: (() => string) | undefined
    /** By rank. What isn't here can't be asked. */
    readonly candidates: readonly [Candidate, ...Candidate[]]
    /** `undefined` where the route is not cached. */
    readonly cache: CacheRule | undefined
    /** Which transforms the prompt in `body` went through, with their versions; '' for none. */
    readonly transforms: string
    /** The model to ask where this one fails, resolved when it is needed; `undefined` where there is none. */
    readonly fallback: (() => Routed['routed'] | undefined) | undefined
  }
}

export interface RouteOptions {
  /** What an answer may have, in tokens of each choice, where the request doesn't say. */
  readonly maxOutputTokens: number
}

/** What a request needs of the policy that it is pinned to. */
interface Pinned {
  readonly policy: Pick<Policy, 'models' | 'routes' | 'plans'>
  readonly consumer: { readonly plan: string }
}

/**
 * Resolves the model that a request names, or its route's own, and the exact body for it: its prompt by the route's
 * transforms, with a bound on the answer, and, for a stream, with its usage asked for. Tells the tokens that the transforms
 * saved where the model was asked. Refuses with 404 (`model_not_found`) a name that the policy doesn't have, with 403
 * (`model_not_allowed`, `tier_not_allowed`, `tool_not_allowed`, `field_not_allowed`) what the consumer's plan doesn't list, and with
 * 500 (`not_configured`) when the route's own model has no target.
 */
export function route({ maxOutputTokens }: RouteOptions): Middleware<Pinned, Routed, Call, Reply> {
  return async function route(call, context, next) {
    const { policy } = context
    const { model: ownModel, cache, transforms } = routeOf(policy, call.route)
    const name = call.model ?? ownModel
    const model = policy.models.get(name)
    if (model === undefined) {
      const reply = name === ownModel ? NOT_CONFIGURED : refused(unknownModel(name))
      context.step('route', reply.refusal.code, { route: call.route })
      return reply
    }
    context.tell({ model: name })
    const rights = policy.plans.get(context.consumer.plan)?.rights ?? ALL_RIGHTS
    const forbidden = forbiddenIn(rights, name, call)
    if (forbidden !== undefined) {
      context.step('route', forbidden.code, { route: call.route })
      return refused(forbidden)
    }
    const messages = messagesOf(call)
    const transformed = transform(messages, transforms)
    const { removed } = transformed
    const transformedBody =
      transformed.messages === messages ? call.body : call.body.with({ messages: transformed.messages })
    const { rules } = known(model, rights)
    const fitted = call.fit === undefined ? transformedBody : call.fit(transformedBody, rules)
    const body = call.operation.bounded(fitted, maxOutputTokens, rules)
    const label = transformLabel(transforms)

    const routedTo = (model: Model): Routed['routed'] => ({
      ...known(model, rights),
      route: call.route,
      model,
      reason: call.model === undefined ? 'default' : 'named',
      body,
      cache,
      transforms: label,
      fallback: fallbackOf(model),
    })
    const fallbackOf = ({ fallback }: Model) => {
      if (fallback === undefined) return undefined
      return () => {
        const model = mayUse(rights, fallback) ? policy.models.get(fallback) : undefined
        return model && routedTo(model)
      }
    }
    context.step('route', call.model === undefined ? 'default' : 'named', { route: call.route })
    const onward = () => next({ routed: routedTo(model) })
    return removed.length === 0 ? onward() : telling(removed, context, onward)
  }
}

const NO_MESSAGES: readonly ChatMessage[] = []

/** What transforms know of a call's prompt: a policy has none for operations without messages. */
function messagesOf({ body }: Call): readonly ChatMessage[] {
  const { messages } = body.json
  return Array.isArray(messages) ? messages : NO_MESSAGES
}

/** The same for every request of a model. */
type OfModel = Pick<Routed['routed'], 'candidates' | 'price'> & { readonly rules: WeakMap<Rights, ModelRules> }

const ofModels = new WeakMap<Model, OfModel>()

function known(model: Model, rights: Rights): Pick<Routed['routed'], 'candidates' | 'price' | 'rules'> {
  let found = ofModels.get(model)
  if (found === undefined) {
    const [first, ...others] = model.targets
    const candidate = (target: Target): Candidate => ({ target, tier: undefined, rank: target.priority })
    found = {
      candidates: [candidate(first), ...others.map(candidate)],
      price: dearestPrice(model.targets),
      rules: new WeakMap(),
    }
    ofModels.set(model, found)
  }
  let rules = found.rules.get(rights)
  if (rules === undefined) {
    rules = rulesOf(model, rights)
    found.rules.set(rights, rules)
  }
  return { candidates: found.candidates, price: found.price, rules }
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

/** Of a consumer whose plan the policy doesn't have: limits refuse it, where there are any. */
const ALL_RIGHTS: Rights = { models: undefined, tiers: undefined, tools: undefined }

function mayUse({ models }: Rights, model: string): boolean {
  return models === undefined || models.includes(model)
}

/** What a request asks for beyond its consumer's plan. */
function forbiddenIn(rights: Rights, model: string, { operation, body }: Call): Refusal | undefined {
  const { models, tiers, tools } = rights
  if (!mayUse(rights, model)) return forbidden('model_not_allowed', 'model', `the model '${model}'`, models)
  const lists = { model: models, tools, rate: undefined }
  for (const field of models || tools ? pricedFields(body.json) : []) {
    const { moves, buys } = PRICED_FIELDS.get(field) ?? {}
    const list = moves && lists[moves]
    if (list !== undefined) return forbidden('field_not_allowed', field, `'${field}', which may ${buys}`, list)
  }
  if (tiers === undefined && tools === undefined) return undefined
  const { tier, toolCalls } = operation.surcharges(body)
  const asked = tier === undefined || isUsualTier(tier) ? 'default' : tier
  if (tiers !== undefined && !tiers.includes(asked)) {
    return forbidden('tier_not_allowed', 'service_tier', `the service tier '${shown(asked)}'`, tiers)
  }
  const tool = tools && Object.keys(toolCalls).find((each) => !tools.includes(each))
  if (tool === undefined) return undefined
  return forbidden('tool_not_allowed', 'tools', `the hosted tool '${shown(tool)}'`, tools)
}

function shown(word: string): string {
  return word.replace(/[^\x20-\x7e]/g, '?').slice(0, 64)
}

function forbidden(code: RefusalCode, param: string, what: string, allowed: readonly string[] = []): Refusal {
  const message =
    `Your plan does not allow ${what}. It allows: ${listText(allowed)}. ` +
    'Use one of these, or ask the operator to add it to the plan in the policy.'
  return { kind: 'refusal', code, status: 403, param, message }
}

const NOT_CONFIGURED: RefusedReply = refused({
  kind: 'refusal',
  code: 'not_configured',
  status: 500,
  message: 'Internal Server Error: LLM service is not configured.',
})
