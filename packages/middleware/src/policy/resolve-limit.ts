import { durationMs } from './duration.ts'
import type { BudgetLimit, Epoch, Limit, Measure, RateLimit } from './limit.ts'
import { EPOCHS, type LimitDocument } from './limit-schema.ts'
import { measureOf } from './measure.ts'

/** A fault in a limit, to be reported with its path. */
export class LimitFault extends Error {}

const NANO_DOLLARS = 1e9
const LEAST_STRICT = 4

type Named = Pick<Limit, 'name' | 'model'>
type RateDocument = Exclude<LimitDocument, { readonly usd: number } | { readonly concurrent: number }>

/**
 * A limit of the policy as what keeps it: a bucket for a duration, a budget for a window, a number in flight.
 *
 * @throws LimitFault for `burst` or `strict` where they mean nothing, and for a bucket too large for exact integers.
 */
export function resolveLimit(document: LimitDocument, name: string): Limit {
  const named: Named = { name, model: document.model }
  const measure = measureOf(document)
  if ('concurrent' in document) {
    return { ...named, kind: 'concurrency', key: keyOf('concurrency', named), measure, quota: document.concurrent }
  }
  if ('usd' in document) return budget(named, measure, Math.round(document.usd * NANO_DOLLARS), document.per)

  const quota = 'requests' in document ? document.requests : document.tokens
  const epoch = EPOCHS.find((word) => word === document.per)
  if (epoch === undefined) return rate(named, measure, quota, document)
  if (document.burst !== undefined || document.strict !== undefined) {
    throw new LimitFault(
      `'burst' and 'strict' belong to a duration such as 1m, not to a quota per ${epoch}. Remove them.`,
    )
  }
  return budget(named, measure, quota, epoch)
}

function budget(named: Named, measure: Measure, quota: number, per: Epoch): BudgetLimit {
  return { ...named, kind: 'budget', key: keyOf(`${measure}:${per}`, named), measure, quota, per }
}

/**
 * Plain: as much at once as the number and the burst, and the full number back in each period, so a first period may
 * show up to twice the number. Strict: a tenth of the number at once and the rest back in each period, so no window of
 * the period shows more than the number.
 */
function rate(named: Named, measure: Measure, quota: number, document: RateDocument): RateLimit {
  const { burst = 0, strict = false } = document
  const periodMs = durationMs(document.per)
  if (strict && burst > 0) throw new LimitFault("'strict' and 'burst' contradict each other. Remove one.")
  if (strict && quota < LEAST_STRICT) throw new LimitFault(`'strict' needs a number of at least ${LEAST_STRICT}.`)

  const capacity = strict ? Math.max(1, Math.floor(quota / 10)) : quota + burst
  if (capacity * periodMs > Number.MAX_SAFE_INTEGER) {
    const units = 'requests' in document ? 'requests' : 'tokens'
    throw new LimitFault(`too many ${units} in too long a period to be counted exactly. Make one of them smaller.`)
  }
  const refill = strict ? quota - capacity : quota
  const key = keyOf(`${measure}:${periodMs}`, named)
  return { ...named, kind: 'rate', key, measure, quota, periodMs, burst, capacity, refill }
}

function keyOf(counted: string, { model }: Named): string {
  return model === undefined ? counted : `${counted}@${model}`
}
