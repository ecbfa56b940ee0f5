import {
  type BudgetLimit,
  type CounterStore,
  type Limit,
  type LimiterEvents,
  limiter,
  type RateLimit,
  type Subject,
} from '@tollgate/middleware'
import { monotonic } from '../monotonic.ts'
import { DEADLINE_MS, type Gate } from './gate.ts'

export interface TollgateOptions {
  readonly store: CounterStore
  readonly events: LimiterEvents
}

/** Our own limiter, as the gateway runs it. */
export function tollgate({ store, events }: TollgateOptions): Gate {
  const gate = limiter({ store, deadlineMs: DEADLINE_MS, events })
  const subjects = new Map<string, Subject>()

  function subjectOf(id: string, limit: Limit): Subject {
    const known = subjects.get(id)
    if (known !== undefined) return known
    const subject = { id, limits: [limit] }
    subjects.set(id, subject)
    return subject
  }

  const held = (subject: string) => gate.leases(subject).reduce((sum, lease) => sum + lease.held, 0)

  return {
    async admit(subject, limit: RateLimit | BudgetLimit) {
      const decision = await gate.admit([{ subject: subjectOf(subject, limit), limit, units: 1 }])
      if (!decision.admitted) return { admitted: false, retryAfterMs: decision.retryAfterMs }
      decision.settle(() => 1)
      return { admitted: true }
    },
    held,
    async inspect(subject, limit) {
      const before = monotonic()
      const own = held(subject)
      const { row, time } = await store.read(subject, new AbortController().signal)
      if (row === undefined || time === undefined) return 0
      return own + centreAtLeast(row.text, limit, time.date - (monotonic() - before))
    },
  }
}

interface Account {
  readonly level: number
  readonly at: number
  readonly out: Readonly<Record<string, number>>
}

/** @param at has passed for certain, by the store's clock, at the moment in question */
function centreAtLeast(text: string, { key, capacity, refill, periodMs }: RateLimit, at: number): number {
  const { accounts } = JSON.parse(text) as { readonly accounts: Readonly<Record<string, Account>> }
  const account = accounts[key]
  if (account === undefined) return 0
  const out = Object.values(account.out).reduce((sum, units) => sum + units, 0)
  // What was credited after that moment, by a write that came between, does not count.
  const refilled = account.level + (at - account.at) * refill
  return Math.floor(Math.min(refilled, Math.max(0, capacity - out) * periodMs) / periodMs)
}
