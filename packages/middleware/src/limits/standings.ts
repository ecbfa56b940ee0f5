import { StoreUnavailable } from '../pipeline/index.ts'
import { type Limit, largestClaim } from '../policy/index.ts'
import { type Account, free, hasUnits, leasedIn, withoutLeases } from './accounts/account.ts'
import { epochAt } from './accounts/budget.ts'
import type { Subject } from './leases/decision.ts'
import { parseRow, rollRow } from './leases/row.ts'
import type { CounterStore } from './stores/counter-store.ts'

/**
 * Where one limit stands, as its row says it. `used`, `held` and `left` are the whole limit together, but for a bucket or a budget that
 * the policy made smaller than what was handed out of it.
 */
export interface LimitStanding {
  readonly limit: Limit
  /** Of a budget spent, or lost with an instance that died; of a bucket not refilled yet; of a number in flight always 0. */
  readonly used: number
  /** Held by instances under leases: reserved, ready to be spent, or spent a moment ago. What is not spent comes back. */
  readonly held: number
  /** What any instance can still take: what `RateLimit` headers say, without what the instance that answers holds itself. */
  readonly left: number
  /** When more comes back if nobody takes any and all that is held is spent; `undefined` where none is missing, or nobody can tell. */
  readonly moreAt: number | undefined
  /** The same of all of it. */
  readonly fullAt: number | undefined
  /** Of a budget: milliseconds since 1970, UTC. */
  readonly window: { readonly start: number; readonly end: number } | undefined
}

/** Where the limits of one subject stand. Times are milliseconds since 1970. */
export interface SubjectStandings {
  /** In the subject's order. */
  readonly limits: readonly LimitStanding[]
  /** Which write made the row, and when, by the store's clock; `nonce` is `undefined` where there is no row. */
  readonly nonce: string | undefined
  readonly writtenAt: number | undefined
  /** The store's clock, at most a second late. */
  readonly at: number
}

export interface StandingsOptions {
  readonly store: Pick<CounterStore, 'read'>
  readonly subject: Subject
  readonly signal: AbortSignal
}

/** One read, and no write. @throws the store's own error; RowUnreadable */
export async function standingsOf({ store, subject, signal }: StandingsOptions): Promise<SubjectStandings> {
  const { row: read, time, writtenAt } = await store.read(subject.id, signal)
  if (time === undefined) throw new StoreUnavailable('The store of the counters told no time')
  const at = time.date
  const row = rollRow(parseRow(read?.text), subject.limits, { earliest: at, latest: at })
  const limits = subject.limits.map((limit) => standingOf(limit, row.accounts[limit.key] as Account, at))
  return { limits, nonce: read && row.nonce, writtenAt, at }
}

function standingOf(limit: Limit, account: Account, at: number): LimitStanding {
  const time = { earliest: at, latest: at }
  const left = free(account, limit, time)
  const held = leasedIn(account)
  const handedOut = account.kind === 'budget' ? account.granted : largestClaim(limit) - left
  const standing = { limit, used: Math.max(0, handedOut - held), held, left }
  if (limit.kind === 'concurrency') return { ...standing, moreAt: undefined, fullAt: undefined, window: undefined }
  const isFull = left >= largestClaim(limit)
  if (limit.kind === 'budget') {
    const window = epochAt(limit.per, at)
    const end = isFull ? undefined : window.end
    return { ...standing, moreAt: end, fullAt: end, window }
  }
  const spent = withoutLeases(account)
  const when = (units: number) => (isFull ? undefined : hasUnits(spent, limit, units, time))
  return { ...standing, moreAt: when(left + 1), fullAt: when(limit.capacity), window: undefined }
}
