import type { ConcurrencyLimit } from '../../policy/index.ts'
import type { StoreInterval } from '../stores/store-clock.ts'
import { inOrder, type Slots, slotEnd, unexpired, unitsIn } from './slots.ts'

/** Requests that may be in flight. A crashed instance's come back when its lease ends. */
export interface ConcurrencyAccount {
  readonly kind: 'concurrency'
  readonly out: Slots
}

export function openConcurrency(): ConcurrencyAccount {
  return { kind: 'concurrency', out: {} }
}

export function rollConcurrency(account: ConcurrencyAccount, { earliest }: StoreInterval): ConcurrencyAccount {
  return { ...account, out: unexpired(account.out, earliest) }
}

export function freeOfConcurrency({ out }: ConcurrencyAccount, { quota }: ConcurrencyLimit): number {
  return Math.max(0, quota - unitsIn(out))
}

/** The store time, in milliseconds, at which this many come free for certain: most come back sooner. */
export function concurrencyHas(account: ConcurrencyAccount, limit: ConcurrencyLimit, units: number): number {
  let free = freeOfConcurrency(account, limit)
  if (free >= units) return 0
  for (const [slot, held] of inOrder(account.out)) {
    free += held
    if (free >= units) return slotEnd(slot)
  }
  return Number.POSITIVE_INFINITY
}
