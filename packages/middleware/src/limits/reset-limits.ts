import { randomUUID } from 'node:crypto'
import type { Limit } from '../policy/index.ts'
import { openAccount } from './accounts/account.ts'
import { parseRow, REPLACES_ANY, type Row } from './leases/row.ts'
import type { CounterStore } from './stores/counter-store.ts'

export interface ResetOptions {
  readonly store: CounterStore
  /** The subject's id, such as `consumer:alice`. */
  readonly subject: string
  /** The one limit to begin anew; `undefined` for all of the subject. */
  readonly limit: Limit | undefined
  readonly signal: AbortSignal
}

/** Instances may change the row meanwhile, which happens a few times a second at most. */
const MAX_TRIES = 50

/**
 * Lets a subject's limits begin anew: buckets full, quotas and budgets unspent. The row says that this was meant, so that
 * instances do not rebuild it from what they remember; what they still hold is void as soon as they look at it.
 *
 * @throws the store's own error; an Error where other writers never left the row alone
 */
export async function resetLimits({ store, subject, limit, signal }: ResetOptions): Promise<void> {
  for (let tries = 0; tries < MAX_TRIES; tries += 1) {
    const { row } = await store.read(subject, signal)
    const { accounts } = parseRow(row?.text)
    const id = randomUUID()
    const next: Row = {
      v: 2,
      id,
      seq: 1,
      replaces: REPLACES_ANY,
      nonce: id,
      holders: {},
      accounts: limit === undefined ? {} : withReset(accounts, limit),
    }
    const written = await store.writeIfMatch(subject, JSON.stringify(next), row?.etag, signal)
    if (written.etag !== undefined) return
  }
  throw new Error(`The counters of '${subject}' kept changing. Try again.`)
}

/** An account that was opened in the beginning of time is full: one that was taken out would open with what others leave. */
function withReset(accounts: Row['accounts'], limit: Limit): Row['accounts'] {
  return { ...accounts, [limit.key]: openAccount(limit, { earliest: 0, latest: 0 }) }
}
