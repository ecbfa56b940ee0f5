import {
  openUsage,
  outlinePolicy,
  type Table,
  tableConsumerStore,
  type UsageReader,
  usageReader,
} from '@tollgate/middleware'
import { redisUrl, withCounters } from './counters.ts'
import type { Place } from './place.ts'
import { withTables } from './tables.ts'

/** Runs a command's work on the table of the ledger that the gateway writes. */
export function withLedger<T>(place: Place, work: (table: Table, storage: string) => Promise<T>): Promise<T> {
  return withTables(place, 'Reports', (open, storage) => work(open('tollgateusage'), storage))
}

/** Runs a command's work on the requests themselves: neither the policy nor the counters are needed for it. */
export function withRequests<T>(place: Place, work: (reader: Pick<UsageReader, 'why'>) => Promise<T>): Promise<T> {
  return withLedger(place, (table) => work(usageReader({ table, kept: () => outlineOf(place).usage })))
}

/** Runs a command's work on what requests came to, held against what limits have counted. */
export async function withUsage<T>(
  place: Place,
  work: (reader: UsageReader, storage: string) => Promise<T>,
): Promise<T> {
  const outline = outlineOf(place)
  // Of counters in Redis only who has looked twice knows whether they are still: a command would tell that nothing is missing.
  if (redisUrl(place) !== undefined) {
    return withLedger(place, (table, storage) => work(usageReader({ table, kept: () => outline.usage }), storage))
  }
  return withTables(place, 'Reports', (open, storage) =>
    withCounters(place, open, (counters) => {
      const consumers = tableConsumerStore(open)
      const reader = openUsage({ table: open('tollgateusage'), counters, consumers, policy: () => outline })
      return work(reader, storage)
    }),
  )
}

function outlineOf({ root, env }: Place) {
  return outlinePolicy({ root, path: env.TOLLGATE_POLICY || undefined })
}
