import {
  type BilledExtras,
  type Body,
  billedExtras,
  type Call,
  costOf,
  isUsualTier,
  outputFor,
  WEB_SEARCH,
  worstPrice,
} from '../operations/index.ts'
import {
  isWritten,
  type Log,
  type ModelRules,
  PRICED_FIELDS,
  type Price,
  type Refusal,
  type TokenKind,
  type Tokens,
  tokensRead,
  tokensWritten,
  type Usage,
} from '../pipeline/index.ts'
import type { Limit } from '../policy/index.ts'
import type { Claim } from './leases/decision.ts'
import type { Held } from './subjects.ts'

/** What the middleware before must have settled of a call that is reserved for. */
export interface Metered {
  readonly routed: {
    /** The policy's. */
    readonly model: { readonly name: string }
    /** The dearest at which a target may serve it. */
    readonly price: Price | undefined
    /** Of the caller's plan. */
    readonly rules: ModelRules
    readonly body: Body
  }
}

/** The most that one call to a model can take. */
export interface Reservation {
  readonly usage: Usage
  readonly output: {
    /** Tokens of each choice. */
    readonly each: number
    readonly choices: number
    /** Of all choices together, beyond that. */
    readonly more: number
  }
  /** The most that its tokens can cost. */
  readonly price: Price | undefined
  /** By which is settled what an attempt of no price of its own has taken. */
  readonly listed: Price | undefined
  readonly extras: BilledExtras
  /** Whether its input is bounded; where it is not, none is reserved, for no limit counts it. */
  readonly isBounded: boolean
}

/** An answer is not cut shorter than this, in tokens of each choice: what is left then is as good as nothing. */
const LEAST_OUTPUT = 16

/**
 * The most that a call can take from these limits: all that may be read, at the dearest of the kinds, tiers and lengths that
 * the request and its plan allow, each choice as long as it may be, and each call of a hosted tool. Refuses with 403
 * (`model_not_priced`, `tier_not_allowed`, `tool_not_allowed`, `field_not_allowed`) where a limit on money holds and there is no
 * price for it, and with 400 (`input_unbounded`) where nobody can tell how much it will be: of a body whose bytes don't bound its
 * input, where the policy states no context window to reserve instead, and of tools that may be called without end.
 */
export function reservationFor(
  limits: readonly Held[],
  { operation }: Pick<Call, 'operation'>,
  { model, price, rules, body }: Metered['routed'],
): Reservation | Refusal {
  const counts = (measure: Limit['measure']) => limits.some(({ limit }) => limit.measure === measure)
  const isMoneyCounted = counts('money')
  if (isMoneyCounted && price === undefined) return notPriced(model.name)
  const extras = billedExtras(operation, body, rules)
  const unpriced = isMoneyCounted ? unpricedIn(extras, rules, model.name) : undefined
  if (unpriced !== undefined) return unpriced
  const bounds = operation.bounds(body, rules)
  if (bounds === undefined) return NO_OUTPUT_BOUND
  const { output, choices, moreOutput = 0 } = bounds
  // What a model's own search finds is read too.
  const isSearched = rules.unasked?.searches !== undefined
  const input = isSearched ? rules.contextWindow : bounds.input
  const unboundedField = isSearched ? 'model' : (bounds.unboundedField ?? 'the input')
  const isInputCounted = counts('input') || counts('tokens') || isMoneyCounted
  if (input === undefined && isInputCounted) return inputUnbounded(unboundedField, model.name)
  const { toolCalls } = extras
  // Where nobody could bound the input, no limit counts it.
  const read = input ?? 0
  return {
    price: price && worstFor(price, extras, rules, read),
    output: { each: output, choices, more: moreOutput },
    usage: { tokens: { input: read, output: output * choices + moreOutput }, toolCalls },
    listed: price,
    extras,
    isBounded: input !== undefined,
  }
}

/** A reservation that takes more of a limit than this share of it keeps others out: its tokens are worth to be counted. */
const LARGE_SHARE = 1 / 100

/**
 * The same by a tighter bound of the input, where it is a large one, and the operation has such a bound: its bytes can be
 * several times its tokens. A promise only where there is something to count.
 *
 * @throws AbortError when the call's signal aborts
 */
