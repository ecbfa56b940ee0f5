import { type Body, type Call, costOf, outputFor } from '../operations/index.ts'
import type { Refusal, TokenPrice, TokenUsage } from '../pipeline/index.ts'
import type { Limit, ModelRules } from '../policy/index.ts'
import type { Claim } from './leases/decision.ts'
import type { Held } from './subjects.ts'

/** What the middleware before must have settled of a call that is reserved for. */
export interface Metered {
  readonly routed: {
    /** The policy's. */
    readonly model: { readonly name: string }
    readonly price: TokenPrice | undefined
    readonly rules: Pick<ModelRules, 'contextWindow'>
    readonly body: Body
  }
}

/** The most that one call to a model can take. */
export interface Reservation {
  readonly usage: TokenUsage
  readonly output: {
    /** Tokens of each choice. */
    readonly each: number
    readonly choices: number
  }
  readonly price: TokenPrice | undefined
}

/** An answer is not cut shorter than this, in tokens of each choice: what is left then is as good as nothing. */
const LEAST_OUTPUT = 16

/**
 * The most that a call can take from these limits. Refuses with 403 (`model_not_priced`) where a limit on money
 * holds and the model has no price, and with 400 (`input_unbounded`) where the body's bytes don't bound its input, that
 * is to be counted, and the policy states no context window to reserve instead.
 */
export function reservationFor(
  limits: readonly Held[],
  { operation }: Pick<Call, 'operation'>,
  { model, price, rules, body }: Metered['routed'],
): Reservation | Refusal {
  const counts = (measure: Limit['measure']) => limits.some(({ limit }) => limit.measure === measure)
  if (counts('money') && price === undefined) return notPriced(model.name)
  const bounds = operation.bounds(body, rules)
  if (bounds === undefined) return NO_OUTPUT_BOUND
  const { input, unboundedField = 'the input', output, choices } = bounds
  const isInputCounted = counts('input') || counts('tokens') || counts('money')
  if (input === undefined && isInputCounted) return inputUnbounded(unboundedField, model.name)
  return {
    price,
    output: { each: output, choices },
    // Where nobody could bound the input, no limit counts it.
    usage: { input: input ?? 0, cachedInput: 0, output: output * choices },
  }
}

/** The same with a smaller answer. */
function withOutput(reservation: Reservation, each: number): Reservation {
  const { output, usage } = reservation
  return {
    ...reservation,
    output: { ...output, each },
    usage: { ...usage, output: each * output.choices },
  }
}

/** Whole units of a limit that a usage takes. */
export function unitsOf({ measure }: Limit, usage: TokenUsage, price: TokenPrice | undefined): number {
  switch (measure) {
    case 'input':
      return usage.input
    case 'output':
      return usage.output
    case 'tokens':
      return usage.input + usage.output
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
  const { output, usage, price } = reservation
  const most = Math.min(...remaining.map((each) => outputWithin(each, usage.input, price)))
  if (most >= usage.output) return reservation
  const each = Math.floor(most / output.choices)
  return each >= LEAST_OUTPUT ? withOutput(reservation, each) : undefined
}

/** The most output tokens that these units cover beside the input; below 0 where they don't cover that. */
function outputWithin({ limit, left }: Remaining, input: number, price: TokenPrice | undefined): number {
  switch (limit.measure) {
    case 'output':
      return left
    case 'tokens':
      return left - input
    case 'input':
      return input <= left ? Number.POSITIVE_INFINITY : -1
    default:
      return price === undefined ? -1 : outputFor(left, input, price)
  }
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

function inputUnbounded(field: string, model: string): Refusal {
  const message =
    `A limit on tokens or money holds for you, and nobody can tell how many tokens '${field}' will be. ` +
    `Leave it out, or ask the operator to set models.${model}.contextWindow in the policy.`
  return { kind: 'refusal', code: 'input_unbounded', status: 400, param: field, message }
}
