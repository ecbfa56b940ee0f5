import { billed, bodyOf, costOf, type Json, type Operation } from '../operations/index.ts'
import { type PriceDocument, priceFaults, pricesAt, resolvePrice } from '../policy/index.ts'
import { servedElsewhere } from '../upstream/index.ts'

export interface AnsweredCall {
  readonly operation: Operation
  /** `models.<name>.price`, as a policy has it. */
  readonly price: PriceDocument
  /** What the target says beside its place, and the deployment's name, by which a spill-over is known too. */
  readonly target?: { readonly ptu?: boolean; readonly zone?: string; readonly deployment?: string }
  /** As it was sent to the model. */
  readonly request: Json
  /** The body of the 200. */
  readonly answer: Json
  /** Of the answer, names in lower case. */
  readonly headers?: Readonly<Record<string, string>>
}

/**
 * What a budget is charged for an answer, in whole nano-dollars, by the same steps as in the gateway; `undefined` where the
 * answer tells no usage that can be believed, and the budget is charged what was reserved.
 *
 * @example costOfAnswer({ operation: chat, price: { input: 0.15, output: 0.6 }, request, answer })
 * @throws RangeError for a price that a policy must not have
 */
export function costOfAnswer({
  operation,
  price,
  target = {},
  request,
  answer,
  headers = {},
}: AnsweredCall): number | undefined {
  const faults = priceFaults(price, 'price')
  if (faults.length > 0) throw new RangeError(faults.join('\n'))
  const served = pricesAt(resolvePrice(price), { ptu: target.ptu ?? false, zone: target.zone })
  const spillover = served.spilloverPrice && servedElsewhere(headers, target.deployment)
  const { spend } = operation.parse(Buffer.from(JSON.stringify(answer)))
  const at = spillover === undefined ? served.price : served.spilloverPrice
  if (spend.usage === undefined || !spend.isCertain || at === undefined) return undefined
  const surcharges = operation.surcharges(bodyOf(request))
  return Math.max(...billed(spend.usage, surcharges).map((usage) => costOf(usage, at)))
}