export function tightened(
  reservation: Reservation,
  limits: readonly Held[],
  { operation, signal }: Pick<Call, 'operation' | 'signal'>,
  { price, rules, body }: Metered['routed'],
): Reservation | Promise<Reservation> {
  const { usage, extras } = reservation
  const isLarge = limits.some(({ limit }) => unitsOf(limit, usage, reservation.price) > limit.quota * LARGE_SHARE)
  if (!isLarge || rules.unasked?.searches !== undefined) return reservation
  if (rules.tokenizer === undefined || operation.countInput === undefined) return reservation
  return operation.countInput(body, rules, signal).then((counted) => {
    if (counted === undefined || counted >= tokensRead(usage.tokens)) return reservation
    return {
      ...reservation,
      usage: { ...usage, tokens: { ...usage.tokens, input: counted } },
      price: price && worstFor(price, extras, rules, counted),
    }
  })
}

function worstFor(price: Price, { tier, kinds }: BilledExtras, rules: ModelRules, input: number): Price {
  return worstPrice(price, { tiers: tier === undefined ? rules.tiers : [tier], kinds, input })
}

/** By model, kinds of input without a price that were logged; an answer may name as many as it likes. */
const loggedKinds = new WeakMap<Metered['routed']['model'], Set<TokenKind>>()
const MOST_LOGGED_KINDS = 8

/** Logs, once, each kind of input that a model tells and its price doesn't name: it is settled, and can't be reserved. */
export function logUnpriced(
  tokens: Tokens,
  { model, price }: Pick<Metered['routed'], 'model' | 'price'>,
  log: Log,
): void {
  for (const kind in tokens) {
    if (!tokens[kind] || isWritten(kind) || price === undefined || Object.hasOwn(price.rates, kind)) continue
    const logged = loggedKinds.get(model) ?? new Set()
    if (logged.has(kind) || logged.size >= MOST_LOGGED_KINDS) continue
    loggedKinds.set(model, logged.add(kind))
    log('warn', 'kind not priced', { model: model.name, kind })
  }
}

/** The same with a smaller answer. */
function withOutput(reservation: Reservation, each: number): Reservation {
  const { output, usage } = reservation
  return {
    ...reservation,
    output: { ...output, each },
    usage: { ...usage, tokens: { ...usage.tokens, output: each * output.choices + output.more } },
  }
}

/** Whole units of a limit that a usage takes. */
export function unitsOf({ measure }: Limit, usage: Usage, price: Price | undefined): number {
  switch (measure) {
    case 'input':
      return tokensRead(usage.tokens)
    case 'output':
      return tokensWritten(usage.tokens)
    case 'tokens':
      return tokensRead(usage.tokens) + tokensWritten(usage.tokens)
    case 'money':
      if (price === undefined) throw new Error('Money is counted of a model without a price')
      return costOf(usage, price)
    default:
      throw new Error(`A completion takes nothing of ${measure}`)
  }
}

export function claimsOf(limits: readonly Held[], { usage, price }: Reservation): Claim[] {
  return limits.map((held) => ({ ...held, units: unitsOf(held.limit, usage, price) }))
}

/** A limit, and how many units of it there are to take. */
export interface Remaining {
  readonly limit: Limit
  readonly left: number
}

/**
 * The reservation as it is if it fits, or with as much of its answer as does; `undefined` where that would be too little.
 */
export function fitted(reservation: Reservation, remaining: readonly Remaining[]): Reservation | undefined {
  const { output, usage } = reservation
  const most = Math.min(...remaining.map((each) => outputWithin(each, reservation)))
  if (most >= tokensWritten(usage.tokens)) return reservation
  const each = Math.floor((most - output.more) / output.choices)
  return each >= LEAST_OUTPUT ? withOutput(reservation, each) : undefined
}

/** The most output tokens that these units cover beside the input; below 0 where they don't cover that. */
function outputWithin({ limit, left }: Remaining, { usage, price }: Reservation): number {
  const input = tokensRead(usage.tokens)
  switch (limit.measure) {
    case 'output':
      return left
    case 'tokens':
      return left - input
    case 'input':
      return input <= left ? Number.POSITIVE_INFINITY : -1
    default:
      return price === undefined ? -1 : outputFor(left, { ...usage, tokens: { input } }, price)
  }
}

