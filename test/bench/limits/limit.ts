import type { BudgetLimit, Epoch, RateLimit } from '@tollgate/middleware'

/** So many requests a period, and `burst` beyond the steady rate, as a policy would resolve them. */
export function rate(
  quota: number,
  periodMs: number,
  bucket: { readonly capacity: number; readonly refill?: number } = { capacity: quota },
): RateLimit {
  const { capacity, refill = quota } = bucket
  return {
    kind: 'rate',
    key: `requests:${periodMs}`,
    name: 'requests',
    measure: 'requests',
    model: undefined,
    quota,
    periodMs,
    burst: capacity - quota,
    capacity,
    refill,
  }
}

/** So many requests in each window, and none of them comes back before the next. */
export function budget(quota: number, per: Epoch): BudgetLimit {
  return { kind: 'budget', key: `requests/${per}`, name: 'requests', measure: 'requests', model: undefined, quota, per }
}