/** The refusal of a tier, a hosted tool or a field that the model's price doesn't name, or of calls that have no bound. */
function unpricedIn({ tier, toolCalls, fields }: BilledExtras, rules: ModelRules, model: string): Refusal | undefined {
  if (!isUsualTier(tier) && !rules.tiers.includes(tier ?? '')) return tierNotPriced(String(tier), model)
  const [field] = fields
  if (field !== undefined) return fieldNotPriced(field, model)
  if (rules.unasked?.searches !== undefined && !rules.tools.includes(WEB_SEARCH)) return searchNotPriced(model)
  if (rules.unasked?.searches === 'often') return searchUnbounded(model)
  for (const [tool, calls] of Object.entries(toolCalls)) {
    if (!rules.tools.includes(tool)) return toolNotPriced(tool, model)
    if (!Number.isSafeInteger(calls)) return toolUnbounded(tool)
  }
  return undefined
}

const NO_OUTPUT_BOUND: Refusal = {
  kind: 'refusal',
  code: 'invalid_request',
  status: 400,
  message: "'max_tokens' and 'n' must be positive integers",
}

function notPriced(model: string): Refusal {
  const message =
    `The model '${model}' has no price, and a limit on money holds for you. ` +
    `The operator must set models.${model}.price in the policy, or 'unpriced: worst'.`
  return { kind: 'refusal', code: 'model_not_priced', status: 403, message }
}

function tierNotPriced(tier: string, model: string): Refusal {
  const message =
    `The service tier '${tier.slice(0, 64)}' of the model '${model}' has no price, and a limit on money holds for you. ` +
    `Leave 'service_tier' out, or ask the operator to set models.${model}.price.tiers in the policy.`
  return { kind: 'refusal', code: 'tier_not_allowed', status: 403, param: 'service_tier', message }
}

function fieldNotPriced(field: string, model: string): Refusal {
  const message =
    `A limit on money holds for you, and '${field}' may ${PRICED_FIELDS.get(field)?.buys}, which the price of the model '${model}' ` +
    `does not cover. Leave it out, or ask the operator to list it in models.${model}.price.covers in the policy.`
  return { kind: 'refusal', code: 'field_not_allowed', status: 403, param: field, message }
}

function searchNotPriced(model: string): Refusal {
  const message =
    `The model '${model}' searches the web in each request, which has no price or is not in your plan, and a limit on money holds for you. ` +
    `Use another model, or ask the operator to set models.${model}.price.tools.${WEB_SEARCH} in the policy, and to list ` +
    `${WEB_SEARCH} in the plan's tools where it lists any.`
  return { kind: 'refusal', code: 'tool_not_allowed', status: 403, param: 'model', message }
}

function searchUnbounded(model: string): Refusal {
  const message =
    `A limit on money holds for you, and nothing bounds how often the model '${model}' searches the web. ` +
    'Use another model.'
  return { kind: 'refusal', code: 'tool_not_allowed', status: 403, param: 'model', message }
}

function toolNotPriced(tool: string, model: string): Refusal {
  const message =
    `The hosted tool '${tool.slice(0, 64)}' of the model '${model}' has no price, and a limit on money holds for you. ` +
    `Leave it out, or ask the operator to set models.${model}.price.tools in the policy.`
  return { kind: 'refusal', code: 'tool_not_allowed', status: 403, param: 'tools', message }
}

function toolUnbounded(tool: string): Refusal {
  const message =
    `A limit on money holds for you, and nothing bounds how often the hosted tool '${tool.slice(0, 64)}' may be called. ` +
    `Send 'max_tool_calls' where the API takes it, or leave the tool out.`
  return { kind: 'refusal', code: 'tool_not_allowed', status: 403, param: 'tools', message }
}

function inputUnbounded(field: string, model: string): Refusal {
  const [what, instead] =
    field === 'model' ? [`what '${model}' finds in the web`, 'Use another model'] : [`'${field}'`, 'Leave it out']
  const message =
    `A limit on tokens or money holds for you, and nobody can tell how many tokens ${what} will be. ` +
    `${instead}, or ask the operator to set models.${model}.contextWindow in the policy.`
  return { kind: 'refusal', code: 'input_unbounded', status: 400, param: field, message }
}
